"""``postop sample``: files of a simulated patient to try the other commands on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import JsonLines, run_command


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def sample(
        out: Annotated[Path, typer.Argument(help="Folder to make, or to make anew.")],
        patient: Annotated[int | None, typer.Option(help="Another patient: a number from 1000 up.")] = None,
        json_lines: JsonLines = False,
    ) -> None:
        """Write the scan and the tumour labels of a simulated patient, whom no library holds."""
        from ..evaluation.sample_patient import SampleRequest, write_sample

        request = SampleRequest(out) if patient is None else SampleRequest(out, patient)
        run_command(write_sample, request, json_lines, _summary)


def _summary(result: Mapping[str, Any]) -> str:
    files = result["files"]
    return f"Scan: {files['volume']}\nTumour (labels brats): {files['tumour']}"
