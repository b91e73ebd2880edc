"""The state of a training run on disk: written whole or not at all, read back, refused where it does not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor

from ..atomic_files import whole_file
from ..errors import InputError
from .averages import NoAverage
from .config import TrainingConfig

_KEPT_BY_THE_STATE = ("learning_rate", "weight_decay", "ema_decay")
_VALIDATED_BY = (
    "validation_slices",
    "seed",
    "crop",
    "sequence",
    "expected_share",
    "outside_weight",
    "structure_noise",
)
"""What a validation loss depends on: the best one so far compares with no other."""


@dataclass(frozen=True)
class RunState:
    """What goes on from step to step, kept in ``file``: weights, optimiser, schedule and average."""

    file: Path
    training: TrainingConfig
    learning: Sequence[Tensor]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    ema: EMAModel | NoAverage

    def write(self, step: int, best_loss: float) -> None:
        """Keep it as it is after ``step``; ``best_loss``: of the validation, infinite where there was none."""
        state = {
            "step": step,
            "training": dataclasses.asdict(self.training),
            "weights": [p.detach() for p in self.learning],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "ema": self.ema.state_dict(),
            "best_loss": best_loss,
        }
        with whole_file(self.file) as temporary:
            torch.save(state, temporary)

    def read(self, device: torch.device) -> tuple[int, float]:
        """Go on from the file: the step it was written after and the best loss; (0, infinite) where there is none.

        Raises ``InputError`` for a damaged file, another part's, or one of other settings.
        """
        if not self.file.exists():
            return 0, float("inf")
        try:
            state: dict[str, Any] = torch.load(self.file, map_location=device, weights_only=True)
            if state["training"]["part"] != self.training.part:
                raise KeyError("part")
            chosen = state["best_loss"] < float("inf")
            self._refuse_other_settings(state["training"], _KEPT_BY_THE_STATE + chosen * _VALIDATED_BY)
            with torch.no_grad():
                for parameter, saved in zip(self.learning, state["weights"], strict=True):
                    parameter.copy_(saved)
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.ema.load_state_dict(state["ema"])
            return state["step"], state["best_loss"]
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{self.file} cannot be resumed ({type(error).__name__}). Remove it to start this part anew."
            ) from error

    def _refuse_other_settings(self, begun: Mapping[str, Any], names: Sequence[str]) -> None:
        """Raise ``InputError`` where one of ``names`` is not as it was: it would be ignored, or spoil what is there."""
        for name in names:
            before, now = begun[name], getattr(self.training, name)
            begins_or_ends = name == "ema_decay" and 0 in (before, now)
            if before != now and not begins_or_ends:
                raise InputError(
                    f"This run was begun with '{name}' {before} and goes on with it, not with {now}. "
                    "Give the former, or train into another folder."
                )
