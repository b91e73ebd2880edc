"""A fixed embedding of a scan, and the table of those of a library's cases."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..atomic_files import whole_folder
from ..cases.case import FloatArray
from ..cases.library import CaseLibrary
from ..errors import LibraryError, StorageError
from ..imaging.grid import WORKING_GRID
from ..progress import Progress, SilentProgress

_log = logging.getLogger(__name__)
_SCHEMA = 1
_FACTOR = 4


def embed(scan: FloatArray) -> FloatArray:
    """Intensities averaged over 4x4x4 voxels (6 mm), their mean over the brain removed, 0 outside it, of length 1.

    ``scan`` (z, y, x) on WORKING_GRID, 0 outside the brain; returns (26*32*32,) float32. The dot product of two
    embeddings is the correlation of two scans that lie in the same space.
    """
    depth, height, width = (size // _FACTOR for size in scan.shape)
    cubes = scan.reshape(depth, _FACTOR, height, _FACTOR, width, _FACTOR)
    coarse = cubes.mean(axis=(1, 3, 5), dtype=np.float64).ravel()
    brain = coarse > 0
    if not brain.any():
        return np.zeros(coarse.size, np.float32)
    centred = np.where(brain, coarse - coarse[brain].mean(), 0.0)
    length = float(np.linalg.norm(centred))
    return (centred / length if length > 0 else centred).astype(np.float32)


@dataclass(frozen=True)
class EmbeddingTable:
    """``vectors`` (cases, 26*32*32) float16, one row per case; ``known`` (cases,) bool: False where it is broken."""

    vectors: NDArray[np.float16]
    known: NDArray[np.bool_]

    @classmethod
    def open(cls, library: CaseLibrary, sequence: str, progress: Progress | None = None) -> EmbeddingTable:
        """The library's table for ``sequence``; computed and stored first when it is missing or of other cases."""
        key = library.checksum()
        folder = library.folder / "index" / f"embedding_{sequence}"
        table = cls._load(folder, key)
        if table is not None:
            return table
        table = cls.build(library, sequence, progress)
        if not table.known.all():
            return table  # not stored: the case may be mended without a new checksum
        try:
            with library.lock():
                table._save(folder, key)
        except (StorageError, OSError) as error:
            _log.warning("The image embeddings are kept in memory only: %s", error)
        return table

    @classmethod
    def build(cls, library: CaseLibrary, sequence: str, progress: Progress | None = None) -> EmbeddingTable:
        """Embed the pre-operative scan of every case. A broken case is left out, and the log says so."""
        progress = progress or SilentProgress()
        progress.stage("Embedding the library's scans")
        vectors, known = [], []
        for number, entry in enumerate(library.cases):
            progress.step(number, len(library.cases))
            try:
                vectors.append(embed(entry.pre(sequence)))
                known.append(True)
            except LibraryError as error:
                _log.warning("Case %s is left out of retrieval: %s", entry.case_id, error)
                vectors.append(embed(np.zeros(WORKING_GRID.shape, np.float32)))
                known.append(False)
        progress.step(len(library.cases), len(library.cases))
        return cls(np.array(vectors, np.float16), np.array(known, bool))

    def _save(self, folder: Path, key: str) -> None:
        with whole_folder(folder, replace=True) as temporary:
            np.save(temporary / "vectors.npy", self.vectors, allow_pickle=False)
            np.save(temporary / "known.npy", self.known, allow_pickle=False)
            (temporary / "index.json").write_text(json.dumps({"schema": _SCHEMA, "key": key}) + "\n", encoding="utf-8")

    @classmethod
    def _load(cls, folder: Path, key: str) -> EmbeddingTable | None:
        try:
            meta = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            if (meta["schema"], meta["key"]) != (_SCHEMA, key):
                return None
            return cls(np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "known.npy"))
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None
