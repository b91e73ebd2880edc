"""The sample data of the Slicer module: complete, the same again, and never at the cost of other files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from prediction_bench import template_patient
from synthetic_cases import made_up_case

from PostOpPredictorLib.cli.app import run
from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.evaluation import sample_patient
from PostOpPredictorLib.evaluation.sample_patient import SampleRequest, write_sample
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.progress import SilentProgress


@pytest.fixture(autouse=True)
def a_quick_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the simulation, which takes seconds and has its own tests."""
    scan, labels = (sitk.GetArrayFromImage(image) for image in template_patient(WORKING_GRID))
    case = made_up_case("sample", np.isin(labels, (1, 4)))
    pre = np.clip(scan / 900.0, 0.0, 1.0).astype(np.float32)
    scans = {"pre": {"T1wCE": pre}, "post": {"T1wCE": pre}}
    brain = (pre > 0).astype(np.uint8)
    made = type(case)(**{**vars(case), **scans, "brain_pre": brain, "brain_post": brain, "tumour": labels})
    monkeypatch.setattr(sample_patient, "simulate_case", lambda _entry: made)


def test_the_files_are_complete_and_their_checksums_true(tmp_path: Path) -> None:
    result = write_sample(SampleRequest(tmp_path / "sample"), SilentProgress())
    assert json.loads((tmp_path / "sample" / "checksums.json").read_text(encoding="utf-8")) == result["checksums"]
    for path in result["files"].values():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == result["checksums"][path.name]
    scan, labels = (sitk.ReadImage(str(result["files"][name])) for name in ("volume", "tumour"))
    assert scan.GetSize() == labels.GetSize() and scan.GetOrigin() == labels.GetOrigin()
    assert sitk.GetArrayFromImage(scan).max() > 500
    assert set(np.unique(sitk.GetArrayFromImage(labels))) == {0, 1, 2, 4}


def test_made_again_it_holds_the_same_voxels(tmp_path: Path) -> None:
    first, again = (
        write_sample(SampleRequest(tmp_path / name), SilentProgress())["files"]["volume"] for name in ("a", "b")
    )
    write_sample(SampleRequest(tmp_path / "b"), SilentProgress())
    arrays = [sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (first, again)]
    assert np.array_equal(*arrays)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="other things"):
        write_sample(SampleRequest(tmp_path), SilentProgress())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_cancelled_it_leaves_nothing(tmp_path: Path) -> None:
    class Stops(SilentProgress):
        def step(self, *_: Any, **__: Any) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        write_sample(SampleRequest(tmp_path / "sample"), Stops())
    assert list(tmp_path.iterdir()) == []


def test_a_patient_of_a_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1000"):
        SampleRequest(tmp_path / "sample", patient=3)


def test_the_command_names_the_files_and_refuses_a_patient_of_the_library(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sample", str(tmp_path / "sample")]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "sample" / "T1wCE.nii.gz") in said and "tumour.nii.gz" in said
    assert run(["sample", str(tmp_path / "other"), "--patient", "3"]) == 2
    assert "may be in the library" in capsys.readouterr().err and not (tmp_path / "other").exists()
