"""The search for the affine transform that lays the MNI template over a scan (Mattes mutual information, SimpleITK)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..progress import Progress
from . import template
from .grid import Grid

_SEED = 20170
_BINS = 32
_WORK_MM = 2.0
_COARSE_MM = 8.0
_MIDDLE_MM = 4.0
_MARGIN_MM = 4
_PITCHES_DEGREES = (0.0, -20.0, 20.0)
_KEPT_STARTS = 2
_STANDS = "the template moved to where the scan is"


@dataclass(frozen=True)
class MovingScan:
    """A scan made ready for the search: windowed to [0, 1], at most 2 mm coarse, with the mask of voxels that count."""

    image: sitk.Image
    region: sitk.Image
    counts: sitk.Image


def align(scan: MovingScan, progress: Progress) -> sitk.AffineTransform:
    """The affine transform MNI (LPS mm) -> scan (LPS mm) of the best metric over all starts."""
    starts = _starts(scan.region)
    coarse = []
    for number, (start, masked) in enumerate(itertools.product(starts, (True, False))):
        progress.step(number, 2 * len(starts) + 4)
        moved = _optimise(scan, start, _Level(_COARSE_MM, 4.0, 1.0, masked, 60))
        coarse.append((_metric(scan, moved, _COARSE_MM), number, moved))
    coarse.sort(key=lambda c: c[:2])
    refined = []
    for number, (_, _, start) in enumerate(coarse[:_KEPT_STARTS]):
        progress.step(2 * len(starts) + number, 2 * len(starts) + 4)
        affine = _as_affine(_optimise(scan, start, _Level(_MIDDLE_MM, 2.0, 1.0, True, 60)))
        affine = _optimise(scan, affine, _Level(_MIDDLE_MM, 2.0, 1.0, True, 100))
        refined.append((_metric(scan, affine, _MIDDLE_MM), number, affine))
    best = min(refined, key=lambda c: c[:2])[2]
    return _optimise(scan, best, _Level(_WORK_MM, 1.0, 0.2, True, 60))


@dataclass(frozen=True)
class _Level:
    spacing_mm: float
    sigma_mm: float
    sampled: float
    inside_brain: bool
    iterations: int


def _optimise(scan: MovingScan, start: sitk.Transform, level: _Level) -> sitk.Transform:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    if level.sampled < 1.0:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(level.sampled, _SEED)
    if level.inside_brain:
        method.SetMetricFixedMask(_template_region(level.spacing_mm))
    method.SetMetricMovingMask(scan.counts)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=level.spacing_mm / 2, minStep=level.spacing_mm / 400, numberOfIterations=level.iterations, relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    moving = sitk.SmoothingRecursiveGaussian(scan.image, level.sigma_mm)
    moved = type(start)(start)
    method.SetInitialTransform(moved, inPlace=True)
    method.Execute(_template(level.spacing_mm, level.sigma_mm), moving)
    return moved


def _metric(scan: MovingScan, transform: sitk.Transform, spacing_mm: float) -> float:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(_template_region(spacing_mm))
    method.SetMetricMovingMask(scan.counts)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(transform)
    return method.MetricEvaluate(_template(spacing_mm, 2.0), sitk.SmoothingRecursiveGaussian(scan.image, 2.0))


def _template(spacing_mm, sigma_mm):
    smooth = sitk.SmoothingRecursiveGaussian(template.t1(), sigma_mm)
    return _coarser(smooth, spacing_mm, sitk.sitkLinear)


def _template_region(spacing_mm):
    wide = sitk.BinaryDilate(template.brain_mask(), (_MARGIN_MM,) * 3)
    return _coarser(wide, spacing_mm, sitk.sitkNearestNeighbor)


def _coarser(image: sitk.Image, spacing_mm: float, interpolator: int) -> sitk.Image:
    return isotropic(Grid.of(image), spacing_mm).resample(image, interpolator=interpolator)


def isotropic(grid: Grid, spacing_mm: float) -> Grid:
    """The grid with the same corner voxel and axes as ``grid`` and cubes of ``spacing_mm``."""
    size = tuple(max(1, math.ceil(n * s / spacing_mm)) for n, s in zip(grid.size, grid.spacing, strict=True))
    return Grid(size, (spacing_mm,) * 3, grid.origin, grid.direction)


def _starts(region: sitk.Image) -> list[sitk.Euler3DTransform]:
    centre = _centroid(template.brain_mask())
    top = _top(template.brain_mask())
    moments = _centroid(region)
    brain_below_top = _top(region) - 12.0 - (top - centre[2])
    places = [moments, np.array([moments[0], moments[1], brain_below_top])]
    if abs(places[0][2] - places[1][2]) < 15: places.pop()
    starts = []
    for place, pitch in itertools.product(places, _PITCHES_DEGREES):
        start = sitk.Euler3DTransform()
        start.SetCenter(centre.tolist())
        start.SetRotation(math.radians(pitch), 0.0, 0.0)
        start.SetTranslation((place - centre).tolist())
        starts.append(start)
    return starts


def _points(region):
    zyx = np.argwhere(sitk.GetArrayViewFromImage(region))
    axes = np.reshape(region.GetDirection(), (3, 3)) * np.asarray(region.GetSpacing())
    return zyx[:, ::-1] @ axes.T + np.asarray(region.GetOrigin())


def _centroid(region: sitk.Image) -> np.ndarray:
    return _points(region).mean(axis=0)


def _top(region: sitk.Image) -> float:
    return float(np.percentile(_points(region)[:, 2], 99.9))


def _as_affine(rigid: sitk.Euler3DTransform) -> sitk.AffineTransform:
    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    return affine
