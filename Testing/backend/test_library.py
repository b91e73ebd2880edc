"""What the case library promises: whole cases or none, cheap opening, and every broken file named."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic_cases import SHAPE, made_up_case

from PostOpPredictorLib.cases import case_files, library_case
from PostOpPredictorLib.cases.case import SimulatedCase
from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.cases.participants import read_table
from PostOpPredictorLib.errors import InputError, LibraryError, StorageError
from PostOpPredictorLib.imaging.grid import WORKING_GRID


@pytest.fixture(scope="module")
def two_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of two cases that tests must not change."""
    library = CaseLibrary.create(tmp_path_factory.mktemp("shared") / "library")
    library.add(made_up_case("0001", seed=1, sex="F", age=61, eor_percent=93.5))
    library.add(made_up_case("b-2", seed=2, institution="south", split="test", with_shift=False))
    return library.folder


@pytest.fixture
def a_library(two_cases: Path, tmp_path: Path) -> CaseLibrary:
    """A copy of the two cases that the test may break."""
    shutil.copytree(two_cases, tmp_path / "library")
    return CaseLibrary.open(tmp_path / "library")


def names_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != ".lock"}


def test_a_case_comes_back_as_it_was_added(two_cases: Path) -> None:
    wanted = made_up_case("0001", seed=1)
    case = CaseLibrary.open(two_cases).case("0001")
    assert case.sequences == ("T1w", "T1wCE")
    for sequence in case.sequences:
        for found, expected in (
            (case.pre(sequence), wanted.pre[sequence]),
            (case.post(sequence), wanted.post[sequence]),
        ):
            assert found.dtype == np.float32 and found.shape == SHAPE
            assert np.abs(found - expected).max() <= 0.5 / 255 + 1e-6
            assert (found[expected == 0] == 0).all()
    assert np.array_equal(case.tumour(), wanted.tumour) and case.tumour().dtype == np.uint8
    assert np.array_equal(case.tumour_core(), np.isin(wanted.tumour, (1, 4)))
    assert np.array_equal(case.outcome(), wanted.outcome)
    assert np.array_equal(case.cavity(), np.isin(wanted.outcome, (1, 3, 5)))
    assert np.array_equal(case.brain_pre(), wanted.brain_pre) and np.array_equal(case.brain_post(), wanted.brain_post)


def test_the_shift_keeps_its_direction_and_place(tmp_path: Path) -> None:
    plain = made_up_case("1")
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    shift = np.stack([3 * x, -2 * y + z, 4 * z], axis=-1).astype(np.float32)
    case = CaseLibrary.create(tmp_path / "l").add(SimulatedCase(**{**vars(plain), "shift": shift}))
    found = case.shift()
    assert found is not None and found.shape == (*SHAPE, 3) and found.dtype == np.float32
    assert np.abs(found - shift)[1:-1, 1:-1, 1:-1].max() < 0.04
    image = sitk.ReadImage(str(case.files.shift))
    assert image.GetNumberOfComponentsPerPixel() == 3
    assert sitk.DisplacementFieldTransform(sitk.Cast(image, sitk.sitkVectorFloat64)) is not None


def test_an_unknown_shift_is_none(two_cases: Path) -> None:
    assert CaseLibrary.open(two_cases).case("b-2").shift() is None


def test_attributes_are_those_of_the_table_and_unknown_ones_are_absent(two_cases: Path) -> None:
    case = CaseLibrary.open(two_cases).case("0001")
    assert (case.institution, case.split, case.source, case.patient_id) == ("north", "train", "phantom", "0001")
    assert case.attributes["eor_percent"] == 93.5 and case.attributes["sex"] == "F"
    assert "resection_class" not in case.attributes
    assert "\tn/a\t" in (two_cases / "participants.tsv").read_text()


