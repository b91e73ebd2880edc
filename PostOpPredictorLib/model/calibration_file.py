"""calibration.json of a model folder: how wide an interval must be, and how similar a precedent, by its patients.

It is made after the weights were published and belongs to them by their checksum, so it is not among the files that
``weights.verify`` guards: a calibration of other weights is refused here, and a prediction goes on without one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..atomic_files import whole_file
from ..errors import InputError
from .weights import CALIBRATION

SCHEMA = 1
LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class SimilarityThresholds:
    """Below the IoU ``weak`` a precedent is none, from ``good`` on a good one.

    ``by_gain``: from there on precedents helped the validation patients; else they are what these patients usually had.
    ``rule`` says how they were found.
    """

    weak: float
    good: float
    by_gain: bool
    rule: str


@dataclass(frozen=True)
class Calibration:
    """The half width of the interval of ``level`` is ``scales[level] * (spread + floor)``, of a brightness in [0, 1].

    ``model_checksum``: what ``weights.verify`` says of the model. ``settings``: how the predictions were made, by name.
    ``patients``: of the validation; ``data``: what they were, for people. ``similarity`` None: no threshold was found.
    ``record``: how it came about.
    """

    model_checksum: str
    floor: float
    scales: Mapping[float, float]
    patients: int
    data: str
    settings: Mapping[str, Any]
    similarity: SimilarityThresholds | None
    record: Mapping[str, Any]

    def __post_init__(self) -> None:
        wide = [self.scales[level] for level in sorted(self.scales)]
        numbers = [self.floor, *wide]
        if set(self.scales) != set(LEVELS) or not all(math.isfinite(n) and n > 0 for n in numbers) or self.patients < 1:
            raise ValueError("its numbers are not those of a calibration")
        if wide != sorted(wide):
            raise ValueError("its intervals do not grow with their level")
        if self.similarity and not 0.0 <= self.similarity.weak <= self.similarity.good <= 1.0:
            raise ValueError("its similarity thresholds are not in order")


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write the file whole or not at all."""
    content = {
        "schema": SCHEMA,
        **asdict(calibration),
        "scales": {f"{100 * level:g}": scale for level, scale in calibration.scales.items()},
    }
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_calibration(folder: Path, model_checksum: str) -> Calibration:
    """The calibration of the model in ``folder``; ``InputError`` when there is none, or none of these weights."""
    path = Path(folder) / CALIBRATION
    if not path.is_file():
        raise InputError("This model has not been calibrated (it has no calibration.json). Run `postop calibrate`.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"its schema is {content['schema']}, not {SCHEMA}")
        calibration = _calibration_from(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"The model's calibration.json cannot be used ({error}). Run `postop calibrate` again."
        ) from error
    if calibration.model_checksum != model_checksum:
        raise InputError(
            "The model's calibration.json was made for other weights, so it is not used. Run `postop calibrate` again."
        )
    return calibration


def calibration_or_reason(folder: Path, model_checksum: str) -> tuple[Calibration | None, str]:
    """The calibration and an empty text, or None and a sentence that says why there is none."""
    try:
        return read_calibration(folder, model_checksum), ""
    except InputError as error:
        return None, str(error)


def _calibration_from(content: Mapping[str, Any]) -> Calibration:
    similarity = content["similarity"]
    return Calibration(
        model_checksum=str(content["model_checksum"]),
        floor=float(content["floor"]),
        scales={float(percent) / 100.0: float(scale) for percent, scale in content["scales"].items()},
        patients=int(content["patients"]),
        data=str(content["data"]),
        settings=dict(content["settings"]),
        similarity=None
        if similarity is None
        else SimilarityThresholds(
            float(similarity["weak"]),
            float(similarity["good"]),
            bool(similarity["by_gain"]),
            str(similarity["rule"]),
        ),
        record=dict(content["record"]),
    )
