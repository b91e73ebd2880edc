"""``postop train``: trains one part of a model on prepared slices."""

from __future__ import annotations

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
        json_lines: JsonLines = False,
    ) -> None:
        """Train a part of a model; goes on where an earlier run of the same folder stopped."""
        from ..training.run import TrainRequest
        from ..training.run import train as run_training

        run_command(run_training, TrainRequest(config, data, out, part, steps, device), json_lines)
