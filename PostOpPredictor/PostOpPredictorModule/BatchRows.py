"""A table of a batch on the disk: the rows of a case are replaced together, and the file is always whole."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class BatchRows:
    """The rows of ``path``, by case id (the column ``id``); an existing file is continued."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path, self._columns = path, tuple(columns)
        self._rows: dict[str, list[dict[str, str]]] = {}
        if path.is_file():
            with path.open(encoding="utf-8-sig", newline="") as file:
                for row in csv.DictReader(file):
                    if row.get("id"):
                        kept = {name: row.get(name) or "" for name in self._columns}
                        self._rows.setdefault(row["id"], []).append(kept)

    def of(self, caseId: str) -> list[dict[str, str]]:
        """The rows of one case; empty when there is none."""
        return self._rows.get(caseId, [])

    def replace(self, caseId: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write ``rows`` in the place of those of the case; nothing is written where there were none and are none."""
        if not rows and caseId not in self._rows:
            return
        self._rows.pop(caseId, None)
        if rows:
            self._rows[caseId] = [
                {name: _text(row.get(name)) for name in self._columns} | {"id": caseId} for row in rows
            ]
        self._save()

    def _save(self) -> None:
        handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.stem}-", suffix=".csv")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, self._columns)
                writer.writeheader()
                writer.writerows(row for rows in self._rows.values() for row in rows)
            os.replace(temporary, self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    # A line break in a cell confuses many readers of tables; a leading = would be a formula to some.
    text = " ".join(str(value).split())
    return f"'{text}" if text.startswith(("=", "+", "@")) else text
