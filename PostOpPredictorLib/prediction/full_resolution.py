"""The prediction at the scan's own detail: on the 1 mm MNI grid and in the patient's own space.

Only what was synthesised comes from the working grid; all else is pulled from the original scan in one interpolation.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..imaging.grid import TEMPLATE_GRID, WORKING_GRID, Grid
from .fusion import beside_fluid, fluid_level, fuse, within_seam
from .patient import Patient
from .volume_prediction import CasePrediction


def predicted_in_mni(patient: Patient, prediction: CasePrediction) -> sitk.Image:
    """The post-operative brain on TEMPLATE_GRID, float32 in scanner units, 0 outside the brain.

    Where nothing changed and nothing moved, it equals ``patient.scan_mni`` exactly.
    """
    return _with_outcome(patient.scan_mni, sitk.Transform(3, sitk.sitkIdentity), patient, prediction)


def predicted_in_patient_space(patient: Patient, prediction: CasePrediction) -> sitk.Image:
    """The original scan, skull and all, with the changed part of the brain replaced; every other voxel is untouched."""
    return _with_outcome(patient.scan, patient.registration.transform.GetInverse(), patient, prediction)


def _with_outcome(base: sitk.Image, to_mni: sitk.Transform, patient: Patient, prediction: CasePrediction) -> sitk.Image:
    """``base``, whose points ``to_mni`` maps to MNI space, with the voxels replaced that changed or moved."""
    whole = sitk.GetArrayFromImage(base)
    box = _changed_box(base, prediction, to_mni)
    if box is not None:
        image, touched = _outcome_on(Grid.of(base[box]), to_mni, patient, prediction)
        voxels = box[::-1]
        whole[voxels] = np.where(touched, image, whole[voxels])
    return Grid.of(base).image(whole)


def _outcome_on(
    grid: Grid, to_mni: sitk.Transform, patient: Patient, prediction: CasePrediction
) -> tuple[np.ndarray, np.ndarray]:
    """The prediction on ``grid`` in scanner units, and where (bool) it differs from the scan; both (z, y, x)."""
    moving = sitk.DisplacementFieldTransform(WORKING_GRID.image(prediction.shift.astype(np.float64)))
    to_patient = patient.registration.transform
    brain = _array(grid.resample(patient.brain_mni, to_mni, sitk.sitkNearestNeighbor)) > 0
    moved_mm = _array(grid.resample(_working(_length(prediction.shift)), to_mni))
    moved = moved_mm > 0
    weight = _array(grid.resample(_working(prediction.change), to_mni)) * brain
    own = _array(grid.resample(patient.scan, sitk.CompositeTransform([to_patient, moving, to_mni])))
    deep_mni = TEMPLATE_GRID.image(within_seam(_array(patient.brain_mni)).astype(np.uint8))
    inside, deep = (
        _array(grid.resample(sitk.Cast(part, sitk.sitkFloat32), sitk.CompositeTransform([moving, to_mni])))
        for part in (patient.brain_mni, deep_mni)
    )
    fluid = float(patient.window.restore(np.asarray(fluid_level(patient.pre, patient.brain, prediction.sequence))))
    own = np.where(moved, beside_fluid(own, inside, deep, moved_mm, fluid), own)
    synthesised = _array(grid.resample(_working(prediction.synthesised), to_mni, sitk.sitkBSpline))
    image = fuse(own, patient.window.restore(np.clip(synthesised, 0.0, 1.0)), weight, brain)
    return image, ((weight > 0) | moved) & brain


def _changed_box(
    base: sitk.Image, prediction: CasePrediction, to_mni: sitk.Transform
) -> tuple[slice, slice, slice] | None:
    """The box (x, y, z slices) of ``base`` that holds all that changed or moved; None when nothing did."""
    touched = (prediction.change > 0) | (_length(prediction.shift) > 0)
    there = _array(Grid.of(base).resample(_working(touched), to_mni)) > 0
    if not there.any():
        return None
    held = [np.flatnonzero(there.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    x, y, z = (slice(int(along[0]), int(along[-1]) + 1) for along in held)
    return x, y, z


def _working(array: np.ndarray) -> sitk.Image:
    return WORKING_GRID.image(np.ascontiguousarray(array, np.float32))


def _length(shift: np.ndarray) -> np.ndarray:
    return np.linalg.norm(shift, axis=-1)


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)
