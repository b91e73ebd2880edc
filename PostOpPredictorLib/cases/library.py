"""The library of operated cases: a BIDS derivative on disk, on one grid in MNI space."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_files import whole_file, whole_folder
from ..errors import LibraryError
from ..progress import Progress, SilentProgress
from .bids import OUTCOME_NAMES, TUMOUR_NAMES, CaseFiles, dataset_description, participant_of
from .case import SimulatedCase
from .case_files import refuse_unusable, write_case
from .folder_lock import only_writer
from .library_case import LibraryCase
from .participants import Row, attributes_of, read_table, row_of, write_table

__all__ = ["CaseLibrary", "LibraryCase"]

_log = logging.getLogger(__name__)


class CaseLibrary:
    """A folder of cases. Opening it reads a table, no volume; participants.tsv is derived from the case folders.

    Several processes may add to one library at once: each case folder appears by rename under the library's lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._cases: tuple[LibraryCase, ...] | None = None

    @classmethod
    def create(cls, folder: Path) -> CaseLibrary:
        """Make an empty library in ``folder``, made when missing; raises ``LibraryError`` when it holds something."""
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise LibraryError(
                f"{folder} exists and is not empty. Choose a new folder for the library, or open this one."
            )
        for name, labels in (("tumor", TUMOUR_NAMES), ("outcome", OUTCOME_NAMES)):
            with whole_file(folder / f"desc-{name}_dseg.tsv") as temporary:
                lines = ["index\tname", *(f"{index}\t{label}" for index, label in labels.items())]
                temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        write_table(folder / "participants.tsv", [])
        with whole_file(folder / "dataset_description.json") as temporary:
            temporary.write_text(json.dumps(dataset_description(), indent=1) + "\n", encoding="utf-8")
        return cls(folder)

    @classmethod
    def open(cls, folder: Path, *, allow_empty: bool = False) -> CaseLibrary:
        """Open the library in ``folder``.

        Raises ``LibraryError`` when there is none, when it is of another kind, or when it holds no case (unless
        ``allow_empty``).
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise LibraryError(
                f"There is no case library at {folder}. Make one with `postop library phantom {folder}`, "
                "or name another folder."
            )
        _refuse_foreign(folder)
        library = cls(folder)
        if not allow_empty and not library.cases:
            raise LibraryError(
                f"The case library at {folder} is empty. Fill it with `postop library phantom` or `postop library add`."
            )
        return library

    @property
    def cases(self) -> tuple[LibraryCase, ...]:
        """Every case, sorted by participant, as found when first asked (or after this object's last ``add``)."""
        if self._cases is None:
            self._cases = tuple(
                LibraryCase(row.get("case_id", name), self.folder / name, attributes_of(row))
                for name, row in self.rows().items()
            )
        return self._cases

    def case(self, case_id: str) -> LibraryCase:
        """The case of that id; raises ``LibraryError`` when there is none."""
        for case in self.cases:
            if case.case_id == case_id:
                return case
        raise LibraryError(
            f"The library at {self.folder} has no case {case_id}. `postop library list` names those it has."
        )

    def select(self, *, institution: str | None = None, split: str | None = None) -> frozenset[str]:
        """The ids of the cases of an institution, of a split, or of both; all when neither is given."""
        return frozenset(
            case.case_id
            for case in self.cases
            if institution in (None, case.institution) and split in (None, case.split)
        )

    def add(self, case: SimulatedCase) -> LibraryCase:
        """Add ``case``: it is there whole, with its row in participants.tsv, or not at all.

        Raises ``InputError`` when the case is not usable, ``LibraryError`` when the library has one of this id.
        """
        refuse_unusable(case)
        target = self.folder / participant_of(case.case_id)
        with contextlib.ExitStack() as held:
            self._refuse_taken(target, case.case_id)
            with whole_folder(target) as temporary:
                write_case(case, CaseFiles(temporary, target.name))
                held.enter_context(self.lock())
                self._refuse_taken(target, case.case_id)
            rows = {**self.rows(), target.name: row_of(case)}
            write_table(self.folder / "participants.tsv", rows.values())
        self._cases = None
        return LibraryCase(case.case_id, target, attributes_of(rows[target.name]))

    def check(self, progress: Progress | None = None) -> list[str]:
        """A sentence for every broken file of the library; empty when all is well."""
        from .library_check import problems_of

        return problems_of(self, progress or SilentProgress())

    def checksum(self) -> str:
        """SHA-256 over the checksums of every case: changes when any file of a case was changed by us."""
        digest = hashlib.sha256()
        for case in self.cases:
            digest.update(case.folder.name.encode())
            try:
                digest.update(case.files.checksums.read_bytes())
            except OSError:
                digest.update(b"missing")
        return digest.hexdigest()

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from changing the library; raises ``StorageError`` when the folder cannot be written."""
        return only_writer(self.folder)

    def _refuse_taken(self, target: Path, case_id: str) -> None:
        if target.exists():
            raise LibraryError(
                f"The library at {self.folder} already has a case {case_id}. Give the new one another id."
            )

    def rows(self) -> dict[str, Row]:
        """Row by participant: what participants.tsv says of the folders that exist, else the folder's own sidecar."""
        table = {row["participant_id"]: row for row in _table_or_nothing(self.folder / "participants.tsv")}
        folders = sorted(path.name for path in self.folder.glob("sub-*") if path.is_dir())
        rows = {}
        for name in folders:
            row = table.get(name) or _sidecar_row(self.folder / name)
            if row is None:
                _log.warning(
                    "%s has no readable case.json and is left out; run `postop library check`.", self.folder / name
                )
            else:
                rows[name] = row
        return rows


def _table_or_nothing(path: Path) -> list[Row]:
    try:
        return read_table(path)
    except LibraryError as error:
        _log.warning("%s The cases' own case.json files are used.", error)
        return []


def _sidecar_row(folder: Path) -> Row | None:
    try:
        content = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("participant_id") != folder.name:
        return None
    return {str(key): str(value) for key, value in content.items()}


def _refuse_foreign(folder: Path) -> None:
    """Raise ``LibraryError`` unless ``folder`` holds a library of this schema on the working grid."""
    try:
        description = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
        ours = description["PostOpPredictor"]
        schema, grid = ours["Schema"], ours["Grid"]
        numbers = _flat(grid[key] for key in ("Size", "SpacingMm", "OriginLpsMm", "Direction"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LibraryError(
            f"{folder} is not a case library of PostOpPredictor (no dataset_description.json that says so). "
            "Name another folder."
        ) from error
    wanted = dataset_description()["PostOpPredictor"]
    expected = _flat(wanted["Grid"].values())
    if schema != wanted["Schema"] or numbers.shape != expected.shape or not np.allclose(numbers, expected, atol=1e-3):
        raise LibraryError(
            f"The library at {folder} was made for another grid or version (schema {schema}). "
            "Make it anew with this version."
        )


def _flat(values: Iterable[Any]) -> np.ndarray:
    return np.concatenate([np.asarray(value, float) for value in values])
