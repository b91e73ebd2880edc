"""What a person asks to be resected, and what must stay: files and millimetres, before anything is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

LEAST_MARGIN_MM, MOST_MARGIN_MM = -5.0, 10.0
MOST_SPARED_MM = 50.0


@dataclass(frozen=True)
class StructureRequest:
    """A structure that distances are told to: everything above 0 in ``mask``, which lies over the scan."""

    name: str
    mask: Path


@dataclass(frozen=True)
class SpareRequest:
    """Everything within ``distance_mm`` of what is above 0 in ``mask`` is left; ``InputError`` beyond 0 to 50."""

    mask: Path
    distance_mm: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.distance_mm) and 0.0 <= self.distance_mm <= MOST_SPARED_MM):
            raise InputError(
                f"A distance to spare is {self.distance_mm} mm; give a number from 0 to {MOST_SPARED_MM:g}."
            )


@dataclass(frozen=True)
class PlanRequest:
    """A planned resection: what is above 0 in ``mask`` (over the scan), or the tumour core and ``margin_mm`` around it.

    A negative margin leaves that much of the core's rim. What ``spare`` names is taken out of either. Raises
    ``InputError`` when neither or both are given, or the margin is not within -5 to 10 mm.
    """

    name: str = ""
    mask: Path | None = None
    margin_mm: float | None = None
    spare: tuple[SpareRequest, ...] = ()

    def __post_init__(self) -> None:
        called = f"The plan '{self.name}'" if self.name else "A plan"
        if (self.mask is None) == (self.margin_mm is None):
            raise InputError(f"{called} needs either a mask of what is taken or a margin around the tumour. Give one.")
        margin = self.margin_mm
        if margin is not None and not (math.isfinite(margin) and LEAST_MARGIN_MM <= margin <= MOST_MARGIN_MM):
            raise InputError(
                f"{called} has a margin of {margin} mm; give a number from {LEAST_MARGIN_MM:g} to {MOST_MARGIN_MM:g}."
            )
