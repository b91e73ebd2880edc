"""``postop train``: trains one part of a model on prepared slices."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .console import JsonLines, run_command


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def train(
        config: Annotated[Path, typer.Option(help="YAML file with 'model:' and 'training:'.")],
        data: Annotated[Path, typer.Option(help="Prepared slices, made by 'postop library prepare'.")],
        out: Annotated[Path, typer.Option(help="Run folder; a run that stopped goes on from its last checkpoint.")],
        part: Annotated[str | None, typer.Option(help="denoiser, renderer or autoencoder.")] = None,
        steps: Annotated[int | None, typer.Option(min=1, help="Steps in all, instead of the configuration's.")] = None,
        device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
        stable_diffusion: Annotated[
            str | None, typer.Option(help="Stable Diffusion to start from: folder of diffusers or name on the hub.")
        ] = None,
        medsam: Annotated[Path | None, typer.Option(help="MedSAM's checkpoint, medsam_vit_b.pth.")] = None,
        download: Annotated[
            bool, typer.Option("--download", help="Fetch --stable-diffusion from the Hugging Face hub if need be.")
        ] = False,
        start_from: Annotated[
            Path | None, typer.Option(help="Model folder whose weights a new run begins with.")
        ] = None,
        json_lines: JsonLines = False,
    ) -> None:
        """Train a part of a model; goes on where an earlier run of the same folder stopped.

        Over several GPUs or machines: accelerate launch --module PostOpPredictorLib train and the same options.
        """
        from ..progress import SilentProgress
        from ..training.run import TrainRequest
        from ..training.run import train as run_training

        request = TrainRequest(
            config, data, out, part, steps, device, stable_diffusion, medsam, download or None, start_from
        )
        if os.environ.get("RANK", "0") == "0":
            run_command(run_training, request, json_lines)
        else:
            run_training(request, SilentProgress())
