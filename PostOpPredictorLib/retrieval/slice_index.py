"""The index of every tumour slice of a library: packed core masks with their case and slice number."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic_files import whole_folder
from ..cases.library import CaseLibrary
from ..errors import InputError, LibraryError, StorageError
from ..imaging.grid import WORKING_GRID
from ..progress import Progress, SilentProgress
from .packed_masks import PackedMasks, pack

_log = logging.getLogger(__name__)
_SCHEMA = 1
_ARRAYS = ("bits", "area", "blocks", "case", "z")
_SLICE_SHAPE = (WORKING_GRID.shape[1], WORKING_GRID.shape[2])


@dataclass(frozen=True)
class SliceMatch:
    """A slice of a library's case and its IoU with the query slice."""

    case_id: str
    z: int
    iou: float


@dataclass(frozen=True)
class SliceIndex:
    """Axial slices with tumour core of all readable cases, sorted by participant, then z: row order breaks ties.

    ``case`` (N,) int32 indexes ``case_ids``, ``patient_ids``; ``z`` (N,) int16 is the slice on WORKING_GRID.
    ``skipped`` names the cases that were left out because they are broken.
    """

    masks: PackedMasks
    case: NDArray[np.int32]
    z: NDArray[np.int16]
    case_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    @classmethod
    def build(cls, library: CaseLibrary, progress: Progress | None = None) -> SliceIndex:
        """Read the core mask of every case. A broken case is left out, and the log says so."""
        progress = progress or SilentProgress()
        progress.stage("Indexing the tumour slices of the library")
        parts, case, z, skipped = [], [], [], []
        for number, entry in enumerate(library.cases):
            progress.step(number, len(library.cases))
            try:
                core = entry.tumour_core().astype(bool)
            except LibraryError as error:
                _log.warning("Case %s is left out of retrieval: %s", entry.case_id, error)
                progress.log(f"Case {entry.case_id} is left out of retrieval: {error}")
                skipped.append(entry.case_id)
                continue
            slices = np.flatnonzero(core.any(axis=(1, 2)))
            parts.append(PackedMasks.of(core[slices]))
            case.append(np.full(len(slices), number, np.int32))
            z.append(slices.astype(np.int16))
        progress.step(len(library.cases), len(library.cases))
        return cls(
            masks=PackedMasks.joined(parts, _SLICE_SHAPE),
            case=np.concatenate([np.zeros(0, np.int32), *case]),
            z=np.concatenate([np.zeros(0, np.int16), *z]),
            case_ids=tuple(entry.case_id for entry in library.cases),
            patient_ids=tuple(entry.patient_id for entry in library.cases),
            skipped=tuple(skipped),
        )

    @classmethod
    def open(cls, library: CaseLibrary, progress: Progress | None = None) -> SliceIndex:
        """The library's index, memory-mapped; built and stored first when it is missing, damaged or of other cases.

        Where the library cannot be written the index is built in memory.
        """
        key = _key(library)
        folder = library.folder / "index" / "slices"
        index = cls._load(folder, library, key)
        if index is not None:
            return index
        index = cls.build(library, progress)
        try:
            with library.lock():
                index._save(folder, key)
        except (StorageError, OSError) as error:
            _log.warning("The slice index is kept in memory only: %s", error)
            return index
        return cls._load(folder, library, key) or index

    def search(
        self,
        mask: NDArray[np.bool_],
        k: int,
        exclude_case: str | None = None,
        allowed: Collection[str] | None = None,
        z: int | None = None,
        max_dz_mm: float | None = None,
        *,
        minimum_iou: float = 0.0,
        one_per_case: bool = False,
    ) -> list[SliceMatch]:
        """The ``k`` slices whose core is most like ``mask`` (y, x) by IoU, exact, best first, ties by row.

        ``exclude_case`` leaves out every case of that case's patient; ``allowed`` keeps the named cases only; with
        ``z`` and ``max_dz_mm`` slices further away are left out. Raises ``InputError`` for an empty mask.
        """
        if mask.shape != self.masks.shape or not mask.any():
            raise InputError(
                f"The tumour slice to look for is empty or not {self.masks.shape} pixels. Give a slice with tumour."
            )
        eligible = self.rows_of(self.eligible_cases(exclude_case, allowed))
        if z is not None and max_dz_mm is not None:
            near = np.abs(self.z.astype(np.int32) - z) * WORKING_GRID.spacing[2] <= max_dz_mm + 1e-6
            eligible = near if eligible is None else eligible & near
        group = self.case if one_per_case else None
        rows, iou = self.masks.top(mask, k, eligible=eligible, minimum_iou=minimum_iou, group=group)
        return [
            SliceMatch(self.case_ids[self.case[row]], int(self.z[row]), float(value))
            for row, value in zip(rows, iou, strict=True)
        ]

    def volume_iou(self, core: NDArray[np.bool_]) -> NDArray[np.float64]:
        """3-D IoU of ``core`` (z, y, x) with each of ``case_ids``; 0 for a case that was skipped."""
        shared = np.zeros(len(self.case_ids), np.int64)
        volumes = np.bincount(self.case, weights=self.masks.area, minlength=len(self.case_ids)).astype(np.int64)
        for level in np.flatnonzero(core.any(axis=(1, 2))):
            rows = np.flatnonzero(self.z == level)
            shared[self.case[rows]] += self.masks.intersections(pack(core[level][None])[0], rows)
        return shared / (volumes + int(core.sum()) - shared)

    def slices_of(self, case_number: int) -> NDArray[np.int64]:
        """The rows of one case of ``case_ids``, by rising z."""
        first, last = np.searchsorted(self.case, [case_number, case_number + 1])
        return np.arange(first, last)

    def eligible_cases(self, exclude_case: str | None, allowed: Collection[str] | None) -> NDArray[np.bool_] | None:
        """Which of ``case_ids`` may be returned, as bool; None when all may."""
        if exclude_case is None and allowed is None:
            return None
        wanted = np.full(len(self.case_ids), allowed is None)
        if allowed is not None:
            wanted[[self._number_of[name] for name in allowed if name in self._number_of]] = True
        if exclude_case in self._number_of:
            wanted &= self._patients != self.patient_ids[self._number_of[exclude_case]]
        return wanted

    @cached_property
    def _number_of(self) -> dict[str | None, int]:
        return {name: number for number, name in enumerate(self.case_ids)}

    @cached_property
    def _patients(self) -> NDArray[np.str_]:
        return np.array(self.patient_ids, str)

    def rows_of(self, cases: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """(cases,) bool to (N,) bool."""
        return None if cases is None else cases[self.case]

    def _save(self, folder: Path, key: str) -> None:
        with whole_folder(folder, replace=True) as temporary:
            for name, array in self._arrays().items():
                np.save(temporary / f"{name}.npy", array, allow_pickle=False)
            text = json.dumps({"schema": _SCHEMA, "key": key, "rows": len(self.z), "skipped": self.skipped})
            (temporary / "index.json").write_text(text + "\n", encoding="utf-8")

    def _arrays(self) -> dict[str, NDArray[Any]]:
        masks = self.masks
        return {"bits": masks.bits, "area": masks.area, "blocks": masks.blocks, "case": self.case, "z": self.z}

    @classmethod
    def _load(cls, folder: Path, library: CaseLibrary, key: str) -> SliceIndex | None:
        """The stored index, or None when there is none for the library as it is."""
        try:
            meta = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            if (meta["schema"], meta["key"]) != (_SCHEMA, key):
                return None
            # a plain view of the memory map: the subclass costs time at every indexing
            arrays = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _ARRAYS}
            if {array.shape[-1 if name == "blocks" else 0] for name, array in arrays.items()} != {meta["rows"]}:
                return None
            skipped = tuple(str(name) for name in meta["skipped"])
            if any(_readable(library, name) for name in skipped):
                return None
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None
        for name in skipped:
            _log.warning("Case %s is left out of retrieval because it is broken; run `postop library check`.", name)
        masks = PackedMasks(arrays["bits"], arrays["area"], arrays["blocks"], _SLICE_SHAPE)
        names = tuple(entry.case_id for entry in library.cases)
        patients = tuple(entry.patient_id for entry in library.cases)
        return cls(masks, arrays["case"], arrays["z"], names, patients, skipped)


def _key(library: CaseLibrary) -> str:
    """What the index was made of: the recorded checksums, and the sizes that show when a mask was cut short."""
    digest = hashlib.sha256(library.checksum().encode())
    for entry in library.cases:
        path = entry.files.tumour_core
        digest.update(str(path.stat().st_size if path.exists() else None).encode())
    return digest.hexdigest()


def _readable(library: CaseLibrary, case_id: str) -> bool:
    try:
        library.case(case_id).tumour_core()
    except LibraryError:
        return False
    return True
