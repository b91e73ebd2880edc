"""``postop calibrate``: interval widths and thresholds of similarity from validation patients."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from .console import JsonLines, run_command


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def calibrate(
        library: Annotated[Path, typer.Option(help="Case library with validation patients.")],
        model: Annotated[Path | None, typer.Option(help="Model folder; without it name --out.")] = None,
        split: Annotated[str, typer.Option(help="Which patients calibrate.")] = "val",
        limit: Annotated[int | None, typer.Option(min=1, help="At most so many patients of each kind.")] = None,
        out: Annotated[Path | None, typer.Option(help="File to write (default: calibration.json of --model).")] = None,
        work: Annotated[
            Path | None, typer.Option(help="Folder of results so far, to go on after a stop (default: cache).")
        ] = None,
        sequence: Annotated[
            list[str] | None, typer.Option(help="Sequences, for one patient each in turn (default: T1wCE, T1w).")
        ] = None,
        k: Annotated[int, typer.Option("-k", min=1, help="Precedents for the spread over precedents.")] = 3,
        noise_samples: Annotated[int, typer.Option(min=2, help="Samples for the spread over noise.")] = 8,
        mode: Annotated[str, typer.Option(help="Mode of the prediction: mean, sample or average.")] = "mean",
        steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps (default: as predict).")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Seed of the samples.")] = 0,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
        json_lines: JsonLines = False,
    ) -> None:
        """Fit intervals and thresholds of similarity on validation patients and store them with the model."""
        from ..evaluation.calibrate import CalibrationRequest
        from ..evaluation.calibrate import calibrate as fit

        request = CalibrationRequest(
            library=library,
            model=model,
            split=split,
            limit=limit,
            out=out,
            work=work,
            sequences=tuple(sequence or CalibrationRequest.sequences),
            k=k,
            noise_samples=noise_samples,
            mode=mode,
            steps=steps,
            seed=seed,
            device=device,
            command=shlex.join(["postop", *sys.argv[1:]]),
        )
        run_command(fit, request, json_lines)
