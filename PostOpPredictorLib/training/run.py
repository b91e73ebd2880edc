"""A training run as a command: configuration and prepared slices in, a model folder out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..model.config import config_from_yaml
from ..model.device import chosen_device
from ..progress import Progress
from .config import training_from_yaml
from .processes import LaunchedProcesses, Processes, started_processes
from .slices import PreparedSlices
from .trainer import Trainer


@dataclass(frozen=True)
class TrainRequest:
    """``config``: YAML with ``model:`` and ``training:``; ``data``: prepared slices; ``out``: run folder, old or new.

    A run that stopped goes on. ``part`` and ``steps`` take the place of the configuration's when given.
    ``device``: "auto", "cpu" or "cuda". ``stable_diffusion`` (folder of diffusers, or its name on the hub) and
    ``medsam`` (checkpoint file): where a new run starts from; ``download``: the hub may be asked for what is not here.
    ``start_from``: a model folder of the same shape to begin with.
    """

    config: Path
    data: Path
    out: Path
    part: str | None = None
    steps: int | None = None
    device: str = "auto"
    stable_diffusion: str | None = None
    medsam: Path | None = None
    download: bool | None = None
    start_from: Path | None = None


def train(request: TrainRequest, progress: Progress) -> dict[str, Any]:
    """Train to the last step, or go on to it; returns the model folder and the steps done."""
    processes = started_processes(request.device)
    progress.stage("Reading the prepared slices")
    model = config_from_yaml(request.config)
    training = training_from_yaml(
        request.config,
        part=request.part,
        steps=request.steps,
        stable_diffusion=request.stable_diffusion,
        medsam=None if request.medsam is None else str(request.medsam),
        download=request.download,
        start_from=None if request.start_from is None else str(request.start_from),
    )
    slices = PreparedSlices(request.data)
    if model.prompt.image_encoder == "medsam" and not training.medsam and not (request.out / "model").exists():
        progress.log("MedSAM starts from random weights, and stays so: give its checkpoint with --medsam.")
    device = device_of(processes, request.device)
    trainer = Trainer(model, training, slices, request.out, device=device, processes=processes)
    trainer.train(progress)
    return {"model": str(request.out / "model"), "part": training.part, "steps": trainer.step}


def device_of(processes: Processes, wanted: str) -> torch.device:
    """The device that this process works on; each of several on a machine has a GPU of its own."""
    if isinstance(processes, LaunchedProcesses):
        return processes.device
    return chosen_device(wanted)
