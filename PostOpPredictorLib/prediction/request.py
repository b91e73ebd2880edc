"""What is asked of a prediction, and what it hands back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from .plan_request import PlanRequest, StructureRequest

SequenceOption = Literal["auto", "T1w", "T1wCE", "T2w", "FLAIR"]
Mode = Literal["mean", "sample", "average"]
RetrievalOption = Literal["tumour", "image", "random"]
PerOption = Literal["volume", "slice"]
DeviceOption = Literal["auto", "cpu", "cuda", "mps"]

MOST_STEPS = 1000
MOST_SAMPLES = 256
MOST_PRECEDENTS = 100
MOST_PLANS = 12
MOST_TIMES = 24
FIRST_DAY, LAST_DAY = 0.0, 365.0


@dataclass(frozen=True)
class PredictionRequest:
    """One patient to predict.

    ``pre``: scan (file or DICOM folder); ``tumour``: label map, read by ``labels`` (a preset's name or numbers such as
    "1,4"); ``brain``: brain mask, made when left out. ``library`` and ``model``: folders; the shipped ones when left
    out. ``steps``, ``samples`` and ``guidance`` default to the model's own. ``k`` precedents are listed, the first one
    is followed. ``institution`` limits retrieval to the cases of one place. ``out``: a folder that must not exist,
    unless ``overwrite``.

    ``more``: further scans of the same session and space by sequence: predicted from the same outcome, and seen by a
    model that has them among its ``context_sequences``. ``follow``: the
    case that is followed instead of the most similar one; ``exclude``: cases that are not precedents. ``days`` since
    surgery that the prediction shows; ``series``: more of such days, a volume each. ``uncertainty``: maps of spread,
    and what each precedent changes; ``noise_samples``: samples for the spread over noise. ``plans``: a prediction for
    each; ``structures``: what the cavity's distance is told to. ``report``: whether report.html is written.
    Raises ``InputError`` for a value that cannot be used.
    """

    pre: Path
    tumour: Path
    out: Path
    labels: str = "brats"
    brain: Path | None = None
    sequence: SequenceOption = "auto"
    library: Path | None = None
    model: Path | None = None
    mode: Mode = "mean"
    steps: int | None = None
    samples: int | None = None
    seed: int = 0
    guidance: float | None = None
    start: Literal["noise", "composite"] = "noise"
    k: int = 3
    retrieval: RetrievalOption = "tumour"
    per: PerOption = "volume"
    institution: str | None = None
    device: DeviceOption = "auto"
    overwrite: bool = False
    more: Mapping[str, Path] = field(default_factory=dict)
    follow: str | None = None
    exclude: tuple[str, ...] = ()
    days: float | None = None
    series: tuple[float, ...] = ()
    uncertainty: bool = False
    noise_samples: int = 8
    plans: tuple[PlanRequest, ...] = ()
    structures: tuple[StructureRequest, ...] = ()
    report: bool = True

    def __post_init__(self) -> None:
        _whole("seed", self.seed, 0, 2**63 - 1)
        _whole("k", self.k, 1, MOST_PRECEDENTS)
        _whole("noise_samples", self.noise_samples, 2, MOST_SAMPLES)
        _at_most("plans", self.plans, MOST_PLANS)
        _at_most("series", self.series, MOST_TIMES)
        for day in (*self.series, *(() if self.days is None else (self.days,))):
            if not (math.isfinite(day) and FIRST_DAY <= day <= LAST_DAY):
                raise InputError(f"A time since surgery is {day} days; give {FIRST_DAY:g} to {LAST_DAY:g}.")
        if self.steps is not None:
            _whole("steps", self.steps, 1, MOST_STEPS)
        if self.samples is not None:
            _whole("samples", self.samples, 1, MOST_SAMPLES)
        if self.guidance is not None and not (math.isfinite(self.guidance) and 0.0 <= self.guidance <= 30.0):
            raise InputError(f"guidance is {self.guidance}; give a number from 0 to 30 (1 = none).")


def _at_most(name: str, values: tuple[object, ...], most: int) -> None:
    if len(values) > most:
        raise InputError(f"{name} has {len(values)} entries; give at most {most}.")


def _whole(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InputError(f"{name} is {value}; give a whole number from {least} to {most}.")


@dataclass(frozen=True)
class PredictionResult:
    """``folder``, the files in it by what they are, and a ``summary`` that JSON can hold."""

    folder: Path
    files: Mapping[str, Path]
    summary: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The same as one mapping, for JSON lines."""
        return {"folder": self.folder, "files": dict(self.files), **self.summary}
