"""``postop library``: make, fill, check and list a library of operated cases."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from . import library_import
from .console import JsonLines, run_command

if TYPE_CHECKING:
    from ..progress import Progress

library_app = typer.Typer(help="Make, fill, check and list a library of operated cases.", no_args_is_help=True)

LibraryFolder = Annotated[Path, typer.Argument(help="Folder of the library.")]


class Sequence(StrEnum):
    """The sequences that a library holds."""

    T1W = "T1w"
    T1WCE = "T1wCE"
    T2W = "T2w"
    FLAIR = "FLAIR"


class Split(StrEnum):
    """What a case is used for."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    library_import.register(library_app)
    app.add_typer(library_app, name="library")


@library_app.command()
def phantom(
    library: LibraryFolder,
    cases: Annotated[int, typer.Option("--cases", "-n", min=1, help="Simulated patients.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same patients.")] = 2026,
    workers: Annotated[int, typer.Option(min=1, help="Processes at once.")] = 2,
    anatomy: Annotated[Path | None, typer.Option(help="Folder of label maps of other people's brains.")] = None,
    resection_map: Annotated[Path | None, typer.Option(help="File or folder of real resection statistics.")] = None,
    real: Annotated[Path | None, typer.Option(help="Folder of real scans with masks, to be operated on too.")] = None,
    sequence: Annotated[
        list[Sequence] | None,
        typer.Option(help="Sequence to simulate; may be repeated (default: T1w and T1wCE)."),
    ] = None,
    later: Annotated[
        int, typer.Option(min=0, help="Patients with a second scan some time after the operation, a case of its own.")
    ] = 0,
    first_day: Annotated[float, typer.Option(help="Earliest day of a later scan.")] = 1.0,
    last_day: Annotated[float, typer.Option(help="Latest day of a later scan, at most 365.")] = 365.0,
    json_lines: JsonLines = False,
) -> None:
    """Simulate patients before and after surgery; goes on where an earlier run stopped.

    Cases that are there keep their sequences and their first scan; what is missing is added.
    """

    def work(folder: Path, progress: Progress) -> dict[str, Any]:
        from ..cases.phantom.cohort import write_cohort
        from ..cases.phantom.healing import LaterScans
        from ..retrieval.slice_index import SliceIndex

        made = write_cohort(
            folder,
            cases,
            seed,
            workers=workers,
            anatomy_folder=anatomy,
            resection_map=resection_map,
            real_cases_folder=real,
            sequences=[name.value for name in dict.fromkeys(sequence or (Sequence.T1W, Sequence.T1WCE))],
            later=LaterScans(later, first_day, last_day) if later else None,
            progress=progress,
        )
        SliceIndex.open(made, progress)
        return {"library": folder, "cases": len(made.cases)}

    run_command(work, library, json_lines)


