"""One operated patient as calibration sees him: how far off the prediction was, and how unsure it had been.

A block of neighbouring slices stands for the volume, so that a patient takes seconds: it is drawn once for all by the
patient's name, and its outermost slices, whose neighbours were not predicted, are left out.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_files import whole_file
from ..cases.library import LibraryCase
from ..prediction.instruction import Instruction
from ..prediction.triplet_slices import slices_with_tumour
from ..prediction.uncertainty.ensemble import Ensemble, Predict, ensemble_of
from ..prediction.volume_prediction import CasePrediction, Pipeline, predict_case
from ..progress import Progress
from .query_case import QueryCase

BLOCK, RIM = 10, 2
"""Slices that are predicted, and those at either end that are not measured."""

VOXELS = 4000
"""Drawn from those that can change, as many from every patient."""


@dataclass(frozen=True)
class PatientMeasures:
    """``error``, ``noise`` and ``precedents``: |predicted - true| brightness and the two spreads at the same voxels
    that can change, of [0, 1]. ``trials``: (IoU, cavity's Dice) for each precedent that was followed, the most similar
    one first; ``alone``: the Dice without one. ``missed``: share of the truly changed voxels that lie where nothing was
    said to change.
    """

    error: np.ndarray
    noise: np.ndarray
    precedents: np.ndarray
    trials: np.ndarray
    alone: float
    missed: float

    @property
    def spread(self) -> np.ndarray:
        """Both spreads together."""
        return np.hypot(self.noise, self.precedents)


@dataclass(frozen=True)
class Trial:
    """How a patient is predicted: the ``pipe``, how many cases are ``followed``, the noise samples, and ``settings`` of
    ``predict_case``."""

    pipe: Pipeline
    followed: int
    noise_samples: int
    noise_steps: int
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)


def measure_patient(
    case: LibraryCase,
    sequence: str,
    followed: Sequence[tuple[float, LibraryCase]],
    tried: Sequence[tuple[float, LibraryCase]],
    trial: Trial,
    progress: Progress,
) -> PatientMeasures:
    """Predict ``case`` as ``postop predict`` does with the precedents ``followed``, and after each of ``tried`` once;
    both with their IoU.

    No voxel is measured when nothing in the slices can change. Raises ``LibraryError`` for a broken case.
    """
    query = QueryCase.of(case, sequence)
    block = _block(case.case_id, slices_with_tumour(query.tumour, query.brain))
    measured = block[RIM:-RIM] if len(block) > 2 * RIM + 1 else block
    predict = _predictor(query, sequence, block, trial)
    first = None if not followed else Instruction.of_case(followed[0][1], sequence)
    prediction = predict(first, progress)
    readers = [None, *(partial(Instruction.of_case, other, sequence) for _, other in followed[1:])]
    ensemble = ensemble_of(
        predict,
        prediction,
        readers[: len(followed)],
        first,
        progress,
        noise_samples=trial.noise_samples,
        steps=trial.noise_steps,
        seed=trial.seed,
    )
    overlaps = [
        (iou, _overlap(member.cavity, query, measured))
        for (iou, _), member in zip(followed, ensemble.members, strict=False)
    ]
    for iou, other in tried:
        one = predict(Instruction.of_case(other, sequence), progress)
        overlaps.append((iou, _overlap(one.cavity_probability, query, measured)))
    alone = _overlap(predict(None, progress).cavity_probability, query, measured)
    return _measures(query, measured, prediction, ensemble, overlaps, alone)


def _predictor(query: QueryCase, sequence: str, block: tuple[int, ...], trial: Trial) -> Predict:
    beside = query.context_for(trial.pipe)

    def predict(instruction: Instruction | None, progress: Progress, **changes: Any) -> CasePrediction:
        settings = {"sequence": sequence, "seed": trial.seed, "context": beside, **trial.settings, **changes}
        return predict_case(
            trial.pipe, query.pre, query.tumour, query.brain, instruction, slices=block, progress=progress, **settings
        )

    return predict


def _block(case_id: str, slices: tuple[int, ...]) -> tuple[int, ...]:
    """``BLOCK`` neighbouring slices out of ``slices``, by the case's name."""
    first = zlib.crc32(case_id.encode()) % max(len(slices) - BLOCK + 1, 1)
    return slices[first : first + BLOCK]


def _overlap(probability: np.ndarray, query: QueryCase, slices: Sequence[int]) -> float:
    """Dice of the predicted cavity with the true one in ``slices``; 1 when both are empty."""
    index = list(slices)
    truth, told = query.true_cavity[index], probability[index] > 0.5
    size = float(truth.sum() + told.sum())
    return 2.0 * float((truth & told).sum()) / size if size > 0 else 1.0


def _measures(
    query: QueryCase,
    measured: Sequence[int],
    prediction: CasePrediction,
    ensemble: Ensemble,
    overlaps: Sequence[tuple[float, float]],
    alone: float,
) -> PatientMeasures:
    index = list(measured)
    inside = ensemble.changeable[index] & (query.brain[index] > 0)
    error = np.abs(prediction.image[index] - query.post[index])[inside]
    generator = np.random.default_rng(zlib.crc32(query.case.case_id.encode()))
    drawn = generator.permutation(error.size)[:VOXELS]
    changed = query.outcome[index] > 0
    return PatientMeasures(
        error[drawn].astype(np.float32),
        ensemble.noise[index][inside][drawn],
        ensemble.precedents[index][inside][drawn],
        np.array(overlaps, np.float32).reshape(-1, 2),
        alone,
        float((changed & ~inside).sum() / changed.sum()) if changed.any() else 0.0,
    )


def save_measures(measures: PatientMeasures, path: Path) -> None:
    """Write them whole or not at all."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **vars(measures))


def load_measures(path: Path) -> PatientMeasures | None:
    """Read what ``save_measures`` wrote; None when there is nothing, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("error", "noise", "precedents", "trials")}
            return PatientMeasures(**arrays, alone=float(stored["alone"]), missed=float(stored["missed"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
