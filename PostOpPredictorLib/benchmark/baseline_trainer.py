"""The trainer of our own model, for a baseline: same optimiser, schedule, averages, checkpoints and logs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..model.config import PostOpConfig
from ..model.triplet import TripletBatch
from ..training.config import TrainingConfig
from ..training.draws import NoiseDraws
from ..training.losses import latent_weight
from ..training.objective import Draws, Objective
from ..training.slices import PreparedSlices, TrainingBatch
from ..training.trainer import Trainer
from .baselines.baseline import Baseline


@dataclass(frozen=True)
class BaselineObjective(Objective):
    """E || noise - prediction ||^2, weighted around the lesion as for our own image model; drops as the paper's."""

    pipeline: Any

    def networks(self) -> list[nn.Module]:
        return self.pipeline.learning_networks()

    def draws(self, batch: TrainingBatch, generator: torch.Generator) -> NoiseDraws:
        """In a baseline's draws ``drop_instruction`` says whose image beside the noise is left out."""
        model: Baseline = self.pipeline
        triplets = batch.rows(slice(0, 1)).on_panel(model.config_tree.panel, model.config_tree.zoom).triplets
        drop, drop_image = model.draw_drops(len(batch), generator)
        noise = torch.randn(len(batch), *model.noise_shape(triplets), generator=generator)
        times = torch.randint(0, model.config_tree.train_timesteps, (len(batch),), generator=generator)
        nothing = torch.zeros_like(drop)
        return NoiseDraws(noise, times, drop, drop_image, nothing, nothing, nothing[:, None])

    def loss(self, batch: TrainingBatch, draws: Draws) -> Tensor:
        assert isinstance(draws, NoiseDraws)
        model: Baseline = self.pipeline
        batch = batch.on_panel(model.config_tree.panel, model.config_tree.zoom)
        draws = draws.to(batch.query_post.device)
        with torch.no_grad():
            clean = model.target_latents(batch.triplets, batch.query_post)
            noisy = model.scheduler.add_noise(clean, draws.noise, draws.times)
        condition = model.condition(
            batch.triplets, model.tokens(_beyond_crop(batch), draws.drop_tokens), draws.drop_instruction
        )
        error = model.noise_of(noisy, draws.times, condition) - draws.noise
        return (latent_weight(batch.lesion, clean, model.config_tree, self.training) * error**2).mean()


def _beyond_crop(batch: TrainingBatch) -> TripletBatch:
    """Tokens speak of the whole slice, as in sampling."""
    return batch.whole


class BaselineTrainer(Trainer):
    """Trains one baseline in a run folder; goes on from a state that is there. ``start`` makes the untrained one."""

    def __init__(
        self,
        start: Callable[[], Baseline],
        training: TrainingConfig,
        slices: PreparedSlices,
        run: Path,
        *,
        device: torch.device | str = "cpu",
        latents: Path | None = None,
    ) -> None:
        self._start = start
        super().__init__(PostOpConfig(), training, slices, run, device=device, latents=latents)

    def _pipeline(self, model: PostOpConfig) -> Any:
        torch.manual_seed(self.training.seed)
        baseline = self._start()
        folder = self.run / "model"
        if folder.exists():
            saved = type(baseline).from_pretrained(folder)
            if saved.config_tree != baseline.config_tree:
                raise InputError(
                    f"{folder} holds a model of another configuration. Choose another --out, or give its configuration."
                )
            baseline = saved
        baseline.make_learnable()
        return baseline.to(self.device)

    def _objective(self) -> Objective:
        return BaselineObjective(self.pipeline, self.training)
