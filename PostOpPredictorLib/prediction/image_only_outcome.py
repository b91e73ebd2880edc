"""What a model that draws only an image says of the outcome: read from the darkness that it drew near the tumour."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..cases.case import FloatArray, LabelArray
from ..imaging.grid import WORKING_GRID
from .fusion import fluid_level
from .outcome_volume import OUTCOME_COUNT, tumour_core

REACH_MM = 8.0
FALL_MM = 6.0
SOFTNESS = 0.04


def near_tumour(mask: np.ndarray) -> FloatArray:
    """1 within 8 mm of ``mask`` (bool, WORKING_GRID), falling to 0 over the next 6 mm, float32."""
    distance = ndimage.distance_transform_edt(~mask, sampling=WORKING_GRID.spacing[::-1])
    return np.clip(1.0 - (distance - REACH_MM) / FALL_MM, 0.0, 1.0).astype(np.float32)


def outcome_probability_of_image(
    image: FloatArray, pre: FloatArray, tumour: LabelArray, brain: np.ndarray, drawn: np.ndarray
) -> FloatArray:
    """Outcome probabilities (6, z, y, x) in which only "unchanged" and "cavity" occur.

    A voxel near the tumour core is cavity when the predicted ``image`` is about as dark as fluid: the border is
    half-way between the darkest twentieth of the pre-operative brain and its median. ``drawn`` (z, 1, 1) bool: the
    slices that ``image`` holds; each is judged by itself.
    """
    border = 0.5 * (fluid_level(pre, brain) + float(np.median(pre[brain > 0])))
    smooth = ndimage.gaussian_filter(image, (0.0, 0.7, 0.7))
    dark = 1.0 / (1.0 + np.exp(np.clip((smooth - border) / SOFTNESS, -30.0, 30.0)))
    cavity = dark * near_tumour(tumour_core(tumour)) * (brain > 0) * drawn
    probability = np.zeros((OUTCOME_COUNT, *image.shape), np.float32)
    probability[1] = cavity
    probability[0] = 1.0 - cavity
    return probability
