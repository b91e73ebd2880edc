"""The patient's own tissue, shifted, with the synthesised part laid over it: y = (1 - A) warp(pre) + A S."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..cases.case import FloatArray
from ..imaging.grid import WORKING_GRID

CSF_PERCENTILE = 5.0
SEAM_PERCENTILE = 25.0
SEAM_VOXELS = 2
SEAM_KEPT_MM, SEAM_FADES_MM = 1.0, 2.0
BRIGHT_FLUID = ("T2w",)
"""Sequences on which fluid is bright."""


def fluid_level(image: np.ndarray, brain: np.ndarray, sequence: str = "T1w") -> float:
    """The grey level of fluid in an image (z, y, x): the darkest twentieth of the brain, on T2w the brightest.

    Where a dark seam of fluid surrounds the brain it is that seam's level, so that a gap beside it does not show.
    """
    inside = brain > 0
    if not inside.any():
        return 0.0
    if sequence in BRIGHT_FLUID:
        return float(np.percentile(image[inside], 100.0 - CSF_PERCENTILE))
    seam = inside & ~ndimage.binary_erosion(inside, iterations=SEAM_VOXELS)
    return float(min(np.percentile(image[inside], CSF_PERCENTILE), np.percentile(image[seam], SEAM_PERCENTILE)))


def warp_tissue(image: FloatArray, shift: FloatArray, brain: np.ndarray, sequence: str = "T1w") -> FloatArray:
    """Pull ``image`` (z, y, x) along ``shift`` (z, y, x, 3; mm, LPS): out(p) = image(p + shift(p)), on WORKING_GRID.

    Where the shift is 0 the voxel is returned untouched; where it reaches beyond ``brain`` the gap is filled with
    fluid.
    """
    moved = np.any(shift != 0.0, axis=-1) & (brain > 0)
    warped = image.copy()
    if moved.any():
        offsets = shift[moved][:, ::-1] / np.asarray(WORKING_GRID.spacing[::-1])
        positions = (np.argwhere(moved) + offsets).T
        pulled = ndimage.map_coordinates(image, positions, order=1, mode="nearest")
        inside, deep = (
            ndimage.map_coordinates(part.astype(np.float32), positions, order=1, mode="nearest")
            for part in (brain > 0, within_seam(brain))
        )
        fluid = fluid_level(image, brain, sequence)
        warped[moved] = beside_fluid(pulled, inside, deep, np.linalg.norm(shift[moved], axis=-1), fluid)
    return warped


def within_seam(brain: np.ndarray) -> np.ndarray:
    """The brain without its outermost voxels, bool: those are half background, and dark."""
    return ndimage.binary_erosion(brain > 0, iterations=SEAM_VOXELS)


def beside_fluid(
    own: np.ndarray, inside: np.ndarray, deep: np.ndarray, moved_mm: np.ndarray, fluid: float
) -> np.ndarray:
    """Pulled tissue ``own`` with fluid where it came from beyond the brain, and no dark seam between the two.

    ``inside`` and ``deep``: how much of each voxel came from the brain, and from ``within_seam`` of it, 0 to 1. A
    surface that hardly moved (``moved_mm``) keeps its own seam.
    """
    filled = inside * own + (1.0 - inside) * fluid
    seam = (1.0 - deep) * np.clip((moved_mm - SEAM_KEPT_MM) / SEAM_FADES_MM, 0.0, 1.0)
    return filled + seam * (np.maximum(filled, fluid) - filled)


def fuse(own: np.ndarray, synthesised: np.ndarray, weight: np.ndarray, brain: np.ndarray) -> FloatArray:
    """Blend own and synthesised tissue: exactly ``own`` where ``weight`` is 0, and 0 outside ``brain``."""
    blended = np.where(weight > 0.0, (1.0 - weight) * own + weight * synthesised, own)
    return np.where(brain > 0, blended, 0.0).astype(np.float32)
