"""The prediction at the scan's own detail: on the 1 mm MNI grid and in the patient's own space.

Only what was synthesised comes from the working grid; all else is pulled from the original scan in one interpolation.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..imaging.grid import TEMPLATE_GRID, WORKING_GRID, Grid
from .fusion import fluid_level, fuse
from .patient import Patient
from .volume_prediction import CasePrediction


def predicted_in_mni(patient: Patient, prediction: CasePrediction) -> sitk.Image:
    """The post-operative brain on TEMPLATE_GRID, float32 in scanner units, 0 outside the brain.

    Where nothing changed and nothing moved, it equals ``patient.scan_mni`` exactly.
    """
    identity = sitk.Transform(3, sitk.sitkIdentity)
    drawn = _drawn_on(TEMPLATE_GRID, patient, prediction, to_mni=identity, to_patient=patient.registration.transform)
    return TEMPLATE_GRID.image(np.where(drawn.touched, drawn.image, _array(patient.scan_mni)).astype(np.float32))


def predicted_in_patient_space(patient: Patient, prediction: CasePrediction) -> sitk.Image:
    """The original scan, skull and all, with the changed part of the brain replaced; every other voxel is untouched."""
    to_mni = patient.registration.transform.GetInverse()
    region = _changed_region(patient.scan, prediction, to_mni)
    whole = _array(patient.scan)
    if region is not None:
        part = patient.scan[region]
        drawn = _drawn_on(Grid.of(part), patient, prediction, to_mni=to_mni, to_patient=patient.registration.transform)
        voxels = tuple(reversed(region))
        whole[voxels] = np.where(drawn.touched, drawn.image, whole[voxels])
    return Grid.of(patient.scan).image(whole.astype(np.float32))


class _Drawn:
    """``image`` in scanner units and ``touched`` (bool): where it differs from the scan; (z, y, x) on some grid."""

    def __init__(self, image: np.ndarray, touched: np.ndarray) -> None:
        self.image, self.touched = image, touched


def _drawn_on(
    grid: Grid, patient: Patient, prediction: CasePrediction, to_mni: sitk.Transform, to_patient: sitk.Transform
) -> _Drawn:
    shift = WORKING_GRID.image(prediction.shift.astype(np.float64))
    moving = sitk.CompositeTransform([sitk.DisplacementFieldTransform(sitk.Image(shift)), to_mni])
    brain = _array(grid.resample(patient.brain_mni, to_mni, sitk.sitkNearestNeighbor)) > 0
    weight = _array(grid.resample(WORKING_GRID.image(prediction.change), to_mni)) * brain
    synthesised = _array(grid.resample(WORKING_GRID.image(prediction.synthesised), to_mni, sitk.sitkBSpline))
    own = _array(grid.resample(patient.scan, sitk.CompositeTransform([to_patient, *_parts(moving)])))
    still_brain = _array(grid.resample(sitk.Cast(patient.brain_mni, sitk.sitkFloat32), moving))
    level = fluid_level(_array(patient.scan_mni), _array(patient.brain_mni))
    moved = _array(grid.resample(WORKING_GRID.image(_length(prediction.shift)), to_mni)) > 0
    own = np.where(moved, still_brain * own + (1.0 - still_brain) * level, own)
    image = fuse(own, patient.window.restore(np.clip(synthesised, 0.0, 1.0)), weight, brain)
    return _Drawn(image, ((weight > 0) | moved) & brain)


def _parts(composite: sitk.CompositeTransform) -> list[sitk.Transform]:
    return [composite.GetNthTransform(i) for i in range(composite.GetNumberOfTransforms())]


def _length(shift: np.ndarray) -> np.ndarray:
    return np.linalg.norm(shift, axis=-1).astype(np.float32)


def _changed_region(
    scan: sitk.Image, prediction: CasePrediction, to_mni: sitk.Transform
) -> tuple[slice, slice, slice] | None:
    """The box (x, y, z slices) of ``scan`` that holds all that changed or moved; None when nothing did."""
    touched = ((prediction.change > 0) | (_length(prediction.shift) > 0)).astype(np.float32)
    there = _array(Grid.of(scan).resample(WORKING_GRID.image(touched), to_mni)) > 0
    if not there.any():
        return None
    box = []
    for axes in ((0, 1), (0, 2), (1, 2)):
        held = np.flatnonzero(there.any(axis=axes))
        box.append(slice(int(held[0]), int(held[-1]) + 1))
    return box[0], box[1], box[2]


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)
