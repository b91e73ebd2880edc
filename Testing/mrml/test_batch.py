"""The batch script: every case told, none twice, nobody asked, and no name that the user did not give."""

from __future__ import annotations

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from fake_backend import BEGINNING, working_folders
from finished_prediction import FinishedPrediction, finished_prediction
from PostOpPredictorModule import BackendProcess
from PostOpPredictorModule.BatchCases import readCases
from PostOpPredictorModule.BatchFigures import FiguresTable
from PostOpPredictorModule.ResultNodes import findResults
from standins.mrml_scene import read_scene

pytestmark = pytest.mark.timeout(900)
"""The real backend shares this machine with other work."""

SCRIPT = Path(__file__).resolve().parents[2] / "Resources" / "Batch" / "predict_cases.py"


@pytest.fixture(scope="session")
def prediction(made_once: Any) -> FinishedPrediction:
    """A patient, a library and what the real backend made of them."""
    return finished_prediction(made_once)


@pytest.fixture
def predict_cases(scene: Any) -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("predict_cases", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def jobs(prediction: FinishedPrediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backend that gives the finished prediction at once; every job it got is a line of the file."""
    seen = tmp_path / "jobs"
    script = tmp_path / "quick.py"
    script.write_text(
        BEGINNING
        + f"""
options = json.loads(job.read_text(encoding="utf-8"))["options"]
with open({str(seen)!r}, "a") as file:
    file.write(json.dumps(options) + "\\n")
if options["seed"] == 13:
    say("error", code="registration_failed", message="The scan at " + options["pre"] + " could not be aligned.")
    sys.exit(2)
print(Path({str(prediction.folder / "result.json")!r}).read_text(encoding="utf-8"))
""",
        encoding="utf-8",
    )
    monkeypatch.setattr(BackendProcess, "backendCommand", lambda job: [sys.executable, str(script), str(job)])
    return seen


@pytest.fixture
def cases(prediction: FinishedPrediction, tmp_path: Path) -> Path:
    """Two cases in folders, and one whose tumour is empty."""
    folder = tmp_path / "DOE^JANE" / "cases"
    for name in ("first", "second", "third"):
        (folder / name).mkdir(parents=True)
        shutil.copy(prediction.scan, folder / name / "pre.nii.gz")
        shutil.copy(prediction.labels, folder / name / "tumor.nii.gz")
    labels = sitk.ReadImage(str(prediction.labels))
    sitk.WriteImage(labels * 0, str(folder / "second" / "tumor.nii.gz"))
    return folder


def figures(out: Path) -> dict[str, dict[str, str]]:
    with (out / "figures.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def number_of(jobs: Path) -> int:
    return len(jobs.read_text().splitlines()) if jobs.exists() else 0


def test_a_failed_case_is_told_and_the_others_are_done(
    predict_cases: Any, cases: Path, jobs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, folders = tmp_path / "out", working_folders()
    assert predict_cases.main(["--", str(cases), str(out), "--segments", "1,4"]) == 1
    rows = figures(out)
    assert {name: row["status"] for name, row in rows.items()} == {"first": "done", "second": "failed", "third": "done"}
    assert "'second tumour'" in rows["second"]["sentence"] and rows["second"]["error_code"] == "bad_input"
    assert float(rows["first"]["tumour_ml"]) > 5 and rows["first"]["precedent"] == "0001"
    assert sorted(path.name for path in out.iterdir()) == ["figures.csv", "first.mrb", "third.mrb"]
    assert "2 of 3 cases are done" in capsys.readouterr().out
    assert working_folders() == folders
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_what_is_done_is_skipped_and_what_failed_is_tried_again(
    predict_cases: Any, cases: Path, jobs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [str(cases), str(out)]
    assert predict_cases.main(arguments) == 1
    assert number_of(jobs) == 2
    before = (out / "first.mrb").stat().st_mtime_ns
    shutil.copy(cases / "first" / "tumor.nii.gz", cases / "second" / "tumor.nii.gz")
    (out / "third.mrb").unlink()
    assert predict_cases.main(arguments) == 0
    assert number_of(jobs) == 4, "second and third only"
    assert (out / "first.mrb").stat().st_mtime_ns == before
    assert [row["status"] for row in figures(out).values()] == ["done"] * 3
    assert figures(out)["second"]["sentence"] == ""
    assert predict_cases.main(arguments) == 0 and number_of(jobs) == 4
    shutil.rmtree(cases / "second")
    shutil.rmtree(cases / "third")
    assert predict_cases.main([*arguments, "--again"]) == 0 and number_of(jobs) == 5


def test_the_saved_scene_holds_patient_and_result_and_no_name(
    predict_cases: Any, cases: Path, jobs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.rmtree(cases / "second")
    shutil.rmtree(cases / "third")
    assert predict_cases.main([str(cases), str(out)]) == 0
    with zipfile.ZipFile(out / "first.mrb") as archive:
        assert all(name.startswith("first/") for name in archive.namelist())
        text = b"".join(archive.read(name) for name in archive.namelist() if name.endswith((".mrml", ".nrrd", ".json")))
        assert b"DOE" not in text and str(tmp_path).encode() not in text
    assert "DOE" not in (out / "figures.csv").read_text()
    read_scene(out / "first.mrb")
    (result,) = findResults(slicer.mrmlScene)
    assert result.source.GetName() == "first pre-op" and len(result.precedents) == 2


def test_options_reach_the_backend(predict_cases: Any, cases: Path, jobs: Path, tmp_path: Path) -> None:
    import json

    options = ["--device", "cpu", "--precedents", "1", "--mode", "average", "--samples", "3", "--seed", "4"]
    options += ["--sequence", "T1w", "--institution", "north", "--library", "some/library", "--steps", "2"]
    predict_cases.main([str(cases), str(tmp_path / "out"), *options])
    sent = json.loads(jobs.read_text().splitlines()[0])
    assert (sent["device"], sent["k"], sent["mode"], sent["samples"], sent["steps"]) == ("cpu", 1, "average", 3, 2)
    assert (sent["seed"], sent["sequence"], sent["institution"]) == (4, "T1w", "north")
    assert Path(sent["library"]) == Path("some/library").absolute()


def test_sentences_of_the_backend_name_no_file(predict_cases: Any, cases: Path, jobs: Path, tmp_path: Path) -> None:
    assert predict_cases.main([str(cases), str(tmp_path / "out"), "--seed", "13"]) == 1
    row = figures(tmp_path / "out")["first"]
    assert row["sentence"].startswith("The scan at 'first pre-op' could not be aligned.")
    assert "/" not in row["sentence"] and row["error_code"] == "registration_failed"


def test_segments_may_be_chosen_by_name(
    predict_cases: Any, cases: Path, jobs: Path, tmp_path: Path, prediction: FinishedPrediction
) -> None:
    from finished_prediction import load_patient

    _, tumour = load_patient(prediction)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(cases / "first" / "tumour.seg.nrrd"))
    assert storage.WriteData(tumour)
    (cases / "first" / "tumor.nii.gz").unlink()
    for other in ("second", "third"):
        shutil.rmtree(cases / other)
    assert predict_cases.main([str(cases), str(tmp_path / "out"), "--segments", "core, enhancing"]) == 0
    assert predict_cases.main([str(cases), str(tmp_path / "bad"), "--segments", "nonsense"]) == 1
    assert "'nonsense'" in figures(tmp_path / "bad")["first"]["sentence"]


def test_files_that_cannot_be_read_are_failed_cases(
    predict_cases: Any, cases: Path, jobs: Path, tmp_path: Path
) -> None:
    table = tmp_path / "cases.csv"
    (tmp_path / "broken.nrrd").write_text("this is no image")
    scan, labels = cases / "first" / "pre.nii.gz", cases / "first" / "tumor.nii.gz"
    table.write_text(
        f"id,pre,tumour\nmissing,/no/DOE.nii.gz,{labels}\nbroken,broken.nrrd,{labels}\ngood,{scan},{labels}\n"
    )
    assert predict_cases.main([str(table), str(tmp_path / "out")]) == 1
    rows = figures(tmp_path / "out")
    assert [row["status"] for row in rows.values()] == ["failed", "failed", "done"]
    assert rows["missing"]["sentence"] == "The file of the scan does not exist. Check its path."
    assert "cannot be read" in rows["broken"]["sentence"]


@pytest.mark.parametrize("arguments", [[], ["/no/such/folder", "out"]])
def test_what_cannot_be_begun_has_its_own_exit_code(
    predict_cases: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = predict_cases.main(arguments)
    except SystemExit as end:
        code = end.code
    assert code == 2 and capsys.readouterr().err


def test_the_help_names_every_option(predict_cases: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        predict_cases.main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for option in ("--segments", "--library", "--device", "--again", "--no-main-window", "figures.csv"):
        assert option in text


def test_a_table_is_read_with_relative_paths_and_optional_columns(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("\ufeffPre, Tumour, brain\na.nii,sub/b.nii,\n,,\nc.nii,d.nii,/e.nii\n", encoding="utf-8")
    first, second = readCases(table)
    assert (first.caseId, first.pre, first.tumour, first.brain) == (
        "case-001",
        tmp_path / "a.nii",
        tmp_path / "sub/b.nii",
        None,
    )
    assert (second.caseId, second.brain) == ("case-003", Path("/e.nii"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,pre\n1,a\n", "columns pre and tumour"),
        ("", "columns pre and tumour"),
        ("id,pre,tumour\n", "no case"),
        ("id,pre,tumour\n../../x,a,b\n", "cannot be the name"),
        ("id,pre,tumour\n.hidden,a,b\n", "cannot be the name"),
        ("id,pre,tumour\na/b,a,b\n", "cannot be the name"),
        ("id,pre,tumour\nA,a,b\na,c,d\n", "Several cases"),
    ],
)
def test_a_table_that_is_not_clear_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        readCases(tmp_path / "cases.csv")


def test_a_folder_that_is_not_clear_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no case"):
        readCases(tmp_path)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "pre.nrrd").touch()
    (incomplete,) = readCases(tmp_path)
    assert incomplete.caseId == "one" and "'one' needs" in incomplete.problem
    (tmp_path / "one" / "tumour.nrrd").touch()
    assert [(case.caseId, case.problem) for case in readCases(tmp_path)] == [("one", "")]
    (tmp_path / "one" / "TUMOR.seg.nrrd").touch()
    assert "several files for tumour" in readCases(tmp_path)[0].problem


def test_a_row_without_files_keeps_the_others_not_back(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("id,pre,tumour\n1,a,\n2,a,b\n")
    first, second = readCases(tmp_path / "cases.csv")
    assert first.problem.startswith("Row 1 ") and second.problem == ""


def small_cases(folder: Path, *names: str) -> Path:
    """Case folders with a small scan and a tumour in it."""
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:9, 5:9, 5:9] = 1
    for name in names:
        (folder / name).mkdir(parents=True)
        sitk.WriteImage(sitk.GetImageFromArray(labels * 100), str(folder / name / "pre.nii.gz"))
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / name / "tumour.nii.gz"))
    return folder


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError("/data/DOE^JANE/scan.nii.gz"), "internal"),
        (ValueError("/data/DOE^JANE/scan.nii.gz is odd"), "internal"),
        (OSError(28, "No space left on device", "/data/DOE^JANE/scan.nii.gz"), "storage"),
    ],
)
def test_whatever_happens_to_a_case_is_a_row_without_names_and_the_next_one_goes_on(
    predict_cases: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: str,
) -> None:
    folder = small_cases(tmp_path / "cases", "first", "second")
    (folder / "empty").mkdir()

    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(predict_cases.PostOpPredictorLogic, "predict", broken)
    assert predict_cases.main([str(folder), str(tmp_path / "out")]) == 1
    rows = figures(tmp_path / "out")
    assert {name: row["error_code"] for name, row in rows.items()} == {
        "empty": "bad_input",
        "first": code,
        "second": code,
    }
    assert "needs the files pre and tumour" in rows["empty"]["sentence"]
    said = capsys.readouterr().err
    for text in (said, (tmp_path / "out" / "figures.csv").read_text()):
        assert "DOE" not in text and "/data" not in text
    assert (": broken" in said or "broken: " in said) == (code == "internal"), "the log says where it happened"


def test_a_table_of_figures_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "figures.csv"
    FiguresTable(path).addResult("one", {"tumour_ml": 3.5, "precedent": "=cmd()"}, ("Careful,\nplease.",), 1.0)
    before = path.read_bytes()
    table = FiguresTable(path)
    assert table.isDone("one") and not table.isDone("two")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError):
        table.addFailure("two", "oom", "Too little memory.", 2.0)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["figures.csv"]
    row = figures(tmp_path)["one"]
    assert (row["warnings"], row["precedent"]) == ("Careful, please.", "'=cmd()")


def test_the_script_predicts_with_the_real_backend_and_without_a_window(
    cases: Path, tmp_path: Path, prediction: FinishedPrediction, project_root: Path
) -> None:
    """As Slicer runs it: as a program of its own, with arguments, and an exit code at the end."""
    shutil.rmtree(cases / "second")
    program = textwrap.dedent(f"""
        import runpy, sys, tempfile
        from pathlib import Path
        sys.path[:0] = [{str(project_root)!r}, {str(project_root / "Testing")!r}]
        import standins; standins.install()
        from standins.mrml_scene import SceneWithLogics
        scene = SceneWithLogics(Path(tempfile.mkdtemp(dir={str(tmp_path)!r})))
        runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
    """)
    (cases / "third" / "pre.nii.gz").unlink()
    np.save(cases / "third" / "pre.npy", np.zeros(3))
    sitk.WriteImage(sitk.Image([30, 30, 30], sitk.sitkInt16), str(cases / "third" / "pre.nrrd"))
    command = [sys.executable, "-c", program, "--", str(cases), str(tmp_path / "out"), "--segments", "1,4"]
    command += ["--library", str(prediction.library), "--precedents", "1"]
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=280, env=environment, stdin=subprocess.DEVNULL, check=False
    )
    assert answer.returncode == 1, answer.stderr
    rows = figures(tmp_path / "out")
    assert rows["first"]["status"] == "done" and float(rows["first"]["cavity_ml"]) >= 0
    assert rows["third"]["status"] == "failed" and rows["third"]["sentence"]
    assert (tmp_path / "out" / "first.mrb").stat().st_size > 1_000_000
