"""What an import as a whole promises: resumable, whole cases, several processes, and a report on every patient."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from published_folders import in_mni_already, lumiere, rhuh_patient
from synthetic_cases import made_up_case

from PostOpPredictorLib.cases import case_files
from PostOpPredictorLib.cases.importers import import_run, pair_alignment
from PostOpPredictorLib.cases.importers.import_report import ImportReport
from PostOpPredictorLib.cases.importers.import_run import ImportRequest, import_cases
from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.cases.participants import read_table
from PostOpPredictorLib.cli.app import run
from PostOpPredictorLib.errors import Cancelled, InputError, LibraryError, StorageError
from PostOpPredictorLib.imaging.registration import Registration
from PostOpPredictorLib.imaging.registration_quality import RegistrationQuality
from PostOpPredictorLib.progress import SilentProgress

STUDIES = {"week-000-1": "Pre-Op", "week-000-2": "Post-Op"}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No search within this process."""
    _without_search(monkeypatch)


def _without_search(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pair_alignment, "follow", lambda *_: sitk.Transform(3, sitk.sitkIdentity))
    patch.setattr(pair_alignment, "judge", lambda *_: RegistrationQuality(0.5, 0.0, False, ""))


@pytest.fixture(scope="module")
def three_patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two that can be imported, and one whose scan after surgery is cut short; not to be changed."""
    root = lumiere(tmp_path_factory.mktemp("source") / "LUMIERE", {f"Patient-00{n}": STUDIES for n in (1, 2, 3)})
    scan = next(root.glob("Imaging/Patient-002/week-000-2/*/atlas/skull_strip/t2_skull_strip.nii.gz"))
    os.truncate(scan, scan.stat().st_size // 2)
    return root


@pytest.fixture(scope="module")
def the_import(three_patients: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ImportReport]:
    """The library of an import of the three, and its report; not to be changed."""
    library = tmp_path_factory.mktemp("imported") / "library"
    with pytest.MonkeyPatch.context() as patch:
        _without_search(patch)
        return library, import_cases(ImportRequest("lumiere", three_patients, library), align=in_mni_already)


@pytest.fixture
def an_imported_library(the_import: tuple[Path, ImportReport], tmp_path: Path) -> Path:
    """A copy of it that the test may change."""
    return Path(shutil.copytree(the_import[0], tmp_path / "library"))


def table_of(library: Path, name: str = "import-lumiere") -> dict[str, dict[str, str]]:
    with (library / f"{name}.tsv").open(encoding="utf-8") as file:
        return {row["patient_id"]: row for row in csv.DictReader(file, delimiter="\t")}


def visible(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != ".lock"}


def test_the_report_tells_of_every_patient_and_the_library_is_sound(
    the_import: tuple[Path, ImportReport], three_patients: Path
) -> None:
    library, report = the_import
    assert report.counts == {"taken": 2, "there already": 0, "skipped": 1}
    rows = table_of(library)
    assert [rows[f"Patient-00{n}"]["status"] for n in (1, 2, 3)] == ["taken", "skipped", "taken"]
    assert rows["Patient-002"]["reason"].startswith("The voxels of Imaging/Patient-002/week-000-2/")
    assert (rows["Patient-001"]["pre"], rows["Patient-001"]["cavity"]) == ("week-000-1", "proxy")
    record = json.loads((library / "import-lumiere.json").read_text(encoding="utf-8"))
    assert record["counts"] == report.counts and record["rows"] == list(rows.values())
    opened = CaseLibrary.open(library)
    assert opened.check() == [] and {case.case_id for case in opened.cases} == {"LUMIERE-001", "LUMIERE-003"}
    texts = [path.read_text(encoding="utf-8") for path in library.rglob("*") if path.suffix in (".tsv", ".json")]
    assert not any(str(library) in text or str(three_patients) in text for text in texts)


def test_a_proxy_says_so_in_its_file_name_in_the_table_and_in_the_sidecar(an_imported_library: Path) -> None:
    case = CaseLibrary.open(an_imported_library).case("LUMIERE-001")
    assert case.files.cavity.name.endswith("_label-cavity_desc-proxy_mask.nii.gz") and case.files.cavity.exists()
    assert not list(case.folder.rglob("*label-cavity_mask.nii.gz"))
    assert np.array_equal(case.cavity(), case.outcome() == 1) and case.cavity().any()
    assert json.loads(case.files.sidecar.read_text())["cavity"] == "proxy"
    (row, _) = read_table(an_imported_library / "participants.tsv")
    assert (row["cavity"], row["source"], row["institution"]) == ("proxy", "real", "LUMIERE")
    simulated = CaseLibrary.open(an_imported_library).add(made_up_case("plain"))
    assert simulated.files.cavity.name.endswith("_label-cavity_mask.nii.gz")


def test_a_second_import_reads_nothing_again_and_takes_what_was_mended(
    three_patients: Path, an_imported_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ImportRequest("lumiere", three_patients, an_imported_library)
    before = {path: path.stat().st_mtime_ns for path in an_imported_library.glob("sub-*/**/*")}
    read = []

    def mended(pair, align, progress):
        read.append(pair.patient_id)
        return made_up_case(pair.case_id, patient_id=pair.patient_id, kind="real", dataset="lumiere")

    monkeypatch.setattr(import_run, "read_pair", mended)
    report = import_cases(request)
    assert read == ["Patient-002"]
    assert report.counts == {"taken": 1, "there already": 2, "skipped": 0}
    assert before.items() <= {path: path.stat().st_mtime_ns for path in an_imported_library.glob("sub-*/**/*")}.items()
    assert import_cases(request).counts == {"taken": 0, "there already": 3, "skipped": 0}


class _CancelledInTheMiddle(SilentProgress):
    """Cancels at the n-th step."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, done: int, total: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled("Cancelled; nothing half-written was left.")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("steps", [0, 8])
