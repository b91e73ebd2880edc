"""Bootstrap intervals over patients: whole patients are drawn, never slices, because slices of one patient resemble
each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over ``patients`` with its percentile-bootstrap interval; ``low`` and ``high`` are ``None`` for fewer
    than two patients."""

    mean: float
    low: float | None
    high: float | None
    patients: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def mean_interval(
    values: Sequence[float | None], *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval | None:
    """Mean of one value per patient and its interval. ``None`` values are left out; ``None`` when nothing is left."""
    present = np.array([value for value in values if value is not None], dtype=np.float64)
    if present.size == 0:
        return None
    if present.size == 1:
        return Interval(float(present[0]), None, None, 1)
    draws = np.random.default_rng(seed).integers(0, present.size, size=(resamples, present.size))
    low, high = _bounds(present[draws].mean(axis=1), level)
    return Interval(float(present.mean()), low, high, int(present.size))


def pooled_interval(
    groups: Sequence[Sequence[float]], *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval | None:
    """Mean over all values of all patients (``groups``: one list per patient), with an interval from drawing whole
    patients."""
    sizes = np.array([len(group) for group in groups if len(group)], dtype=np.float64)
    sums = np.array([float(np.sum(group)) for group in groups if len(group)])
    if sizes.size == 0:
        return None
    mean = float(sums.sum() / sizes.sum())
    if sizes.size == 1:
        return Interval(mean, None, None, 1)
    draws = np.random.default_rng(seed).integers(0, sizes.size, size=(resamples, sizes.size))
    low, high = _bounds(sums[draws].sum(axis=1) / sizes[draws].sum(axis=1), level)
    return Interval(mean, low, high, int(sizes.size))


def paired_interval(
    first: Sequence[float | None],
    second: Sequence[float | None],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval | None:
    """Mean of ``first - second`` over the patients that have both values (same order in both), with its interval."""
    differences = [
        None if one is None or other is None else one - other for one, other in zip(first, second, strict=True)
    ]
    return mean_interval(differences, resamples=resamples, level=level, seed=seed)


def _bounds(means: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
