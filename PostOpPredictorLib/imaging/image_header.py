"""What a file's header tells about its volume, checked before a voxel is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError

_SPACING_MM = (0.05, 15.0)
_VIEW_MM = (60.0, 700.0)
_MOST_VOXELS = 400_000_000
_COMPLEX = (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)
_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class ImageHeader:
    """Geometry and kind of an image of any dimension, axes in the order of the file (x, y, z, ...)."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    pixel: int
    components: int

    @classmethod
    def of_file(cls, reader: sitk.ImageFileReader) -> ImageHeader:
        """The header that ``reader.ReadImageInformation()`` found."""
        geometry = reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()
        return cls(*geometry, reader.GetPixelID(), reader.GetNumberOfComponents())

    @classmethod
    def of_image(cls, image: sitk.Image) -> ImageHeader:
        """The header of an image in memory."""
        geometry = image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()
        return cls(*geometry, image.GetPixelID(), image.GetNumberOfComponentsPerPixel())

    def check(self, path: Path) -> None:
        """Raise ``InputError`` unless this is one volume of grey values on a sane grid in millimetres."""
        if self.pixel in _COMPLEX:
            raise InputError(f"{path} holds complex numbers (raw scanner data). Export the magnitude image instead.")
        if self.components > 1:
            raise InputError(f"{path} is a colour or vector image. Choose a scan with one grey value per voxel.")
        if len(self.size) < 3 or min(self.size[:3]) < 2:
            raise InputError(
                f"{path} is a single slice (2-D). Choose a 3-D volume, or the folder of all its DICOM slices."
            )
        volumes = int(np.prod(self.size[3:])) if len(self.size) > 3 else 1
        if volumes > 1:
            raise InputError(f"{path} is 4-D: it holds {volumes} volumes. Save the one that is meant as a 3-D volume.")
        self._check_grid(path)

    def _check_grid(self, path: Path) -> None:
        count = len(self.size)
        if not np.isfinite([*self.spacing, *self.origin, *self.direction]).all():
            raise InputError(
                f"The header of {path} holds values that are not numbers. Convert the original images again."
            )
        for name, spacing in zip(_AXES, self.spacing, strict=False):
            if not _SPACING_MM[0] <= spacing <= _SPACING_MM[1]:
                raise InputError(
                    f"{path} claims a voxel spacing of {spacing:g} mm along {name}; plausible for a head scan are "
                    f"{_SPACING_MM[0]:g} to {_SPACING_MM[1]:g} mm. Correct the spacing in the header."
                )
        axes = np.reshape(self.direction, (count, count))[:3, :3]
        if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-2):
            raise InputError(
                f"The axes of {path} are not at right angles (sheared). Resample it to a plain grid first."
            )
        if np.prod(self.size, dtype=float) > _MOST_VOXELS:
            raise InputError(
                f"{path} has {'x'.join(map(str, self.size))} voxels, more than {_MOST_VOXELS:,} in all. Resample it to "
                "1 mm first."
            )

    def check_field_of_view(self, path: Path) -> None:
        """Raise ``InputError`` unless the volume could hold a head: 60 to 700 mm along every axis."""
        for name, size, spacing in zip(_AXES, self.size, self.spacing, strict=False):
            view = size * spacing
            if view < _VIEW_MM[0]:
                raise InputError(
                    f"{path} has a {view:.0f} mm field of view along {name}, too little to align it with an atlas "
                    f"(at least {_VIEW_MM[0]:.0f} mm). Choose a scan of the whole brain."
                )
            if view > _VIEW_MM[1]:
                raise InputError(
                    f"{path} has a {view:.0f} mm field of view along {name}, more than a head can be. "
                    "Correct the spacing in the header or crop the scan to the head."
                )
