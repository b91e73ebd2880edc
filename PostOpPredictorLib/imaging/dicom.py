"""The one series of a DICOM folder that makes up the scan."""

from __future__ import annotations

import os
from pathlib import Path

import SimpleITK as sitk

from ..errors import InputError
from .image_header import ImageHeader
from .quiet import quietly

_FEWEST_SLICES = 3
_COMPARABLE = 0.5
"""A second series with at least this share of the largest one's slices could just as well be meant."""
_MOST_FOLDERS = 200
_UNEVEN_SLICES = "ITK_non_uniform_sampling_deviation"


def read_series(folder: Path) -> sitk.Image:
    """Read the one series in ``folder`` (or a folder inside it) with the most slices, as an image of three dimensions.

    Raises ``InputError`` when there is no series, several of comparable size, or one with missing or unequal slices.
    """
    files = _series_files(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    try:
        with quietly():
            image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"The {len(files)} DICOM slices in {folder} do not make one volume: some are damaged or of another size. "
            "Export the series again."
        ) from error
    ImageHeader.of_image(image).check(folder)
    if image.HasMetaDataKey(_UNEVEN_SLICES):
        raise InputError(
            f"The DICOM slices in {folder} are not evenly spaced, so some seem to be missing. Export the whole series "
            "again."
        )
    return image


def is_dicom_slice(path: Path) -> bool:
    """Whether ``path`` is one DICOM file (by the mark that the standard puts at byte 128)."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _series_files(folder: Path) -> tuple[str, ...]:
    """The files, sorted along the slice axis, of the series with the most slices."""
    found = sorted(_all_series(folder), key=len, reverse=True)
    if not found:
        raise InputError(
            f"The folder {folder} holds no DICOM series. Choose a folder of DICOM slices, or a NIfTI, NRRD or MHA file."
        )
    largest = len(found[0])
    if largest < _FEWEST_SLICES:
        raise InputError(
            f"The largest DICOM series in {folder} has {largest} slice(s), which is no volume. Choose the folder of a "
            "3-D series."
        )
    comparable = [len(files) for files in found if len(files) >= _COMPARABLE * largest]
    if len(comparable) > 1:
        counts = ", ".join(str(n) for n in comparable)
        raise InputError(
            f"The folder {folder} holds {len(comparable)} DICOM series of comparable size ({counts} slices), and which "
            "one is meant "
            "cannot be told. Put the files of the T1-weighted series into a folder of their own and choose that."
        )
    return found[0]


def _all_series(folder: Path) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for number, (inner, subfolders, files) in enumerate(os.walk(folder)):
        subfolders.sort()
        if number >= _MOST_FOLDERS:
            raise InputError(
                f"{folder} holds more than {_MOST_FOLDERS} folders. Choose the folder of the one series that is meant."
            )
        if not files:
            continue
        with quietly():
            for series in sitk.ImageSeriesReader.GetGDCMSeriesIDs(inner):
                found.append(tuple(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(inner, series)))
    return found
