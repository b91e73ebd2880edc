"""A user's own operated patient, read from files and aligned to MNI space, ready to be added to a library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..imaging.grid import WORKING_GRID
from ..imaging.intensity import IntensityWindow
from ..imaging.registration import Registration, register_to_mni
from ..imaging.tumour_mask import on_grid_of, tumour_labels
from ..imaging.volumes import read_labels, read_volume
from ..progress import Progress, SilentProgress
from .bids import CORE_LABELS
from .case import CaseKind, FloatArray, LabelArray, SimulatedCase, Split
from .session_alignment import follow

_CAVITY, _RESIDUAL = 1, 2
_VOXEL_ML = float(np.prod(WORKING_GRID.spacing)) / 1000


@dataclass(frozen=True)
class OperatedPatient:
    """The files of one patient. ``scans`` maps a sequence ("T1w", "T1wCE") to (before surgery, after surgery).

    The sequences of one session lie in one space; ``tumour`` (read by ``labels``, a preset or numbers) in that of the
    session before, ``cavity`` and ``residual`` (everything above 0 counts) in that of the session after surgery.
    """

    case_id: str
    scans: Mapping[str, tuple[Path, Path]]
    tumour: Path
    cavity: Path
    residual: Path | None = None
    labels: str = "brats"
    patient_id: str | None = None
    institution: str = "own"
    split: Split = "train"
    attributes: Mapping[str, str | float] = field(default_factory=dict)

    def read(self, progress: Progress | None = None) -> SimulatedCase:
        """Read the files and align both sessions to MNI space; the shift between them is not known.

        Raises ``InputError`` for files that cannot be used and ``RegistrationFailed`` when an alignment is not trusted.
        """
        progress = progress or SilentProgress()
        if not self.scans:
            raise InputError("No scan was given. Give at least one sequence before and after surgery.")
        progress.stage("Reading the scans and masks")
        before = {sequence: read_volume(paths[0]) for sequence, paths in self.scans.items()}
        after = {sequence: read_volume(paths[1]) for sequence, paths in self.scans.items()}
        first, last = next(iter(before.values())), next(iter(after.values()))
        tumour = on_grid_of(tumour_labels(read_labels(self.tumour), self.labels), first)
        cavity = on_grid_of(tumour_labels(read_labels(self.cavity), "any"), last)
        residual = None
        if self.residual is not None:
            residual = on_grid_of(tumour_labels(read_labels(self.residual), "any"), last)
        to_before = register_to_mni(first, tumour, progress=progress)
        alone = register_to_mni(last, cavity, progress=progress)
        brain_pre = _brain(to_before)
        labels = WORKING_GRID.resample_labels(tumour, to_before.transform) * brain_pre
        progress.stage("Aligning the two sessions to each other")
        to_after, brain_post = _after_over_before(first, last, to_before, alone, labels, cavity)
        outcome = _outcome(cavity, residual, to_after) * brain_post
        return SimulatedCase(
            case_id=self.case_id,
            patient_id=self.patient_id or self.case_id,
            institution=self.institution,
            kind=cast(CaseKind, "real"),
            split=self.split,
            attributes={**self.attributes, **_volumes(labels, outcome, residual is not None)},
            pre={sequence: _image(scan, to_before.transform, brain_pre) for sequence, scan in before.items()},
            post={sequence: _image(scan, to_after, brain_post) for sequence, scan in after.items()},
            brain_pre=brain_pre,
            brain_post=brain_post,
            tumour=labels,
            outcome=outcome,
            shift=None,
        )


def _after_over_before(
    first: sitk.Image,
    last: sitk.Image,
    to_before: Registration,
    alone: Registration,
    tumour: LabelArray,
    cavity: sitk.Image,
) -> tuple[sitk.Transform, LabelArray]:
    """The transform MNI -> session after surgery that fits the session before, and the brain after surgery with it."""
    brain_pre, brain_post = _brain(to_before), _brain(alone)
    before, after = _image(first, to_before.transform, brain_pre), _image(last, alone.transform, brain_post)
    correction = follow(before, after, brain_pre, tumour | WORKING_GRID.resample_labels(cavity, alone.transform))
    transform = sitk.CompositeTransform([alone.transform, correction])
    mask = WORKING_GRID.resample(WORKING_GRID.image(brain_post), correction, sitk.sitkNearestNeighbor)
    return transform, sitk.GetArrayFromImage(mask)


def _brain(registration: Registration) -> LabelArray:
    mask = WORKING_GRID.resample(registration.brain_mask, interpolator=sitk.sitkNearestNeighbor)
    return (sitk.GetArrayFromImage(mask) > 0).astype(np.uint8)


def _outcome(cavity: sitk.Image, residual: sitk.Image | None, transform: sitk.Transform) -> LabelArray:
    outcome = np.where(WORKING_GRID.resample_labels(cavity, transform) > 0, _CAVITY, 0).astype(np.uint8)
    if residual is not None:
        outcome[(WORKING_GRID.resample_labels(residual, transform) > 0) & (outcome == 0)] = _RESIDUAL
    return outcome


def _image(scan: sitk.Image, transform: sitk.Transform, brain: LabelArray) -> FloatArray:
    array = sitk.GetArrayFromImage(WORKING_GRID.resample(scan, transform))
    return (IntensityWindow.of(array, brain).normalise(array) * brain).astype(np.float32)


def _volumes(tumour: LabelArray, outcome: LabelArray, with_residual: bool) -> dict[str, float]:
    before = float(np.isin(tumour, CORE_LABELS).sum()) * _VOXEL_ML
    volumes = {"tumour_ml": round(before, 2)}
    if with_residual and before > 0:
        left = float((outcome == _RESIDUAL).sum()) * _VOXEL_ML
        volumes |= {"residual_ml": round(left, 2), "eor_percent": round(100 * max(0.0, 1 - left / before), 1)}
    return volumes
