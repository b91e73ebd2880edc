"""The table of a batch: one row per case, whole on the disk after every case."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "id",
    "status",
    "sentence",
    "error_code",
    "sequence",
    "no_similar_case",
    "precedent",
    "precedent_iou",
    "tumour_ml",
    "cavity_ml",
    "residual_ml",
    "eor_percent",
    "warnings",
    "seconds",
)
"""``status``: done or failed; ``sentence``: why it failed. Volumes in ml, extent of resection in percent."""
DONE, FAILED = "done", "failed"


class FiguresTable:
    """The rows of ``path``, by case id; an existing file is continued."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, dict[str, str]] = {}
        if path.is_file():
            with path.open(encoding="utf-8-sig", newline="") as file:
                for row in csv.DictReader(file):
                    if row.get("id"):
                        self._rows[row["id"]] = {name: row.get(name) or "" for name in COLUMNS}

    def isDone(self, caseId: str) -> bool:
        """Whether the case was predicted before."""
        return self._rows.get(caseId, {}).get("status") == DONE

    def addResult(self, caseId: str, summary: Mapping[str, Any], warnings: Sequence[str], seconds: float) -> None:
        """Write the figures of a prediction."""
        figures = {name: summary.get(name) for name in COLUMNS}
        self._write(caseId, {**figures, "status": DONE, "warnings": " ".join(warnings), "seconds": round(seconds, 1)})

    def addFailure(self, caseId: str, code: str, sentence: str, seconds: float) -> None:
        """Write why there is no prediction."""
        self._write(caseId, {"status": FAILED, "error_code": code, "sentence": sentence, "seconds": round(seconds, 1)})

    def _write(self, caseId: str, row: Mapping[str, Any]) -> None:
        self._rows.pop(caseId, None)
        self._rows[caseId] = {name: _text(row.get(name)) for name in COLUMNS} | {"id": caseId}
        handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".figures-", suffix=".csv")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(self._rows.values())
            os.replace(temporary, self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _text(value: Any) -> str:
    if value is None:
        return ""
    # A line break in a cell confuses many readers of tables; a leading = would be a formula to some.
    text = " ".join(str(value).split())
    return f"'{text}" if text.startswith(("=", "+", "@")) else text
