"""participants.tsv: one row per case, ``n/a`` where something is unknown."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..atomic_files import whole_file
from ..errors import LibraryError
from .bids import participant_of
from .case import SimulatedCase

Row = dict[str, str]

UNKNOWN = "n/a"
_TEXT = ("participant_id", "case_id", "patient_id", "source", "split", "institution", "sex", "resection_class")
COLUMNS = (
    *("participant_id", "case_id", "patient_id", "source", "split", "institution", "sex", "age"),
    *("hemisphere", "lobe", "eor_percent", "resection_class", "tumour_ml", "residual_ml"),
)


def row_of(case: SimulatedCase) -> Row:
    """The row that describes ``case``."""
    row = {key: _cell(value) for key, value in case.attributes.items()}
    row["participant_id"] = participant_of(case.case_id)
    row["case_id"], row["patient_id"] = _cell(case.case_id), _cell(case.patient_id)
    row["source"], row["split"], row["institution"] = _cell(case.kind), _cell(case.split), _cell(case.institution)
    return row


def attributes_of(row: Mapping[str, str]) -> dict[str, str | float]:
    """A row's known values; numbers as float except in the columns that are names."""
    return {key: _value(key, text) for key, text in row.items() if text != UNKNOWN}


def read_table(path: Path) -> list[Row]:
    """Read participants.tsv; raises ``LibraryError`` when it is no such table."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LibraryError(
            f"{path} cannot be read as a table ({error}). Restore it from a copy, or remove it."
        ) from error
    if any("participant_id" not in row or None in row or None in row.values() for row in rows):
        raise LibraryError(f"{path} is damaged: a row has too few or too many cells. Restore it, or remove it.")
    return rows


def write_table(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write participants.tsv whole, sorted by participant, the known columns first."""
    rows = sorted(rows, key=lambda row: row["participant_id"])
    extra = sorted({key for row in rows for key in row} - set(COLUMNS))
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        lines = [[row.get(column, UNKNOWN) for column in (*COLUMNS, *extra)] for row in rows]
        file.writelines("\t".join(line) + "\n" for line in [[*COLUMNS, *extra], *lines])


def _cell(value: str | float) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return re.sub(r"\s+", " ", text).strip() or UNKNOWN


def _value(column: str, text: str) -> str | float:
    if column in _TEXT:
        return text
    try:
        return float(text)
    except ValueError:
        return text
