"""Other people's brains as anatomies: FreeSurfer-style label maps (SynthSeg training maps), put into MNI space."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from ...errors import InputError
from .atlas import (
    CSF_LEVEL,
    DETAIL_SCALE,
    DETAIL_ZERO,
    GM_LEVEL,
    WM_LEVEL,
    SourceAnatomy,
    template_maps,
    voxel_axes,
    voxel_matrix,
)
from .fields import FloatArray, blur

WHITE = (2, 41, 7, 46, 16, 28, 60, 85, 77, 251, 252, 253, 254, 255, 192)
GREY = (3, 42, 8, 47, 10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 26, 58, 25, 57)
FLUID = (4, 43, 5, 44, 14, 15, 24, 72, 136, 137, 163, 164, 30, 62)
DEEP_LIFT = {
    10: 0.11,
    49: 0.11,
    13: 0.17,
    52: 0.17,
    12: 0.05,
    51: 0.05,
    11: 0.02,
    50: 0.02,
    16: -0.06,
    28: -0.05,
    60: -0.05,
    7: -0.03,
    46: -0.03,
}
"""T1 of deep structures above or below plain grey or white matter."""
ALIGN_STEP = 3
"""Working-grid voxels between the points on which a brain is matched to the template (4.5 mm)."""


def label_maps(folder: Path) -> tuple[Path, ...]:
    """The label maps of ``folder`` by name. Raises ``InputError`` when there are none."""
    files = (
        sorted(p for p in Path(folder).iterdir() if p.name.endswith((".nii.gz", ".nii", ".mgz")))
        if Path(folder).is_dir()
        else []
    )
    if not files:
        raise InputError(f"{folder} has no label maps (.nii.gz). Give a folder of FreeSurfer or SynthSeg label maps.")
    return tuple(files)


@lru_cache(maxsize=16)
def anatomy_of_label_map(path: Path) -> SourceAnatomy:
    """Tissue maps of one label map, affinely matched to the template's tissue."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    labels = sitk.GetArrayFromImage(image).astype(np.int16)
    brain = np.isin(labels, WHITE + GREY + FLUID)
    if not np.isin(labels, WHITE).any() or not np.isin(labels, GREY).any():
        raise InputError(
            f"{path} has no FreeSurfer labels of white matter (2, 41) and cortex (3, 42); it is no usable label map."
        )
    box = tuple(
        slice(max(0, int(h[0]) - 3), int(h[-1]) + 4)
        for h in (np.flatnonzero(brain.any(axis=a)) for a in ((1, 2), (0, 2), (0, 1)))
    )
    labels = labels[box]
    matrix = voxel_matrix(image)
    matrix[:, 3] -= [s.start for s in box]
    wm, gm, csf = (_soft(np.isin(labels, group)) for group in (WHITE, GREY, FLUID))
    lift = np.zeros(labels.shape, np.float32)
    for label, value in DEEP_LIFT.items():
        lift[labels == label] = value
    lift = blur(lift, 0.9, 1.0)
    detail = np.clip(lift * DETAIL_SCALE + DETAIL_ZERO, 0, 255).astype(np.uint8)
    return SourceAnatomy(wm, gm, csf, detail, _match(matrix, wm, gm, csf))


def _soft(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A label's edge with a little partial volume, so that no staircase shows."""
    return np.rint(blur(mask.astype(np.float32), 0.55, 1.0) * 255).astype(np.uint8)


def _match(
    to_voxel: FloatArray, wm: NDArray[np.uint8], gm: NDArray[np.uint8], csf: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Gauss-Newton over twelve affine numbers: smoothed T1-like maps and brain outline against the template's."""
    maps, step = template_maps(), ALIGN_STEP
    goal = np.stack(
        [
            _pyramid(WM_LEVEL * maps.wm + GM_LEVEL * maps.gm + CSF_LEVEL * maps.csf, 1.5),
            _pyramid(maps.wm + maps.gm, 1.5),
        ]
    )[:, ::step, ::step, ::step]
    mine = [
        ndimage.gaussian_filter((channel / np.float32(255))[::2, ::2, ::2], 1.75, output=np.float32)
        for channel in (WM_LEVEL * wm + GM_LEVEL * gm + CSF_LEVEL * csf, wm.astype(np.float32) + gm)
    ]
    z, y, x = (a[::step, ::step, ::step] for a in voxel_axes())
    points = np.stack([np.broadcast_to(a, goal.shape[1:]).ravel() for a in (x, y, z, np.ones_like(x))])
    affine = _first_guess(to_voxel, wm, gm)
    scale = np.array([[0.01, 0.01, 0.01, 1.0]] * 3)

    def sampled(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        four = np.vstack([affine + numbers.reshape(3, 4) * scale, [[0, 0, 0, 1]]])
        index = (to_voxel @ four @ points) / 2
        return np.concatenate([ndimage.map_coordinates(m, index, order=1, mode="constant") for m in mine]).astype(
            np.float64
        )

    for _ in range(12):
        here = sampled(np.zeros(12))
        slope = np.stack([(sampled(unit) - sampled(-unit)) / 2 for unit in np.eye(12)], axis=1)
        step_numbers = np.linalg.lstsq(
            slope.T @ slope + 1e-3 * np.eye(12), slope.T @ (goal.ravel() - here), rcond=None
        )[0]
        affine = affine + np.clip(step_numbers, -6, 6).reshape(3, 4) * scale
        if np.abs(step_numbers).max() < 0.05:
            break
    return (to_voxel @ np.vstack([affine, [[0, 0, 0, 1]]])).astype(np.float32)


def _pyramid(volume: FloatArray, spacing_mm: float) -> FloatArray:
    return blur(volume, 3.5, spacing_mm)


def _first_guess(to_voxel: FloatArray, wm: NDArray[np.uint8], gm: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(3, 4) MNI mm to subject mm: centres and spreads of the brains along each axis."""
    maps = template_maps()
    solid = (wm[::2, ::2, ::2].astype(np.float32) + gm[::2, ::2, ::2]) > 128
    index = np.argwhere(solid) * 2.0
    back = np.linalg.inv(np.vstack([to_voxel, [[0, 0, 0, 1]]])[:, [0, 1, 2, 3]].astype(np.float64))
    mine = (back @ np.vstack([index.T, np.ones(len(index))]))[:3]
    z, y, x = voxel_axes()
    where = np.nonzero((maps.wm + maps.gm) > 0.5)
    theirs = np.stack([x.ravel()[where[2]], y.ravel()[where[1]], z.ravel()[where[0]]])
    stretch = mine.std(axis=1) / theirs.std(axis=1)
    return np.hstack([np.diag(stretch), (mine.mean(axis=1) - stretch * theirs.mean(axis=1))[:, None]])
