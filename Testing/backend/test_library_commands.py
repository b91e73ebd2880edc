"""What ``postop library`` and ``postop retrieve`` promise on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic_cases import SHAPE, box, made_up_case

from PostOpPredictorLib.cases import operated_patient
from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.cases.operated_patient import OperatedPatient
from PostOpPredictorLib.cli.app import run
from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID, WORKING_GRID
from PostOpPredictorLib.imaging.registration import Registration, RegistrationQuality
from PostOpPredictorLib.retrieval.query_mask import core_in_mni

TUMOUR = box((45, 55), (50, 70), (30, 50))


@pytest.fixture(scope="module")
def a_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases; not to be changed."""
    library = CaseLibrary.create(tmp_path_factory.mktemp("commands") / "library")
    library.add(made_up_case("near", TUMOUR, institution="north", eor_percent=88))
    library.add(made_up_case("far", box((60, 70), (80, 90), (70, 90)), institution="south"))
    return library.folder


@pytest.fixture
def a_mask(tmp_path: Path) -> Path:
    """A tumour mask in MNI space."""
    sitk.WriteImage(WORKING_GRID.image(TUMOUR.astype(np.uint8)), str(tmp_path / "tumour.nii.gz"))
    return tmp_path / "tumour.nii.gz"


def result_of(output: str) -> dict[str, Any]:
    lines = [json.loads(line) for line in output.splitlines()]
    assert lines[-1]["type"] == "result"
    return lines[-1]


def test_list_shows_every_case(a_library: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["library", "list", str(a_library)]) == 0
    shown = capfd.readouterr().out
    assert "near" in shown and "south" in shown and "88" in shown and "n/a" in shown


