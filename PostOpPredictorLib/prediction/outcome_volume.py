"""From predicted slices to one outcome volume: no flicker, no islands, and a soft mask of what changed."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..cases.case import FloatArray, LabelArray
from ..imaging.grid import WORKING_GRID
from .fusion import warp_tissue

CORE_LABELS = (1, 4)
CAVITY_LABELS = (1, 3, 5)
TISSUE_LABELS = (0, 2, 4)
RESIDUAL_LABEL = 2
AIR_LABEL = 5
OUTCOME_COUNT = 6

THROUGH_PLANE_SIGMA = 0.8
"""Slices; enough to end the flicker between neighbours, too little to blur a cavity's floor away."""

SMALLEST_ISLAND_ML = 0.1
FARTHEST_ISLAND_MM = 15.0
FULL_CHANGE_MM = 1.5
FEATHER_MM = 4.5
SMALLEST_SHIFT_MM = 0.25
SURELY_CORE = 0.9

VOXEL_ML = float(np.prod(WORKING_GRID.spacing)) / 1000.0


def tumour_core(tumour: LabelArray) -> np.ndarray:
    """What is resected, as bool: the labels necrotic or non-enhancing core (1) and enhancing (4)."""
    return np.isin(tumour, CORE_LABELS)


def ended(probability: FloatArray, ending: FloatArray) -> FloatArray:
    """Outcome probabilities (6, z, y, x) with every change made less likely by ``ending`` (broadcast over z, y, x)."""
    less = probability * ending
    less[0] = 1.0 - less[1:].sum(axis=0)
    return less


def smooth_through_plane(probability: FloatArray, brain: np.ndarray) -> FloatArray:
    """Smooth probabilities (6, z, y, x) along z; they still sum to 1, and outside the brain all is unchanged."""
    smooth = ndimage.gaussian_filter1d(probability, THROUGH_PLANE_SIGMA, axis=1, mode="nearest")
    smooth[:, ~brain] = 0.0
    smooth[0, ~brain] = 1.0
    return (smooth / smooth.sum(axis=0, keepdims=True)).astype(np.float32)


def smooth_shift(shift: FloatArray, brain: np.ndarray) -> FloatArray:
    """Smooth a field (z, y, x, 3) in mm along z, and make what is less than a quarter millimetre exactly 0.

    The rest is shortened by that quarter, so that the field stays continuous.
    """
    smooth = ndimage.gaussian_filter1d(shift, THROUGH_PLANE_SIGMA, axis=0, mode="nearest")
    length = np.linalg.norm(smooth, axis=-1, keepdims=True)
    kept = np.clip(length - SMALLEST_SHIFT_MM, 0.0, None) / np.maximum(length, 1e-6)
    return (smooth * kept * brain[..., None]).astype(np.float32)


def without_islands(probability: FloatArray, tumour: LabelArray) -> FloatArray:
    """Return the probabilities with small or far-away changed regions set back to "unchanged".

    A region is a connected set of voxels that are not labelled "unchanged". Air may lie anywhere: it rises.
    """
    changed = outcome_labels(probability) > 0
    regions, count = ndimage.label(changed, structure=np.ones((3, 3, 3)))
    if count == 0:
        return probability
    distance = ndimage.distance_transform_edt(~tumour_core(tumour), sampling=WORKING_GRID.spacing[::-1])
    numbers = np.arange(1, count + 1)
    volume_ml = ndimage.sum_labels(changed, regions, numbers) * VOXEL_ML
    nearest_mm = ndimage.minimum(distance, regions, numbers)
    airy = ndimage.mean(probability[AIR_LABEL], regions, numbers) > 0.5
    dropped = numbers[(volume_ml < SMALLEST_ISLAND_ML) | ((nearest_mm > FARTHEST_ISLAND_MM) & ~airy)]
    island = np.isin(regions, dropped)
    cleaned = probability.copy()
    cleaned[:, island] = 0.0
    cleaned[0, island] = 1.0
    return cleaned


def outcome_labels(probability: FloatArray) -> LabelArray:
    """The likeliest outcome label of every voxel, from probabilities (6, z, y, x).

    Hole or tissue is decided first, from the summed probability of cavity, blood and air, then which of its kind: a
    hole whose filling is uncertain must not dissolve because no single filling has the majority.
    """
    hole = cavity_probability(probability) > 0.5
    filling = np.asarray(CAVITY_LABELS)[np.argmax(probability[list(CAVITY_LABELS)], axis=0)]
    tissue = np.asarray(TISSUE_LABELS)[np.argmax(probability[list(TISSUE_LABELS)], axis=0)]
    return np.where(hole, filling, tissue).astype(np.uint8)


def cavity_probability(probability: FloatArray) -> FloatArray:
    """Probability of the hole and what filled it (fluid, blood, air), float32 (z, y, x)."""
    return np.clip(probability[list(CAVITY_LABELS)].sum(axis=0), 0.0, 1.0)


def with_visible_tumour(probability: FloatArray, tumour: LabelArray, shift: FloatArray) -> FloatArray:
    """Call the tumour core residual where the predicted scan still shows it: where nothing is said to have changed.

    What is not predicted to be removed is left behind, or the extent of resection would be flattered.
    """
    core = warp_tissue(tumour_core(tumour).astype(np.float32), shift, np.ones_like(tumour))
    left = (core > SURELY_CORE) & (outcome_labels(probability) == 0)
    told = probability.copy()
    told[:, left] = 0.0
    told[RESIDUAL_LABEL, left] = 1.0
    return told


def change_weight(changed: np.ndarray, brain: np.ndarray) -> FloatArray:
    """How much of each voxel is synthesised (the A of y = (1 - A) warp(pre) + A S), float32 in [0, 1].

    1 in ``changed`` (bool, (z, y, x)) and 1.5 mm around it, then falling smoothly to exactly 0 within another 4.5 mm; 0
    outside ``brain``.
    """
    if not changed.any():
        return np.zeros(changed.shape, np.float32)
    distance = ndimage.distance_transform_edt(~changed, sampling=WORKING_GRID.spacing[::-1])
    fall = np.clip(1.0 - (distance - FULL_CHANGE_MM) / FEATHER_MM, 0.0, 1.0)
    return (fall * fall * (3.0 - 2.0 * fall) * brain).astype(np.float32)
