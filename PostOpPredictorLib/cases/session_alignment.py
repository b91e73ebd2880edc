"""Laying a patient's scan after surgery over the one before it.

Each alone fits MNI space to a millimetre or two only, and in different ways; a pair must fit together better than that.
"""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk

from ..imaging.grid import WORKING_GRID
from .case import FloatArray, LabelArray

_BINS = 32
_SAMPLED = 0.2
_SEED = 20170
_ITERATIONS = 60
_SMOOTHED_MM = 1.5
_LESION_MARGIN_MM = 9.0


def follow(before: FloatArray, after: FloatArray, brain: LabelArray, lesion: LabelArray) -> sitk.Transform:
    """The affine correction MNI -> MNI (LPS mm) by which ``after``, pulled back, lies over ``before``.

    All arrays (z, y, x) on WORKING_GRID: the two scans, the brain before surgery, and everything that the tumour or the
    operation changed, which must not pull. The identity when nothing better is found. The same in every run.
    """
    fixed, moving = (
        sitk.SmoothingRecursiveGaussian(WORKING_GRID.image(scan), _SMOOTHED_MM) for scan in (before, after)
    )
    search = sitk.ImageRegistrationMethod()
    search.SetMetricAsMattesMutualInformation(_BINS)
    search.SetMetricFixedMask(_counting(brain, lesion))
    search.SetMetricSamplingStrategy(search.RANDOM)
    search.SetMetricSamplingPercentage(_SAMPLED, _SEED)
    search.SetInterpolator(sitk.sitkLinear)
    search.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, _ITERATIONS, gradientMagnitudeTolerance=1e-7)
    search.SetOptimizerScalesFromPhysicalShift()
    search.SetNumberOfThreads(1)
    correction = sitk.AffineTransform(3)
    correction.SetCenter(_centre_mm(brain))
    search.SetInitialTransform(correction, inPlace=False)
    try:
        unmoved = search.MetricEvaluate(fixed, moving)
        found = search.Execute(fixed, moving)
        search.SetInitialTransform(found, inPlace=False)
        return found if search.MetricEvaluate(fixed, moving) < unmoved else correction
    except RuntimeError:
        return correction


def _counting(brain: LabelArray, lesion: LabelArray) -> sitk.Image:
    """uint8: 1 where the two sessions should agree."""
    radius = math.ceil(_LESION_MARGIN_MM / WORKING_GRID.spacing[0])
    changed = sitk.BinaryDilate(WORKING_GRID.image((lesion > 0).astype(np.uint8)), (radius,) * 3)
    return sitk.Mask(WORKING_GRID.image((brain > 0).astype(np.uint8)), changed, maskingValue=1)


def _centre_mm(brain: LabelArray) -> list[float]:
    z, y, x = np.argwhere(brain > 0).mean(axis=0).tolist()
    return [
        start + step * index
        for start, step, index in zip(WORKING_GRID.origin, WORKING_GRID.spacing, (x, y, z), strict=True)
    ]
