"""One training or one batch of cases over many processes and machines, started by ``accelerate launch``.

Every process draws the same global batch and takes its rows of it; gradients are summed. So the number of processes
changes the speed and not the result. Without ``accelerate launch`` accelerate is not even imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ..errors import InputError

BUCKET = 16 * 2**20
"""Numbers that are sent at once: enough to fill a network, few beside the weights."""
Item = TypeVar("Item")


class Processes(Protocol):
    """``rank`` of this process among ``count``; the calls below are made by all of them in the same order."""

    @property
    def rank(self) -> int: ...

    @property
    def count(self) -> int: ...

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Put into each tensor its sum over the processes."""

    def same(self, tensors: Sequence[Tensor]) -> None:
        """Put into each tensor its values of process 0."""

    def any(self, flag: bool) -> bool:
        """Whether one of the processes says so."""

    def wait(self) -> None:
        """Go on when all have come here."""


@dataclass(frozen=True)
class OneProcess:
    """The usual case: nobody to wait for."""

    rank: int = 0
    count: int = 1

    def sum(self, tensors: Sequence[Tensor]) -> None: ...

    def same(self, tensors: Sequence[Tensor]) -> None: ...

    def any(self, flag: bool) -> bool:
        return flag

    def wait(self) -> None: ...


class LaunchedProcesses:
    """The processes of ``accelerate launch``: gloo between CPUs, NCCL between GPUs."""

    def __init__(self, cpu: bool) -> None:
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise InputError(
                f"This was started as {os.environ['WORLD_SIZE']} processes, which needs accelerate: "
                "pip install 'PostOpPredictorLib[train]', or start a single one."
            ) from error
        self._state: Any = PartialState(cpu=cpu)
        self.rank: int = self._state.process_index
        self.count: int = self._state.num_processes
        self.device: torch.device = self._state.device

    def sum(self, tensors: Sequence[Tensor]) -> None:
        self._in_buckets(tensors, lambda flat: torch.distributed.all_reduce(flat))

    def same(self, tensors: Sequence[Tensor]) -> None:
        self._in_buckets(tensors, lambda flat: torch.distributed.broadcast(flat, 0))

    def any(self, flag: bool) -> bool:
        told = torch.tensor([float(flag)], device=self.device)
        torch.distributed.all_reduce(told)
        return bool(told.item() > 0)

    def wait(self) -> None:
        self._state.wait_for_everyone()

    @staticmethod
    def _in_buckets(tensors: Sequence[Tensor], send: Any) -> None:
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.detach().reshape(-1) for tensor in bucket])
            send(flat)
            with torch.no_grad():
                for tensor, values in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                    tensor.copy_(values.view_as(tensor))


def started_processes(device: str) -> Processes:
    """The processes that this one was started among; ``device``: "auto", "cpu" or "cuda"."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return OneProcess()
    return LaunchedProcesses(cpu=device == "cpu" or not torch.cuda.is_available())


def own_share(items: Iterable[Item], processes: Processes) -> list[Item]:
    """This process's items of a batch that is worked on by all: every ``count``-th, beginning with its ``rank``."""
    return list(items)[processes.rank :: processes.count]


def own_rows(size: int, processes: Processes, parts: int = 1) -> list[slice]:
    """This process's rows of a batch of ``size``, in ``parts`` pieces of nearly equal length.

    Raises ``InputError`` when there are fewer rows than pieces.
    """
    pieces = processes.count * parts
    if size < pieces:
        raise InputError(
            f"A batch of {size} slices cannot be split over {processes.count} processes with {parts} parts each. "
            f"Set 'training: batch_size' to {pieces} or more."
        )
    borders = [size * number // pieces for number in range(pieces + 1)]
    own = range(processes.rank * parts, (processes.rank + 1) * parts)
    return [slice(borders[number], borders[number + 1]) for number in own]


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Neighbours of one type together, up to ``BUCKET`` numbers (a larger one alone)."""
    buckets: list[list[Tensor]] = []
    numbers = 0
    for tensor in tensors:
        if not buckets or numbers + tensor.numel() > BUCKET or tensor.dtype != buckets[-1][0].dtype:
            buckets.append([])
            numbers = 0
        buckets[-1].append(tensor)
        numbers += tensor.numel()
    return buckets
