"""The files of a live session: each appears whole, old ones go, and nothing is left when the session ends."""

from __future__ import annotations

import itertools
import shutil
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...atomic_files import whole_file
from ...imaging.grid import WORKING_GRID, Grid
from ..output_folder import write_plain, write_synthetic

KEPT = 2
"""Answers of each kind whose files stay: a client may still be reading those before the newest."""

OWN = frozenset({"preop_mni", "tumour_mni"})
"""Images of the patient that nothing was predicted in."""


class SessionFiles:
    """Writes into ``folder``, which is the session's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = itertools.count(1)
        self._kept: dict[str, deque[tuple[Path, ...]]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, answer: str, images: Mapping[str, sitk.Image], *, stays: bool = False) -> dict[str, Path]:
        """Write what an answer consists of and return the paths by what they are; earlier ones of its kind go.

        Raises ``StorageError``. Uncompressed: compressing takes longer than predicting.
        """
        number = next(self._count)
        paths = {kind: self._folder / f"{answer}-{number}_{kind}.nii" for kind in images}
        for kind, image in images.items():
            with whole_file(paths[kind]) as temporary:
                (write_plain if kind in OWN else write_synthetic)(image, temporary)
        if not stays:
            self._forget_old(answer, tuple(paths.values()))
        return paths

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _forget_old(self, answer: str, paths: tuple[Path, ...]) -> None:
        kept = self._kept.setdefault(answer, deque())
        kept.append(paths)
        while len(kept) > KEPT:
            for path in kept.popleft():
                path.unlink(missing_ok=True)


def slice_image(array: np.ndarray, z: int) -> sitk.Image:
    """``array`` (y, x), slice ``z`` of WORKING_GRID, as an image of one slice that lies where it belongs."""
    width, height, _ = WORKING_GRID.size
    x, y, bottom = WORKING_GRID.origin
    origin = (x, y, bottom + z * WORKING_GRID.spacing[2])
    grid = Grid((width, height, 1), WORKING_GRID.spacing, origin, WORKING_GRID.direction)
    return grid.image(np.ascontiguousarray(array[None]))
