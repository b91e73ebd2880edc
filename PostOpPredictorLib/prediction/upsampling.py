"""Maps of the working grid on the 1 mm template grid; only the box that holds something is interpolated."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..imaging.grid import TEMPLATE_GRID, WORKING_GRID

NEGLIGIBLE = 1.0 / 256.0


def on_template(array: np.ndarray) -> np.ndarray:
    """``array`` (z, y, x) of WORKING_GRID interpolated onto TEMPLATE_GRID, float32; below 1/256 becomes 0."""
    whole = np.zeros(TEMPLATE_GRID.shape, np.float32)
    box = _template_box(array > NEGLIGIBLE)
    if box is not None:
        part = TEMPLATE_GRID.part(box).resample(WORKING_GRID.image(np.ascontiguousarray(array, np.float32)))
        values = sitk.GetArrayFromImage(part)
        whole[box[::-1]] = np.where(values > NEGLIGIBLE, values, 0.0)
    return whole


def _template_box(held: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The box of TEMPLATE_GRID (x, y, z slices) that covers the voxels ``held`` (bool) of WORKING_GRID and one more."""
    if not held.any():
        return None
    slices = []
    for axis in (2, 1, 0):
        along = np.flatnonzero(held.any(axis=tuple(other for other in range(3) if other != axis)))
        at = 2 - axis
        ends = WORKING_GRID.origin[at] + WORKING_GRID.spacing[at] * np.array([along[0] - 1.0, along[-1] + 1.0])
        step = TEMPLATE_GRID.spacing[at] * TEMPLATE_GRID.direction[4 * at]
        low, high = sorted(((ends - TEMPLATE_GRID.origin[at]) / step).tolist())
        slices.append(slice(max(int(np.floor(low)), 0), min(int(np.ceil(high)) + 1, TEMPLATE_GRID.size[at])))
    return slices[0], slices[1], slices[2]
