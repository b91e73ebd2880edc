"""Where a prediction is written: refused early when it cannot be, never at the cost of what lies there."""

from __future__ import annotations

import os
from pathlib import Path

import SimpleITK as sitk

from ..errors import InputError, StorageError
from ..imaging.grid import Grid

PROVENANCE = "provenance.json"
SYNTHETIC_NOTE = "synthetic: not for clinical decisions"
_DESCRIPTION_FIELD = "ITK_FileNotes"
"""What ITK writes into the NIfTI header's descrip."""


def refuse_unusable_folder(out: Path, overwrite: bool, inputs: tuple[Path, ...]) -> Path:
    """Return the absolute path of the folder to write, or refuse it.

    Only an empty folder or, with ``overwrite``, one that holds an earlier prediction and none of the ``inputs`` is ever
    replaced. Raises ``InputError`` or ``StorageError``; nothing is touched.
    """
    folder = Path(os.path.abspath(out.expanduser()))
    folder = folder.resolve() if folder.exists() else folder
    if folder.exists():
        _refuse_existing(folder, overwrite, inputs)
    parent = (
        next(place for place in (folder, *folder.parents) if place.exists()) if not folder.exists() else folder.parent
    )
    if not parent.is_dir():
        raise InputError(f"{parent} is a file, so {folder} cannot be made. Choose another folder with --out.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise StorageError(f"No permission to write {folder}. Choose a folder that you may write to.")
    return folder


def _refuse_existing(folder: Path, overwrite: bool, inputs: tuple[Path, ...]) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder} is a file. Choose a folder with --out.")
    if not any(folder.iterdir()):
        return
    if not overwrite:
        raise InputError(
            f"{folder} exists already and is not empty. Choose another folder with --out, or give --overwrite."
        )
    if not (folder / PROVENANCE).is_file():
        raise InputError(
            f"{folder} holds other files than an earlier prediction, so it is not overwritten. "
            "Choose another folder with --out."
        )
    for path in inputs:
        if folder in path.resolve().parents or folder == path.resolve():
            raise InputError(f"{path} lies in {folder}, which would be overwritten. Choose another folder with --out.")


def write_synthetic(image: sitk.Image, path: Path) -> None:
    """Write ``image`` with a header that says "synthetic" and holds nothing else but the grid."""
    bare = Grid.of(image).image(sitk.GetArrayFromImage(image))
    bare.SetMetaData(_DESCRIPTION_FIELD, SYNTHETIC_NOTE)
    _write(bare, path)


def write_plain(image: sitk.Image, path: Path) -> None:
    """Write the patient's own scan or mask with nothing but the grid in its header."""
    _write(Grid.of(image).image(sitk.GetArrayFromImage(image)), path)


def _write(image: sitk.Image, path: Path) -> None:
    path.touch()  # tells a full or read-only disk apart from other failures of the writer
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise StorageError(
            f"The file {path.name} could not be written. "
            "The disk may be full: free some space, or choose another folder."
        ) from error
