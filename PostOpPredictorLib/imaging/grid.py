"""The voxel grids of MNI space that everything is resampled to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """A regular voxel grid: ``size`` (x, y, z), ``spacing`` mm, ``origin`` mm in LPS, ``direction`` row-major 3x3."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @classmethod
    def of(cls, image: sitk.Image) -> Grid:
        """The grid on which ``image`` lies."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (z, y, x)."""
        return self.size[::-1]

    def part(self, box: Sequence[slice]) -> Grid:
        """The grid of the voxels in ``box``, slices along x, y and z with a start and a stop."""
        across, along, up = (side.stop - side.start for side in box)
        steps = np.asarray(self.spacing) * np.array([side.start for side in box])
        x, y, z = (np.asarray(self.origin) + np.reshape(self.direction, (3, 3)) @ steps).tolist()
        return Grid((across, along, up), self.spacing, (x, y, z), self.direction)

    def holds(self, image: sitk.Image, tolerance_mm: float = 1e-3) -> bool:
        """Whether ``image`` lies on this very grid."""
        other = Grid.of(image)
        return other.size == self.size and all(
            np.allclose(a, b, atol=tolerance_mm)
            for a, b in (
                (other.spacing, self.spacing),
                (other.origin, self.origin),
                (other.direction, self.direction),
            )
        )

    def image(self, array: np.ndarray) -> sitk.Image:
        """Wrap ``array`` (z, y, x), or (z, y, x, components) for a vector image, as an image on this grid."""
        image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image

    def resample(
        self,
        image: sitk.Image,
        transform: sitk.Transform | None = None,
        interpolator: int = sitk.sitkLinear,
        outside: float = 0.0,
    ) -> sitk.Image:
        """Resample ``image`` onto this grid.

        ``transform`` maps points of this grid (LPS mm) to points of ``image`` (the direction SimpleITK's resampler
        wants); identity when left out. Voxels that fall outside ``image`` get ``outside``.
        """
        reference = sitk.Image(self.size, sitk.sitkUInt8)
        reference.SetSpacing(self.spacing)
        reference.SetOrigin(self.origin)
        reference.SetDirection(self.direction)
        return sitk.Resample(image, reference, transform or sitk.Transform(3, sitk.sitkIdentity), interpolator, outside)

    def resample_labels(self, labels: sitk.Image, transform: sitk.Transform | None = None) -> NDArray[np.uint8]:
        """The array (z, y, x) of a label map on this grid, with smooth borders between the labels; 0 is background.

        ``transform`` as in ``resample``. Only the box that holds labels is interpolated: on a whole head that takes
        many times as long.
        """
        labels = sitk.Cast(labels, sitk.sitkUInt8)
        whole = np.zeros(self.shape, np.uint8)
        nearest = sitk.GetArrayFromImage(self.resample(labels, transform, sitk.sitkNearestNeighbor)) > 0
        if nearest.any():
            held = [np.flatnonzero(nearest.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
            box = tuple(
                slice(max(int(one[0]) - 1, 0), min(int(one[-1]) + 2, size))
                for one, size in zip(held, self.shape, strict=True)
            )
            part = self.part(box[::-1])
            whole[box] = sitk.GetArrayFromImage(part.resample(labels, transform, sitk.sitkLabelLinear))
        return whole


TEMPLATE_GRID = Grid(
    size=(197, 233, 189),
    spacing=(1.0, 1.0, 1.0),
    origin=(98.0, 134.0, -72.0),
    direction=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
)
"""ICBM152 2009a symmetric as nilearn ships it: predictions in MNI space are written on this grid."""

WORKING_GRID = Grid(size=(128, 128, 104), spacing=(1.5, 1.5, 1.5), origin=(-95.25, -78.25, -72.0))
"""What the library stores and the model sees: the whole brain at 1.5 mm, x to the left, y to the back, z up (LPS)."""
