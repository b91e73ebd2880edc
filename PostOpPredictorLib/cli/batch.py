"""``postop batch``: many patients from one table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import JsonLines, run_command
from .predict import prediction_request
from .shared_options import with_options_of

_OF_ONE_PATIENT = ("pre", "tumor", "brain", "more", "structure", "overwrite")
SOME_FAILED = 1


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(batch)


@with_options_of(prediction_request, leave_out=_OF_ONE_PATIENT)
def batch(
    cases: Annotated[
        Path,
        typer.Argument(help="CSV table: id, pre, tumour, and if wanted brain, labels, sequence, T2w, margins_mm ..."),
    ],
    out: Annotated[Path, typer.Option(help="Folder with a prediction for each case; done ones are kept.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes at once on this computer.")] = 1,
    again: Annotated[bool, typer.Option("--again", help="Predict the cases that are done once more.")] = False,
    json_lines: JsonLines = False,
    **options: Any,
) -> None:
    """Predict every patient of a table; goes on where it stopped. Exit code 1 when a case failed (batch.csv says why).

    Under 'accelerate launch' or 'srun' every process takes its share of the cases; then the exit code is 0, so that no
    launcher ends the others.
    """
    from ..prediction.batch.run import BatchRequest, predict_batch

    template = prediction_request(pre=Path(), tumor=Path(), out=out, **options)
    result = run_command(predict_batch, BatchRequest(cases, template, workers, again), json_lines, _summary)
    if result["failed"] and result["processes"] == 1:
        raise typer.Exit(SOME_FAILED)


def _summary(result: Mapping[str, Any]) -> str:
    whose = "" if result["processes"] == 1 else f" of process {result['process'] + 1} of {result['processes']}"
    return "\n".join(
        [
            *(typer.style(f"{case_id}: {sentence}", fg="red") for case_id, sentence in result["failed"].items()),
            f"{result['done']} of {result['own_cases']} cases{whose} are done. Table: {result['table']}",
            typer.style("SYNTHETIC: for research only, not for clinical decisions.", fg="yellow"),
        ]
    )
