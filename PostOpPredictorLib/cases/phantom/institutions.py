"""How each institution operates: habits that its patients share and that a pre-operative scan does not show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from ...imaging.grid import WORKING_GRID
from .fields import Crop, FloatArray, control_shape, upsample

Split = Literal["train", "val", "test"]

MAP_SCALE_MM = 42.0

HABITS: Mapping[str, tuple[float, float, float, float]] = {
    # lowest and highest mean of an institution, spread of its map over the brain, spread between its patients
    "tolerance": (0.10, 0.62, 0.15, 0.04),
    "margin_mm": (-3.0, 5.5, 2.0, 0.5),
    "fluid": (0.0, 0.75, 0.20, 0.04),
    "blood_rim_mm": (-1.5, 3.0, 1.4, 0.3),
    "blood_layer": (-0.25, 0.36, 0.14, 0.04),
    "air": (-0.25, 0.18, 0.08, 0.03),
    "collapse": (0.0, 0.85, 0.20, 0.06),
    "release": (0.1, 0.9, 0.15, 0.06),
    "oedema_mm": (-1.0, 7.0, 2.0, 0.7),
    "oedema_stays": (0.0, 1.0, 0.25, 0.08),
    "corridor_mm": (5.0, 13.0, 2.0, 0.7),
    "wall_enhancement": (0.0, 0.34, 0.10, 0.02),
    "sag_mm": (0.0, 4.0, 0.8, 0.4),
}
"""Means are uniform between the bounds; values below zero mean "none" for a thickness or a fraction."""


@dataclass(frozen=True)
class Practice:
    """One institution: per habit a mean and a smooth map over MNI space (control points ``MAP_SCALE_MM`` apart)."""

    name: str
    split: Split
    means: Mapping[str, float]
    maps: Mapping[str, FloatArray]

    def over(self, habit: str, shape: tuple[int, int, int], crop: Crop | None = None) -> FloatArray:
        """The habit at every voxel of the working grid of ``shape``, or of ``crop`` of it."""
        field = upsample(self.maps[habit], shape, MAP_SCALE_MM / 1.5, 1.0)
        return np.float32(self.means[habit]) + (field if crop is None else field[crop])

    def at(self, habit: str, shape: tuple[int, int, int], voxel: tuple[int, int, int]) -> float:
        """The habit at one voxel (z, y, x)."""
        z, y, x = voxel
        return float(self.over(habit, shape)[z, y, x])

    def spread(self, habit: str) -> float:
        """How much patients of this institution differ in the habit."""
        return HABITS[habit][3]


def _practice(name: str, split: Split, rng: np.random.Generator, shape: tuple[int, int, int]) -> Practice:
    means, maps = {}, {}
    for habit, (low, high, spread, _) in HABITS.items():
        means[habit] = float(rng.uniform(low, high))
        control = rng.standard_normal(control_shape(shape, MAP_SCALE_MM / 1.5), dtype=np.float32)
        maps[habit] = control * np.float32(spread / 0.3316)
    return Practice(name, split, means, maps)


@lru_cache(maxsize=4)
def institutions(seed: int, count: int = 24) -> tuple[Practice, ...]:
    """The cohort's institutions: of 24, 18 train, 2 val, 4 test; in proportion for other counts, at least one each."""
    tests, vals = max(1, round(count / 6)), max(1, round(count / 12))
    order = np.random.default_rng(np.random.SeedSequence([seed, 24, 1])).permutation(count)
    split: dict[int, Split] = {int(k): "train" for k in order}
    split.update({int(k): "test" for k in order[:tests]})
    split.update({int(k): "val" for k in order[tests : tests + vals]})
    return tuple(
        _practice(
            f"I{k + 1:02d}", split[k], np.random.default_rng(np.random.SeedSequence([seed, k, 7])), WORKING_GRID.shape
        )
        for k in range(count)
    )
