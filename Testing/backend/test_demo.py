"""The demonstration: a simulated patient comes as from a hospital, is predicted as any other and compared fairly."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from prediction_bench import FollowsThePrecedent, Recorder, in_mni, small_library, template_patient
from scipy import ndimage
from synthetic_cases import made_up_case

from PostOpPredictorLib.cases.case import SimulatedCase
from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.cli.demo import summary_text
from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.evaluation import demo as demo_module
from PostOpPredictorLib.evaluation.demo import DemoRequest, run_demo
from PostOpPredictorLib.evaluation.demo_patient import SCAN_GRID, demo_patient, truth_for
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.imaging.registration import Registration
from PostOpPredictorLib.prediction import demonstration_library as library_module
from PostOpPredictorLib.prediction import patient as patient_module
from PostOpPredictorLib.prediction import patient_prediction
from PostOpPredictorLib.prediction.demonstration_library import (
    DEMONSTRATION_SEED,
    TEST_PATIENT_INDEX,
    demonstration_library,
    demonstration_patient,
)
from PostOpPredictorLib.prediction.patient import align


@pytest.fixture(scope="module")
def a_case() -> SimulatedCase:
    """The template's brain with a tumour and a made-up operation."""
    scan, labels = (sitk.GetArrayFromImage(image) for image in template_patient(WORKING_GRID))
    case = made_up_case("demo", np.isin(labels, (1, 4)))
    pre = np.clip(scan / 900.0, 0.0, 1.0).astype(np.float32)
    post = np.where(case.outcome == 1, np.float32(0.05), pre)
    scans = {"pre": {"T1w": pre, "T1wCE": pre}, "post": {"T1w": post, "T1wCE": post}}
    brain = (pre > 0).astype(np.uint8)
    return dataclasses.replace(case, **scans, brain_pre=brain, brain_post=brain)


def perfect_registration(demo: Any) -> Registration:
    found = in_mni(demo.scan)
    return Registration(demo.to_mni.GetInverse(), found.brain_mask, found.quality, False)


def test_the_patient_is_turned_scaled_and_in_scanner_units(a_case: SimulatedCase) -> None:
    demo = demo_patient(a_case, "T1wCE")
    assert SCAN_GRID.holds(demo.scan) and SCAN_GRID.holds(demo.labels)
    array = sitk.GetArrayFromImage(demo.scan)
    assert array.max() > 500 and (array == 0).mean() > 0.3
    for axis in range(3):
        edges = np.take(array, (0, -1), axis=axis)
        assert not edges.any(), "the scan cuts the brain off"
    moved = np.asarray(demo.to_mni.TransformPoint((0.0, 0.0, 0.0)))
    assert np.linalg.norm(moved) > 10.0
    core_ml = np.isin(sitk.GetArrayFromImage(demo.labels), (1, 4)).sum() / 1000.0
    true_ml = np.isin(a_case.tumour, (1, 4)).sum() * 1.5**3 / 1000.0
    assert core_ml == pytest.approx(true_ml * 1.03 * 1.05 * 1.02, rel=0.05)


def test_the_truth_meets_the_patient_where_the_registration_put_it(a_case: SimulatedCase) -> None:
    demo = demo_patient(a_case, "T1wCE")
    patient = align(demo.scan, demo.labels, perfect_registration(demo))
    truth = truth_for(demo, patient)
    inner = ndimage.binary_erosion((patient.brain > 0) & (a_case.brain_pre > 0), iterations=4)
    unchanged = inner & ~ndimage.binary_dilation(a_case.tumour > 0, iterations=3)
    agreement = np.corrcoef(truth.post[unchanged], patient.pre[unchanged])[0, 1]
    moved = np.corrcoef(np.roll(truth.post, 1, axis=2)[unchanged], patient.pre[unchanged])[0, 1]
    assert agreement > 0.97 and moved < agreement - 0.03
    assert abs(np.median(truth.post[unchanged]) - np.median(patient.pre[unchanged])) < 0.02
    hole, found = a_case.outcome == 1, truth.outcome == 1
    assert 2 * (hole & found).sum() / (hole.sum() + found.sum()) > 0.9


