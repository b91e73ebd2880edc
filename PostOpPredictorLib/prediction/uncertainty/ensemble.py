"""The same patient predicted again with other noise, and after each of several precedents: how far the answers differ.

The two spreads are kept apart. That over noise is what the model itself leaves open once a precedent is given; that
over precedents is what depends on whom it follows (a surgeon's way, the place of the tumour).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...cases.case import FloatArray
from ...imaging.grid import WORKING_GRID
from ...progress import PartOf, Progress
from ..instruction import Instruction
from ..outcome_volume import CAVITY_LABELS
from ..volume_prediction import CasePrediction

NOISE_STEPS = 5
"""Denoising steps of a sample, where none are asked for: ten cost half as much again."""

MOVED_MM = 1.0
"""Tissue that moves by less than this (a voxel is 1.5 mm) is the patient's own, and stays as it is."""

Predict = Callable[..., CasePrediction]
"""``predict(instruction, progress, **changes)``: the same patient, as ``Asked.again`` does it."""

Read = Callable[[], Instruction]


@dataclass
class RunningSpread:
    """Standard deviation of images that come one after another and need not be kept (Welford's way).

    It is divided by what a few normal values underestimate it, so that spreads of few and of many images compare.
    """

    count: int = 0
    _mean: np.ndarray = field(default_factory=lambda: np.zeros(WORKING_GRID.shape, np.float64))
    _squares: np.ndarray = field(default_factory=lambda: np.zeros(WORKING_GRID.shape, np.float64))

    def add(self, image: FloatArray) -> None:
        """Take one more image (z, y, x) on WORKING_GRID."""
        self.count += 1
        away = image - self._mean
        self._mean += away / self.count
        self._squares += away * (image - self._mean)

    def deviation(self) -> FloatArray:
        """The standard deviation, float32; 0 for fewer than two images, and exactly 0 where all were equal."""
        if self.count < 2:
            return np.zeros(WORKING_GRID.shape, np.float32)
        spread = np.sqrt(np.maximum(self._squares, 0.0) / (self.count - 1)) / _shortfall(self.count)
        spread[spread < 1e-6] = 0.0
        return spread.astype(np.float32)


def _shortfall(count: int) -> float:
    """The mean of the standard deviation (n - 1) of so many normal values, of the true one (c4 in quality control)."""
    return math.sqrt(2.0 / (count - 1)) * math.gamma(count / 2.0) / math.gamma((count - 1) / 2.0)


@dataclass(frozen=True)
class Member:
    """What is kept of one precedent's prediction: cavity probability (z, y, x) and the cavity's voxels."""

    cavity: FloatArray
    cavity_voxels: int

    @classmethod
    def of(cls, case: CasePrediction) -> Member:
        """Of a prediction."""
        return cls(case.cavity_probability, int(np.isin(case.outcome, CAVITY_LABELS).sum()))


@dataclass(frozen=True)
class Ensemble:
    """Arrays (z, y, x) on WORKING_GRID. ``noise`` and ``precedents``: standard deviations of the brightness, of [0, 1];
    ``changeable``: where any prediction is generated, or one after a precedent moves tissue by ``MOVED_MM``, bool;
    ``members``: one for each precedent.
    """

    noise: FloatArray
    precedents: FloatArray
    changeable: np.ndarray
    members: tuple[Member, ...]

    @property
    def spread(self) -> FloatArray:
        """Both spreads together, as independent ones add."""
        return np.hypot(self.noise, self.precedents)

    @property
    def agreement(self) -> FloatArray:
        """Mean cavity probability over the precedents."""
        return np.mean([member.cavity for member in self.members], axis=0, dtype=np.float32)


def ensemble_of(
    predict: Predict,
    prediction: CasePrediction,
    precedents: Sequence[Read | None],
    followed: Instruction | None,
    progress: Progress,
    *,
    noise_samples: int,
    steps: int | None,
    seed: int,
) -> Ensemble:
    """Predict after each of ``precedents`` once, and sample ``noise_samples`` outcomes after ``followed``.

    A precedent is read when its turn comes; None stands for the one of ``prediction``, which is taken as it is.
    ``progress.step`` may raise to cancel.
    """
    count = noise_samples + len(precedents)
    progress.stage("How sure: other noise, other precedents")
    noise, over_precedents = RunningSpread(), RunningSpread()
    changeable = (prediction.change > 0) | _moved(prediction)
    members = []
    for number, read in enumerate(precedents):
        progress.step(number, count)
        case = prediction if read is None else predict(read(), PartOf(progress, number, count, logs=True))
        over_precedents.add(case.image)
        changeable |= (case.change > 0) | _moved(case)
        members.append(Member.of(case))
    for sample in range(noise_samples):
        own = PartOf(progress, len(precedents) + sample, count, logs=True)
        own.step(0, 1)
        case = predict(followed, own, mode="sample", steps=steps or NOISE_STEPS, seed=seed + sample)
        noise.add(case.image)
        changeable |= case.change > 0  # not where it moved: one sample's shift trembles in the whole brain
    progress.step(count, count)
    kept = tuple(members) or (Member.of(prediction),)
    return Ensemble(noise.deviation() * changeable, over_precedents.deviation() * changeable, changeable, kept)


def _moved(case: CasePrediction) -> np.ndarray:
    return np.linalg.norm(case.shift, axis=-1) >= MOVED_MM
