"""The affine transform that lays the MNI template over a scan: mutual information, several starts."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..errors import RegistrationFailed
from ..progress import Progress
from . import template
from .grid import Grid
from .moving_scan import MovingScan

_BINS = 32
_SEED = 20170
_PITCHES_DEGREES = (0.0, -15.0, 15.0)
_MASK_MARGIN_MM = 10
_REFINED_STARTS = 2
_SAME_PLACE_MM = 3.0
_IN_PLACE_MM = 3.0
_WORKERS = 2
"""Starts searched at the same time, each by one thread (SimpleITK lets go of Python's lock meanwhile)."""


@dataclass(frozen=True)
class _Level:
    template_mm: float
    scan_mm: float
    sigma_mm: float
    iterations: int
    sampled: float = 1.0


_COARSE = _Level(8.0, 4.0, 4.0, 60)
_MIDDLE = _Level(4.0, 4.0, 2.0, 80)
_FINE = _Level(2.0, 2.0, 1.0, 60, sampled=0.2)


_Found = tuple[float, sitk.Transform]
"""Metric (smaller is better) and the transform that reached it."""


@dataclass(frozen=True)
class Search:
    """The scan on every level of the search, and the mask of its voxels that count."""

    scan: MovingScan
    pyramid: Mapping[_Level, sitk.Image]

    @classmethod
    def of(cls, scan: MovingScan) -> Search:
        """Make the levels of ``scan``."""
        levels = (_COARSE, _MIDDLE, _FINE)
        smooth = {level: sitk.SmoothingRecursiveGaussian(scan.image, level.sigma_mm) for level in levels}
        return cls(scan, {level: _coarser(smooth[level], level.scan_mm, sitk.sitkLinear) for level in levels})

    def is_in_place(self) -> bool:
        """Whether the scan lies on the template already: a search that starts there does not leave it."""
        identity = sitk.AffineTransform(3)
        identity.SetCenter(_brain_points().mean(axis=0).tolist())
        found = self._attempt(identity, _MIDDLE, True)
        return bool(found) and distance_mm(found[0][1], identity) < _IN_PLACE_MM

    def align(self, progress: Progress) -> sitk.Transform:
        """The affine transform MNI (LPS mm) -> scan (LPS mm) with the best metric over all starts.

        Every start is tried with and without the template's brain mask on the coarsest level; the best two are refined.
        Raises ``RegistrationFailed`` when no start leads anywhere.
        """
        attempts = list(itertools.product(_starts(self.scan.brain), (False, True)))
        total = len(attempts) + _REFINED_STARTS + 1
        found = self._attempt_all(
            [(start, _COARSE, masked) for start, masked in attempts], lambda done: progress.step(done, total)
        )
        refined = self._attempt_all(
            [(_as_affine(sitk.Euler3DTransform(place)), _MIDDLE, True) for place in _best_places(found)],
            lambda done: progress.step(len(attempts) + done, total),
        )
        if not refined:
            raise RegistrationFailed(
                "The scan could not be aligned to the MNI template at all. Check that it is a T1-weighted scan of a "
                "whole brain."
            )
        best = min(refined, key=lambda candidate: candidate[0])[1]
        finest = self._attempt(best, _FINE, True)
        progress.step(total, total)
        return finest[0][1] if finest else best

    def _attempt_all(
        self, attempts: list[tuple[sitk.Transform, _Level, bool]], tell: Callable[[int], None]
    ) -> list[_Found]:
        """The results of ``_attempt`` in the order of ``attempts``; ``tell`` may raise to stop."""
        found: list[_Found] = []
        with ThreadPoolExecutor(_WORKERS) as workers:
            futures = [workers.submit(self._attempt, *attempt) for attempt in attempts]
            try:
                for number, future in enumerate(futures, start=1):
                    found += future.result()
                    tell(number)
            except BaseException:
                workers.shutdown(wait=False, cancel_futures=True)
                raise
        return found

    def _attempt(self, start: sitk.Transform, level: _Level, masked: bool) -> list[_Found]:
        """Metric (smaller is better) and transform after the search on one level; nothing when it ran off the scan."""
        moved = type(start)(start)
        method = self._method(level, masked)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=level.template_mm / 2,
            minStep=level.template_mm / 400,
            numberOfIterations=level.iterations,
            relaxationFactor=0.6,
            gradientMagnitudeTolerance=1e-8,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(moved, inPlace=True)
        try:
            method.Execute(_template_at(level), self.pyramid[level])
            judge = self._method(_MIDDLE, True)
            judge.SetInitialTransform(moved)
            return [(judge.MetricEvaluate(_template_at(_MIDDLE), self.pyramid[_MIDDLE]), moved)]
        except RuntimeError:
            return []

    def _method(self, level: _Level, masked: bool) -> sitk.ImageRegistrationMethod:
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetInterpolator(sitk.sitkLinear)
        # With more, sums come in another order in every run, and so does the last digit of the result.
        method.SetNumberOfWorkUnits(1)
        method.SetMetricMovingMask(self.scan.counts)
        if masked:
            method.SetMetricFixedMask(_template_region(level.template_mm))
        if level.sampled < 1.0:
            method.SetMetricSamplingStrategy(method.RANDOM)
            method.SetMetricSamplingPercentage(level.sampled, _SEED)
        return method


@functools.cache
def _template_at(level: _Level) -> sitk.Image:
    return _coarser(sitk.SmoothingRecursiveGaussian(template.t1(), level.sigma_mm), level.template_mm, sitk.sitkLinear)


@functools.cache
def _template_region(spacing_mm: float) -> sitk.Image:
    wide = template.distance_mm() <= _MASK_MARGIN_MM
    return _coarser(wide, spacing_mm, sitk.sitkNearestNeighbor)


def _coarser(image: sitk.Image, spacing_mm: float, interpolator: int) -> sitk.Image:
    grid = Grid.of(image)
    x, y, z = (max(1, math.ceil(n * s / spacing_mm)) for n, s in zip(grid.size, grid.spacing, strict=True))
    return Grid((x, y, z), (spacing_mm,) * 3, grid.origin, grid.direction).resample(image, interpolator=interpolator)


def _starts(brain: sitk.Image) -> list[sitk.Euler3DTransform]:
    """Moments with three pitches, and the middle of the bounding box (a tilted or cut brain moves it less)."""
    own, other = _points(template.brain_mask()), _points(brain)
    if len(other) == 0:
        return []
    by_moments = other.mean(axis=0) - own.mean(axis=0)
    by_geometry = (other.min(axis=0) + other.max(axis=0) - own.min(axis=0) - own.max(axis=0)) / 2
    centre = own.mean(axis=0)
    places = [(by_moments, pitch) for pitch in _PITCHES_DEGREES] + [(by_geometry, 0.0)]
    starts = []
    for translation, pitch in places:
        start = sitk.Euler3DTransform()
        start.SetCenter(centre.tolist())
        start.SetRotation(math.radians(pitch), 0.0, 0.0)
        start.SetTranslation(translation.tolist())
        starts.append(start)
    return starts


def _best_places(found: list[_Found]) -> list[sitk.Transform]:
    """The best transforms that do not lie at the same place as a better one."""
    kept: list[sitk.Transform] = []
    for _, transform in sorted(found, key=lambda candidate: candidate[0]):
        if all(distance_mm(transform, other) > _SAME_PLACE_MM for other in kept):
            kept.append(transform)
    return kept[:_REFINED_STARTS]


def distance_mm(one: sitk.Transform, other: sitk.Transform) -> float:
    """Mean distance in mm between where two transforms carry points of the template's brain."""
    points = _brain_points().tolist()
    return float(np.mean([math.dist(one.TransformPoint(p), other.TransformPoint(p)) for p in points]))


@functools.cache
def _brain_points() -> np.ndarray:
    return _points(template.brain_mask())[::10_000]


def _points(region: sitk.Image) -> np.ndarray:
    """Physical points (n, 3) in LPS mm of the marked voxels."""
    zyx = np.argwhere(sitk.GetArrayViewFromImage(region))
    axes = np.reshape(region.GetDirection(), (3, 3)) * np.asarray(region.GetSpacing())
    return zyx[:, ::-1] @ axes.T + np.asarray(region.GetOrigin())


def _as_affine(rigid: sitk.Euler3DTransform) -> sitk.AffineTransform:
    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    return affine