@pytest.fixture
def quick_parts(monkeypatch: pytest.MonkeyPatch, a_case: SimulatedCase, tmp_path: Path) -> None:
    library = small_library(tmp_path / "library")
    monkeypatch.setattr(demo_module, "demonstration_library", lambda progress, cases: library)
    monkeypatch.setattr(demo_module, "simulate_case", lambda plan: a_case)
    monkeypatch.setattr(patient_prediction, "verify", lambda folder: "0" * 64)

    def register(scan: sitk.Image, *_: Any) -> Registration:
        return perfect_registration(demo_patient(a_case, "T1wCE"))

    monkeypatch.setattr(patient_module, "register_to_mni", register)


def test_the_demonstration_shows_predicted_beside_true_with_measures(quick_parts: None, tmp_path: Path) -> None:
    result = run_demo(DemoRequest(out=tmp_path / "demo"), Recorder(), load=lambda _: FollowsThePrecedent())
    assert all(path.is_file() for path in result["files"].values())
    assert result["files"]["figure"] == tmp_path / "demo" / "demo.png"
    ours, copy = (result["measures"][name] for name in ("prediction", "copy of the scan before"))
    assert ours["ssim_peri"] > copy["ssim_peri"] and ours["cavity_dice"] > 0.5 and copy["cavity_dice"] == 0.0
    record = json.loads((tmp_path / "demo" / "provenance.json").read_text())
    assert "research only" in record["statement"]
    text = summary_text(result)
    assert "SYNTHETIC" in text and str(result["files"]["figure"]) in text
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("stage", ["Simulating the patient", "Comparing with the truth"])
def test_a_cancelled_demonstration_leaves_nothing_and_keeps_the_earlier_one(
    stage: str, quick_parts: None, tmp_path: Path
) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "provenance.json").write_text("{}")
    request = DemoRequest(out=tmp_path / "demo", overwrite=True)
    with pytest.raises(Cancelled):
        run_demo(request, Recorder(stage), load=lambda _: FollowsThePrecedent())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "library"]
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["provenance.json"]


def test_a_demonstration_never_replaces_other_files(quick_parts: None, tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.docx").write_text("years of work")
    with pytest.raises(InputError):
        run_demo(DemoRequest(out=tmp_path / "demo", overwrite=True), Recorder())
    assert (tmp_path / "demo" / "thesis.docx").read_text() == "years of work"


@pytest.mark.parametrize("changes", [{"cases": 0}, {"cases": 5000}, {"patient": 3}])
def test_impossible_demonstrations_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(InputError):
        DemoRequest(**changes)


def test_the_demonstration_patient_is_in_no_library_but_of_one_of_its_institutions() -> None:
    plan = demonstration_patient()
    assert plan.index == TEST_PATIENT_INDEX and plan.seed == DEMONSTRATION_SEED
    others = library_module.phantom_cohort_plan(40, DEMONSTRATION_SEED)
    assert plan.case_id not in {other.case_id for other in others}
    assert plan.institution in {other.institution for other in others}


def test_the_library_is_made_once_and_only_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, asked = tmp_path / "demonstration-library", []

    def make(folder: Path, n: int, seed: int, **_: Any) -> CaseLibrary:
        asked.append(n)
        library = CaseLibrary.open(folder, allow_empty=True) if folder.exists() else CaseLibrary.create(folder)
        for index in range(len(library.cases), n):
            library.add(made_up_case(f"{index:04d}", seed=index))
        return library

    monkeypatch.setattr(library_module, "demonstration_library_folder", lambda: folder)
    monkeypatch.setattr(library_module, "write_cohort", make)
    assert len(demonstration_library(Recorder(), 2).cases) == 2
    assert len(demonstration_library(Recorder(), 2).cases) == 2
    assert len(demonstration_library(Recorder(), 3).cases) == 3
    assert asked == [2, 3]
