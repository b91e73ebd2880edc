"""A plan as a person asks it becomes a mask, or a sentence that says what is wrong with it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from plan_bench import a_larger_patient, a_patient, ball
from prediction_bench import in_mni, template_patient
from scipy import ndimage

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.prediction.outcome_volume import tumour_core
from PostOpPredictorLib.prediction.patient import Patient, align
from PostOpPredictorLib.prediction.plan_request import PlanRequest, SpareRequest
from PostOpPredictorLib.prediction.plans.mask_reading import read_structure_mask
from PostOpPredictorLib.prediction.plans.patient_space import PatientSpace
from PostOpPredictorLib.prediction.plans.planned_mask import Plan, plan_of


@pytest.fixture(scope="module")
def patient() -> Patient:
    return a_patient()


@pytest.fixture(scope="module")
def larger_patient() -> Patient:
    return a_larger_patient()


@pytest.fixture
def a_mask(tmp_path: Path) -> Callable[..., Path]:
    """Write a ball over the patient's scan."""
    return lambda name, *place, **changes: ball(tmp_path / f"{name}.nii.gz", *place, **changes)


def made(patient: Patient, name: str = "trial", **asked: Any) -> Plan:
    return plan_of(PlanRequest(name, **asked), name, patient)


def farthest_mm(mask: np.ndarray, core: np.ndarray) -> float:
    """How far the border of ``mask`` lies beyond that of ``core``, on the MNI grid."""
    return float(ndimage.distance_transform_edt(~core, sampling=1.5)[mask].max())


@pytest.mark.parametrize("margin", [3.0, 5.0, 10.0])
def test_a_margin_is_that_many_millimetres_around_the_core(margin: float, patient: Patient) -> None:
    core = tumour_core(patient.tumour)
    mask = made(patient, margin_mm=margin).mask
    assert np.all(mask[core]) and abs(farthest_mm(mask, core) - margin) <= 1.5
    missed = ndimage.distance_transform_edt(~core, sampling=1.5) < margin - 0.75
    assert np.all(mask[missed & (patient.brain > 0)])


def test_a_margin_counts_in_the_patients_millimetres(patient: Patient, larger_patient: Patient) -> None:
    core = tumour_core(larger_patient.tumour)
    mask = made(larger_patient, margin_mm=9.0).mask
    assert abs(farthest_mm(mask, core) - 9.0 / 1.2) <= 1.0
    assert farthest_mm(made(patient, margin_mm=9.0).mask, tumour_core(patient.tumour)) > farthest_mm(mask, core)


def test_no_margin_is_the_core_and_margins_are_nested(patient: Patient) -> None:
    masks = [made(patient, margin_mm=margin).mask for margin in (-5.0, -3.0, 0.0, 3.0, 5.0, 10.0)]
    assert np.array_equal(masks[2], tumour_core(patient.tumour))
    for smaller, larger in pairwise(masks):
        assert not np.any(smaller & ~larger) and larger.sum() > smaller.sum()


def test_a_negative_margin_leaves_the_rim(patient: Patient) -> None:
    core = tumour_core(patient.tumour)
    depth = ndimage.distance_transform_edt(core, sampling=1.5) - 0.75
    mask = made(patient, margin_mm=-3.0).mask
    assert np.all(depth[mask] > 3.0 - 1e-3) and not np.any((depth > 3.8) & ~mask)


def test_a_margin_that_leaves_nothing_is_refused(patient: Patient) -> None:
    scan, labels = template_patient(radius_mm=5.0)
    with pytest.raises(InputError, match="leaves nothing to take"):
        made(align(scan, labels, in_mni(scan)), margin_mm=-5.0)


def test_a_margin_stays_in_the_brain_and_on_its_side_of_the_falx(patient: Patient) -> None:
    tumour = np.zeros_like(patient.tumour)
    middle = round((0.0 - WORKING_GRID.origin[0]) / 1.5)
    tumour[70:80, 60:70, middle + 2 : middle + 10] = 4
    beside = dataclasses.replace(patient, tumour=(tumour * patient.brain).astype(np.uint8))
    plan = made(beside, margin_mm=8.0)
    x = WORKING_GRID.origin[0] + 1.5 * np.argwhere(plan.mask)[:, 2]
    assert x.min() > 0.0 and not np.any(plan.mask & (patient.brain == 0))
    assert any("midline" in warning for warning in plan.warnings)


def test_a_drawn_plan_is_what_is_above_0_in_the_file(patient: Patient, a_mask: Callable[..., Path]) -> None:
    plan = made(patient, mask=a_mask("plan", 12.0, value=3))
    volume = plan.mask.sum() * 1.5**3
    assert abs(volume / (4 / 3 * math.pi * 12.0**3) - 1.0) < 0.08 and plan.warnings == ()


