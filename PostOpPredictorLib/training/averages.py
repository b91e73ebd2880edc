"""The running average of the weights (EMA), or none where memory is too dear for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import nn


class NoAverage:
    """``diffusers``' ``EMAModel`` without a copy of the weights: what is saved are the learning weights themselves."""

    shadow_params: tuple[()] = ()

    def step(self, parameters: Iterable[nn.Parameter]) -> None: ...

    def store(self, parameters: Iterable[nn.Parameter]) -> None: ...

    def copy_to(self, parameters: Iterable[nn.Parameter]) -> None: ...

    def restore(self, parameters: Iterable[nn.Parameter]) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def weight_average(parameters: list[nn.Parameter], decay: float, device: torch.device) -> EMAModel | NoAverage:
    """The average of ``parameters`` on ``device``; ``decay`` 0: none."""
    if decay == 0:
        return NoAverage()
    average = EMAModel(parameters, decay=decay, use_ema_warmup=True, power=0.75)
    average.to(device)
    return average
