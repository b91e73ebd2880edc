"""Registration from files to files: scan, brain mask and tumour in MNI space, the transforms, the quality."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..atomic_files import whole_folder
from ..errors import InputError
from ..progress import Progress
from .grid import TEMPLATE_GRID, Grid
from .registration import Registration, register_to_mni
from .tumour_mask import on_grid_of, tumour_labels
from .volumes import read_labels, read_volume, write_volume

SPACE = "MNI152NLin2009aSym"
SCAN_FILE = f"preop_space-{SPACE}.nii.gz"
BRAIN_FILE = f"brain_mask_space-{SPACE}.nii.gz"
TUMOUR_FILE = f"tumour_mask_space-{SPACE}.nii.gz"
TO_PATIENT_FILE = "from-MNI_to-patient.tfm"
TO_MNI_FILE = "from-patient_to-MNI.tfm"
QUALITY_FILE = "quality.json"


@dataclass(frozen=True)
class RegisterRequest:
    """The scan to register with its masks, where there are; ``out`` is a folder that must not exist or be empty."""

    pre: Path
    out: Path
    tumor: Path | None = None
    labels: str = "brats"
    brain: Path | None = None


def register_files(request: RegisterRequest, progress: Progress) -> dict[str, Any]:
    """Register the scan and write the folder ``request.out``, whole or not at all; returns what ``quality.json`` holds.

    The transforms are those of ITK: a .tfm carries the *points* that its name says, so resampling the scan onto MNI
    takes ``from-MNI_to-patient.tfm``. Raises ``InputError``, ``RegistrationFailed`` and ``StorageError``.
    """
    _refuse_filled_folder(request.out)
    progress.stage("Reading")
    scan = read_volume(request.pre)
    tumour = None
    if request.tumor is not None:
        tumour = on_grid_of(tumour_labels(read_labels(request.tumor), request.labels), scan)
    brain = None if request.brain is None else read_brain_mask(request.brain, scan)
    registration = register_to_mni(scan, tumour, brain, progress)
    progress.stage("Writing")
    report = _report(registration)
    with whole_folder(request.out, replace=True) as folder:
        _write(folder, scan, tumour, registration)
        (folder / QUALITY_FILE).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return {**report, "out": str(request.out)}


def read_brain_mask(path: Path, scan: sitk.Image) -> sitk.Image:
    """The brain mask of ``scan`` from a file (everything above 0 is brain), uint8 0/1 on the grid of ``scan``.

    Raises ``InputError`` when it is empty or lies elsewhere.
    """
    labels = read_labels(path)
    mask = Grid.of(labels).image((sitk.GetArrayViewFromImage(labels) > 0).astype(np.uint8))
    if not sitk.GetArrayViewFromImage(mask).any():
        raise InputError(f"The brain mask {path} is empty. Give a mask that is 1 inside the brain, or leave it out.")
    try:
        return on_grid_of(mask, scan)
    except InputError as error:
        raise InputError(
            f"The brain mask {path} does not lie on the head that the scan shows. "
            "Give the mask of this scan, or leave it out."
        ) from error


def _refuse_filled_folder(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError(f"{out} exists already. Choose another folder with --out.")


def _report(registration: Registration) -> dict[str, Any]:
    quality = registration.quality
    return {
        "space": SPACE,
        "already_in_mni": registration.already_in_mni,
        "brain_overlap": round(quality.overlap, 4),
        "agreement": round(quality.metric, 4),
        "passed": quality.passed,
        "sentence": quality.sentence,
    }


def _write(folder: Path, scan: sitk.Image, tumour: sitk.Image | None, registration: Registration) -> None:
    transform = registration.transform
    write_volume(TEMPLATE_GRID.resample(scan, transform), folder / SCAN_FILE)
    write_volume(registration.brain_mask, folder / BRAIN_FILE)
    if tumour is not None:
        on_template = TEMPLATE_GRID.resample(tumour, transform, sitk.sitkNearestNeighbor)
        write_volume(on_template, folder / TUMOUR_FILE)
    sitk.WriteTransform(transform, str(folder / TO_PATIENT_FILE))
    sitk.WriteTransform(transform.GetInverse(), str(folder / TO_MNI_FILE))
