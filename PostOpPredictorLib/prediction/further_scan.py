"""A further scan of the patient's session, put on the grids by the main scan's registration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..cases.case import FloatArray
from ..cases.session_alignment import follow
from ..errors import InputError
from ..imaging.alignment import distance_mm
from ..imaging.brain import foreground
from ..imaging.grid import TEMPLATE_GRID, WORKING_GRID, Grid
from ..imaging.intensity import IntensityWindow
from ..imaging.volumes import read_volume
from ..progress import Progress
from .patient import Patient
from .request import PredictionRequest
from .sequence_choice import SequenceChoice
from .volume_prediction import Pipeline

LEAST_COVERED = 0.85
FARTHEST_MM = 5.0
"""A patient moves by a few millimetres between two sequences; another space is farther away."""


def read_further_scan(patient: Patient, path: Path, sequence: str) -> Patient:
    """The same patient seen in another scan: all of ``patient`` but ``scan`` (on the grid of ``path``), ``labels`` (on
    that grid), ``scan_mni``, ``window`` (of its own) and ``pre``.

    Raises ``InputError`` for a file that is no scan, or does not lie where the main scan lies.
    """
    scan = read_volume(path)
    transform = patient.registration.transform
    _refuse_elsewhere(patient, scan, path, sequence)
    working = sitk.GetArrayFromImage(WORKING_GRID.resample(scan, transform))
    window = IntensityWindow.of(working, patient.brain)
    pre = (window.normalise(working) * (patient.brain > 0)).astype(np.float32)
    _refuse_misaligned(patient, pre, path, sequence)
    return replace(
        patient,
        scan=scan,
        labels=Grid.of(scan).resample(patient.labels, interpolator=sitk.sitkNearestNeighbor),
        scan_mni=sitk.Mask(TEMPLATE_GRID.resample(scan, transform), patient.brain_mni),
        window=window,
        pre=pre,
    )


def with_context(
    patient: Patient, request: PredictionRequest, pipeline: Pipeline, main: SequenceChoice, progress: Progress
) -> Patient:
    """``patient`` with those further scans of ``request`` that the model sees beside the ``main`` one.

    Raises ``InputError`` as ``read_further_scan``, and where the main scan's sequence is given again.
    """
    if main.sequence in request.more:
        raise InputError(
            f"The main scan is {main.sequence} ({main.reason}), and a further scan is named {main.sequence} as "
            "well. Say with --sequence what the main scan is, or leave the further one out."
        )
    further = {}
    for name in (name for name in context_of(pipeline) if name in request.more):
        progress.stage(f"Reading the {name} scan")
        progress.step(0, 1)
        further[name] = read_further_scan(patient, request.more[name], name)
    return replace(patient, further=further)


def context_of(pipeline: Pipeline) -> tuple[str, ...]:
    """The sequences that a model sees beside the one it draws."""
    config = getattr(pipeline, "config_tree", None)
    return config.context_sequences if config is not None else ()


def _refuse_elsewhere(patient: Patient, scan: sitk.Image, path: Path, sequence: str) -> None:
    """The brain of the main scan must lie within the head that the further one shows."""
    head = WORKING_GRID.resample(foreground(scan), patient.registration.transform, sitk.sitkNearestNeighbor)
    covered = float((sitk.GetArrayViewFromImage(head)[patient.brain > 0] > 0).mean())
    if covered < LEAST_COVERED:
        raise InputError(
            f"The {sequence} scan {path} shows only {covered:.0%} of the brain where the main scan has it. "
            "Give a scan of the same session that covers the brain, in the same space."
        )


def _refuse_misaligned(patient: Patient, pre: FloatArray, path: Path, sequence: str) -> None:
    """A search by mutual information that starts where the scan lies must not leave it."""
    found = follow(patient.pre, pre, patient.brain, patient.tumour)
    moved = distance_mm(found, sitk.AffineTransform(3))
    if moved > FARTHEST_MM:
        raise InputError(
            f"The {sequence} scan {path} does not lie where the main scan lies: it fits better {moved:.0f} mm away. "
            "Give a scan of the same session, registered to the main scan."
        )
