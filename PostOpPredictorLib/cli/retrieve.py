"""``postop retrieve``: the operated cases whose tumours lay like this one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import JsonLines, run_command


class Per(StrEnum):
    """Whether one case is found for the volume, or some for each slice."""

    VOLUME = "volume"
    SLICE = "slice"


class Strategy(StrEnum):
    """How cases are chosen."""

    TUMOUR = "tumour"
    IMAGE = "image"
    RANDOM = "random"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def retrieve(
        tumor: Annotated[Path, typer.Option("--tumor", "--tumour", help="Label map of the tumour.")],
        library: Annotated[Path | None, typer.Option(help="Case library (default: simulated patients).")] = None,
        pre: Annotated[
            Path | None, typer.Option(help="The scan that the mask was drawn on (default: the mask is in MNI space).")
        ] = None,
        labels: Annotated[
            str, typer.Option(help="What the labels mean: brats, brats2023, lumiere, any, or the core's labels (1,4).")
        ] = "brats",
        brain: Annotated[Path | None, typer.Option(help="Brain mask of --pre (default: made here).")] = None,
        k: Annotated[int, typer.Option("-k", min=1, help="Cases to find; with --per slice, for each slice.")] = 5,
        per: Annotated[Per, typer.Option(help="Compare whole tumours, or slice by slice.")] = Per.VOLUME,
        strategy: Annotated[Strategy, typer.Option(help="Choose by tumour, image or at random.")] = Strategy.TUMOUR,
        sequence: Annotated[str, typer.Option(help="Sequence that 'image' compares.")] = "T1w",
        institution: Annotated[str | None, typer.Option(help="Only cases operated there.")] = None,
        exclude_patient: Annotated[str | None, typer.Option(help="Patient whose own cases must not be found.")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Seed of 'random'.")] = 0,
        json_lines: JsonLines = False,
    ) -> None:
        """Find the cases of a library whose tumours lie like this one."""

        from ..prediction.similar_cases import SimilarCasesRequest, find_similar_cases

        request = SimilarCasesRequest(
            tumour=tumor,
            library=library,
            pre=pre,
            labels=labels,
            brain=brain,
            k=k,
            per=per.value,
            strategy=strategy.value,
            sequence=sequence,
            institution=institution,
            exclude_patient=exclude_patient,
            seed=seed,
        )
        run_command(find_similar_cases, request, json_lines, _summary)


def _summary(result: Mapping[str, Any]) -> str:
    if result["no_similar_case"]:
        return "NO SIMILAR CASE in the library."
    columns = ("rank", "iou", "case_id", "source", "institution", "tumour_ml", "eor_percent")
    rows = [list(columns), *([str(case.get(column, "n/a")) for column in columns] for case in result["cases"])]
    widths = [max(len(row[n]) for row in rows) for n in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
