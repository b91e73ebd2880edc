"""Options of ``postop evaluate`` and ``postop benchmark``: who is tested, and how finely it is measured."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def measuring_fields(
    split: Annotated[str, typer.Option(help="Which patients are tested.")] = "test",
    limit: Annotated[int | None, typer.Option(help="At most so many patients of each kind.")] = None,
    stride: Annotated[int, typer.Option(help="Measure every n-th slice.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of sampling, random retrieval and bootstrap.")] = 0,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = 2000,
    lpips_weights: Annotated[
        list[Path] | None, typer.Option(help="AlexNet trunk and LPIPS heads (.pth, .safetensors); may be repeated.")
    ] = None,
    figure_patients: Annotated[int, typer.Option(help="Patients in the picture.")] = 3,
) -> dict[str, Any]:
    """The fields of a request that these options fill, and the command line for the record."""
    return {
        "split": split,
        "limit": limit,
        "stride": stride,
        "seed": seed,
        "resamples": resamples,
        "lpips_weights": tuple(lpips_weights or ()),
        "figure_patients": figure_patients,
        "command": shlex.join(["postop", *sys.argv[1:]]),
    }
