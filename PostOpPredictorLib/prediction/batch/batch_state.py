"""What is known of every case of a batch, kept in its folder; processes share nothing else.

A case that is done has its prediction, whose provenance.json says all; one that failed has a small file in ``.failed``,
also where an earlier prediction of it stands.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...atomic_files import whole_file
from ...cases.folder_lock import only_writer
from ..model_choice import model_folder_of
from ..output_folder import PROVENANCE
from ..provenance import settings_of
from .batch_cases import BatchCase

TABLE = "batch.csv"
FAILURES = ".failed"
DONE, FAILED, WAITING = "done", "failed", "waiting"
FIGURES = (
    "sequence",
    "similarity",
    "no_similar_case",
    "precedent",
    "precedent_iou",
    "tumour_ml",
    "cavity_ml",
    "residual_ml",
)
COLUMNS = ("id", "status", "sentence", "error_code", *FIGURES, "eor_percent", "registration", "seconds")
OTHER_SETTINGS = "made with other settings or another model than these; kept. Give --again to predict it anew"
KEPT = " The earlier prediction is kept."


@dataclass(frozen=True)
class BatchState:
    """``folder``: where the cases' folders are; ``model_checksums``: of the models that predict now, by folder."""

    folder: Path
    model_checksums: Mapping[Path, str]

    def is_done(self, case: BatchCase) -> bool:
        """Whether there is a whole prediction of it, and predicting it anew did not fail."""
        return self.has_prediction(case) and _read(self._failure(case)) is None

    def has_prediction(self, case: BatchCase) -> bool:
        """Whether there is a whole prediction of it, which stays until a new one is whole."""
        return self._provenance(case) is not None

    def fail(self, case: BatchCase, code: str, sentence: str, seconds: float) -> None:
        """Write down why there is no prediction. No path is written: it may hold a patient's name."""
        record = {"error_code": code, "sentence": without_paths(sentence, case), "seconds": round(seconds, 1)}
        with whole_file(self._failure(case)) as temporary:
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")

    def forget_failure(self, case: BatchCase) -> None:
        """It was predicted, or is tried again."""
        self._failure(case).unlink(missing_ok=True)

    def row(self, case: BatchCase) -> dict[str, Any]:
        """The case's row of the table."""
        failure, provenance = _read(self._failure(case)), self._provenance(case)
        if failure is not None:
            kept = "" if provenance is None else KEPT
            return {**failure, "id": case.case_id, "status": FAILED, "sentence": f"{failure.get('sentence')}{kept}"}
        if provenance is not None:
            result = provenance.get("result", {})
            figures = {name: result.get(name) for name in COLUMNS if name in result}
            figures["similarity"] = (result.get("similarity") or {}).get("level")
            seconds = round(sum(provenance.get("seconds", {}).values()), 1)
            sentence = OTHER_SETTINGS if self._is_of_other_settings(case, provenance) else ""
            return {**figures, "id": case.case_id, "status": DONE, "sentence": sentence, "seconds": seconds}
        return {"id": case.case_id, "status": WAITING}

    def write_table(self, cases: Sequence[BatchCase]) -> list[dict[str, Any]]:
        """Write ``batch.csv`` from what is on the disk now, one process at a time; returns its rows."""
        with only_writer(self.folder):
            rows = [self.row(case) for case in cases]
            with (
                whole_file(self.folder / TABLE) as temporary,
                temporary.open("w", encoding="utf-8", newline="") as file,
            ):
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows({name: _text(row.get(name)) for name in COLUMNS} for row in rows)
        return rows

    def _is_of_other_settings(self, case: BatchCase, provenance: Mapping[str, Any]) -> bool:
        if case.request is None:
            return True
        if provenance.get("model", {}).get("checksum") != self.model_checksums.get(model_folder_of(case.request)):
            return True
        before = provenance.get("settings", {})
        now = json.loads(json.dumps(settings_of(case.request)))
        return any(before[name] != now[name] for name in before.keys() & now.keys())

    def _provenance(self, case: BatchCase) -> dict[str, Any] | None:
        return _read(self.folder / case.case_id / PROVENANCE)

    def _failure(self, case: BatchCase) -> Path:
        return self.folder / FAILURES / f"{case.case_id}.json"


def without_paths(sentence: str, case: BatchCase) -> str:
    """``sentence`` with the patient's files called by what they are."""
    for what, path in case.files.items():
        for name in sorted({str(path), str(path.resolve()), path.name}, key=len, reverse=True):
            sentence = sentence.replace(name, what)
    return sentence


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = " ".join(str(value).split())
    # To some readers of tables it would be a formula.
    return f"'{text}" if text.startswith(("=", "+", "@")) else text
