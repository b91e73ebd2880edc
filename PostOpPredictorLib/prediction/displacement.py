"""How far the predicted shift moves tissue, in millimetres of the patient's own head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..cases.case import FloatArray
from ..imaging.affine import linear_part
from ..imaging.grid import WORKING_GRID
from .volume_prediction import CasePrediction

NEAR_CAVITY_MM = 10.0
CAVITY_AT = 0.5


@dataclass(frozen=True)
class Displacement:
    """``largest_mm`` of all tissue that stays; ``mean_near_cavity_mm`` within 10 mm of the cavity's wall."""

    largest_mm: float
    mean_near_cavity_mm: float


def displacement_of(case: CasePrediction, brain: np.ndarray, mni_to_patient: sitk.Transform) -> Displacement:
    """Lengths of ``case.shift`` where there is tissue after surgery: in ``brain`` (z, y, x), outside the cavity."""
    cavity = case.cavity_probability > CAVITY_AT
    tissue = (brain > 0) & ~cavity
    length = lengths_mm(case.shift, mni_to_patient)
    largest = float(length[tissue].max(initial=0.0))
    if not cavity.any():
        return Displacement(largest, 0.0)
    distance = ndimage.distance_transform_edt(~cavity, sampling=WORKING_GRID.spacing[::-1])
    near = tissue & (distance <= NEAR_CAVITY_MM)
    return Displacement(largest, float(length[near].mean()) if near.any() else 0.0)


def lengths_mm(shift: FloatArray, mni_to_patient: sitk.Transform) -> FloatArray:
    """Length of every vector of ``shift`` (..., 3; mm in MNI space, LPS) in the patient's own millimetres."""
    return np.linalg.norm(shift @ linear_part(mni_to_patient).T.astype(np.float32), axis=-1)
