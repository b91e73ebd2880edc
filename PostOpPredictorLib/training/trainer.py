"""The trainer: AdamW, cosine schedule with warm-up, EMA, resumable at any step."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from ..atomic_files import whole_file
from ..errors import Cancelled, InputError
from ..model.autoencoder import GreyAutoencoderKL
from ..model.config import PostOpConfig
from ..model.pipeline import PostOpPipeline
from ..progress import Progress
from .config import TrainingConfig
from .contact_sheet import write_contact_sheet
from .losses import denoising_loss, rendering_loss
from .schedule import learning_rate_factor
from .slices import PreparedSlices, TrainingBatch


class Trainer:
    """Trains one part of a pipeline in a run folder.

    The folder holds ``model/`` (EMA weights, a loadable pipeline), ``state-PART.pt``, ``log-PART.jsonl`` and contact
    sheets. One that holds a state of the same part goes on from there; other parts of its ``model/`` stay as they are.
    """

    def __init__(
        self, model: PostOpConfig, training: TrainingConfig, slices: PreparedSlices, run: Path, *, device: str = "cpu"
    ) -> None:
        self.training, self.slices, self.run, self.device = training, slices, Path(run), torch.device(device)
        self.run.mkdir(parents=True, exist_ok=True)
        self.pipeline = self._pipeline(model)
        height, width = slices.panel
        if training.crop > min(height, width):
            raise InputError(f"The crop of {training.crop} pixels is larger than the slices ({height} x {width}).")
        if training.part == "renderer" and self.pipeline.renderer is None:
            raise InputError("An image model has no renderer to train: set 'target: structure' or another 'part'.")
        if training.part == "autoencoder" and not isinstance(self.pipeline.autoencoder, GreyAutoencoderKL):
            raise InputError("Pixel patches need no training: set 'autoencoder: {kind: kl}' or another 'part'.")
        self.learning = [p for network in self._networks() for p in _learnable(network)]
        self.optimizer = torch.optim.AdamW(
            self.learning, lr=training.learning_rate, weight_decay=training.weight_decay, betas=(0.9, 0.99)
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, training.warmup_steps, training.steps)
        )
        self.ema = EMAModel(self.learning, decay=training.ema_decay, use_ema_warmup=True, power=0.75)
        self.ema.to(self.device)
        self._rows = slices.rows("train", 0, 2), slices.rows("train", 1)
        self.step = 0
        self._resume()

    @property
    def _state_file(self) -> Path:
        return self.run / f"state-{self.training.part}.pt"

    def train(self, progress: Progress) -> None:
        """Run to ``training.steps``; on cancel the last whole step is saved before ``Cancelled`` goes on."""
        progress.stage(f"Training the {self.training.part}")
        recent: deque[float] = deque(maxlen=100)
        for network in self._networks():
            network.train()
        try:
            while self.step < self.training.steps:
                recent.append(self._one_step())
                if self.step % 20 == 0:
                    self._record(progress, recent)
                progress.step(self.step, self.training.steps)
                if self.step % self.training.checkpoint_every == 0:
                    self.save()
                if self.step % self.training.sheet_every == 0:
                    self._sheet()
        except (Cancelled, KeyboardInterrupt):
            self.save()
            raise
        self.save()
        self._sheet()

    def save(self) -> None:
        """Write the EMA weights as a pipeline and the whole state, each whole or not at all."""
        with self._averaged_weights():
            self.pipeline.save(self.run / "model", replace=True)
        state = {
            "step": self.step,
            "training": dataclasses.asdict(self.training),
            "weights": [p.detach() for p in self.learning],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "ema": self.ema.state_dict(),
        }
        with whole_file(self._state_file) as temporary:
            torch.save(state, temporary)

    def _pipeline(self, model: PostOpConfig) -> PostOpPipeline:
        torch.manual_seed(self.training.seed)
        folder = self.run / "model"
        if not folder.exists():
            return PostOpPipeline.of(model).to(self.device)
        pipeline = PostOpPipeline.from_pretrained(folder)
        if pipeline.config_tree != model:
            raise InputError(
                f"{folder} holds a model of another configuration. "
                "Train into another folder, or give its configuration."
            )
        for network in pipeline.networks:
            network.requires_grad_(True)
        pipeline.prompt_adapter.freeze_pretrained()
        return pipeline.to(self.device)

    def _networks(self) -> list[nn.Module]:
        by_part: dict[str, list[nn.Module | None]] = {
            "denoiser": [self.pipeline.unet, self.pipeline.prompt_adapter],
            "renderer": [self.pipeline.renderer],
            "autoencoder": [self.pipeline.autoencoder],
        }
        return [network for network in by_part[self.training.part] if network is not None]

    def _resume(self) -> None:
        if not self._state_file.exists():
            return
        try:
            state: dict[str, Any] = torch.load(self._state_file, map_location=self.device, weights_only=True)
            if state["training"]["part"] != self.training.part:
                raise KeyError("part")
            with torch.no_grad():
                for parameter, saved in zip(self.learning, state["weights"], strict=True):
                    parameter.copy_(saved)
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.ema.load_state_dict(state["ema"])
            self.step = state["step"]
        except Exception as error:
            raise InputError(
                f"{self._state_file} cannot be resumed ({type(error).__name__}). Remove it to start this part anew."
            ) from error

    def _one_step(self) -> float:
        generator = torch.Generator().manual_seed(self.training.seed * 1_000_003 + self.step)
        batch = self._draw(generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bfloat16"):
            loss = self._loss(batch, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.learning, self.training.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        self.ema.step(self.learning)
        self.step += 1
        return float(loss.detach())

    def _loss(self, batch: TrainingBatch, generator: torch.Generator) -> Tensor:
        if self.training.part == "denoiser":
            return denoising_loss(self.pipeline.denoiser, self.pipeline.scheduler, batch, self.training, generator)
        if self.training.part == "renderer":
            assert self.pipeline.renderer is not None
            return rendering_loss(self.pipeline.renderer, batch, self.training, generator)
        return self.pipeline.autoencoder.training_loss(batch.query_post, generator)

    def _draw(self, generator: torch.Generator) -> TrainingBatch:
        others, semi_real = self._rows
        size = self.training.batch_size
        share = self.training.semi_real_share if len(others) else 1.0
        from_semi = round(size * share) if len(semi_real) else 0
        rows = torch.cat([_some(others, size - from_semi, generator), _some(semi_real, from_semi, generator)])
        instruction = self.slices.draw_instruction(rows, self.training.neighbours, generator)
        sequence = self.slices.sequences[int(torch.randint(len(self.slices.sequences), (1,), generator=generator))]
        return self.slices.batch(rows, instruction, sequence, self.training.crop, generator).to(self.device)

    def _record(self, progress: Progress, recent: deque[float]) -> None:
        loss = sum(recent) / len(recent)
        progress.log(f"step {self.step}: loss {loss:.5f}")
        line = {"step": self.step, "loss": loss, "learning_rate": self.schedule.get_last_lr()[0], "time": time.time()}
        with (self.run / f"log-{self.training.part}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _sheet(self) -> None:
        path = self.run / f"sheet-{self.training.part}-{self.step:06d}.png"
        with self._averaged_weights():
            write_contact_sheet(self.pipeline, self.slices, path)

    @contextlib.contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """The pipeline with its EMA weights; an interrupt, too, brings the learning ones back."""
        self.ema.store(self.learning)
        try:
            self.ema.copy_to(self.learning)
            yield
        finally:
            self.ema.restore(self.learning)


def _learnable(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if count and not len(rows):
        raise InputError(
            "The prepared slices hold no training slices with neighbours. Prepare a library with more cases."
        )
    return rows[torch.randint(len(rows), (count,), generator=generator)] if count else rows[:0]