@library_app.command()
def add(
    library: LibraryFolder,
    pre: Annotated[list[Path], typer.Option(help="Scan before surgery; once for each --sequence.")],
    post: Annotated[list[Path], typer.Option(help="Scan after surgery; once for each --sequence.")],
    tumor: Annotated[Path, typer.Option("--tumor", "--tumour", help="Label map of the tumour before surgery.")],
    cavity: Annotated[Path, typer.Option(help="Mask of the cavity on the scan after surgery.")],
    sequence: Annotated[list[Sequence], typer.Option(help="What --pre and --post are; may be repeated.")],
    labels: Annotated[
        str, typer.Option(help="What the tumour's labels mean: brats, brats2023, lumiere, any, or the core's (1,4).")
    ] = "brats",
    residual: Annotated[Path | None, typer.Option(help="Mask of the tumour that is left.")] = None,
    case_id: Annotated[
        str | None, typer.Option("--id", help="Id of the case, no patient name (default: own1 ...).")
    ] = None,
    patient: Annotated[str | None, typer.Option(help="Code of the patient, if other cases are of the same.")] = None,
    institution: Annotated[str, typer.Option(help="Where the patient was operated.")] = "own",
    split: Annotated[Split, typer.Option(help="What the case is used for.")] = Split.TRAIN,
    sex: Annotated[str | None, typer.Option(help="F or M.")] = None,
    age: Annotated[int | None, typer.Option(min=0, max=120, help="Years.")] = None,
    json_lines: JsonLines = False,
) -> None:
    """Add a patient of your own; the library is made when there is none. No name or date of the files is kept."""
    if not len(pre) == len(post) == len(sequence) == len(set(sequence)):
        raise InputError(
            f"There are {len(pre)} --pre, {len(post)} --post and {len(set(sequence))} different --sequence. "
            "Give one of each for every sequence."
        )

    def work(folder: Path, progress: Progress) -> dict[str, Any]:
        from ..cases.library import CaseLibrary
        from ..cases.operated_patient import OperatedPatient

        # a folder that is no library is refused before the long work, and a new one made only after it
        exists = folder.is_dir() and any(folder.iterdir())
        taken = {case.case_id for case in CaseLibrary.open(folder, allow_empty=True).cases} if exists else set()
        given = OperatedPatient(
            case_id=case_id or next(f"own{n}" for n in range(1, len(taken) + 2) if f"own{n}" not in taken),
            scans={name.value: files for name, files in zip(sequence, zip(pre, post, strict=True), strict=True)},
            tumour=tumor,
            cavity=cavity,
            residual=residual,
            labels=labels,
            patient_id=patient,
            institution=institution,
            split=split.value,
            attributes={key: value for key, value in (("sex", sex), ("age", age)) if value is not None},
        )
        case = given.read(progress)
        opened = CaseLibrary.open(folder, allow_empty=True) if exists else CaseLibrary.create(folder)
        progress.stage("Writing the case")
        return {"case": case.case_id, "folder": opened.add(case).folder, **case.attributes}

    run_command(work, library, json_lines)


@library_app.command()
def check(library: LibraryFolder, json_lines: JsonLines = False) -> None:
    """Name every broken file; exit code 2 when there is one."""

    def work(folder: Path, progress: Progress) -> dict[str, Any]:
        from ..cases.library import CaseLibrary

        opened = CaseLibrary.open(folder, allow_empty=True)
        return {"cases": len(opened.cases), "problems": opened.check(progress)}

    if run_command(work, library, json_lines, _check_summary)["problems"]:
        raise typer.Exit(2)


def _check_summary(result: Mapping[str, Any]) -> str:
    problems = result["problems"]
    return "\n".join([*problems, f"{result['cases']} cases, {len(problems) or 'no'} problems"])


@library_app.command("list")
def list_cases(library: LibraryFolder, json_lines: JsonLines = False) -> None:
    """List the cases with what is known of them."""

    def work(folder: Path, _: Progress) -> dict[str, Any]:
        from ..cases.library import CaseLibrary

        return {"cases": [dict(case.attributes) for case in CaseLibrary.open(folder).cases]}

    run_command(work, library, json_lines, _list_summary)


def _list_summary(result: Mapping[str, Any]) -> str:
    columns = ("case_id", "source", "split", "institution", "tumour_ml", "eor_percent")
    rows = [[str(case.get(column, "n/a")) for column in columns] for case in result["cases"]]
    widths = [max(len(row[n]) for row in [list(columns), *rows]) for n in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(columns), *rows]
    )


@library_app.command()
def prepare(
    library: LibraryFolder,
    out: Annotated[Path, typer.Argument(help="File to write, .safetensors.")],
    slice_step: Annotated[int, typer.Option(min=1, help="Take every n-th height.")] = 1,
    neighbours: Annotated[int, typer.Option(min=1, help="Most similar slices kept for each slice.")] = 15,
    json_lines: JsonLines = False,
) -> None:
    """Write the tumour slices as the one file that 'postop train' reads."""

    def work(folder: Path, progress: Progress) -> dict[str, Any]:
        from ..training.prepare import prepare_slices

        counts = prepare_slices(folder, out, slice_step=slice_step, neighbours=neighbours, progress=progress)
        return {"file": out, **counts}

    run_command(work, library, json_lines)
