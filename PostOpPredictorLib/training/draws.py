"""The random numbers of a training step, drawn once for the whole batch.

Parts of a batch, in turn (accumulation) or on other processes, take their rows of them: together they give what the
whole batch gives.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..cases.case import SEQUENCES
from ..model.config import PostOpConfig
from .config import TrainingConfig


@dataclass(frozen=True)
class NoiseDraws:
    """``noise`` (B, c, h, w), ``times`` (B,), and (B,) bool: whose tokens, instruction, plan and time are left out;
    (B, 4) bool: which of ``SEQUENCES`` beside the one that is drawn."""

    noise: Tensor
    times: Tensor
    drop_tokens: Tensor
    drop_instruction: Tensor
    drop_plan: Tensor
    drop_time: Tensor
    drop_context: Tensor

    def rows(self, part: slice) -> NoiseDraws:
        """Those of some slices."""
        return NoiseDraws(**{item.name: getattr(self, item.name)[part] for item in fields(self)})

    def to(self, device: torch.device | str) -> NoiseDraws:
        """The same on another device."""
        return NoiseDraws(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})


def draw_noise(
    config: PostOpConfig, training: TrainingConfig, shape: tuple[int, ...], generator: torch.Generator
) -> NoiseDraws:
    """Draw for ``shape`` (B, c, h, w) of what is noised; with v-prediction many slices get the last time step."""
    size, last = shape[0], config.train_timesteps - 1

    def chance(share: float) -> Tensor:
        return torch.rand(size, generator=generator) < share

    drop_tokens, drop_instruction = chance(config.condition_dropout), chance(config.condition_dropout)
    drop_plan = chance(config.plan_dropout)
    noise = torch.randn(shape, generator=generator)
    times = torch.randint(0, last + 1, (size,), generator=generator)
    if config.prediction_type == "v_prediction":
        times = torch.where(chance(training.expected_share), torch.full_like(times, last), times)
    # Last, so that what is trained without it keeps its random numbers.
    drop_time = chance(config.time_dropout) if config.time else torch.zeros(size, dtype=torch.bool)
    drop_context = torch.zeros(size, len(SEQUENCES), dtype=torch.bool)
    if config.context_sequences:
        drop_context = torch.rand(drop_context.shape, generator=generator) < config.context_dropout
    return NoiseDraws(noise, times, drop_tokens, drop_instruction, drop_plan, drop_time, drop_context)
