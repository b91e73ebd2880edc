"""What ``postop library split`` promises: by patient, the same every time, and all of it or none of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from synthetic_cases import made_up_case

from PostOpPredictorLib.cases import library_split
from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.cases.library_split import SplitRequest, split_library, splits_of
from PostOpPredictorLib.cases.participants import read_table
from PostOpPredictorLib.cli.app import run
from PostOpPredictorLib.errors import InputError, LibraryError

PATIENTS = frozenset(f"Patient-{n:03d}" for n in range(1, 72))


@pytest.fixture(scope="module")
def eight_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five real patients of one data set (one operated twice), one of another, and a simulated one to test."""
    library = CaseLibrary.create(tmp_path_factory.mktemp("split") / "library")
    real = {"kind": "real", "with_shift": False}
    for number in range(1, 6):
        library.add(made_up_case(f"L-{number}", patient_id=f"P{number}", institution="LUMIERE", **real))
    library.add(made_up_case("L-1-op2", patient_id="P1", institution="LUMIERE", **real))
    library.add(made_up_case("R-1", patient_id="R1", institution="RHUH", split="test", **real))
    library.add(made_up_case("S-1", institution="north", split="val"))
    return library.folder


@pytest.fixture
def a_library(eight_cases: Path, tmp_path: Path) -> Path:
    """A copy that the test may change."""
    return Path(shutil.copytree(eight_cases, tmp_path / "library"))


def splits(folder: Path) -> dict[str, str]:
    return {case.case_id: case.split for case in CaseLibrary.open(folder).cases}


def test_the_default_is_the_papers_66_and_5_of_71() -> None:
    assert round(len(PATIENTS) * library_split.TEST_SHARE) == 5
    found = splits_of(PATIENTS, 1, 5, 0)
    assert sorted(found.values()) == ["test"] * 5 + ["train"] * 66


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    assert splits_of(PATIENTS, 7, 5, 6) == splits_of(frozenset(sorted(PATIENTS, reverse=True)), 7, 5, 6)
    assert splits_of(PATIENTS, 7, 5, 6) != splits_of(PATIENTS, 8, 5, 6)
    first = {patient for patient, split in splits_of(PATIENTS, 2026, 5, 0).items() if split == "test"}
    assert first == {"Patient-027", "Patient-032", "Patient-039", "Patient-041", "Patient-061"}, (
        "the split of the documented commands never changes"
    )


def test_one_more_patient_moves_at_most_one_other_out_of_the_test() -> None:
    def tested(patients: frozenset[str]) -> set[str]:
        return {patient for patient, split in splits_of(patients, 3, 5, 0).items() if split == "test"}

    for number in range(72, 90):
        assert len(tested(PATIENTS) - tested(PATIENTS | {f"Patient-{number:03d}"})) <= 1


@pytest.mark.parametrize("seed", range(6))
def test_the_operations_of_one_patient_stay_together(a_library: Path, seed: int) -> None:
    split_library(SplitRequest(a_library, seed, test=2, val=1, institution="LUMIERE"))
    found = splits(a_library)
    assert found["L-1"] == found["L-1-op2"]
    patients = {
        case.patient_id: case.split for case in CaseLibrary.open(a_library).cases if case.institution == "LUMIERE"
    }
    assert sorted(patients.values()) == ["test", "test", "train", "train", "val"]


def test_other_institutions_and_simulated_cases_keep_their_split(a_library: Path) -> None:
    split_library(SplitRequest(a_library, 1, test=1, institution="LUMIERE"))
    assert splits(a_library)["R-1"] == "test"
    split_library(SplitRequest(a_library, 4, test=1))
    assert splits(a_library)["S-1"] == "val"


def test_table_and_sidecars_agree_and_the_library_stays_sound(a_library: Path) -> None:
    before = {path: path.read_bytes() for path in a_library.rglob("*.nii.gz")}
    split_library(SplitRequest(a_library, 1, test=2))
    assert CaseLibrary.open(a_library).check() == []
    table = {row["case_id"]: row for row in read_table(a_library / "participants.tsv")}
    for case in CaseLibrary.open(a_library).cases:
        assert json.loads(case.files.sidecar.read_text())["split"] == table[case.case_id]["split"] == case.split
    assert {path: path.read_bytes() for path in a_library.rglob("*.nii.gz")} == before
    (a_library / "participants.tsv").unlink()
    assert splits(a_library) == {name: row["split"] for name, row in table.items()}


def test_a_crash_in_the_middle_leaves_the_old_split_and_the_next_run_mends_it(
    a_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = splits(a_library)
    real, calls = library_split.sha256, []

    def crash(path: Path) -> str:
        calls.append(path)
        if len(calls) == 4:
            raise RuntimeError("power cut")
        return real(path)

    monkeypatch.setattr(library_split, "sha256", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        split_library(SplitRequest(a_library, 1, test=3))
    assert splits(a_library) == before
    monkeypatch.undo()
    split_library(SplitRequest(a_library, 1, test=3))
    assert splits(a_library) != before and CaseLibrary.open(a_library).check() == []


@pytest.mark.parametrize(("test", "val"), [(6, 0), (3, 3), (7, 0), (-1, 0)])
def test_a_split_that_leaves_nobody_to_train_is_refused(a_library: Path, test: int, val: int) -> None:
    before = splits(a_library)
    with pytest.raises(InputError, match="to train"):
        split_library(SplitRequest(a_library, 1, test=test, val=val))
    assert splits(a_library) == before


def test_all_patients_of_one_data_set_may_be_tested_where_others_train(a_library: Path) -> None:
    split_library(SplitRequest(a_library, 1, test=0, institution="LUMIERE"))
    counts = split_library(SplitRequest(a_library, 1, test=1, institution="RHUH"))
    assert counts["test"] == {"patients": 1, "cases": 1} and counts["train"] == {"patients": 0, "cases": 0}
    assert {name for name, split in splits(a_library).items() if split == "test"} == {"R-1"}
    with pytest.raises(InputError, match="5 patients to test and 0 to validate leave none of 5 to train"):
        split_library(SplitRequest(a_library, 1, test=5, institution="LUMIERE"))
    with pytest.raises(InputError, match="2 patients to test and 0 to validate leave none to train: there are only 1"):
        split_library(SplitRequest(a_library, 1, test=2, institution="RHUH"))


def test_a_library_without_real_patients_or_of_another_institution_is_refused(a_library: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no real patients of Bern; it has those of LUMIERE, RHUH"):
        split_library(SplitRequest(a_library, institution="Bern"))
    library = CaseLibrary.create(tmp_path / "phantoms")
    library.add(made_up_case("1"))
    with pytest.raises(InputError, match="divided by institution already"):
        split_library(SplitRequest(library.folder))


def test_a_case_whose_own_row_is_broken_is_a_sentence(a_library: Path) -> None:
    (a_library / "sub-L1" / "checksums.json").write_text("no JSON")
    with pytest.raises(LibraryError, match="sub-L1"):
        split_library(SplitRequest(a_library, 1, test=1))


def test_the_command_says_how_many_patients_each_split_has(a_library: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["library", "split", str(a_library), "--seed", "5", "--test", "2", "--val", "1"]
    assert run(arguments) == 0
    shown = capfd.readouterr().out
    assert "test: 2 patients" in shown and "train: 3 patients" in shown and "val: 1 patients" in shown
    first = splits(a_library)
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["test"]["patients"] == 2
    assert splits(a_library) == first
