"""A predicted outcome follows its plan: the planned tissue is the cavity, and more plan never leaves more tumour."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from plan_bench import KnowsPlans, a_patient
from prediction_bench import FollowsThePrecedent
from scipy import ndimage

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.prediction.outcome_volume import (
    AIR_LABEL,
    CAVITY_LABELS,
    RESIDUAL_LABEL,
    outcome_labels,
    tumour_core,
)
from PostOpPredictorLib.prediction.patient import Patient
from PostOpPredictorLib.prediction.plans.following import carried, carried_back, follow_plan
from PostOpPredictorLib.prediction.plans.patient_space import PatientSpace
from PostOpPredictorLib.prediction.plans.planned_mask import grown, shrunk
from PostOpPredictorLib.prediction.plans.question import dice_with_plan
from PostOpPredictorLib.prediction.volume_prediction import CasePrediction, predict_case

pytestmark = pytest.mark.timeout(900)
MARGINS_MM = (-5.0, -3.0, 0.0, 3.0, 5.0, 10.0)


@pytest.fixture(scope="module")
def patient() -> Patient:
    return a_patient()


@pytest.fixture(scope="module")
def core(patient: Patient) -> np.ndarray:
    return tumour_core(patient.tumour)


def plan_with(margin_mm: float, patient: Patient, core: np.ndarray) -> np.ndarray:
    space = PatientSpace(patient.registration.transform)
    if margin_mm < 0:
        return shrunk(core, -margin_mm, space)
    return grown(core, margin_mm, patient.brain > 0, space)[0]


def predicted(
    patient: Patient, plan: np.ndarray | None, model: FollowsThePrecedent | None = None, seed: int = 0
) -> CasePrediction:
    return predict_case(
        model or KnowsPlans(shift_mm=2.0, noise=0.6),
        patient.pre,
        patient.tumour,
        patient.brain,
        None,
        sequence="T1w",
        seed=seed,
        plan=None if plan is None else plan.astype(np.uint8),
    )


def smooth_noise(rng: np.random.Generator) -> np.ndarray:
    return ndimage.zoom(rng.standard_normal([size // 8 for size in WORKING_GRID.shape]).astype(np.float32), 8, order=1)


def random_outcome(seed: int) -> np.ndarray:
    """Outcome probabilities that know nothing of any plan."""
    rng = np.random.default_rng(seed)
    values = np.stack([smooth_noise(rng) for _ in range(6)])
    values = np.exp(values / values.std() * 2)
    return (values / values.sum(axis=0)).astype(np.float32)


def random_shift(seed: int, largest_mm: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shift = np.stack([smooth_noise(rng) for _ in range(3)], axis=-1)
    return (shift / np.abs(shift).max() * largest_mm).astype(np.float32)


def cavity_of(case: CasePrediction) -> np.ndarray:
    return np.isin(case.outcome, CAVITY_LABELS)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_larger_plan_never_leaves_more_tumour_nor_a_smaller_cavity_voxel_by_voxel(
    seed: int, patient: Patient, core: np.ndarray
) -> None:
    outcome, shift = random_outcome(seed), random_shift(seed, 6.0)
    inside = patient.brain > 0
    shift *= inside[..., None]
    rng = np.random.default_rng(seed)
    level = smooth_noise(rng)
    level = level / level.std() - ndimage.distance_transform_edt(~core) / 4
    nested = [(level > cut) & inside for cut in (1.0, 0.2, -0.6, -2.5)]
    told = [follow_plan(outcome, shift, patient.tumour, inside, plan) for plan in nested]
    for smaller, larger in pairwise(told):
        assert np.all(larger[RESIDUAL_LABEL] <= smaller[RESIDUAL_LABEL] + 1e-6)
        assert np.all(larger[list(CAVITY_LABELS)].sum(axis=0) >= smaller[list(CAVITY_LABELS)].sum(axis=0) - 1e-5)
        left, less = (outcome_labels(one) == RESIDUAL_LABEL for one in (smaller, larger))
        assert not np.any(less & ~left)
    volumes = [int((outcome_labels(one) == RESIDUAL_LABEL).sum()) for one in told]
    assert volumes[0] > volumes[-1], "the plans were too alike to try anything"


def test_probabilities_still_sum_to_one_and_nothing_changes_outside_the_brain(
    patient: Patient, core: np.ndarray
) -> None:
    inside = patient.brain > 0
    told = follow_plan(random_outcome(5), random_shift(5, 6.0) * inside[..., None], patient.tumour, inside, core)
    assert np.allclose(told.sum(axis=0), 1.0, atol=1e-4) and told.min() >= 0.0
    assert np.all(told[0, ~inside] == 1.0)


@pytest.fixture(scope="module")
def nested(patient: Patient, core: np.ndarray) -> dict[float, tuple[np.ndarray, CasePrediction]]:
    """Plan and prediction for every margin."""
    plans = {margin: plan_with(margin, patient, core) for margin in MARGINS_MM}
    return {margin: (plan, predicted(patient, plan)) for margin, plan in plans.items()}


def test_nested_margins_leave_less_and_less_in_the_prediction(
    nested: dict[float, tuple[np.ndarray, CasePrediction]],
) -> None:
    residual = [int((case.outcome == RESIDUAL_LABEL).sum()) for _, case in nested.values()]
    cavity = [int(cavity_of(case).sum()) for _, case in nested.values()]
    assert residual == sorted(residual, reverse=True) and residual[0] > residual[1] > 0
    assert residual[2:] == [0, 0, 0, 0], "all of the core is planned"
    assert cavity == sorted(cavity) and len(set(cavity)) == len(cavity)


@pytest.mark.parametrize("margin", MARGINS_MM)
def test_the_cavity_carried_back_is_the_plan(
    margin: float, patient: Patient, nested: dict[float, tuple[np.ndarray, CasePrediction]]
) -> None:
    plan, case = nested[margin]
    assert np.any(case.shift != 0)
    assert dice_with_plan(case, plan, patient) > 0.9


def test_tissue_outside_the_plan_is_no_cavity_and_planned_core_is_not_left(patient: Patient, core: np.ndarray) -> None:
    half = core.copy()
    half[:, :, : int(np.argwhere(core)[:, 2].mean())] = False
    case = predicted(patient, half)
    after = carried(half, case.shift)
    cavity, left = cavity_of(case), case.outcome == RESIDUAL_LABEL
    assert not np.any(cavity & (after < 0.25)) and not np.any(left & (after > 0.75))
    core_left = carried(core & ~half, case.shift) > 0.9
    assert (left & core_left).sum() > 0.9 * core_left.sum()


def test_image_labels_and_change_agree_with_the_plan(patient: Patient, core: np.ndarray) -> None:
    plan = plan_with(5.0, patient, core)
    case = predicted(patient, plan, KnowsPlans())
    own = plan & ndimage.binary_erosion(plan) & (patient.pre > 0.3)
    assert own.sum() > 100
    assert case.image[own].mean() < 0.15, "the renderer drew the planned cavity, not the network's"
    assert np.all(case.change[plan & (case.outcome > 0)] > 0.99)
    untouched = ndimage.distance_transform_edt(~(plan | core), sampling=1.5) > 10
    assert np.array_equal(case.image[untouched], (patient.pre * (patient.brain > 0))[untouched])


def test_a_plan_that_reaches_beyond_the_tumour_is_predicted_to_its_end(patient: Patient, core: np.ndarray) -> None:
    top = int(np.argwhere(core)[:, 0].max())
    plan = core.copy()
    plan[top : top + 12] |= core[top - 3]
    plan &= patient.brain > 0
    case = predicted(patient, plan, KnowsPlans())
    assert case.slices[-1] >= top + 11
    assert dice_with_plan(case, plan, patient) > 0.9


def test_a_hole_beyond_the_plan_is_only_where_no_tissue_is_left(patient: Patient, core: np.ndarray) -> None:
    inside = patient.brain > 0
    shift = np.zeros((*WORKING_GRID.shape, 3), np.float32)
    shift[..., 2] = 6.0 * inside  # the brain sinks by 6 mm
    air = np.zeros((6, *WORKING_GRID.shape), np.float32)
    air[AIR_LABEL] = 1.0
    hole = np.isin(outcome_labels(follow_plan(air, shift, patient.tumour, inside, core)), CAVITY_LABELS)
    tissue = carried(inside.astype(np.float32), shift)
    beyond = hole & (carried(core, shift) < 0.1)
    assert beyond.sum() > 500 and np.all(tissue[beyond] < 0.5)


def test_carrying_there_and_back_is_the_same_tissue(core: np.ndarray) -> None:
    shift = random_shift(3, 4.0)
    back = carried_back(carried(core, shift) > 0.5, shift)
    assert 2 * (back & core).sum() / (back.sum() + core.sum()) > 0.95
    assert np.array_equal(carried_back(core, np.zeros_like(shift)), core)


def test_without_a_plan_nothing_is_held_to_anything(patient: Patient) -> None:
    model = FollowsThePrecedent(noise=0.3)
    before = predicted(patient, None, model)
    assert np.array_equal(before.outcome, predicted(patient, None, KnowsPlans(noise=0.3)).outcome)
    assert model.batches[0].has_plan is not None and not bool(model.batches[0].has_plan.any())


def test_the_model_is_shown_the_plan(patient: Patient, core: np.ndarray) -> None:
    model = KnowsPlans()
    predicted(patient, core, model)
    shown = sum(int(batch.query_plan.sum()) for batch in model.batches if batch.query_plan is not None)
    assert shown == int(core.sum()) and all(bool(batch.has_plan.all()) for batch in model.batches)


def test_a_model_without_structure_refuses_a_plan(patient: Patient, core: np.ndarray) -> None:
    with pytest.raises(InputError, match="cannot follow a plan"):
        predicted(patient, core, KnowsPlans(has_structure=False, has_renderer=False))
