"""What was measured already, one small file per row and case, so that a stopped evaluation goes on where it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from ..atomic_files import whole_file
from .measures import CaseMeasures
from .rows import Row


class ResultCache:
    """A folder of results. ``settings`` is whatever else the figures depend on (library, sequence, slices): another
    one, another folder."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.folder = Path(folder) / settings

    def read(self, row: Row, case_id: str) -> CaseMeasures | None:
        """The stored measures, or ``None`` when there are none or the file is damaged."""
        if not self._picture(row, case_id).is_file():
            return None
        try:
            return CaseMeasures(**json.loads(self._measures(row, case_id).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, row: Row, case_id: str, measures: CaseMeasures, picture: np.ndarray) -> None:
        """Store measures and the picture (y, x) in [0, 1] that the figure shows."""
        with whole_file(self._picture(row, case_id)) as temporary, temporary.open("wb") as file:
            np.save(file, np.round(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8), allow_pickle=False)
        with whole_file(self._measures(row, case_id)) as temporary:
            temporary.write_text(json.dumps(measures.as_json()), encoding="utf-8")

    def picture(self, row: Row, case_id: str) -> np.ndarray:
        """The stored picture, uint8 (y, x)."""
        return np.load(self._picture(row, case_id), allow_pickle=False)

    def _measures(self, row: Row, case_id: str) -> Path:
        return self.folder / row.key / f"{anonymous(case_id)}.json"

    def _picture(self, row: Row, case_id: str) -> Path:
        return self.folder / row.key / f"{anonymous(case_id)}.npy"


def anonymous(case_id: str) -> str:
    """A name for files: a case's own may be a patient's, and a file of ours must not carry it."""
    return hashlib.sha256(case_id.encode()).hexdigest()[:16]
