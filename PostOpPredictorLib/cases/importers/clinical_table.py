"""The tables that come with public data sets, as they are: odd headers, stray blanks, many words for "unknown"."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError

_UNKNOWN = {"", "na", "n/a", "n-a", "n.a.", "nan", "none", "null", "unknown", "-", "?"}
_ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")


@dataclass(frozen=True)
class ClinicalTable:
    """A table's rows, by normalised header: small letters and digits only, since spaces and typing differ by copy."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]

    def column(self, *beginnings: str, but_not: str | None = None) -> str | None:
        """The first column whose normalised header begins with one of ``beginnings`` (and not with ``but_not``)."""
        for beginning in map(normalised, beginnings):
            for name in self.columns:
                if name.startswith(beginning) and not (but_not and name.startswith(normalised(but_not))):
                    return name
        return None

    def needed(self, *beginnings: str, but_not: str | None = None) -> str:
        """As ``column``; raises ``InputError`` when there is none."""
        found = self.column(*beginnings, but_not=but_not)
        if found is None:
            raise InputError(
                f"{self.path} has no column that begins with {' or '.join(map(repr, beginnings))}. "
                "Use the table as it was published."
            )
        return found


def read_clinical_table(path: Path) -> ClinicalTable:
    """Read a table whose cells are separated by comma, semicolon or tab; lines without any content are left out.

    Raises ``InputError`` when it cannot be read or has no header.
    """
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip(" \t,;")), None)
    if first is None:
        raise InputError(f"{path} is empty. Use the table as it was published.")
    cells = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        header, *body = [row for row in cells if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as a table ({error}). Use the table as it was published.") from error
    columns = tuple(normalised(name) for name in header)
    rows = tuple({name: clean(cell) for name, cell in zip(columns, row, strict=False) if name} for row in body)
    return ClinicalTable(path, tuple(name for name in columns if name), rows)


def find_table(folders: tuple[Path, ...], pattern: str) -> Path | None:
    """The first file that fits ``pattern`` (no case) in one of ``folders``."""
    for folder in folders:
        found = sorted(path for path in folder.glob("*") if re.fullmatch(pattern, path.name, re.IGNORECASE))
        if found:
            return found[0]
    return None


def normalised(header: str) -> str:
    """Small letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", header.lower())


def clean(cell: str) -> str:
    """Without blanks around it, each run of blanks within (also unbreakable ones) a single one."""
    return " ".join(cell.replace("\u00a0", " ").split())


def known(cell: str | None) -> str | None:
    """The cell's text, or ``None`` where it says in one of many ways that nothing is known."""
    text = clean(cell or "")
    return None if text.lower() in _UNKNOWN else text


def number(cell: str | None) -> float | None:
    """The finite number that the cell begins with (a decimal comma and a unit after it are understood), or ``None``."""
    match = re.match(r"[-+]?\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?", known(cell) or "")
    value = float(match[0].replace(",", ".")) if match else math.nan
    return value if math.isfinite(value) else None


def sex(cell: str | None) -> str | None:
    """F or M, or ``None``."""
    first = (known(cell) or " ")[0].upper()
    return {"F": "F", "W": "F", "M": "M"}.get(first)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}). Check that you may read it.") from error
    for encoding in ("utf-16",) if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else _ENCODINGS:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InputError(f"{path} is no text. Use the table as it was published.")
