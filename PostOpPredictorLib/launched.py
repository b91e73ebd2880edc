"""This process's place among those that ``accelerate launch`` or ``srun`` started for one command.

They need not talk to each other: each takes its share of the cases, and all write into one folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .errors import InputError

Item = TypeVar("Item")

_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    # Of a step of srun only: in the script of a job SLURM_PROCID is 0 and nobody takes the other shares.
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
)


@dataclass(frozen=True)
class Share:
    """``rank`` of this process among ``count``; ``local``: its number on its own machine."""

    rank: int = 0
    count: int = 1
    local: int = 0

    def of(self, items: Sequence[Item]) -> list[Item]:
        """This process's items: every ``count``-th, beginning with its ``rank``."""
        return list(items)[self.rank :: self.count]


def own_share(environment: Mapping[str, str] | None = None) -> Share:
    """The share of this process, from the environment (``os.environ`` when left out); one of one when not launched.

    Raises ``InputError`` when the environment contradicts itself.
    """
    environment = os.environ if environment is None else environment
    for rank, count, local in _LAUNCHERS:
        if rank in environment and count in environment:
            share = Share(_number(environment, rank), _number(environment, count), _number(environment, local))
            if not 0 <= share.rank < share.count:
                raise InputError(
                    f"{rank} is {share.rank} and {count} is {share.count}; that is no process of a launch."
                )
            return share
    return Share()


def use_own_gpu(share: Share, device: str) -> None:
    """Let "cuda" mean the GPU of this process, where several processes of a machine have one each."""
    if share.count == 1 or device not in ("auto", "cuda"):
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(share.local % torch.cuda.device_count())


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment.get(name, "0"))
    except ValueError as error:
        raise InputError(f"The environment says {name}={environment[name]!r}, which is no whole number.") from error
