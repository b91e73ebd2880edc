"""Where the head and the brain are in a scan: foreground, skull-stripped or not, and the brain mask in MNI space."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .grid import Grid

_CONSTANT_SHARE = 0.15
"""A background this large of one and the same value was put there by a program (skull stripping, defacing, padding)."""
_LEVEL = 0.12
"""Foreground lies above this share of the way from percentile 2 to percentile 98."""
_STRIPPED_AT_MOST_ML = 2300.0
"""The largest brains hold some 2000 ml with their CSF; the part of a head that a scan shows rarely less than 2600 ml."""


def foreground(image: sitk.Image) -> sitk.Image:
    """The head, or the brain of a skull-stripped scan: the largest bright piece without holes, uint8 0/1, on the grid of ``image``."""
    array = sitk.GetArrayFromImage(image)
    background = stripped_background(array)
    if background is not None:
        bright = np.abs(array - background) > 1e-3 * float(np.ptp(array))
    else:
        low, high = np.percentile(array, (2, 98))
        smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, 1.0))
        bright = smooth > low + _LEVEL * (high - low)
    return Grid.of(image).image(_filled(_largest(bright)).astype(np.uint8))


def is_skull_stripped(image: sitk.Image, region: sitk.Image | None = None) -> bool:
    """Whether the scan shows a brain only. ``region`` is its ``foreground`` where that is known already."""
    region = foreground(image) if region is None else region
    volume_ml = float(np.count_nonzero(sitk.GetArrayViewFromImage(region))) * float(np.prod(image.GetSpacing())) / 1000
    return volume_ml <= _STRIPPED_AT_MOST_ML


def stripped_background(array: np.ndarray) -> float | None:
    """The value of a background that a program made constant, or ``None`` where the background is a scanner's noise."""
    values, counts = np.unique(array, return_counts=True)
    most = int(counts.argmax())
    return float(values[most]) if counts[most] >= _CONSTANT_SHARE * array.size else None


def _largest(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    return pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax())


def _filled(mask: np.ndarray) -> np.ndarray:
    """Without holes, also those that are closed only within a slice (a head scan is open at the neck)."""
    filled = ndimage.binary_fill_holes(mask)
    for axis in range(3):
        planes = np.moveaxis(filled, axis, 0)
        for plane in planes:
            plane |= ndimage.binary_fill_holes(plane)
    return filled
