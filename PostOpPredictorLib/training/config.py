"""How a model is trained: one frozen set of numbers, laid over from the same YAML file as the model's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..model.config import PostOpConfig
from ..model.settings import overlay, read_sections

PARTS = ("denoiser", "renderer", "autoencoder")


@dataclass(frozen=True)
class TrainingConfig:
    """``part``: which network learns. ``crop``: side of the square around the tumour in pixels, 0 = the whole panel; a
    model on the grid always sees whole panels.

    ``batch_size``: slices in one step over all processes, worked on in ``accumulate`` parts by each of them.
    ``ema_decay``: 0 keeps no average of the weights. ``precision``: of the arithmetic; weights stay float32.
    ``sequence``: "any" draws for each batch one of the model's ``sequences`` that the file holds; the paper's is T1w.
    ``stable_diffusion`` (folder or hub name), ``medsam`` (checkpoint file): where a new run starts from, "" = random
    weights; ``download``: whether the hub may be asked. ``embeddings``: folder of MedSAM's embeddings, "" = in the run.

    ``expected_share``: share of samples at the last time step, whose answer is the conditional mean (mode "mean").
    ``outside_weight``: loss weight away from the lesion, 1 inside.
    ``neighbours``: the instruction is drawn from that many most similar slices; ``elsewhere_share`` of the instructions
    are of another institution, so that the model learns what such a precedent is worth.
    ``mirrored_share``: share of the slices that are turned left for right, with their precedents.
    ``validate_every`` so many steps the averaged weights are measured on ``validation_slices`` of the validation
    patients, and ``model/`` holds the best of them so far; 0 keeps the last ones.
    ``sheet_every`` so many steps, and at the end, a contact sheet is drawn; 0 draws none.
    ``start_from``: a model folder whose weights a new run begins with, "" = random weights.
    """

    part: str = "denoiser"
    steps: int = 20000
    batch_size: int = 16
    learning_rate: float = 3e-4
    warmup_steps: int = 200
    weight_decay: float = 1e-2
    ema_decay: float = 0.999
    crop: int = 64
    neighbours: int = 15
    elsewhere_share: float = 0.0
    mirrored_share: float = 0.0
    validate_every: int = 0
    validation_slices: int = 192
    start_from: str = ""
    expected_share: float = 0.5
    outside_weight: float = 0.2
    semi_real_share: float = 0.3
    structure_noise: float = 0.15
    gradient_clip: float = 1.0
    checkpoint_every: int = 500
    sheet_every: int = 1000
    seed: int = 0
    precision: str = "float32"
    accumulate: int = 1
    gradient_checkpointing: bool = False
    sequence: str = "any"
    stable_diffusion: str = ""
    medsam: str = ""
    download: bool = False
    embeddings: str = ""

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise InputError(f"The setting 'part' is {self.part!r}; choose one of: {', '.join(PARTS)}.")
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"The setting 'precision' is {self.precision!r}; choose float32 or bfloat16.")
        if self.crop < 0 or self.crop % 16:
            raise InputError(
                f"The setting 'crop' is {self.crop} pixels; give a multiple of 16, or 0 for the whole panel."
            )
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"The setting 'ema_decay' is {self.ema_decay}; give 0 (no average) to below 1.")
        for name in ("elsewhere_share", "mirrored_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"The setting '{name}' is {getattr(self, name)}; give 0 to 1.")
        for name in ("validate_every", "sheet_every"):
            if getattr(self, name) < 0:
                raise InputError(f"The setting '{name}' is {getattr(self, name)}; give 0 (never) or more.")
        for name in ("steps", "batch_size", "neighbours", "checkpoint_every", "accumulate", "validation_slices"):
            if getattr(self, name) < 1:
                raise InputError(f"The setting '{name}' is {getattr(self, name)}; give at least 1.")

    def drawn_sequences(self, held: Sequence[str], model: PostOpConfig) -> tuple[str, ...]:
        """Those of ``held``, the sequences of the prepared slices, that ``model`` is trained on.

        Raises ``InputError`` where there is none.
        """
        wanted = model.sequences if self.sequence == "any" else (self.sequence,)
        drawn = tuple(name for name in held if name in wanted)
        if not drawn:
            raise InputError(
                f"The model is to be trained on {', '.join(wanted)}; the prepared slices hold {', '.join(held)}. "
                "Set 'training: sequence' to one of them, or prepare cases that have it."
            )
        return drawn


def training_from_yaml(path: Path, **overrides: Any) -> TrainingConfig:
    """The section ``training:`` of a YAML file over the defaults, with ``overrides`` (None = not given) on top.

    Raises ``InputError`` for an unknown name or a value that does not fit.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    return overlay(TrainingConfig(), {**read_sections(path)["training"], **given}, "training.")
