"""The table of a batch, this process's share of it, and what is written of every case."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from PostOpPredictorLib.errors import InputError, LibraryError
from PostOpPredictorLib.launched import Share, own_share
from PostOpPredictorLib.prediction.batch import run as batch_run
from PostOpPredictorLib.prediction.batch.batch_cases import BatchCase, read_batch
from PostOpPredictorLib.prediction.batch.batch_state import OTHER_SETTINGS, BatchState
from PostOpPredictorLib.prediction.batch.run import BatchRequest, predict_batch
from PostOpPredictorLib.prediction.plan_request import PlanRequest, SpareRequest, StructureRequest
from PostOpPredictorLib.prediction.provenance import settings_of
from PostOpPredictorLib.prediction.request import PredictionRequest
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.shipped import FOLLOW_UP, shipped_model_folder


def table(folder: Path, text: str, name: str = "cases.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def options(folder: Path, **changes: Any) -> PredictionRequest:
    return PredictionRequest(Path(), Path(), folder / "out", **changes)


def models(compact: str) -> dict[Path, str]:
    """Checksums of the shipped models by their folder."""
    return {shipped_model_folder(): compact, shipped_model_folder(FOLLOW_UP): "f"}


def test_a_row_says_files_settings_plans_and_sequences(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "\ufeffID, pre ,Tumor,brain,labels,sequence,T2w,flair,margins_mm,plan,days,follow\n"
        "a,a/t1.nii.gz,/data/seg.nii.gz,,,,,,,,,\n"
        'b-2,b.nii.gz,b_seg.nii.gz,m.nii.gz,"1,4",T1wCE,t2.nii.gz,f.nii.gz,0; 3.5,plan.nii.gz,30,P7\n'
        ",,,,,,,,,,,\n",
    )
    first, second = read_batch(path, options(tmp_path, seed=5, labels="any"))
    assert first.request == PredictionRequest(
        tmp_path / "a/t1.nii.gz", Path("/data/seg.nii.gz"), tmp_path / "out" / "a", seed=5, labels="any"
    )
    request = second.request
    assert request is not None and (request.seed, request.labels, request.sequence) == (5, "1,4", "T1wCE")
    assert request.brain == tmp_path / "m.nii.gz" and request.out == tmp_path / "out" / "b-2"
    assert request.more == {"T2w": tmp_path / "t2.nii.gz", "FLAIR": tmp_path / "f.nii.gz"}
    assert (request.days, request.follow) == (30.0, "P7")
    assert request.plans == (
        PlanRequest("plan", mask=tmp_path / "plan.nii.gz"),
        PlanRequest("margin 0 mm", margin_mm=0.0),
        PlanRequest("margin 3.5 mm", margin_mm=3.5),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no column id, pre, tumour"),
        ("id,pre\na,b\n", "has no column tumour"),
        ("id,pre,tumour,flaire\na,b,c,d\n", "has the column 'flaire', which is not known"),
        ("id,pre,tumour\n", "holds no case"),
        ("id,pre,tumour\na,b,c\nA,b,c\n", "several rows with the id a"),
        ("id,pre,tumour\n../a,b,c\n", "Row 1 has the id '../a', which cannot name a folder"),
        ("id,pre,tumour\n,b,c\n", "Row 1 has the id ''"),
        ("id,pre,tumour\n.failed,b,c\n", "which cannot name a folder"),
        ("id,pre,tumour,labels\na,b,c,1,4\n", "Row 1 has more cells than the table has columns"),
    ],
)
def test_a_table_that_is_not_clear_is_refused_as_a_whole(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_batch(table(tmp_path, text), options(tmp_path))


def test_no_table_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no table"):
        read_batch(tmp_path / "none.csv", options(tmp_path))
    (tmp_path / "binary.csv").write_bytes(b"id,pre,tumour\n\xff\xfe\x00")
    with pytest.raises(InputError, match="could not be read as a CSV table"):
        read_batch(tmp_path / "binary.csv", options(tmp_path))


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ("a,,c,,,", "names no file under 'pre'"),
        ("a,b,,,,", "names no file under 'tumour'"),
        ("a,b,c,soon,,", "'soon' under 'days', which is no number"),
        ("a,b,c,9999,,", "time since surgery is 9999.0 days"),
        ("a,b,c,,99,", "margin of 99.0 mm"),
        ("a,b,c,,,T3w", "There is no sequence 'T3w'"),
    ],
)
def test_what_is_wrong_in_one_row_is_that_cases_problem(tmp_path: Path, cells: str, sentence: str) -> None:
    path = table(tmp_path, f"id,pre,tumour,days,margins_mm,sequence\n{cells}\nz,b,c,,,\n")
    broken, whole = read_batch(path, options(tmp_path))
    assert broken.request is None and sentence in broken.problem
    assert whole.request is not None and not whole.problem


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({}, Share(0, 1, 0)),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, Share(5, 8, 1)),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "0"}, Share(2, 4, 0)),
        # The script of a job, outside srun.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Share(0, 1, 0)),
        # accelerate launch within a step of srun: its own numbers count.
        ({"RANK": "3", "WORLD_SIZE": "4", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, Share(3, 4, 0)),
    ],
)
def test_the_launcher_says_which_share_is_ours(environment: dict[str, str], share: Share) -> None:
    assert own_share(environment) == share


def test_shares_cover_everything_once() -> None:
    for count in (1, 2, 5, 9):
        shared = [item for rank in range(count) for item in Share(rank, count).of(range(7))]
        assert sorted(shared) == list(range(7))


@pytest.mark.parametrize(("rank", "count"), [("4", "4"), ("-1", "2"), ("x", "2")])
def test_an_environment_that_contradicts_itself_is_refused(rank: str, count: str) -> None:
    with pytest.raises(InputError, match=r"no process of a launch|no whole number"):
        own_share({"RANK": rank, "WORLD_SIZE": count})


@pytest.fixture
def cases(tmp_path: Path) -> list[BatchCase]:
    text = "id,pre,tumour\n" + "".join(f"c{n},DOE^JANE_{n}.nii.gz,seg{n}.nii.gz\n" for n in range(4))
    return read_batch(table(tmp_path, text), options(tmp_path))


def predicted(case: BatchCase, **result: Any) -> None:
    """Leave what a prediction of ``case`` leaves."""
    assert case.request is not None
    case.request.out.mkdir(parents=True)
    record = {
        "model": {"checksum": "m"},
        "settings": settings_of(case.request),
        "result": {"tumour_ml": 3.5, **result},
        "seconds": {"a": 1.0, "b": 2.5},
    }
    (case.request.out / "provenance.json").write_text(json.dumps(record))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "batch.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_tells_what_is_on_the_disk(cases: list[BatchCase], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    state = BatchState(tmp_path / "out", models("m"))
    predicted(cases[0], precedent="=HYPERLINK()", similarity={"level": "weak", "sentence": "Weak."})
    state.fail(cases[1], "bad_input", f"{tmp_path}/DOE^JANE_1.nii.gz does not exist. Check DOE^JANE_1.nii.gz.", 2.0)
    state.write_table(cases)
    rows = rows_of(tmp_path / "out")
    assert [row["status"] for row in rows] == ["done", "failed", "waiting", "waiting"]
    assert (rows[0]["tumour_ml"], rows[0]["seconds"], rows[0]["precedent"]) == ("3.5", "3.5", "'=HYPERLINK()")
    assert rows[0]["similarity"] == "weak"
    assert rows[1]["sentence"] == "the scan does not exist. Check the scan."
    assert "DOE" not in (tmp_path / "out" / "batch.csv").read_text()
    assert not any("DOE" in path.read_text() for path in (tmp_path / "out" / ".failed").iterdir())


def test_a_case_of_other_settings_is_kept_and_told(cases: list[BatchCase], tmp_path: Path) -> None:
    predicted(cases[0])
    predicted(cases[1])
    state = BatchState(tmp_path / "out", models("m"))
    assert state.row(cases[0])["sentence"] == ""
    margin = PlanRequest("margin 5 mm", margin_mm=5.0)
    for change in ({"seed": 9}, {"plans": (margin,)}, {"more": {"T1wCE": Path("t1ce.nii")}}):
        other = replace(cases[1], request=replace(cases[1].request, **change))  # type: ignore[type-var]
        assert state.row(other)["sentence"] == OTHER_SETTINGS, change
    assert BatchState(tmp_path / "out", models("another")).row(cases[0])["sentence"] == OTHER_SETTINGS


class FakeTools:
    """What ``_tools`` opens, remembering of which model."""

    def __init__(self, model: Path, *_: Any) -> None:
        self.model_checksum = models("m")[model]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Ids that are predicted, with whether they may be overwritten; c1 fails by a bug, c2 by its library."""
    seen: list[tuple[str, bool]] = []

    def fake(request: PredictionRequest, progress: Any, *, tools: Any) -> None:
        seen.append((request.out.name, request.overwrite))
        if request.out.name == "c1":
            raise ZeroDivisionError("bug")
        if request.out.name == "c2":
            raise LibraryError(f"{request.pre} is odd.")
        if not (request.out / "provenance.json").exists():
            predicted(BatchCase(request.out.name, replace(request, overwrite=False)))

    monkeypatch.setattr(batch_run, "predict", fake)
    monkeypatch.setattr(batch_run, "_tools", FakeTools)
    monkeypatch.delenv("POSTOP_MODEL", raising=False)
    monkeypatch.setenv("POSTOP_CACHE", "/nonexistent")
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    return seen


