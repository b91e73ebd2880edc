"""The same patient predicted again with other noise, and after each of several precedents: how far the answers differ.

The two spreads are kept apart. That over noise is what the model itself leaves open once a precedent is given; that
over precedents is what depends on whom it follows (a surgeon's way, the place of the tumour).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...cases.case import FloatArray
from ...imaging.grid import WORKING_GRID
from ...progress import Progress
from ..instruction import Instruction
from ..outcome_volume import CAVITY_LABELS
from ..volume_prediction import CasePrediction

NOISE_STEPS = 5
"""Denoising steps of a sample, where none are asked for: ten cost half as much again and spread no wider."""

Predict = Callable[..., CasePrediction]
"""``predict(instruction, progress, **changes)``: the same patient, as ``Asked.again`` does it."""

Read = Callable[[], Instruction]


@dataclass
class RunningSpread:
    """Standard deviation (n - 1) of images that come one after another and need not be kept (Welford)."""

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
        spread = np.sqrt(np.maximum(self._squares, 0.0) / (self.count - 1)).astype(np.float32)
        spread[spread < 1e-6] = 0.0
        return spread


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
    ``changeable``: where any prediction is not the patient's own scan, bool; ``members``: one for each precedent.
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
    counted = _Counted(progress, noise_samples + len(precedents))
    noise, over_precedents = RunningSpread(), RunningSpread()
    changeable = _changeable(prediction)
    members = []
    for read in precedents:
        case = prediction if read is None else predict(read(), counted)
        over_precedents.add(case.image)
        changeable |= _changeable(case)
        members.append(Member.of(case))
        counted.one_more()
    for sample in range(noise_samples):
        case = predict(followed, counted, mode="sample", steps=steps or NOISE_STEPS, seed=seed + sample)
        noise.add(case.image)
        changeable |= _changeable(case)
        counted.one_more()
    own = members or [Member.of(prediction)]
    return Ensemble(noise.deviation() * changeable, over_precedents.deviation() * changeable, changeable, tuple(own))


def _changeable(case: CasePrediction) -> np.ndarray:
    return (case.change > 0) | np.any(case.shift != 0, axis=-1)


class _Counted:
    """Tells predictions as steps of one stage, and passes a cancel on at each of their own steps."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress, self._done, self._count = progress, 0, count
        progress.stage("How sure: other noise, other precedents")
        progress.step(0, count)

    def one_more(self) -> None:
        self._done += 1
        self._progress.step(self._done, self._count)

    def stage(self, name: str) -> None: ...

    def step(self, done: int, total: int) -> None:
        self._progress.step(self._done, self._count)

    def log(self, text: str) -> None:
        self._progress.log(text)
