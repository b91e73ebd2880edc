"""A predicted outcome as label maps and masks, in MNI space and on the patient's own grid."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..imaging.grid import TEMPLATE_GRID, WORKING_GRID, Grid
from .outcome_volume import outcome_labels
from .patient import Patient
from .upsampling import on_template
from .volume_prediction import CasePrediction


def outcome_on_template(patient: Patient, case: CasePrediction) -> sitk.Image:
    """The outcome label map on TEMPLATE_GRID: probabilities are interpolated, then decided, so borders are smooth."""
    changes = np.stack([on_template(one) for one in case.outcome_probability[1:]])
    inside = sitk.GetArrayViewFromImage(patient.brain_mni) > 0
    where = (changes.max(axis=0) > 0) & inside
    values = changes[:, where]
    unchanged = np.clip(1.0 - values.sum(axis=0, keepdims=True), 0.0, 1.0)
    labels = np.zeros(where.shape, np.uint8)
    labels[where] = outcome_labels(np.concatenate([unchanged, values]))
    return TEMPLATE_GRID.image(labels)


def cavity_on_template(patient: Patient, case: CasePrediction) -> sitk.Image:
    """The predicted cavity on TEMPLATE_GRID, uint8."""
    inside = sitk.GetArrayViewFromImage(patient.brain_mni) > 0
    return TEMPLATE_GRID.image(((on_template(case.cavity_probability) > 0.5) & inside).astype(np.uint8))


def cavity_in_patient_space(patient: Patient, case: CasePrediction) -> sitk.Image:
    """The predicted cavity on the grid of the patient's scan, uint8."""
    to_mni = patient.registration.transform.GetInverse()
    probability = WORKING_GRID.image(case.cavity_probability)
    return sitk.BinaryThreshold(Grid.of(patient.scan).resample(probability, to_mni), 0.5, 2.0)
