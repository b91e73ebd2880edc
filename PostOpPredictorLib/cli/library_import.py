"""``postop library import`` and ``postop library split``: data sets of real operated patients."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import JsonLines, run_command

if TYPE_CHECKING:
    from ..progress import Progress


class Dataset(StrEnum):
    """The data sets that can be imported."""

    LUMIERE = "lumiere"
    RHUH = "rhuh"
    BRATS_POST = "brats-post"
    BIDS = "bids"


def register(library_app: typer.Typer) -> None:
    """Add the commands to ``postop library``."""
    library_app.command("import")(import_data_set)
    library_app.command("split")(split)


def import_data_set(
    dataset: Annotated[Dataset, typer.Argument(help="What SOURCE is.", show_default=False)],
    source: Annotated[Path, typer.Argument(help="Folder of the data set as it unpacks.")],
    library: Annotated[Path, typer.Argument(help="Folder of the library; made when there is none.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes at once.")] = 2,
    first_operations: Annotated[
        bool, typer.Option("--first-operations", help="LUMIERE: no pairs of a patient's later operations.")
    ] = False,
    name: Annotated[str, typer.Option(help="BIDS: what the data set is called in ids.")] = "bids",
    labels: Annotated[
        str, typer.Option(help="BIDS: what the labels of a tumour map mean: brats, brats2023, lumiere, any, or 1,4.")
    ] = "brats",
    json_lines: JsonLines = False,
) -> None:
    """Import real operated patients; goes on where an earlier import stopped. Exit code 2 when there is none."""

    def work(folder: Path, progress: Progress) -> dict[str, Any]:
        from ..cases.importers.import_run import ImportRequest, import_cases

        request = ImportRequest(dataset.value, source, folder, workers, first_operations, name, labels)
        report = import_cases(request, progress)
        return {
            "library": folder,
            "counts": report.counts,
            "report": report.path(folder),
            "rows": [row.cells() for row in report.rows],
        }

    counts = run_command(work, library, json_lines, _import_summary)["counts"]
    if not counts["taken"] + counts["there already"]:
        raise typer.Exit(2)


def _import_summary(result: Mapping[str, Any]) -> str:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False)
    for title in ("patient", "case", "", "before", "after"):
        table.add_column(title, no_wrap=True)
    table.add_column("reason or notes", overflow="fold")
    for row in result["rows"]:
        told = [row[key] for key in ("reason", "notes") if row[key] != "n/a"]
        cells = [row[key] for key in ("patient_id", "case_id", "status", "pre", "post")]
        table.add_row(*("" if cell == "n/a" else cell for cell in cells), "; ".join(told))
    page = io.StringIO()
    Console(file=page, width=max(100, shutil.get_terminal_size().columns), markup=False, highlight=False).print(table)
    counts = ", ".join(f"{count} {status}" for status, count in result["counts"].items())
    return f"{page.getvalue()}\n{counts}; the report is {result['report']}"


def split(
    library: Annotated[Path, typer.Argument(help="Folder of the library.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same split.")] = 2026,
    test: Annotated[
        int | None, typer.Option(min=0, help="Patients to test (default: 5 of 71, as in the paper).")
    ] = None,
    val: Annotated[int, typer.Option(min=0, help="Patients to validate.")] = 0,
    institution: Annotated[str | None, typer.Option(help="Only the patients of this institution or data set.")] = None,
    json_lines: JsonLines = False,
) -> None:
    """Divide the real patients into train, val and test; never a patient in two."""

    def work(folder: Path, _: Progress) -> dict[str, Any]:
        from ..cases.library_split import SplitRequest, split_library

        return dict(split_library(SplitRequest(folder, seed, test, val, institution)))

    run_command(work, library, json_lines, _split_summary)


def _split_summary(result: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{name}: {counts['patients']} patients, {counts['cases']} cases" for name, counts in result.items()
    )
