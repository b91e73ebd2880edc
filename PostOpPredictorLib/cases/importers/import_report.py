"""What became of every patient of an imported data set: a table and a JSON file in the library."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ... import __version__
from ...atomic_files import whole_file
from ..participants import UNKNOWN
from .bids_source import normalised_name
from .plan import Dataset, LeftOut, PlannedPair

Status = Literal["taken", "there already", "skipped"]
COLUMNS = ("patient_id", "case_id", "status", "pre", "post", "sequences", "cavity", "reason", "notes")


@dataclass(frozen=True)
class ReportRow:
    """One operation, or one patient of whom there is none. ``reason`` says why it was skipped."""

    patient_id: str
    case_id: str
    status: Status
    pre: str = ""
    post: str = ""
    sequences: str = ""
    cavity: str = ""
    reason: str = ""
    notes: str = ""

    @classmethod
    def of_pair(
        cls, pair: PlannedPair, status: Status, attributes: Mapping[str, str | float], reason: str = ""
    ) -> ReportRow:
        """The row of a planned pair; ``attributes`` are those of its case in the library."""
        return cls(
            pair.patient_id,
            pair.case_id,
            status,
            pair.pre.name,
            pair.post.name,
            " ".join(pair.sequences),
            str(attributes.get("cavity", "")),
            reason,
            str(attributes.get("import_notes", "; ".join(pair.notes))),
        )

    @classmethod
    def of_left_out(cls, item: LeftOut) -> ReportRow:
        """The row of an operation or a patient that is left out."""
        return cls(item.patient_id, item.case_id, "skipped", reason=item.reason)

    def cells(self) -> dict[str, str]:
        """The row by column, ``n/a`` where there is nothing to say."""
        return {name: re.sub(r"\s+", " ", getattr(self, name)).strip() or UNKNOWN for name in COLUMNS}


@dataclass(frozen=True)
class ImportReport:
    """The whole report; every patient of the data set has a row. ``options`` are those of the import."""

    dataset: Dataset
    options: Mapping[str, Any]
    rows: tuple[ReportRow, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each status."""
        found = Counter(row.status for row in self.rows)
        return {status: found[status] for status in ("taken", "there already", "skipped")}

    def path(self, library: Path) -> Path:
        """Where its table lies; the JSON file beside it has the same name."""
        name = normalised_name(str(self.options.get("name", "")))
        return library / f"import-{self.dataset}{'-' if name else ''}{name}.tsv"

    def write(self, library: Path) -> None:
        """Write ``import-<data set>.tsv`` and ``.json`` into the library's folder, each whole."""
        rows = [row.cells() for row in self.rows]
        with whole_file(self.path(library)) as temporary:
            lines = ["\t".join(COLUMNS), *("\t".join(row.values()) for row in rows)]
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        content = {
            "dataset": self.dataset,
            "version": __version__,
            "options": dict(self.options),
            "counts": self.counts,
            "rows": rows,
        }
        with whole_file(self.path(library).with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
