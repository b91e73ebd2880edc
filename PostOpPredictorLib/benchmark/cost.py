"""What a system costs: weights, arithmetic and time for one slice."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..atomic_files import whole_file
from ..model.triplet import TripletBatch


@dataclass(frozen=True)
class Cost:
    """``parameters``: of all its networks; ``gflops``: 10^9 operations (a multiplication and an addition are two) for
    one slice, all denoising steps and guidance included; ``seconds``: for one slice of a batch, on ``machine``.
    """

    parameters: int
    gflops: float
    seconds: float
    machine: str


def cost_of(pipe: Any, triplets: TripletBatch, **settings: Any) -> Cost:
    """Measure ``pipe(triplets, **settings)``: its first slice for the arithmetic, all of them for the time.

    Embeddings that are kept on disk are made anew, for a new patient has none.
    """
    with torch.no_grad(), _nothing_kept(pipe.networks):
        gflops = _flops(pipe, triplets.rows(slice(0, 1)), settings) / 1e9
        _wait(pipe.device)
        started = time.perf_counter()
        pipe(triplets, **settings)
        _wait(pipe.device)
    seconds = (time.perf_counter() - started) / len(triplets)
    return Cost(parameters_of(pipe.networks), round(gflops, 4), round(seconds, 6), machine_of(pipe.device))


def _flops(pipe: Any, triplets: TripletBatch, settings: dict[str, Any]) -> int:
    """All denoising steps from noise do the same: they are counted once and not fifty times."""
    steps = settings.get("steps") or pipe.config_tree.steps
    if settings.get("mode") != "sample" or settings.get("start", "noise") != "noise":
        return counted_flops(lambda: pipe(triplets, **settings))
    one, two = (counted_flops(partial(pipe, triplets, **{**settings, "steps": count})) for count in (1, 2))
    return one + (steps - 1) * (two - one)


@contextlib.contextmanager
def _nothing_kept(networks: list[nn.Module]) -> Iterator[None]:
    keeping = [module for network in networks for module in network.modules() if hasattr(module, "cache")]
    caches = [module.cache for module in keeping]
    try:
        for module in keeping:
            module.cache = None
        yield
    finally:
        for module, cache in zip(keeping, caches, strict=True):
            module.cache = cache


def counted_flops(work: Any) -> int:
    """Operations of convolutions and matrix products in ``work()``; attention is taken apart so that it counts."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def parameters_of(networks: list[nn.Module]) -> int:
    """Number of weights, those of frozen networks included."""
    return sum(parameter.numel() for network in networks for parameter in network.parameters())


def machine_of(device: torch.device | str) -> str:
    """The processor that the time was measured on."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def remembered_cost(file: Path, key: dict[str, Any]) -> Cost | None:
    """The cost that was measured for ``key``, if it was."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return Cost(**stored["cost"]) if stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember_cost(file: Path, key: dict[str, Any], cost: Cost) -> None:
    """Keep ``cost`` for ``key``."""
    with whole_file(file) as temporary:
        temporary.write_text(json.dumps({"key": key, "cost": asdict(cost)}) + "\n", encoding="utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
