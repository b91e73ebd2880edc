"""The table of a batch: one patient a row, each with the settings of the batch and what its own row says."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...cases.case import SEQUENCES
from ...errors import InputError, PostOpError
from ..plan_request import PlanRequest
from ..request import PredictionRequest

FILES = ("pre", "tumour", "brain")
SETTINGS = ("labels", "sequence", "institution", "follow")
NUMBERS = ("days", "seed")
COLUMNS = ("id", *FILES, *SETTINGS, *NUMBERS, "plan", "margins_mm", *SEQUENCES)
_SAFE_ID = re.compile(r"[^\W_][\w.-]*")
_LONGEST_ID = 100


@dataclass(frozen=True)
class BatchCase:
    """One patient: ``request`` is what is predicted; None where the row cannot be used, and ``problem`` says why."""

    case_id: str
    request: PredictionRequest | None
    problem: str = ""

    @property
    def files(self) -> dict[str, Path]:
        """The patient's files by what they are."""
        request = self.request
        if request is None:
            return {}
        named = {"the scan": request.pre, "the tumour mask": request.tumour, "the brain mask": request.brain}
        plans = {f"the mask of plan {number}": plan.mask for number, plan in enumerate(request.plans, start=1)}
        further = {f"the {sequence} scan": path for sequence, path in request.more.items()}
        return {what: path for what, path in {**named, **plans, **further}.items() if path is not None}


def read_batch(table: Path, options: PredictionRequest) -> list[BatchCase]:
    """The cases of a CSV (or TSV) table, in its order; each is written to a folder of its name below ``options.out``.

    ``options``: the settings of all; ``pre`` and ``tumour`` of it are not used. Columns: ``id``, ``pre``, ``tumour``
    (or ``tumor``) and, if wanted, ``brain``, ``labels``, ``sequence``, ``institution``, ``follow``, ``days``, ``seed``,
    ``plan`` (a mask), ``margins_mm`` (a plan for each of "0;3;5"), and one column of files for each further sequence.
    An empty cell is as if the column were not there; relative paths start at the table's folder. Raises
    ``InputError`` for a table as a whole; what is wrong in one row becomes that case's ``problem``.
    """
    rows = _rows(table)
    cases = [_case(row, table.resolve().parent, options) for row in rows]
    repeated = [one for one, count in Counter(case.case_id.casefold() for case in cases).items() if count > 1]
    if repeated:
        raise InputError(f"{table} has several rows with the id {', '.join(sorted(repeated))}. Give each its own.")
    return cases


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        raise InputError(f"There is no table {table}. Give a CSV file with the columns id, pre and tumour.")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            dialect = csv.excel_tab if table.suffix.lower() == ".tsv" else csv.excel
            reader = csv.DictReader(file, dialect=dialect, skipinitialspace=True, strict=True)
            known = {name: _column(name) for name in reader.fieldnames or ()}
            rows = [_cells(row, known, number) for number, row in enumerate(reader, start=1)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} could not be read as a CSV table ({error}). Save it as CSV in UTF-8.") from error
    missing = {"id", "pre", "tumour"} - set(known.values())
    if missing:
        raise InputError(f"{table} has no column {', '.join(sorted(missing))}. It needs id, pre and tumour.")
    unknown = [name for name, column in known.items() if column not in COLUMNS]
    if unknown:
        raise InputError(f"{table} has the column '{unknown[0]}', which is not known. Known: {', '.join(COLUMNS)}.")
    filled = [row for row in rows if any(row.values())]
    if not filled:
        raise InputError(f"{table} holds no case. Add a row for each patient.")
    for number, row in enumerate(filled, start=1):
        _refuse_id(row.get("id", ""), number)
    return filled


def _column(name: str) -> str:
    by_small = {column.casefold(): column for column in COLUMNS} | {"tumor": "tumour"}
    return by_small.get(name.strip().casefold(), name.strip())


def _cells(row: Mapping[Any, Any], known: Mapping[str, str], number: int) -> dict[str, str]:
    if None in row:
        raise InputError(
            f'Row {number} has more cells than the table has columns. Put a cell with a comma in "quotes".'
        )
    return {known[name]: (value or "").strip() for name, value in row.items()}


def _refuse_id(case_id: str, number: int) -> None:
    if not _SAFE_ID.fullmatch(case_id) or len(case_id) > _LONGEST_ID or case_id.endswith("."):
        raise InputError(
            f"Row {number} has the id '{case_id}', which cannot name a folder. Use letters, digits, points, - and _."
        )


def _case(row: Mapping[str, str], folder: Path, options: PredictionRequest) -> BatchCase:
    case_id = row["id"]
    try:
        return BatchCase(case_id, _request(row, folder, options))
    except PostOpError as error:
        return BatchCase(case_id, None, str(error))


def _request(row: Mapping[str, str], folder: Path, options: PredictionRequest) -> PredictionRequest:
    for name in ("pre", "tumour"):
        if not row.get(name):
            raise InputError(f"The row names no file under '{name}'. Fill it in.")
    changes: dict[str, Any] = {name: _path(row[name], folder) for name in FILES if row.get(name)}
    changes |= {name: row[name] for name in SETTINGS if row.get(name)}
    changes |= {name: _number(name, row[name]) for name in NUMBERS if row.get(name)}
    more = {sequence: _path(row[sequence], folder) for sequence in SEQUENCES if row.get(sequence)}
    sequence = changes.get("sequence", options.sequence)
    if sequence not in ("auto", *SEQUENCES):
        raise InputError(f"There is no sequence '{sequence}'. Choose one of: auto, {', '.join(SEQUENCES)}.")
    plans = (*options.plans, *_plans(row, folder))
    return replace(options, **changes, more={**options.more, **more}, plans=plans, out=options.out / row["id"])


def _plans(row: Mapping[str, str], folder: Path) -> list[PlanRequest]:
    plans = [PlanRequest("plan", mask=_path(row["plan"], folder))] if row.get("plan") else []
    margins = [_number("margins_mm", text) for text in row.get("margins_mm", "").split(";") if text.strip()]
    return plans + [PlanRequest(f"margin {margin:g} mm", margin_mm=float(margin)) for margin in margins]


def _path(text: str, folder: Path) -> Path:
    return folder / Path(text).expanduser()


def _number(name: str, text: str) -> float | int:
    try:
        return int(text) if name == "seed" else float(text)
    except ValueError as error:
        raise InputError(f"The row says '{text.strip()}' under '{name}', which is no number.") from error
