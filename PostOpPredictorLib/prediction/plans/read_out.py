"""What a plan, or the prediction itself, takes and leaves, in the patient's own cm3 and mm.

Tissue is counted before the brain moves, so that taken and left add up to the tumour and a larger plan never leaves
more; the cavity is counted after it, as the predicted scan shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...cases.case import LabelArray
from ...imaging.tumour_mask import ENHANCING, OEDEMA
from ..outcome_volume import CAVITY_LABELS, RESIDUAL_LABEL, tumour_core
from ..patient import Patient
from ..volume_prediction import CasePrediction
from .eloquent_areas import EloquentArea, eloquent_areas
from .following import carried, carried_back
from .patient_space import PatientSpace
from .rano_resect import resect_class

NEAR_AN_AREA_MM = 15.0
"""Eloquent areas further away are not listed."""


@dataclass(frozen=True)
class Structure:
    """``mask`` bool (z, y, x) on WORKING_GRID."""

    name: str
    mask: np.ndarray


def read_out_of_plan(
    patient: Patient,
    mask: np.ndarray,
    case: CasePrediction,
    structures: tuple[Structure, ...],
    areas: tuple[EloquentArea, ...] | None = None,
) -> dict[str, Any]:
    """The figures of a plan (bool mask on WORKING_GRID) and of ``case``, which follows it, as JSON can hold them.

    ``areas``: the eloquent areas to tell of, all when left out.
    """
    core = tumour_core(patient.tumour)
    return _read_out(patient, mask, core & ~mask, case.outcome, structures, areas)


def read_out_without_plan(patient: Patient, case: CasePrediction, structures: tuple[Structure, ...]) -> dict[str, Any]:
    """The same figures of what is predicted from the precedent; ``plan_ml`` is None.

    The residual tumour is counted as the prediction shows it, as in the summary of the prediction.
    """
    taken = carried_back(np.isin(case.outcome, CAVITY_LABELS), case.shift) & (patient.brain > 0)
    figures = _read_out(patient, taken, tumour_core(patient.tumour) & ~taken, case.outcome, structures)
    space = PatientSpace(patient.registration.transform)
    left = case.outcome == RESIDUAL_LABEL
    enhancing = left & (carried(patient.tumour == ENHANCING, case.shift) >= 0.5)
    tumour_ml = space.ml(tumour_core(patient.tumour))
    enhancing_before = space.ml(patient.tumour == ENHANCING)
    figures["plan_ml"] = None
    return figures | _tumour_figures(
        tumour_ml,
        enhancing_before,
        space.ml(left),
        space.ml(enhancing),
        _abnormality_left(patient.tumour, taken, space),
    )


def _read_out(
    patient: Patient,
    taken: np.ndarray,
    left: np.ndarray,
    outcome: LabelArray,
    structures: tuple[Structure, ...],
    areas: tuple[EloquentArea, ...] | None = None,
) -> dict[str, Any]:
    areas = eloquent_areas() if areas is None else areas
    space = PatientSpace(patient.registration.transform)
    tumour = patient.tumour
    tumour_figures = _tumour_figures(
        space.ml(tumour_core(tumour)),
        space.ml(tumour == ENHANCING),
        space.ml(left),
        space.ml(left & (tumour == ENHANCING)),
        _abnormality_left(tumour, taken, space),
    )
    return {
        "plan_ml": _rounded(space.ml(taken)),
        **tumour_figures,
        "cavity_ml": _rounded(space.ml(np.isin(outcome, CAVITY_LABELS))),
        "healthy_taken_ml": _rounded(space.ml(taken & (tumour == 0))),
        "structures": [_beside(one, taken, space) for one in structures],
        "eloquent": [figures for area in areas if (figures := _within_reach(area, taken, space))],
    }


def _tumour_figures(
    tumour_ml: float, enhancing_before: float, left_ml: float, enhancing_left: float, abnormality_left: float | None
) -> dict[str, Any]:
    left_ml = min(left_ml, tumour_ml)
    enhancing_left = min(enhancing_left, enhancing_before, left_ml)
    non_enhancing_left = min(left_ml - enhancing_left, tumour_ml - enhancing_before)
    left_ml = enhancing_left + non_enhancing_left
    abnormal = None if abnormality_left is None else non_enhancing_left + abnormality_left
    rano = resect_class(enhancing_before, enhancing_left, abnormal, tumour_ml - left_ml)
    return {
        "resected_ml": _rounded(tumour_ml - left_ml),
        "resected_enhancing_ml": _rounded(enhancing_before - enhancing_left),
        "resected_non_enhancing_ml": _rounded(tumour_ml - enhancing_before - non_enhancing_left),
        "residual_ml": _rounded(left_ml),
        "residual_enhancing_ml": _rounded(enhancing_left),
        "residual_non_enhancing_ml": _rounded(non_enhancing_left),
        "residual_abnormality_ml": None if abnormality_left is None else _rounded(abnormality_left),
        "eor_percent": round(100.0 * (1.0 - left_ml / max(tumour_ml, 1e-6)), 1),
        "rano_class": rano.name,
        "rano_sentence": rano.sentence,
    }


def _abnormality_left(tumour: LabelArray, taken: np.ndarray, space: PatientSpace) -> float | None:
    """T2/FLAIR abnormality around the core that stays; None where the labels mark none."""
    around = tumour == OEDEMA
    return space.ml(around & ~taken) if around.any() else None


def _beside(structure: Structure, taken: np.ndarray, space: PatientSpace) -> dict[str, Any]:
    gap = space.gap_mm(taken, structure.mask)
    return {
        "name": structure.name,
        "distance_mm": round(gap, 1) if np.isfinite(gap) else None,
        "overlap_ml": _rounded(space.ml(taken & structure.mask)),
    }


def _within_reach(area: EloquentArea, taken: np.ndarray, space: PatientSpace) -> Mapping[str, Any] | None:
    gap = space.gap_mm(taken, area.mask)
    if gap > NEAR_AN_AREA_MM:
        return None
    overlap = int((taken & area.mask).sum())
    return {
        "region": area.name,
        "overlap_ml": _rounded(overlap * space.voxel_ml),
        "percent_of_region": round(100.0 * overlap / int(area.mask.sum()), 1),
        "distance_mm": round(gap, 1),
    }


def _rounded(ml: float) -> float:
    return round(float(ml), 2)
