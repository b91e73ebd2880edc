"""Volumes and label maps in from any format that SimpleITK reads, refused where they are not usable; and out."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..atomic_files import whole_file
from ..errors import InputError
from .complete_nifti import is_complete_nifti
from .dicom import is_dicom_slice, read_series
from .grid import Grid
from .image_header import ImageHeader
from .quiet import quietly

_ABSURD_VALUE = 1e30
"""Beyond this sums overflow in float32; such voxels are treated as not finite."""
_MOST_NOT_FINITE = 0.5
_MOST_LABELS = 64
_LABEL_TOLERANCE = 1e-3


def read_volume(path: Path | str) -> sitk.Image:
    """Read a scan as a float32 image of three dimensions without NaN or infinity, on its own grid, in scanner units.

    ``path`` is a file in any format that SimpleITK reads, or a folder that holds one DICOM series.
    Non-finite voxels become 0. Raises ``InputError`` for whatever is not a usable scan of a head.
    """
    path = Path(path)
    image = sitk.Cast(_read(path, whole_head=True), sitk.sitkFloat32)
    return _finite(path, image)


def read_labels(path: Path | str) -> sitk.Image:
    """Read a label map (or a probability map in [0, 1], cut at 0.5) as a uint8 or uint16 image of three dimensions.

    Raises ``InputError`` for a file that is no label map. A map of nothing but 0 is returned as it is.
    """
    path = Path(path)
    image = _read(path, whole_head=False)
    array = sitk.GetArrayViewFromImage(image)
    if array.dtype.kind == "f":
        array = _whole_numbers(path, array)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        raise InputError(
            f"{path} holds values from {low} to {high}; labels lie between 0 and 65535. Choose the tumour mask, not "
            "the scan."
        )
    labels = array.astype(np.uint16 if high > 255 else np.uint8)
    found = int(np.count_nonzero(np.bincount(labels.ravel())))
    if found > _MOST_LABELS:
        raise InputError(
            f"{path} holds {found} different values, so it looks like a scan. Choose the tumour mask instead."
        )
    return Grid.of(image).image(labels)


def write_volume(image: sitk.Image, path: Path | str) -> None:
    """Write ``image`` whole or not at all; only voxels, spacing, origin and direction survive of it.

    Raises ``StorageError`` when the disk is full or the folder cannot be written, ``InputError`` for an unknown suffix.
    """
    path = Path(path)
    bare = Grid.of(image).image(sitk.GetArrayViewFromImage(image))
    with whole_file(path) as temporary:
        # Tells a folder without write permission apart from a format that cannot be written.
        temporary.touch()
        try:
            with quietly():
                sitk.WriteImage(bare, str(temporary), useCompression=True)
        except RuntimeError as error:
            _refuse_full_disk(path, bare)
            raise InputError(
                f"{path} could not be written in that format. Choose a name that ends in .nii.gz or .nrrd."
            ) from error
        # The NIfTI library does not tell of a disk that fills while it writes.
        if ".nii" in path.suffixes and not is_complete_nifti(temporary):
            _refuse_full_disk(path, bare)
            raise OSError(errno.EIO, f"{path} was not written completely")


def _refuse_full_disk(path: Path, image: sitk.Image) -> None:
    if shutil.disk_usage(path.parent).free < image.GetNumberOfPixels() * image.GetSizeOfPixelComponent():
        raise OSError(errno.ENOSPC, "disk full")


def _read(path: Path, *, whole_head: bool) -> sitk.Image:
    """An image of three dimensions in the file's own pixel type; the header is checked before a voxel is read."""
    if not path.exists():
        raise InputError(f"{path} does not exist. Check the path.")
    if path.is_dir():
        image = read_series(path)
        if whole_head:
            ImageHeader.of_image(image).check_field_of_view(path)
        return image
    reader = _reader(path)
    header = ImageHeader.of_file(reader)
    if len(header.size) == 3 and header.size[2] == 1 and is_dicom_slice(path):
        raise InputError(f"{path} is one DICOM slice. Choose the folder that holds all slices of the series.")
    header.check(path)
    if whole_head:
        header.check_field_of_view(path)
    reader.SetExtractSize([*header.size[:3], *(0 for _ in header.size[3:])])
    damaged = f"The voxels of {path} could not be read: the file is truncated or damaged. Copy or export it again."
    if reader.GetImageIOFromFileName(str(path)) == "NiftiImageIO" and not is_complete_nifti(path):
        raise InputError(damaged)
    try:
        with quietly():
            return reader.Execute()
    except RuntimeError as error:
        raise InputError(damaged) from error


def _reader(path: Path) -> sitk.ImageFileReader:
    try:
        if os.path.getsize(path) == 0:
            raise InputError(f"{path} is empty (0 bytes). Copy or export it again.")
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}). Check that you may read it.") from error
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quietly():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(
                f"The axes of {path} are not at right angles (sheared). Resample it to a plain grid first."
            ) from error
        raise InputError(
            f"{path} could not be read as an image: it is in no known format, truncated or damaged. "
            "Choose a NIfTI, NRRD or MHA file, or a folder of DICOM slices."
        ) from error
    return reader


def _finite(path: Path, image: sitk.Image) -> sitk.Image:
    array = sitk.GetArrayFromImage(image)
    bad = ~(np.abs(array) < _ABSURD_VALUE)
    share = float(bad.mean())
    if share > _MOST_NOT_FINITE:
        raise InputError(
            f"{share:.0%} of the voxels of {path} are not numbers (NaN or infinity). Convert the original images again."
        )
    array[bad] = 0.0
    if array.min() == array.max():
        raise InputError(f"{path} is constant: every voxel is {array.min():g}. Choose the T1-weighted scan.")
    return Grid.of(image).image(array)


def _whole_numbers(path: Path, array: np.ndarray) -> np.ndarray:
    """Labels stored as floating point; a probability map is cut at 0.5."""
    if not np.isfinite(array).all():
        raise InputError(
            f"{path} holds values that are not numbers (NaN or infinity). Save the mask again as whole-number labels."
        )
    rounded = np.rint(array)
    if np.abs(array - rounded).max() <= _LABEL_TOLERANCE:
        return np.clip(rounded, -1e9, 1e9).astype(np.int64)
    if array.min() < 0 or array.max() > 1:
        raise InputError(
            f"{path} holds fractions between {array.min():g} and {array.max():g}, so it is neither a label map nor a "
            "probability in "
            "[0, 1]. Choose a mask with whole-number labels."
        )
    return (array >= 0.5).astype(np.int64)
