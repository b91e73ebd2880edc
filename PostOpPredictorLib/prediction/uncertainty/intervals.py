"""Calibrated intervals around a prediction: how far off a voxel's brightness may be, at a level that was checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...cases.case import FloatArray
from ...model.calibration_file import Calibration
from ..request import PredictionRequest
from .ensemble import NOISE_STEPS, Ensemble

WRITTEN_LEVEL = 0.9
MATCHED = ("mode", "steps", "samples", "guidance", "start", "noise_steps", "retrieval", "per")
AT_LEAST = ("k", "noise_samples")
"""What decides how wide the spread is: intervals hold for predictions that were made as the calibrated ones were.

More precedents or samples than there were then steady the spread; fewer make it too uncertain."""


@dataclass(frozen=True)
class Intervals:
    """A usable calibration, or None and why; ``sentence`` says either to a person."""

    calibration: Calibration | None
    sentence: str

    def half_width(self, ensemble: Ensemble) -> FloatArray | None:
        """Half the width of the ``WRITTEN_LEVEL`` interval (z, y, x), of a brightness in [0, 1]; 0 where nothing can
        change; None without a calibration."""
        if self.calibration is None:
            return None
        scale = self.calibration.scales[WRITTEN_LEVEL]
        return half_width(ensemble.spread, self.calibration.floor, scale) * ensemble.changeable


def half_width(spread: np.ndarray, floor: float, scale: float) -> np.ndarray:
    """Half the width of an interval: never more than the whole range of brightness, 1."""
    return np.minimum(scale * (spread + floor), 1.0)


def settings_of(request: PredictionRequest) -> dict[str, Any]:
    """The settings of ``MATCHED`` and ``AT_LEAST``, as JSON holds them."""
    named = {name: getattr(request, name) for name in (*MATCHED, *AT_LEAST) if name != "noise_steps"}
    return named | {"noise_steps": request.steps or NOISE_STEPS}


def intervals_for(
    request: PredictionRequest, sequence: str, precedents: int, calibration: Calibration | None, reason: str
) -> Intervals:
    """What calibration says of a prediction of ``sequence`` with so many ``precedents`` found."""
    if calibration is None:
        return Intervals(None, f"Not calibrated. {reason}")
    problem = _other_than_calibrated(request, sequence, precedents, calibration.settings)
    if problem:
        return Intervals(None, f"Not calibrated for this prediction: {problem}.")
    return Intervals(
        calibration,
        f"Calibrated on {calibration.patients} patients ({calibration.data}): on patients like these the true "
        f"brightness lies in the interval in {WRITTEN_LEVEL:.0%} of the voxels that can change.",
    )


def _other_than_calibrated(
    request: PredictionRequest, sequence: str, precedents: int, calibrated: Mapping[str, Any]
) -> str:
    if precedents == 0:
        return "the calibration knows no patient without a similar case"
    if request.follow is not None:
        return "its precedent was chosen by hand"
    if request.days is not None:
        return "it is of a chosen time after surgery"
    if sequence not in calibrated.get("sequences", ()):
        return f"the calibration knows no {sequence} scans"
    for name, value in settings_of(request).items():
        known = calibrated.get(name)
        enough = name in AT_LEAST and isinstance(known, int) and value >= known
        if known != value and not enough:
            return f"the calibration was made with {name} {known}, not {value}"
    return ""
