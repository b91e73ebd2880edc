"""One case of a library on disk, read when asked."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..errors import LibraryError
from ..imaging.grid import WORKING_GRID, Grid
from ..imaging.quiet import quietly
from .bids import SHIFT_GRID, CaseFiles
from .case import FloatArray, LabelArray
from .whole_gzip import has_gzip_end, is_whole_gzip

_KEPT_ARRAYS = 48
"""Volumes kept in memory after reading: at most 1.7 MB each."""

_NIFTI_HEADER = 352


@dataclass(frozen=True)
class LibraryCase:
    """An operated patient. All arrays are (z, y, x) on WORKING_GRID, fresh copies that the caller may change.

    ``attributes`` is the case's row of participants.tsv without what is unknown (``source``, ``split``,
    ``institution``, ``patient_id``, ``eor_percent`` ...).
    Reading raises ``LibraryError`` when a file is missing or broken.
    """

    case_id: str
    folder: Path
    attributes: Mapping[str, str | float]

    @property
    def files(self) -> CaseFiles:
        """Where its files lie."""
        return CaseFiles(self.folder, self.folder.name)

    @property
    def patient_id(self) -> str:
        """The patient; several cases may be of one."""
        return str(self.attributes.get("patient_id", self.case_id))

    @property
    def institution(self) -> str:
        """Where the patient was operated; empty when unknown."""
        return str(self.attributes.get("institution", ""))

    @property
    def split(self) -> str:
        """ "train", "val" or "test"; empty when unknown."""
        return str(self.attributes.get("split", ""))

    @property
    def source(self) -> str:
        """ "phantom", "semi-real" or "real"; empty when unknown."""
        return str(self.attributes.get("source", ""))

    @property
    def days_since_surgery(self) -> float | None:
        """When the scan after surgery was taken; None when unknown (of a simulated early scan too)."""
        days = self.attributes.get("days_since_surgery")
        return float(days) if isinstance(days, int | float) else None

    @property
    def sequences(self) -> tuple[str, ...]:
        """The sequences with a scan before and after surgery."""
        return self.files.sequences()

    def pre(self, sequence: str) -> FloatArray:
        """The pre-operative scan, float32 in [0, 1], 0 outside the brain."""
        return self._image("preop", sequence)

    def post(self, sequence: str) -> FloatArray:
        """The post-operative scan, float32 in [0, 1], 0 outside the brain."""
        return self._image("postop", sequence)

    def brain_pre(self) -> LabelArray:
        """The brain before surgery, uint8 0 or 1."""
        return self._labels(self.files.brain("preop"))

    def brain_post(self) -> LabelArray:
        """The brain after surgery, uint8 0 or 1."""
        return self._labels(self.files.brain("postop"))

    def tumour(self) -> LabelArray:
        """Tumour labels: 0 none, 1 core, 2 oedema, 4 enhancing."""
        return self._labels(self.files.tumour)

    def tumour_core(self) -> LabelArray:
        """The tumour core, uint8 0 or 1: what cases are found by."""
        return self._labels(self.files.tumour_core)

    def resection(self) -> LabelArray | None:
        """The tissue that was taken, in pre-operative space, uint8 0 or 1; None where it is unknown."""
        return self._labels(self.files.resection) if self.files.resection.exists() else None

    def outcome(self) -> LabelArray:
        """Outcome labels: 0 unchanged, 1 cavity, 2 residual tumour, 3 blood, 4 oedema, 5 air."""
        return self._labels(self.files.outcome)

    def cavity(self) -> LabelArray:
        """The cavity and what filled it, uint8 0 or 1."""
        return self._labels(self.files.cavity)

    def shift_3mm(self) -> FloatArray | None:
        """The displacement as stored: float32 (z, y, x, 3) mm on SHIFT_GRID, or None where it is unknown."""
        path = self.files.shift
        return _read(path, SHIFT_GRID, components=3).copy() if path.exists() else None

    def shift(self) -> FloatArray | None:
        """The displacement on WORKING_GRID, float32 (z, y, x, 3) mm, pull-back; None where it is unknown."""
        coarse = self.shift_3mm()
        if coarse is None:
            return None
        return sitk.GetArrayFromImage(WORKING_GRID.resample(SHIFT_GRID.image(coarse)))

    def _image(self, session: str, sequence: str) -> FloatArray:
        array = _read(self.files.image(session, sequence), WORKING_GRID)
        return array.astype(np.float32) * np.float32(1 / 255)

    def _labels(self, path: Path) -> LabelArray:
        return _read(path, WORKING_GRID).copy()


def _read(path: Path, grid: Grid, components: int = 1) -> NDArray:
    try:
        status = path.stat()
    except OSError as error:
        raise LibraryError(
            f"{path} is missing from the library. Run `postop library check` and add the case again."
        ) from error
    return _read_version(path, grid, components, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=_KEPT_ARRAYS)
def _read_version(path: Path, grid: Grid, components: int, modified_ns: int, size: int) -> NDArray:
    """The array of one version of a file: time and size are part of the key, so a changed file is read anew."""
    try:
        voxel_bytes = 4 * components if components > 1 else 1
        if not has_gzip_end(path, _NIFTI_HEADER + math.prod(grid.size) * voxel_bytes) and not is_whole_gzip(path):
            raise RuntimeError("cut short")
        with quietly():
            image = sitk.ReadImage(str(path))
    except (RuntimeError, OSError) as error:
        raise LibraryError(
            f"{path} is truncated or no image. Run `postop library check` and add the case again."
        ) from error
    pixel_type = image.GetPixelIDTypeAsString()
    wanted = sitk.sitkVectorFloat32 if components > 1 else sitk.sitkUInt8
    if image.GetDimension() != 3 or image.GetPixelID() != wanted or image.GetNumberOfComponentsPerPixel() != components:
        raise LibraryError(f"{path} is not what a library holds there ({pixel_type}). Add the case again.")
    if not grid.holds(image):
        raise LibraryError(f"{path} is not on the library's grid (size {image.GetSize()}). Add the case again.")
    array = sitk.GetArrayFromImage(image)
    array.flags.writeable = False
    return array
