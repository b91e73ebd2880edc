"""A scan made ready for the search: brain only, windowed, on a coarse grid along the patient's axes."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from . import brain as brain_mask
from .grid import Grid

_SPACING_MM = 2.0
_MARGIN_MM = 24.0
_TUMOUR_MARGIN_MM = 4
SMOOTHED_MM = 2.0


@dataclass(frozen=True)
class MovingScan:
    """The scan that is laid over the template; all images on one 2 mm grid with LPS axes.

    ``image``: brain intensities in [0, 1], 0 outside; ``brain``: uint8; ``counts``: uint8, 0 where the tumour must not
    pull. ``region``: the brain (or the rough brain, where not ``exact``) on the patient's own grid.
    """

    image: sitk.Image
    brain: sitk.Image
    counts: sitk.Image
    region: sitk.Image
    exact: bool

    @functools.cached_property
    def smooth(self) -> sitk.Image:
        """``image`` without its noise."""
        return sitk.SmoothingRecursiveGaussian(self.image, SMOOTHED_MM)


def prepare(image: sitk.Image, tumour: sitk.Image | None, brain: sitk.Image | None) -> MovingScan:
    """Make ``image`` (float32, finite) ready; ``tumour`` and ``brain`` are label maps in its space, on any grid."""
    grid = _upright_grid(image)
    region = sitk.Cast(brain > 0, sitk.sitkUInt8) if brain is not None else brain_mask.foreground(image)
    exact = brain is not None or brain_mask.is_skull_stripped(image, region)
    coarse = grid.resample(image, outside=float(sitk.GetArrayViewFromImage(image).min()))
    inside = _resample_mask(grid, region)
    marked = None if tumour is None else _resample_mask(grid, sitk.Cast(tumour > 0, sitk.sitkUInt8))
    if not exact:
        inside = brain_mask.rough_brain(coarse, inside)
        # An enhancing tumour at the surface is as bright as the fat that was cut away.
        region = inside = inside if marked is None else inside | marked
    return MovingScan(_windowed(coarse, inside), inside, _counting(grid, marked), region, exact)


def _counting(grid: Grid, marked: sitk.Image | None) -> sitk.Image:
    if marked is None:
        return grid.image(np.ones(grid.shape, np.uint8))
    radius = math.ceil(_TUMOUR_MARGIN_MM / _SPACING_MM)
    return sitk.BinaryDilate(marked, (radius,) * 3) == 0


def _windowed(image: sitk.Image, inside: sitk.Image) -> sitk.Image:
    """Brain intensities in [0, 1]; enhancing vessels and remains of fat must not take up the range of the tissue."""
    array, brain = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(inside) > 0
    if not brain.any():
        return image * 0.0
    low, typical, high = np.percentile(array[brain], (1, 50, 99))
    high = max(min(high, low + 2.0 * (typical - low)), low + 1e-6)
    scaled = np.clip((array - low) / (high - low), 0.0, 1.0) * brain
    return Grid.of(image).image(scaled.astype(np.float32))


def _resample_mask(grid: Grid, mask: sitk.Image) -> sitk.Image:
    return sitk.Cast(grid.resample(sitk.Cast(mask, sitk.sitkFloat32)) >= 0.5, sitk.sitkUInt8)


def _upright_grid(image: sitk.Image) -> Grid:
    """Cubes of 2 mm along the patient's axes that hold the image and a margin, so that the search does not fall off."""
    size = image.GetSize()
    corners = np.array(
        [
            image.TransformContinuousIndexToPhysicalPoint([float(i * (n - 1)) for i, n in zip(c, size, strict=True)])
            for c in np.ndindex(2, 2, 2)
        ]
    )
    low, high = corners.min(axis=0) - _MARGIN_MM, corners.max(axis=0) + _MARGIN_MM
    count = [int(n) for n in np.ceil((high - low) / _SPACING_MM) + 1]
    return Grid((count[0], count[1], count[2]), (_SPACING_MM,) * 3, (float(low[0]), float(low[1]), float(low[2])))
