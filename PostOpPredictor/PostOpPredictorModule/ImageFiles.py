"""Reads images and transforms without touching a node: it may run in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
RAS_AXES = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
LINEAR_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class ImageData:
    """Voxels (z, y, x), or vectors (z, y, x, 3), and the 4 x 4 matrix from voxel indices (i, j, k) to RAS mm."""

    array: np.ndarray
    ijkToRas: np.ndarray

    def cropped(self, kind: npt.DTypeLike = np.uint8) -> ImageData:
        """The smallest box that holds all that is not 0 (one voxel where all is), as ``kind``."""
        held = np.argwhere(self.array)
        first, last = (held.min(axis=0), held.max(axis=0) + 1) if len(held) else (np.zeros(3, int), np.ones(3, int))
        box = tuple(slice(start, end) for start, end in zip(first, last, strict=True))
        place = self.ijkToRas.copy()
        place[:3, 3] += self.ijkToRas[:3, :3] @ first[::-1]
        return ImageData(np.ascontiguousarray(self.array[box], kind), place)


def readImage(path: Path) -> ImageData:
    """Read a 3-D image of one component."""
    return _imageOf(path, 1, "one value")


def readDisplacement(path: Path) -> ImageData:
    """Read a 3-D field of vectors in LPS mm, as ITK stores them; the vectors returned are in RAS mm."""
    field = _imageOf(path, 3, "three values")
    return ImageData(field.array.astype(np.float32) * np.array([-1, -1, 1], np.float32), field.ijkToRas)


def _imageOf(path: Path, components: int, described: str) -> ImageData:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != components:
        raise ValueError(f"{path.name} is no 3-D image with {described} per voxel")
    ijkToLps = np.eye(4)
    ijkToLps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    ijkToLps[:3, 3] = image.GetOrigin()
    return ImageData(sitk.GetArrayFromImage(image), LPS_TO_RAS @ ijkToLps)


def readLinearTransform(path: Path) -> np.ndarray:
    """Read an affine ITK transform (LPS) as a 4 x 4 matrix in RAS; raises ``ValueError`` for one that is not affine."""
    import SimpleITK as sitk

    transform = sitk.ReadTransform(str(path))
    points = np.array([transform.TransformPoint(point) for point in RAS_AXES.tolist()])
    matrix = np.eye(4)
    matrix[:3, :3] = (points[1:] - points[0]).T
    matrix[:3, 3] = points[0]
    probe = (37.0, -58.0, 71.0)
    expected = matrix[:3, :3] @ probe + matrix[:3, 3]
    if not np.allclose(transform.TransformPoint(probe), expected, atol=LINEAR_TOLERANCE_MM):
        raise ValueError(f"{path.name} is no affine transform")
    return LPS_TO_RAS @ matrix @ LPS_TO_RAS
