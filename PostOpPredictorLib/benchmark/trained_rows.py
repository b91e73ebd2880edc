"""The benchmark's rows: the trivial ones of the evaluation, and every trained entry as a system of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..evaluation.pools import Pool, Retrieval
from ..evaluation.rows import CEILING, OURS, TRIVIAL, Row
from ..evaluation.systems import AutoencoderCeiling, Composite, CopyOfPre, OurModel, RetrievedPost
from ..model.weights import verify
from .entries import PAPER, SHIPPED, TRIAL, Entry
from .workshop import Workshop


class LoadedWhenAsked:
    """A model that is read when it is first used, because most rows come from the cache; ``release`` forgets it.

    ``precision``: of its arithmetic when it is called, "float32" or "bfloat16".
    """

    has_renderer = property(lambda self: self.pipe.has_renderer)

    def __init__(self, load: Callable[[], Any], precision: str = "float32") -> None:
        self._load = load
        self._bfloat16 = precision == "bfloat16"
        self._pipe: Any = None

    @property
    def pipe(self) -> Any:
        """The model."""
        if self._pipe is None:
            self._pipe = self._load()
        return self._pipe

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        with self._arithmetic():
            return self.pipe(*arguments, **settings)

    def render(self, *arguments: Any) -> torch.Tensor:
        """What ``PostOpPipeline.render`` draws."""
        with self._arithmetic():
            return self.pipe.render(*arguments)

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(torch.device(self.pipe.device).type, torch.bfloat16, enabled=self._bfloat16)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pipe, name)

    def release(self) -> None:
        """Give its memory back."""
        self._pipe = None


@dataclass(frozen=True)
class TrainedSystem(OurModel):
    """A trained entry, asked by the function that ``postop predict`` uses, under its own name."""

    title: str = ""

    @property
    def name(self) -> str:
        return self.title


@dataclass(frozen=True)
class Sampling:
    """How all entries are asked. ``steps``: of those that sample, None: 50; ``raw``: see ``OurModel``."""

    seed: int = 0
    steps: int | None = None
    raw: bool = False


@dataclass(frozen=True)
class PlainRow(Row):
    """A row that is called as its system: the setting says where precedents come from, the same for all."""

    @property
    def title(self) -> str:
        return self.system.name


@dataclass(frozen=True)
class BenchmarkRow:
    """A row of the evaluation with its entry, None for a trivial one."""

    row: Row
    entry: Entry | None = None

    @property
    def title(self) -> str:
        """What tables and picture call it."""
        return self.row.title


def trivial_benchmark_rows() -> list[BenchmarkRow]:
    """Copy, precedent and composite."""
    rows = [
        PlainRow(TRIVIAL, CopyOfPre()),
        PlainRow(TRIVIAL, RetrievedPost(), Retrieval.GUIDED, Pool.WHOLE),
        PlainRow(TRIVIAL, Composite(), Retrieval.GUIDED, Pool.WHOLE),
    ]
    return [BenchmarkRow(row) for row in rows]


def trained_row(entry: Entry, workshop: Workshop, sampling: Sampling) -> BenchmarkRow:
    """The row of a trained entry, asked in the precision that it was trained in."""
    checksum = verify(workshop.model_folder(entry))
    mode, asked = mode_of(entry, workshop), entry.asked
    precision = workshop.recipe_of(entry).training.precision
    own = [asked.steps, asked.start, asked.guidance, entry.retrieval] if entry.kind == TRIAL else []
    if entry.retrieval in (Retrieval.RANDOM, Retrieval.IMAGE):
        own.append("tumour over tumour")
    identity = json.dumps([checksum, mode, sampling.seed, sampling.steps, sampling.raw, precision, *own])
    pipe = LoadedWhenAsked(lambda: workshop.load(entry), precision)
    system = TrainedSystem(
        pipe,
        mode,
        sampling.seed,
        steps_of(entry, workshop, sampling),
        start=asked.start,
        guidance=asked.guidance,
        raw=sampling.raw,
        note=note_of(entry, workshop),
        title=entry.title,
    )
    kind = OURS if entry.kind in (PAPER, SHIPPED) else entry.kind
    pool = None if entry.retrieval is None else Pool.WHOLE
    return BenchmarkRow(PlainRow(kind, system, entry.retrieval, pool, identity), entry)


def ceiling_row(entry: Entry, workshop: Workshop) -> BenchmarkRow:
    """The ceiling of the autoencoder that ``entry`` draws with."""
    pipe = LoadedWhenAsked(lambda: workshop.load(entry))
    return BenchmarkRow(PlainRow(CEILING, AutoencoderCeiling(pipe), identity=verify(workshop.model_folder(entry))))


def mode_of(entry: Entry, workshop: Workshop) -> str:
    """How the entry is asked; the expected outcome needs v-prediction."""
    if entry.asked.mode == "mean" and workshop.recipe_of(entry).model.prediction_type != "v_prediction":
        return "sample"
    return entry.asked.mode


def steps_of(entry: Entry, workshop: Workshop, sampling: Sampling) -> int | None:
    """Denoising steps; None: the model's own number, or none at all."""
    return None if mode_of(entry, workshop) == "mean" else entry.asked.steps or sampling.steps


def note_of(entry: Entry, workshop: Workshop) -> str:
    """Where the row's cavity comes from, and what a trial changes."""
    note = "it draws an image only: its cavity is what it drew as dark as fluid near the tumour, its residual the rest"
    if entry.system is None and workshop.recipe_of(entry).model.target == "structure":
        note = "cavity and residual tumour are the model's own outcome labels"
    if entry.retrieval is Retrieval.RANDOM:
        note += "; it follows any case, in training any slice"
    if entry.retrieval is Retrieval.IMAGE:
        note += "; it follows the case that looks most alike before surgery, in training one of the slices that do"
    return f"changes: {entry.changes or 'nothing'}; {note}" if entry.kind == TRIAL else note


def release(rows: Sequence[BenchmarkRow]) -> None:
    """Forget the models of ``rows``."""
    for row in rows:
        pipe = getattr(row.row.system, "pipe", None)
        if isinstance(pipe, LoadedWhenAsked):
            pipe.release()
