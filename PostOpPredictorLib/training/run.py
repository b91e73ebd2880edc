"""A training run as a command: configuration and prepared slices in, a model folder out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..model.config import config_from_yaml
from ..progress import Progress
from .config import training_from_yaml
from .slices import PreparedSlices
from .trainer import Trainer


@dataclass(frozen=True)
class TrainRequest:
    """``config``: YAML with ``model:`` and ``training:``; ``data``: prepared slices; ``out``: run folder, old or new.

    A run that stopped goes on. ``part`` and ``steps`` take the place of the configuration's when given.
    ``device``: "auto", "cpu" or "cuda".
    """

    config: Path
    data: Path
    out: Path
    part: str | None = None
    steps: int | None = None
    device: str = "auto"


def train(request: TrainRequest, progress: Progress) -> dict[str, Any]:
    """Train to the last step, or go on to it; returns the model folder and the steps done."""
    progress.stage("Reading the prepared slices")
    model = config_from_yaml(request.config)
    training = training_from_yaml(request.config, part=request.part, steps=request.steps)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if request.device == "auto" else request.device
    trainer = Trainer(model, training, PreparedSlices(request.data), request.out, device=device)
    trainer.train(progress)
    return {"model": str(request.out / "model"), "part": training.part, "steps": trainer.step}