def batch(folder: Path, **changes: Any) -> dict[str, Any]:
    request = BatchRequest(folder / "cases.csv", options(folder, library=folder), **changes)
    return predict_batch(request, SilentProgress())


@pytest.mark.usefixtures("cases")
def test_a_case_that_fails_keeps_nothing_back_and_is_tried_again(tmp_path: Path, asked: list[tuple[str, bool]]) -> None:
    result = batch(tmp_path)
    assert [name for name, _ in asked] == ["c0", "c1", "c2", "c3"]
    assert result["done"] == 2 and set(result["failed"]) == {"c1", "c2"}
    rows = rows_of(tmp_path / "out")
    assert [row["status"] for row in rows] == ["done", "failed", "failed", "done"]
    assert [row["error_code"] for row in rows] == ["", "internal", "bad_library", ""]
    assert rows[2]["sentence"] == "the scan is odd."
    asked.clear()
    batch(tmp_path)
    assert asked == [("c1", False), ("c2", False)], "done cases are kept"
    asked.clear()
    batch(tmp_path, again=True)
    assert asked == [(f"c{n}", True) for n in range(4)]


@pytest.mark.usefixtures("cases")
def test_launched_processes_share_the_cases(
    tmp_path: Path, asked: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    result = batch(tmp_path)
    assert [name for name, _ in asked] == ["c1", "c3"] and set(result["failed"]) == {"c1"}
    monkeypatch.setenv("RANK", "0")
    result = batch(tmp_path)
    assert [name for name, _ in asked] == ["c1", "c3", "c0", "c2"] and set(result["failed"]) == {"c2"}
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["done", "failed", "failed", "done"]


def test_the_folder_of_the_batch_cannot_be_a_file(
    tmp_path: Path, cases: list[BatchCase], asked: list[tuple[str, bool]]
) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        batch(tmp_path)
    assert (tmp_path / "out").read_text() == "mine" and not asked and cases
    with pytest.raises(InputError, match="--workers is 0"):
        batch(tmp_path, workers=0)


@pytest.mark.usefixtures("asked")
def test_every_case_is_predicted_by_the_model_that_knows_what_its_row_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ("a,b,c,,,", "d,b,c,30,,", "e,b,c,,FLAIR,", "g,b,c,,,t2.nii", "h,b,c,,T1w,")
    table(tmp_path, "\n".join(["id,pre,tumour,days,sequence,T2w", *rows]))
    used = {}

    def fake(request: PredictionRequest, progress: Any, *, tools: Any) -> None:
        used[request.out.name] = tools.model_checksum

    monkeypatch.setattr(batch_run, "predict", fake)
    batch(tmp_path)
    assert used == {"a": "m", "d": "f", "e": "f", "g": "f", "h": "m"}


@pytest.mark.usefixtures("cases")
def test_a_case_that_fails_when_it_is_predicted_anew_is_told_kept_and_tried_again(
    tmp_path: Path, asked: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch(tmp_path)
    whole = batch_run.predict

    def failing(request: PredictionRequest, progress: Any, *, tools: Any) -> None:
        if request.out.name == "c0":
            raise LibraryError("No case could serve.")
        whole(request, progress, tools=tools)

    monkeypatch.setattr(batch_run, "predict", failing)
    result = batch(tmp_path, again=True)
    assert result["failed"]["c0"] == "No case could serve. The earlier prediction is kept." and result["done"] == 1
    assert (tmp_path / "out" / "c0" / "provenance.json").is_file()
    monkeypatch.setattr(batch_run, "predict", whole)
    asked.clear()
    assert "c0" not in batch(tmp_path)["failed"]
    assert ("c0", True) in asked and "c3" not in dict(asked)


def test_settings_name_what_was_asked_and_no_file(tmp_path: Path) -> None:
    secret = tmp_path / "DOE^JANE.nii.gz"
    plans = (PlanRequest("wide", margin_mm=5.0, spare=(SpareRequest(secret, 10.0),)), PlanRequest("drawn", mask=secret))
    asked = options(tmp_path, more={"T2w": secret}, plans=plans, structures=(StructureRequest("tract", secret),))
    settings = settings_of(asked)
    assert settings["more"] == ["T2w"] and settings["structures"] == ["tract"]
    assert settings["plans"] == [
        {"name": "wide", "margin_mm": 5.0, "spare_mm": [10.0]},
        {"name": "drawn", "margin_mm": None, "spare_mm": []},
    ]
    assert "DOE" not in json.dumps(settings)


def test_each_process_that_opens_a_model_a_worker_too_takes_its_own_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    order: list[Any] = []
    monkeypatch.setattr(batch_run, "use_own_gpu", lambda share, device: order.append((share, device)))
    monkeypatch.setattr(batch_run, "open_tools", lambda *_: order.append("opened") or SimpleNamespace(library=None))
    monkeypatch.setattr(batch_run.SliceIndex, "open", lambda library: None)
    batch_run._tools.__wrapped__(tmp_path, tmp_path, "cuda")
    assert order == [(Share(3, 4, 1), "cuda"), "opened"]
