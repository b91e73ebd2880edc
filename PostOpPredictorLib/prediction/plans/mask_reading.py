"""Masks that a person drew over the scan, on the MNI grid; refused where they are nothing or lie nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...errors import InputError
from ...imaging.affine import linear_part
from ...imaging.grid import WORKING_GRID, Grid
from ...imaging.volumes import read_labels
from ..patient import Patient

LEAST_OVER_THE_SCAN = 0.5
LEAST_NEAR_THE_BRAIN = 0.5
NEAR_THE_BRAIN_MM = 15.0


@dataclass(frozen=True)
class DrawnMask:
    """``marked`` bool (z, y, x) on WORKING_GRID; ``in_brain``: share of what was drawn that lies in the brain."""

    marked: np.ndarray
    in_brain: float


def read_plan_mask(path: Path, patient: Patient, called: str) -> DrawnMask:
    """What is above 0 in the file, interpolated so that its volume is kept. Raises ``InputError``."""
    image = _marked(path, called)
    points = _mni_points(image, patient, called)
    mask = WORKING_GRID.resample(sitk.Cast(image, sitk.sitkFloat32), patient.registration.transform)
    return DrawnMask(sitk.GetArrayFromImage(mask) >= 0.5, _share_in(points, patient.brain > 0))


def read_structure_mask(path: Path, patient: Patient, called: str) -> DrawnMask:
    """What is above 0 in the file, with all that is thinner than a voxel. Raises ``InputError``."""
    image = _marked(path, called)
    points = _mni_points(image, patient, called)
    marked = sitk.GetArrayFromImage(
        WORKING_GRID.resample(image, patient.registration.transform, sitk.sitkNearestNeighbor)
    )
    whole = marked > 0
    index, held = _voxels(points)
    whole[tuple(index[held].T)] = True
    near = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(WORKING_GRID.image(patient.brain), squaredDistance=False, useImageSpacing=True)
    )
    share = _share_in(points, near < NEAR_THE_BRAIN_MM)
    if share < LEAST_NEAR_THE_BRAIN:
        raise InputError(
            f"Only {share:.0%} of {called} lies in the brain or near it. Give a mask that was drawn on this scan."
        )
    return DrawnMask(whole, _share_in(points, patient.brain > 0))


def refuse_off_the_scan(path: Path, scan: sitk.Image, called: str) -> None:
    """Raise ``InputError`` for a mask that cannot be read, is empty or does not lie over ``scan``."""
    _points_over(_marked(path, called), scan, called)


def _marked(path: Path, called: str) -> sitk.Image:
    try:
        labels = read_labels(path)
    except InputError as error:
        raise InputError(f"The mask of {called} cannot be used. {error}") from error
    array = (sitk.GetArrayViewFromImage(labels) > 0).astype(np.uint8)
    if not array.any():
        raise InputError(f"The mask of {called} is empty: no voxel of {path} is above 0. Draw it, or leave it out.")
    return Grid.of(labels).image(array)


def _mni_points(image: sitk.Image, patient: Patient, called: str) -> np.ndarray:
    """MNI points (n, 3) in LPS mm of the marked voxels, which must lie over the patient's scan."""
    points = _points_over(image, patient.scan, called)
    to_mni = patient.registration.transform.GetInverse()
    return points @ linear_part(to_mni).T + np.asarray(to_mni.TransformPoint((0.0, 0.0, 0.0)))


def _points_over(image: sitk.Image, scan: sitk.Image, called: str) -> np.ndarray:
    """The marked voxels as points (n, 3) in LPS mm of the patient's space, most of which must lie over ``scan``."""
    points = _physical(np.argwhere(sitk.GetArrayViewFromImage(image)), image)
    over = _share_over(points, scan)
    if over < LEAST_OVER_THE_SCAN:
        raise InputError(
            f"Only {over:.0%} of {called} lies over the scan: its mask is in another space. Give a mask that was drawn "
            "on this scan."
        )
    return points


def _physical(zyx: np.ndarray, image: sitk.Image) -> np.ndarray:
    axes = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    return zyx[:, ::-1] @ axes.T + np.asarray(image.GetOrigin())


def _share_over(points: np.ndarray, scan: sitk.Image) -> float:
    axes = np.reshape(scan.GetDirection(), (3, 3)) * np.asarray(scan.GetSpacing())
    index = np.rint((points - np.asarray(scan.GetOrigin())) @ np.linalg.inv(axes).T)
    return float(((index >= 0) & (index < np.asarray(scan.GetSize()))).all(axis=1).mean())


def _voxels(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The voxel (z, y, x) of WORKING_GRID at each of ``points``, and which of them lie on the grid."""
    index = np.rint((points - np.asarray(WORKING_GRID.origin)) / np.asarray(WORKING_GRID.spacing)).astype(int)[:, ::-1]
    return index, np.all((index >= 0) & (index < np.asarray(WORKING_GRID.shape)), axis=1)


def _share_in(points: np.ndarray, region: np.ndarray) -> float:
    index, held = _voxels(points)
    held[held] = region[tuple(index[held].T)]
    return float(held.mean())