def test_a_cancelled_import_leaves_whole_cases_and_goes_on(three_patients: Path, tmp_path: Path, steps: int) -> None:
    request = ImportRequest("lumiere", three_patients, tmp_path / "library")
    with pytest.raises(Cancelled):
        import_cases(request, _CancelledInTheMiddle(steps), in_mni_already)
    library = CaseLibrary.open(tmp_path / "library", allow_empty=True)
    assert library.check() == [] and not (library.folder / "import-lumiere.tsv").exists()
    there = len(library.cases)
    report = import_cases(request, align=in_mni_already)
    assert report.counts == {"taken": 2 - there, "there already": there, "skipped": 1}


@pytest.mark.usefixtures("quick")
def test_a_full_disk_ends_the_import_and_leaves_nothing_half_written(
    three_patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(image: sitk.Image, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(case_files, "write_volume", full)
    with pytest.raises(StorageError, match="disk is full"):
        import_cases(ImportRequest("lumiere", three_patients, tmp_path / "library"), align=in_mni_already)
    assert not list((tmp_path / "library").glob("*sub-*"))


@pytest.mark.usefixtures("quick")
def test_an_unexpected_failure_with_one_pair_does_not_end_the_import(
    three_patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(image: sitk.Image, *others: object, **named: object) -> Registration:
        raise RuntimeError("ITK ERROR: something odd")

    report = import_cases(ImportRequest("lumiere", three_patients, tmp_path / "library"), align=failing)
    assert report.counts["skipped"] == 3
    assert any("something odd" in row.reason for row in report.rows)


@pytest.mark.slow
def test_two_processes_import_what_one_does(three_patients: Path, tmp_path: Path) -> None:
    """With the search for what is left between the sessions, since nothing can be replaced in other processes."""
    request = ImportRequest("lumiere", three_patients, tmp_path / "two", workers=2)
    assert import_cases(request, align=in_mni_already).counts == {"taken": 2, "there already": 0, "skipped": 1}
    one = ImportRequest("lumiere", three_patients, tmp_path / "one")
    import_cases(one, align=in_mni_already)
    assert CaseLibrary.open(tmp_path / "two").check() == []
    assert CaseLibrary.open(tmp_path / "one").checksum() == CaseLibrary.open(tmp_path / "two").checksum()
    assert (tmp_path / "one/import-lumiere.tsv").read_bytes() == (tmp_path / "two/import-lumiere.tsv").read_bytes()


_KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from published_folders import in_mni_already
from PostOpPredictorLib.cases.importers.import_run import ImportRequest, import_cases

import_cases(ImportRequest("lumiere", Path({source!r}), Path({library!r})), align=in_mni_already)
"""


@pytest.mark.slow
def test_an_import_killed_in_the_middle_goes_on(three_patients: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    names = {"tests": str(Path(__file__).parent), "source": str(three_patients), "library": str(library)}
    process = subprocess.Popen([sys.executable, "-c", _KILLED.format(**names)])
    try:
        deadline = time.monotonic() + 120
        while not (library / "sub-LUMIERE001").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
    finally:
        process.kill()
        process.wait()
    assert [case.case_id for case in CaseLibrary.open(library).cases] == ["LUMIERE-001"]
    report = import_cases(ImportRequest("lumiere", three_patients, library), align=in_mni_already)
    assert report.counts == {"taken": 1, "there already": 1, "skipped": 1}
    assert not [problem for problem in CaseLibrary.open(library).check() if "left over" not in problem]


@pytest.mark.usefixtures("quick")
def test_a_library_may_hold_other_cases_but_no_other_case_of_that_id(three_patients: Path, tmp_path: Path) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    library.add(made_up_case("LUMIERE-001"))
    library.add(made_up_case("other"))
    report = import_cases(ImportRequest("lumiere", three_patients, library.folder), align=in_mni_already)
    assert report.counts == {"taken": 1, "there already": 0, "skipped": 2}
    assert "has another case LUMIERE-001" in table_of(library.folder)["Patient-001"]["reason"]
    assert CaseLibrary.open(library.folder).case("LUMIERE-001").source == "phantom"


def test_a_folder_that_is_no_library_is_refused_and_stays(three_patients: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text('{"Name": "another", "BIDSVersion": "1.9.0"}')
    with pytest.raises(LibraryError, match="is not a case library"):
        import_cases(ImportRequest("lumiere", three_patients, tmp_path))
    (tmp_path / "dataset_description.json").rename(tmp_path / "thesis.txt")
    with pytest.raises(LibraryError, match="not empty"):
        import_cases(ImportRequest("lumiere", three_patients, tmp_path))
    assert visible(tmp_path) == {"thesis.txt"}


def test_a_wrong_source_makes_no_library_and_the_source_stays_as_it_is(three_patients: Path, tmp_path: Path) -> None:
    for dataset in ("lumiere", "rhuh", "brats-post", "bids"):
        with pytest.raises(InputError):
            import_cases(ImportRequest(dataset, tmp_path / "nowhere", tmp_path / "library"))  # type: ignore[arg-type]
    assert not (tmp_path / "library").exists()
    before = visible(three_patients)
    for inside in (three_patients, three_patients / "library"):
        with pytest.raises(InputError, match="must stay as it is"):
            import_cases(ImportRequest("lumiere", three_patients, inside))
    assert visible(three_patients) == before


@pytest.mark.usefixtures("quick")
def test_a_later_pair_of_a_patient_joins_the_split_of_the_first(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    studies = {**STUDIES, "week-040": "PD", "week-041": "Post-Op"}
    root = lumiere(tmp_path / "L", {"Patient-001": studies, "Patient-002": STUDIES})
    first = ImportRequest("lumiere", root, tmp_path / "library", first_operations=True)
    assert import_cases(first, align=in_mni_already).counts["taken"] == 2
    seed = next(s for s in range(20) if _test_patient(tmp_path / "library", s, capfd) == "Patient-001")
    assert run(["library", "split", str(tmp_path / "library"), "--seed", str(seed), "--test", "1"]) == 0
    import_cases(ImportRequest("lumiere", root, tmp_path / "library"), align=in_mni_already)
    assert CaseLibrary.open(tmp_path / "library").case("LUMIERE-001-op2").split == "test"


def _test_patient(library: Path, seed: int, capfd: pytest.CaptureFixture[str]) -> str:
    assert run(["library", "split", str(library), "--seed", str(seed), "--test", "1"]) == 0
    capfd.readouterr()
    return next(case.patient_id for case in CaseLibrary.open(library).cases if case.split == "test")


def test_the_command_shows_a_table_or_json_lines(
    three_patients: Path, an_imported_library: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["library", "import", "lumiere", str(three_patients), str(an_imported_library), "--workers", "1"]
    assert run([*arguments, "--json"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {"stage", "progress", "result"} <= {line["type"] for line in lines}
    assert lines[-1]["counts"] == {"taken": 0, "there already": 2, "skipped": 1}
    assert lines[-1]["rows"][1]["status"] == "skipped"
    assert run(arguments) == 0
    shown = capfd.readouterr().out
    assert "Patient-002" in shown and "skipped" in shown and "truncated" in shown
    assert "0 taken, 2 there already, 1 skipped" in shown


def test_the_command_leaves_with_2_when_nothing_could_be_imported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rhuh_patient(tmp_path / "source", sessions="02")
    assert run(["library", "import", "rhuh", str(tmp_path / "source"), str(tmp_path / "library")]) == 2
    assert "no folder 1" in capfd.readouterr().out
    assert run(["library", "import", "lumiere", str(tmp_path / "source"), str(tmp_path / "library")]) == 2
    assert "is not the LUMIERE data set" in capfd.readouterr().err
    assert run(["library", "import", "other", str(tmp_path), str(tmp_path / "library")]) == 2
