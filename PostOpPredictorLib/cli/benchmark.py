"""``postop benchmark``: the paper's two tables, every system trained with one budget."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..shipped import shipped_configuration
from .console import JsonLines, run_command
from .library import Sequence
from .measuring_options import measuring_fields
from .shared_options import with_options_of

SMALL, SMALL_OURS = (shipped_configuration(f"benchmark-small{ending}.yaml") for ending in ("", "-ours"))


class Precision(StrEnum):
    """What ``--precision`` takes."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(benchmark)


@with_options_of(measuring_fields)
def benchmark(
    data: Annotated[Path, typer.Option(help="Prepared slices, made by 'postop library prepare'.")],
    library: Annotated[Path, typer.Option(help="The library they were made of, with test patients.")],
    budget: Annotated[str, typer.Option(help="Training of each system: steps (6000) or minutes (30min).")],
    out: Annotated[Path, typer.Option(help="Rows and tables; a run that stopped goes on from here.")],
    config: Annotated[
        Path,
        typer.Option(help="YAML file with shape and training of all systems.", show_default="benchmark-small.yaml"),
    ] = SMALL,
    ours: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of our shipped form (default: the small one with the small --config, else --config)."
        ),
    ] = None,
    systems: Annotated[
        list[str] | None, typer.Option(help="Only these (may be repeated), such as ddpm, paper, ours.")
    ] = None,
    trials: Annotated[
        Path | None, typer.Option(help="YAML file of changes of our shipped form, each a row of a third table.")
    ] = None,
    sequence: Annotated[Sequence, typer.Option(help="Sequence to train and predict.")] = Sequence.T1W,
    sampling_steps: Annotated[
        int | None, typer.Option(help="Denoising steps of the systems that sample (default: 50).")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Of training and sampling, instead of the configurations'; bfloat16 is faster on a GPU or with AMX."
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Measure what is drawn, not laid over the patient's own scan.")
    ] = False,
    stable_diffusion: Annotated[
        str | None, typer.Option(help="Stable Diffusion to start from: folder of diffusers or name on the hub.")
    ] = None,
    medsam: Annotated[str | None, typer.Option(help="MedSAM's checkpoint, medsam_vit_b.pth.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch --stable-diffusion from the Hugging Face hub if need be.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_lines: JsonLines = False,
    **options: Any,
) -> None:
    """Train every system of the paper's tables with one budget, measure them and write the tables."""
    from ..benchmark.run import BenchmarkRequest
    from ..benchmark.run import benchmark as work_through

    request = BenchmarkRequest(
        data=data,
        library=library,
        out=out,
        config=config,
        budget=budget,
        ours=SMALL_OURS if ours is None and config == SMALL else ours,
        systems=tuple(systems or ()),
        trials=trials,
        sequence=sequence.value,
        sampling_steps=sampling_steps,
        precision=None if precision is None else precision.value,
        raw=raw,
        stable_diffusion=stable_diffusion,
        medsam=medsam,
        download=download,
        device=device,
        **measuring_fields(**options),
    )
    run_command(work_through, request, json_lines, _summary)


def _summary(result: Mapping[str, Any]) -> str:
    written = ", ".join(str(result[key]) for key in ("markdown", "json", "figure"))
    return f"{result['systems']} systems on {result['patients']} patients.\nWritten: {written}"
