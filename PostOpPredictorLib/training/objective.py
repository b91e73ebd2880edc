"""What the part that learns is trained for: its random numbers, its loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..model.pipeline import PostOpPipeline
from ..model.structure import STRUCTURE_CHANNELS, STRUCTURE_FACTOR
from .config import TrainingConfig
from .draws import NoiseDraws, draw_noise
from .losses import denoising_loss, rendering_loss
from .slices import TrainingBatch

Draws: TypeAlias = NoiseDraws | Tensor


@dataclass(frozen=True)
class Objective:
    """The loss of ``training.part`` of a pipeline."""

    pipeline: PostOpPipeline
    training: TrainingConfig

    def networks(self) -> list[nn.Module]:
        """The networks that learn."""
        by_part: dict[str, list[nn.Module | None]] = {
            "denoiser": [self.pipeline.unet, self.pipeline.prompt_adapter],
            "renderer": [self.pipeline.renderer],
            "autoencoder": [self.pipeline.autoencoder],
        }
        return [network for network in by_part[self.training.part] if network is not None]

    def draws(self, batch: TrainingBatch, generator: torch.Generator) -> Draws:
        """All random numbers of a step, for the whole batch."""
        config = self.pipeline.config_tree
        triplets = batch.rows(slice(0, 1)).on_panel(config.panel, config.zoom).triplets
        if self.training.part == "denoiser":
            shape = len(batch), *self.pipeline.denoiser.noise_shape(triplets)
            return draw_noise(config, self.training, shape, generator)
        if self.training.part == "renderer":
            triplets = batch.triplets
            channels, factor = STRUCTURE_CHANNELS, STRUCTURE_FACTOR
        else:
            channels, factor = self.pipeline.autoencoder.latent_channels, self.pipeline.autoencoder.factor
        height, width = (side // factor for side in triplets.query_pre.shape[-2:])
        return torch.randn(len(batch), channels, height, width, generator=generator)

    def loss(self, batch: TrainingBatch, draws: Draws) -> Tensor:
        """The mean loss of a batch or of a part of it, with the random numbers of the same rows."""
        if isinstance(draws, NoiseDraws):
            return denoising_loss(self.pipeline.denoiser, self.pipeline.scheduler, batch, self.training, draws)
        if self.training.part == "renderer":
            assert self.pipeline.renderer is not None
            return rendering_loss(self.pipeline.renderer, batch, self.training, draws)
        config = self.pipeline.config_tree
        image = batch.on_panel(config.panel, config.zoom).query_post
        return self.pipeline.autoencoder.training_loss(image, draws)


def rows_of(draws: Draws, part: slice) -> Draws:
    """The random numbers of some rows."""
    return draws.rows(part) if isinstance(draws, NoiseDraws) else draws[part]
