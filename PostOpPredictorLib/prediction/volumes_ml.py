"""How much tumour there was, how large the cavity is and what is left, in millilitres of the patient's own head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..cases.case import LabelArray
from ..imaging.affine import linear_part
from .outcome_volume import CAVITY_LABELS, RESIDUAL_LABEL, VOXEL_ML, tumour_core


@dataclass(frozen=True)
class OutcomeVolumes:
    """Millilitres in the patient's space. ``eor_percent``: extent of resection, 100 x (1 - residual / tumour)."""

    tumour_ml: float
    cavity_ml: float
    residual_ml: float

    @property
    def eor_percent(self) -> float:
        """How much of the tumour core is predicted to be removed, in [0, 100]."""
        return 100.0 * float(np.clip(1.0 - self.residual_ml / max(self.tumour_ml, 1e-6), 0.0, 1.0))


def outcome_volumes(tumour: LabelArray, outcome: LabelArray, mni_to_patient: sitk.Transform) -> OutcomeVolumes:
    """Volumes from label maps on WORKING_GRID, scaled back from the template's size to the patient's."""
    scale = volume_scale(mni_to_patient) * VOXEL_ML
    return OutcomeVolumes(
        tumour_ml=float(tumour_core(tumour).sum()) * scale,
        cavity_ml=float(np.isin(outcome, CAVITY_LABELS).sum()) * scale,
        residual_ml=float((outcome == RESIDUAL_LABEL).sum()) * scale,
    )


def volume_scale(transform: sitk.Transform) -> float:
    """By how much an affine ``transform`` enlarges volumes."""
    return abs(float(np.linalg.det(linear_part(transform))))
