"""The patient of a prediction: the scan and tumour as read, and both in MNI space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..cases.case import FloatArray, LabelArray
from ..errors import InputError
from ..imaging.grid import TEMPLATE_GRID, WORKING_GRID, Grid
from ..imaging.intensity import IntensityWindow
from ..imaging.registration import Registration, register_to_mni
from ..imaging.tumour_mask import on_grid_of, tumour_labels
from ..imaging.volumes import read_labels, read_volume
from ..progress import Progress
from .outcome_volume import VOXEL_ML, tumour_core

SMALLEST_CORE_ML = 0.05
LEAST_INSIDE_BRAIN = 0.5


@dataclass(frozen=True)
class Patient:
    """A pre-operative scan with its tumour, aligned to MNI space.

    ``scan`` and ``labels`` lie on the scan's own grid, in scanner units; ``scan_mni`` (0 outside the brain),
    ``labels_mni`` and ``brain_mni`` on TEMPLATE_GRID. ``pre`` float32 [0, 1], ``tumour`` labels and ``brain`` 0/1 are
    (z, y, x) on WORKING_GRID. ``further``: the same patient in the further scans that the model is shown.
    """

    scan: sitk.Image
    labels: sitk.Image
    registration: Registration
    scan_mni: sitk.Image
    labels_mni: sitk.Image
    brain_mni: sitk.Image
    window: IntensityWindow
    pre: FloatArray
    tumour: LabelArray
    brain: LabelArray
    further: Mapping[str, Patient] = field(default_factory=dict)

    @property
    def context(self) -> dict[str, FloatArray]:
        """What the model is shown beside ``pre``, by sequence."""
        return {name: one.pre for name, one in self.further.items()}


def read_patient(
    pre: Path, tumour: Path, labels: str, brain: Path | None, progress: Progress, sequence: str = "auto"
) -> Patient:
    """Read the files, align the scan to MNI space and put all on the grids.

    ``labels`` is the name of a preset or numbers such as "1,4"; ``sequence``: what the scan is ("auto": T1-weighted).
    Raises ``InputError`` for what cannot be used and ``RegistrationFailed`` when the alignment cannot be trusted.
    """
    progress.stage("Reading the scan and the tumour mask")
    progress.step(0, 3)
    scan = read_volume(pre)
    progress.step(1, 3)
    mask = on_grid_of(tumour_labels(read_labels(tumour), labels), scan)
    progress.step(2, 3)
    brain_mask = None if brain is None else _brain_mask(brain, scan)
    progress.step(3, 3)
    registration = register_to_mni(scan, mask, brain_mask, progress, sequence)
    return align(scan, mask, registration)


def align(scan: sitk.Image, labels: sitk.Image, registration: Registration) -> Patient:
    """Put ``scan`` and ``labels`` (on one grid) on the grids of MNI space by a registration that is there already."""
    transform = registration.transform
    brain_mni = registration.brain_mask
    brain = _array(WORKING_GRID.resample(brain_mni, interpolator=sitk.sitkNearestNeighbor)).astype(np.uint8)
    tumour = WORKING_GRID.resample_labels(labels, transform)
    _refuse_outside_brain(tumour, brain)
    tumour = tumour * (brain > 0)
    scan_working = _array(WORKING_GRID.resample(scan, transform))
    window = IntensityWindow.of(scan_working, brain)
    return Patient(
        scan=scan,
        labels=labels,
        registration=registration,
        scan_mni=sitk.Mask(TEMPLATE_GRID.resample(scan, transform), brain_mni),
        labels_mni=sitk.Mask(TEMPLATE_GRID.image(TEMPLATE_GRID.resample_labels(labels, transform)), brain_mni),
        brain_mni=brain_mni,
        window=window,
        pre=(window.normalise(scan_working) * (brain > 0)).astype(np.float32),
        tumour=tumour.astype(np.uint8),
        brain=brain,
    )


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def _brain_mask(path: Path, scan: sitk.Image) -> sitk.Image:
    labels = read_labels(path)
    mask = Grid.of(labels).image((_array(labels) > 0).astype(np.uint8))
    if not _array(mask).any():
        raise InputError(f"The brain mask {path} is empty. Give a mask that is 1 inside the brain, or leave it out.")
    try:
        return on_grid_of(mask, scan)
    except InputError as error:
        raise InputError(
            f"The brain mask {path} does not lie on the head that the scan shows. "
            "Give the mask of this scan, or leave it out."
        ) from error


def _refuse_outside_brain(tumour: LabelArray, brain: LabelArray) -> None:
    core = tumour_core(tumour)
    core_ml = float(core.sum()) * VOXEL_ML
    if core_ml < SMALLEST_CORE_ML:
        raise InputError(
            f"The tumour core has only {core_ml:.2f} ml in MNI space; at least {SMALLEST_CORE_ML} ml are needed. "
            "Check the mask and its labels."
        )
    inside = float((core & (brain > 0)).sum() / core.sum())
    if inside < LEAST_INSIDE_BRAIN:
        raise InputError(
            f"Only {inside:.0%} of the tumour lies inside the brain after the alignment to MNI space. "
            "Check that the mask belongs to this scan; if it does, give a brain mask with --brain."
        )