def test_spared_tissue_is_left_within_its_distance(patient: Patient, a_mask: Callable[..., Path]) -> None:
    centre = (36.0, 36.0, 22.0)
    structure = a_mask("tract", 6.0, centre)
    spared = made(patient, margin_mm=5.0, spare=(SpareRequest(structure, 5.0),))
    whole = made(patient, margin_mm=5.0)
    away = np.linalg.norm(np.argwhere(whole.mask)[:, ::-1] * 1.5 + WORKING_GRID.origin - np.asarray(centre), axis=1)
    kept = spared.mask[whole.mask]
    assert not np.any(kept[away < 6.0 + 3.0]) and np.all(kept[away > 6.0 + 5.0 + 3.5])
    assert not np.any(spared.mask & ~whole.mask)
    drawn = read_structure_mask(structure, patient, "the tract").marked
    assert PatientSpace(patient.registration.transform).gap_mm(spared.mask, drawn) >= 5.0


def test_a_larger_distance_to_spare_takes_less(patient: Patient, a_mask: Callable[..., Path]) -> None:
    structure = a_mask("tract", 6.0, (36.0, 36.0, 22.0))
    masks = [
        made(patient, margin_mm=5.0, spare=(SpareRequest(structure, distance),)).mask for distance in (0.0, 2.0, 8.0)
    ]
    for larger, smaller in pairwise(masks):
        assert not np.any(smaller & ~larger) and smaller.sum() < larger.sum()


DOUBTFUL: dict[str, tuple[Callable[[Callable[..., Path]], dict[str, Any]], str]] = {
    "takes little of the core": (lambda mask: {"mask": mask("small", 7.0)}, "only .* of the tumour core"),
    "partly outside the brain": (lambda mask: {"mask": mask("out", 26.0, (52.0, 20.0, 22.0))}, "outside the brain"),
    "spares most of it": (
        lambda mask: {"margin_mm": 0.0, "spare": (SpareRequest(mask("most", 12.0, (32.0, 20.0, 22.0)), 1.0),)},
        "cuts .* of it away",
    ),
    "spares what lies beyond": (
        lambda mask: {"margin_mm": 0.0, "spare": (SpareRequest(mask("far", 8.0, (-36.0, 20.0, 22.0)), 2.0),)},
        "nothing was cut away",
    ),
}


@pytest.mark.parametrize("what", DOUBTFUL)
def test_what_is_doubtful_about_a_plan_is_said(what: str, patient: Patient, a_mask: Callable[..., Path]) -> None:
    asked, sentence = DOUBTFUL[what]
    warnings = " ".join(made(patient, **asked(a_mask)).warnings)
    assert re.search(sentence, warnings), warnings


def empty_mask(mask: Callable[..., Path]) -> Path:
    return mask("empty", 0.0)


def other_space(mask: Callable[..., Path]) -> Path:
    path = mask("elsewhere", 12.0)
    image = sitk.ReadImage(str(path))
    image.SetOrigin((900.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))
    return path


def broken(mask: Callable[..., Path]) -> Path:
    path = mask("broken", 12.0)
    path.write_bytes(path.read_bytes()[:300])
    return path


REFUSED: dict[str, tuple[Callable[[Callable[..., Path]], dict[str, Any]], str]] = {
    "empty plan": (lambda mask: {"mask": empty_mask(mask)}, "is empty"),
    "plan in another space": (lambda mask: {"mask": other_space(mask)}, "another space"),
    "plan outside the brain": (lambda mask: {"mask": mask("air", 9.0, (92.0, 20.0, 22.0))}, "inside the brain"),
    "plan beside the tumour": (lambda mask: {"mask": mask("beside", 9.0, (-36.0, 20.0, 22.0))}, "does not touch"),
    "plan file damaged": (lambda mask: {"mask": broken(mask)}, "cannot be used"),
    "plan file missing": (lambda mask: {"mask": Path("nowhere.nii.gz")}, "does not exist"),
    "all is spared": (
        lambda mask: {"margin_mm": 5.0, "spare": (SpareRequest(mask("all", 14.0), 10.0),)},
        "nothing of the tumour left to take",
    ),
    "spared mask empty": (lambda mask: {"margin_mm": 0.0, "spare": (SpareRequest(empty_mask(mask), 1.0),)}, "is empty"),
    "spared mask elsewhere": (
        lambda mask: {"margin_mm": 0.0, "spare": (SpareRequest(other_space(mask), 1.0),)},
        "another space",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_plan_that_makes_no_sense_is_refused_with_a_sentence(
    what: str, patient: Patient, a_mask: Callable[..., Path]
) -> None:
    asked, sentence = REFUSED[what]
    with pytest.raises(InputError, match=sentence) as caught:
        made(patient, **asked(a_mask))
    assert str(caught.value).endswith(".") and "trial" in str(caught.value)