def test_check_is_content_with_a_sound_library_and_leaves_with_2_otherwise(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    library.add(made_up_case("1"))
    assert run(["library", "check", str(library.folder)]) == 0
    assert "no problems" in capfd.readouterr().out
    broken = library.case("1").files.outcome
    broken.write_bytes(b"no image")
    assert run(["library", "check", str(library.folder)]) == 2
    assert broken.name in capfd.readouterr().out
    assert run(["library", "check", str(library.folder), "--json"]) == 2
    assert broken.name in result_of(capfd.readouterr().out)["problems"][0]


def test_a_missing_library_is_a_sentence(tmp_path: Path, a_mask: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (["library", "list"], ["library", "check"], ["retrieve", "--tumor", str(a_mask), "--library"]):
        assert run([*arguments, str(tmp_path / "none")]) == 2
        assert "There is no case library at" in capfd.readouterr().err


def test_retrieve_finds_the_overlapping_case(a_library: Path, a_mask: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["retrieve", "--tumor", str(a_mask), "--library", str(a_library), "--json"]
    for per in ("volume", "slice"):
        assert run([*arguments, "--per", per]) == 0
        found = result_of(capfd.readouterr().out)
        assert [(case["case_id"], case["iou"]) for case in found["cases"]] == [("near", 1.0)]
        assert found["cases"][0]["slices"]["45"] == [45, 1.0]
    assert run([*arguments, "--strategy", "random", "-k", "2"]) == 0
    assert {case["case_id"] for case in result_of(capfd.readouterr().out)["cases"]} == {"near", "far"}


def test_retrieve_tells_that_nothing_is_similar(
    a_library: Path, a_mask: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["retrieve", "--tumor", str(a_mask), "--library", str(a_library)]
    assert run([*arguments, "--institution", "south"]) == 0
    assert "NO SIMILAR CASE" in capfd.readouterr().out
    assert run([*arguments, "--exclude-patient", "near", "--json"]) == 0
    assert result_of(capfd.readouterr().out)["no_similar_case"]


def test_retrieve_says_where_it_takes_the_mask_to_lie_and_that_there_are_fewer(
    a_library: Path, a_mask: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["retrieve", "--tumor", str(a_mask), "--library", str(a_library), "--json"]) == 0
    told = capfd.readouterr().out
    assert "taken to be drawn in MNI space" in told and "Only 1 cases" not in told
    assert "Only one case of the library overlaps this tumour" in told


def test_retrieve_by_image_without_a_scan_is_a_sentence(
    a_library: Path, a_mask: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["retrieve", "--tumor", str(a_mask), "--library", str(a_library), "--strategy", "image"]
    assert run(arguments) == 2
    assert "needs the pre-operative scan" in capfd.readouterr().err


def test_a_mask_that_is_not_in_mni_space_is_refused_without_its_scan(tmp_path: Path) -> None:
    image = WORKING_GRID.image(TUMOUR.astype(np.uint8))
    image.SetOrigin([300.0, 0.0, 0.0])
    sitk.WriteImage(image, str(tmp_path / "elsewhere.nii.gz"))
    with pytest.raises(InputError, match="--pre"):
        core_in_mni(tmp_path / "elsewhere.nii.gz", "brats")


@pytest.fixture
def a_patients_files(tmp_path: Path) -> dict[str, Path]:
    """Scans and masks of a made-up patient, 10 mm to the left of MNI space."""
    case = made_up_case("x", TUMOUR)
    arrays = {
        "t1": case.pre["T1w"] * 900,
        "t1_after": case.post["T1w"] * 400,
        "tumour": case.tumour,
        "cavity": (case.outcome == 1).astype(np.uint8),
        "residual": (case.outcome == 2).astype(np.uint8),
    }
    paths = {}
    for name, array in arrays.items():
        image = WORKING_GRID.image(array)
        image.SetOrigin([WORKING_GRID.origin[0] + 10, *WORKING_GRID.origin[1:]])
        paths[name] = tmp_path / f"Doe^John_{name}.nii.gz"
        sitk.WriteImage(image, str(paths[name]))
    return paths


@pytest.fixture
def a_known_alignment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alignment that undoes the 10 mm, without searching for it."""

    def known(image: sitk.Image, tumour: sitk.Image | None = None, **_: object) -> Registration:
        brain = sitk.Cast(TEMPLATE_GRID.resample(WORKING_GRID.image(made_up_case("x").brain_pre)), sitk.sitkUInt8)
        return Registration(
            sitk.TranslationTransform(3, [10.0, 0.0, 0.0]), brain, RegistrationQuality(1, 1, True, ""), False
        )

    monkeypatch.setattr(operated_patient, "register_to_mni", known)
    monkeypatch.setattr(operated_patient, "follow", lambda *_: sitk.TranslationTransform(3))


@pytest.mark.usefixtures("a_known_alignment")
def test_add_aligns_an_own_patient_and_keeps_no_file_name(
    a_patients_files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = a_patients_files
    arguments = ["library", "add", str(tmp_path / "mine"), "--sequence", "T1w", "--institution", "here", "--age", "60"]
    for option, name in (("--pre", "t1"), ("--post", "t1_after"), ("--tumor", "tumour"), ("--cavity", "cavity")):
        arguments += [option, str(files[name])]
    for expected in ("own1", "own2"):
        assert run([*arguments, "--residual", str(files["residual"]), "--json"]) == 0
        assert result_of(capfd.readouterr().out)["case"] == expected
    library = CaseLibrary.open(tmp_path / "mine")
    assert library.check() == []
    case, wanted = library.case("own2"), made_up_case("x", TUMOUR)
    assert (case.source, case.institution, case.attributes["age"], case.sequences) == ("real", "here", 60, ("T1w",))
    assert np.array_equal(case.tumour(), wanted.tumour) and np.array_equal(case.outcome(), wanted.outcome)
    assert case.shift() is None and case.attributes["eor_percent"] == pytest.approx(50)
    inside = wanted.brain_pre > 0
    assert np.corrcoef(case.pre("T1w")[inside], wanted.pre["T1w"][inside])[0, 1] > 0.99
    assert case.pre("T1w").max() == 1 and not case.pre("T1w")[~inside].any()
    everything = b"".join(path.read_bytes() for path in library.folder.rglob("*") if path.suffix in (".json", ".tsv"))
    assert b"Doe" not in everything and "Doe" not in " ".join(str(path) for path in library.folder.rglob("*"))


def test_add_wants_one_scan_before_and_after_for_each_sequence(
    a_patients_files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {name: str(path) for name, path in a_patients_files.items()}
    arguments = ["library", "add", str(tmp_path / "mine"), "--tumor", files["tumour"], "--cavity", files["cavity"]]
    arguments += ["--sequence", "T1w", "--sequence", "T1wCE", "--pre", files["t1"], "--post", files["t1_after"]]
    assert run(arguments) == 2
    assert "one of each for every sequence" in capfd.readouterr().err
    assert not (tmp_path / "mine").exists()


@pytest.mark.usefixtures("a_known_alignment")
def test_an_empty_cavity_is_refused_and_no_library_made(
    a_patients_files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = a_patients_files
    sitk.WriteImage(WORKING_GRID.image(np.zeros(SHAPE, np.uint8)), str(files["cavity"]))
    patient = OperatedPatient("1", {"T1w": (files["t1"], files["t1_after"])}, files["tumour"], files["cavity"])
    with pytest.raises(InputError, match="empty"):
        patient.read()
