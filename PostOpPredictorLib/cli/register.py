"""``postop register``: lay a scan over the MNI template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import JsonLines, run_command


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command("register")
    def register_scan(
        pre: Annotated[Path, typer.Option(help="T1-weighted scan: NIfTI, NRRD, MHA, or a folder of DICOM slices.")],
        out: Annotated[Path, typer.Option(help="Folder to write; it must not exist or be empty.")],
        tumor: Annotated[
            Path | None, typer.Option("--tumor", "--tumour", help="Label map of the tumour, left out of the alignment.")
        ] = None,
        labels: Annotated[
            str, typer.Option(help="What the labels mean: brats, brats2023, lumiere, any, or the core's labels (1,4).")
        ] = "brats",
        brain: Annotated[Path | None, typer.Option(help="Brain mask of the scan (default: made here).")] = None,
        json_lines: JsonLines = False,
    ) -> None:
        """Bring a scan into MNI space: the volume, its brain mask, the transform and its inverse, and the quality."""
        from ..imaging.registration_files import RegisterRequest, register_files

        run_command(register_files, RegisterRequest(pre, out, tumor, labels, brain), json_lines, _summary)


def _summary(result: Mapping[str, Any]) -> str:
    already = " It was in MNI space already." if result["already_in_mni"] else ""
    return f"{result['sentence']}{already} Written to {result['out']}."