def test_files_have_bids_names_on_the_recorded_grid(two_cases: Path) -> None:
    description = json.loads((two_cases / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert tuple(description["PostOpPredictor"]["Grid"]["Size"]) == WORKING_GRID.size
    scan = two_cases / "sub-0001/ses-preop/anat/sub-0001_ses-preop_space-MNI152NLin2009aSym_T1w.nii.gz"
    image = sitk.ReadImage(str(scan))
    assert WORKING_GRID.holds(image) and image.GetPixelID() == sitk.sitkUInt8
    assert [row["participant_id"] for row in read_table(two_cases / "participants.tsv")] == ["sub-0001", "sub-b2"]


def test_arrays_may_be_changed_by_the_caller(two_cases: Path) -> None:
    case = CaseLibrary.open(two_cases).case("0001")
    before = case.tumour()
    case.tumour()[:] = 9
    case.pre("T1w")[:] = 9
    assert np.array_equal(case.tumour(), before) and case.pre("T1w").max() <= 1


def test_repeated_reads_do_not_read_the_file_again(two_cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CaseLibrary.open(two_cases).case("0001")
    first = case.outcome()
    monkeypatch.setattr(library_case.sitk, "ReadImage", lambda path: pytest.fail(f"{path} was read again"))
    assert np.array_equal(case.outcome(), first)


def test_a_file_that_changed_is_read_anew(a_library: CaseLibrary) -> None:
    case = a_library.case("0001")
    assert case.cavity().any()
    empty = WORKING_GRID.image(np.zeros(SHAPE, np.uint8))
    sitk.WriteImage(empty, str(case.files.cavity))
    assert not case.cavity().any()


def test_selecting_by_institution_and_split(two_cases: Path) -> None:
    library = CaseLibrary.open(two_cases)
    assert library.select(institution="south") == {"b-2"}
    assert library.select(split="train") == {"0001"}
    assert library.select(institution="south", split="train") == frozenset()
    assert library.select() == {"0001", "b-2"}


def test_a_crash_in_the_middle_of_adding_leaves_nothing(
    a_library: CaseLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names_under(a_library.folder)

    def crash(folder: Path) -> dict[str, str]:
        raise RuntimeError("power cut")

    monkeypatch.setattr(case_files, "checksums_of", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        a_library.add(made_up_case("0003"))
    assert names_under(a_library.folder) == before
    assert len(CaseLibrary.open(a_library.folder).cases) == 2


def test_a_full_disk_is_a_sentence_and_leaves_nothing(a_library: CaseLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    before = names_under(a_library.folder)

    def full(image: sitk.Image, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(case_files, "write_volume", full)
    with pytest.raises(StorageError, match="disk is full"):
        a_library.add(made_up_case("0003"))
    assert names_under(a_library.folder) == before


def test_a_case_whose_table_row_was_lost_is_still_there(a_library: CaseLibrary) -> None:
    (a_library.folder / "participants.tsv").unlink()
    library = CaseLibrary.open(a_library.folder)
    assert library.case("b-2").institution == "south"
    library.add(made_up_case("0003"))
    assert len(read_table(library.folder / "participants.tsv")) == 3


def _add_some(folder: Path, names: list[str], start: multiprocessing.synchronize.Barrier) -> None:
    library = CaseLibrary.open(folder, allow_empty=True)
    cases = [made_up_case(name) for name in names]
    start.wait()
    for case in cases:
        library.add(case)


def test_two_processes_may_add_at_once(tmp_path: Path) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    workers = [
        context.Process(target=_add_some, args=(library.folder, [f"{letter}{n}" for n in range(3)], start))
        for letter in "ab"
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(row["case_id"] for row in read_table(library.folder / "participants.tsv")) == [
        "a0",
        "a1",
        "a2",
        "b0",
        "b1",
        "b2",
    ]
    assert CaseLibrary.open(library.folder).check() == []


def test_a_case_appears_only_when_nobody_else_writes(a_library: CaseLibrary) -> None:
    folder = a_library.folder
    adding = threading.Thread(target=a_library.add, args=(made_up_case("0003"),))
    with CaseLibrary.open(folder).lock():
        adding.start()
        for _ in range(2000):
            if list(folder.glob(".*.sub-0003/checksums.json")):
                break
            time.sleep(0.01)
        adding.join(0.3)
        assert adding.is_alive() and not (folder / "sub-0003").exists()
    adding.join(60)
    assert len(read_table(folder / "participants.tsv")) == 3


def test_an_id_that_is_taken_is_refused_and_the_case_kept(a_library: CaseLibrary) -> None:
    before = a_library.case("0001").tumour()
    with pytest.raises(LibraryError, match="already has a case 0001"):
        a_library.add(made_up_case("0001", seed=9))
    assert np.array_equal(a_library.case("0001").tumour(), before)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pre": {}, "post": {}}, "at least one"),
        ({"post": {"T1w": np.zeros(SHAPE, np.float32)}}, "same sequences"),
        ({"tumour": np.zeros(SHAPE, np.uint8)}, "no tumour core"),
        ({"tumour": np.full(SHAPE, 2, np.uint8)}, "no tumour core"),
        ({"tumour": np.full(SHAPE, 3, np.uint8)}, "labels \\[3\\]"),
        ({"outcome": np.full(SHAPE, 6, np.uint8)}, "labels \\[6\\]"),
        ({"brain_pre": np.zeros((4, 4, 4), np.uint8)}, "shape"),
        ({"shift": np.zeros(SHAPE, np.float32)}, "shift"),
        ({"case_id": "../.."}, "at least one letter or digit"),
    ],
)
def test_an_unusable_case_is_refused_with_a_sentence(tmp_path: Path, change: dict, sentence: str) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    case = SimulatedCase(**{**vars(made_up_case("1")), **change})
    with pytest.raises(InputError, match=sentence):
        library.add(case)
    assert not list(library.folder.glob("sub-*"))


def test_an_image_with_nan_is_refused(tmp_path: Path) -> None:
    case = made_up_case("1")
    case.pre["T1w"][0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        CaseLibrary.create(tmp_path / "library").add(case)


def test_opening_reads_no_volume_and_is_quick(tmp_path: Path, two_cases: Path) -> None:
    folder = tmp_path / "many"
    CaseLibrary.create(folder)
    sidecar = json.loads((two_cases / "sub-0001" / "case.json").read_text())
    lines = (two_cases / "participants.tsv").read_text().splitlines()
    for number in range(400):
        name = f"sub-{number:04d}"
        (folder / name).mkdir()
        (folder / name / "case.json").write_text(json.dumps({**sidecar, "participant_id": name, "case_id": name}))
        lines.append(lines[1].replace("sub-0001", name).replace("\t0001\t", f"\t{number:04d}\t", 1))
    (folder / "participants.tsv").write_text("\n".join([lines[0], *lines[3:]]) + "\n")
    CaseLibrary.open(folder)
    started = time.thread_time()
    assert len(CaseLibrary.open(folder).cases) == 400
    assert time.thread_time() - started < 0.2


def test_a_sound_library_has_no_problems(two_cases: Path) -> None:
    assert CaseLibrary.open(two_cases).check() == []


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _other_grid(path: Path) -> None:
    sitk.WriteImage(sitk.Image(20, 20, 20, sitk.sitkUInt8), str(path))


def _one_voxel(path: Path) -> None:
    image = sitk.ReadImage(str(path))
    image[0, 0, 0] = 1
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [(Path.unlink, "is missing"), (_truncate, "truncated"), (_other_grid, "another grid"), (_one_voxel, "checksum")],
)
def test_check_names_the_broken_file(a_library: CaseLibrary, damage, sentence: str) -> None:
    path = a_library.case("0001").files.cavity
    damage(path)
    problems = a_library.check()
    assert len(problems) == 1
    assert str(path) in problems[0] and sentence in problems[0]


def test_check_names_leftovers_lost_cases_and_lost_checksums(a_library: CaseLibrary) -> None:
    orphan = a_library.folder / f".{'0' * 32}.sub-0009"
    orphan.mkdir()
    a_library.case("0001").files.checksums.unlink()
    shutil.rmtree(a_library.folder / "sub-b2")
    problems = "\n".join(a_library.check())
    assert len(a_library.check()) == 3
    assert f"{orphan} is left over" in problems
    assert "sub-b2 is missing" in problems
    assert "sub-0001/checksums.json is missing" in problems


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [(Path.unlink, "is missing"), (_truncate, "is truncated"), (_other_grid, "is not on the library's grid")],
)
def test_reading_a_broken_file_is_a_library_error(a_library: CaseLibrary, damage, sentence: str) -> None:
    case = a_library.case("0001")
    damage(case.files.image("postop", "T1w"))
    with pytest.raises(LibraryError, match=rf"T1w\.nii\.gz {sentence}"):
        case.post("T1w")


def test_a_missing_a_foreign_and_an_empty_library_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="no case library at"):
        CaseLibrary.open(tmp_path / "nowhere")
    with pytest.raises(LibraryError, match="is not a case library"):
        CaseLibrary.open(tmp_path)
    CaseLibrary.create(tmp_path / "empty")
    with pytest.raises(LibraryError, match="is empty"):
        CaseLibrary.open(tmp_path / "empty")
    assert CaseLibrary.open(tmp_path / "empty", allow_empty=True).cases == ()


def test_a_library_on_another_grid_is_refused(a_library: CaseLibrary) -> None:
    path = a_library.folder / "dataset_description.json"
    path.write_text(path.read_text().replace("1.5", "2.0"))
    with pytest.raises(LibraryError, match="another grid"):
        CaseLibrary.open(a_library.folder)


def test_a_folder_with_something_in_it_does_not_become_a_library(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(LibraryError, match="not empty"):
        CaseLibrary.create(tmp_path)
    assert names_under(tmp_path) == {"thesis.txt"}


def test_asking_for_an_unknown_case_is_refused(two_cases: Path) -> None:
    with pytest.raises(LibraryError, match="no case 0815"):
        CaseLibrary.open(two_cases).case("0815")


def test_the_checksum_changes_with_the_cases(a_library: CaseLibrary) -> None:
    before = a_library.checksum()
    assert CaseLibrary.open(a_library.folder).checksum() == before
    a_library.add(made_up_case("0003"))
    assert a_library.checksum() != before
