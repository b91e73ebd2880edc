"""A slice of the live session looks as it does in the volume of the same plan, and costs as little as promised."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import SimpleITK as sitk
from live_bench import Lively
from prediction_bench import in_mni, template_patient
from synthetic_cases import made_up_case

from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.prediction.instruction import Instruction
from PostOpPredictorLib.prediction.live.held_plan import HeldPlan, HeldPlans, planned
from PostOpPredictorLib.prediction.live.slice_prediction import SMOOTHED_OVER, SlicePredictor
from PostOpPredictorLib.prediction.outcome_volume import CAVITY_LABELS
from PostOpPredictorLib.prediction.patient import Patient, align
from PostOpPredictorLib.prediction.plan_request import PlanRequest
from PostOpPredictorLib.prediction.volume_prediction import CasePrediction, predict_case

SLICE = 58
MARGINS_MM = (-3.0, 0.0, 5.0, 10.0)


@pytest.fixture(scope="module")
def patient() -> Patient:
    scan, labels = template_patient()
    return align(scan, labels, in_mni(scan))


@pytest.fixture(scope="module")
def precedent() -> Instruction:
    _, labels = template_patient(WORKING_GRID)
    case = made_up_case("x", np.isin(sitk.GetArrayFromImage(labels), (1, 4)))
    return Instruction(case.pre["T1w"], case.post["T1w"], case.tumour, case.outcome)


@pytest.fixture(scope="module")
def model() -> Lively:
    return Lively(shift_mm=2.0, noise=0.3)


def whole(model: Lively, patient: Patient, precedent: Instruction, held: HeldPlan | None) -> CasePrediction:
    plan = None if held is None else planned(held)
    return predict_case(model, patient.pre, patient.tumour, patient.brain, precedent, sequence="T1w", plan=plan)


@pytest.fixture(scope="module")
def first(model: Lively, patient: Patient, precedent: Instruction) -> CasePrediction:
    return whole(model, patient, precedent, None)


@pytest.fixture(scope="module")
def plans(patient: Patient, first: CasePrediction) -> HeldPlans:
    return HeldPlans(patient, first, ())


@pytest.fixture(scope="module")
def slices(model: Lively, patient: Patient, precedent: Instruction, first: CasePrediction) -> SlicePredictor:
    return SlicePredictor(model, patient, precedent, first, days=None, own_institution=False)


def of_range(patient: Patient, image: np.ndarray) -> np.ndarray:
    return patient.window.normalise(image)


@pytest.mark.parametrize("margin_mm", MARGINS_MM)
def test_a_slice_looks_as_in_the_volume_of_the_same_plan(
    margin_mm: float,
    model: Lively,
    patient: Patient,
    precedent: Instruction,
    plans: HeldPlans,
    slices: SlicePredictor,
) -> None:
    held = plans.of(PlanRequest(margin_mm=margin_mm))
    case = whole(model, patient, precedent, held)
    for z in held.slices[2:-2:5]:
        found, inside = slices.under(held, z), patient.brain[z] > 0
        cavity = np.isin(case.outcome[z], CAVITY_LABELS)
        both = int((cavity & found.cavity).sum())
        assert 2 * both >= 0.97 * (int(cavity.sum()) + int(found.cavity.sum())), z
        apart = np.abs(of_range(patient, found.image) - np.clip(case.image[z], 0, 1))[inside]
        assert apart.mean() < 0.01 and np.percentile(apart, 99) < 0.15, z
        assert not found.image[~inside].any()


def test_the_picture_follows_the_plan(plans: HeldPlans, slices: SlicePredictor, patient: Patient) -> None:
    found = [slices.under(plans.of(PlanRequest(margin_mm=margin)), SLICE) for margin in MARGINS_MM]
    for smaller, larger in pairwise(found):
        assert not (smaller.cavity & ~larger.cavity).any() and larger.cavity.sum() > 1.1 * smaller.cavity.sum()
    ring = found[-1].cavity & ~found[0].cavity
    dark, own = (of_range(patient, one.image)[ring].mean() for one in (found[-1], found[0]))
    assert dark < 0.5 * own


def test_without_a_plan_the_slice_is_that_of_the_first_prediction(
    slices: SlicePredictor, first: CasePrediction, patient: Patient
) -> None:
    found = slices.without_plan(SLICE)
    np.testing.assert_array_equal(found.cavity, np.isin(first.outcome[SLICE], CAVITY_LABELS))
    inside = patient.brain[SLICE] > 0
    apart = np.abs(of_range(patient, found.image) - np.clip(first.image[SLICE], 0, 1))[inside]
    assert apart.mean() < 0.005


def test_beyond_the_reach_of_the_plan_the_slice_is_the_patients_own(
    plans: HeldPlans, slices: SlicePredictor, patient: Patient
) -> None:
    held = plans.of(PlanRequest(margin_mm=-3.0))
    z = held.slices[-1] + 3
    scan = sitk.GetArrayFromImage(WORKING_GRID.resample(patient.scan, patient.registration.transform))[z]
    found = slices.under(held, z)
    np.testing.assert_allclose(found.image, scan * (patient.brain[z] > 0), rtol=1e-5)
    assert not found.cavity.any()


def test_the_network_sees_a_slice_and_its_neighbours_once(
    patient: Patient, precedent: Instruction, first: CasePrediction
) -> None:
    model = Lively()
    slices = SlicePredictor(model, patient, precedent, first, days=None, own_institution=False)
    plans = HeldPlans(patient, first, ())
    for margin in (0.0, 1.0, 2.0):
        slices.under(plans.of(PlanRequest(margin_mm=margin)), SLICE)
    assert [len(one) for one in model.asked] == [2 * SMOOTHED_OVER + 1] * 3
    assert len(model.tokens_made) == 2 * SMOOTHED_OVER + 1, "all plans share the tokens"
    slices.under(plans.of(PlanRequest(margin_mm=2.0)), SLICE)
    slices.under(plans.of(PlanRequest(margin_mm=1.0)), SLICE + 1)
    assert [len(one) for one in model.asked[3:]] == [1], "of a plan that was seen before only what is new is asked"
