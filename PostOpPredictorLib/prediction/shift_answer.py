"""Always answered: how the brain moves, and where the prediction is the patient's own tissue and where it is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..cases.bids import SPACE
from ..imaging.grid import TEMPLATE_GRID, WORKING_GRID
from ..progress import Progress
from .asked import Answer, AnswerFile, Asked
from .displacement import displacement_of
from .midline import Midline, midline_of, septum_moves_mm, septum_slices
from .output_folder import write_synthetic
from .patient import Patient
from .volume_prediction import CasePrediction

GENERATED = f"generated_space-{SPACE}.nii.gz"
LEAST_PREDICTED = 0.5
"""Of the septum's slices; where fewer were predicted nothing is known about its movement."""


def how_it_moves(asked: Asked, progress: Progress) -> Answer:
    """Figures of the predicted shift in the patient's own millimetres, the midline, and the map of what is generated.

    ``midline_mm`` is the movement of the midline by the operation and ``midline_before_mm`` where it lies before, both
    positive to the patient's left (LPS +x); ``midline_after_mm`` is their sum. None where it cannot be told, and
    ``midline_sentence`` says why.
    """
    progress.stage("Measuring the shift")
    progress.step(0, 1)
    patient, case = asked.prediction.patient, asked.prediction.case
    transform = patient.registration.transform
    moved = displacement_of(case, patient.brain, transform)
    midline = midline_of(patient.pre, asked.prediction.sequence.sequence, transform)
    movement = _movement(case, midline, transform)
    before = None if midline is None else midline.before_mm
    after = None if before is None or movement is None else before + movement
    summary = {
        "largest_mm": round(moved.largest_mm, 1),
        "mean_near_cavity_mm": round(moved.mean_near_cavity_mm, 1),
        "midline_mm": _rounded(movement),
        "midline_before_mm": _rounded(before),
        "midline_after_mm": _rounded(after),
        "midline_sentence": midline_sentence(midline, movement),
    }
    progress.step(1, 1)
    return Answer("shift", summary, (AnswerFile("generated_mni", GENERATED, _writer(patient, case)),))


def generated_on_template(patient: Patient, case: CasePrediction) -> sitk.Image:
    """The A of y = (1 - A) warp(pre) + A S on TEMPLATE_GRID: float32, 1 generated, 0 the patient's own tissue."""
    weight = TEMPLATE_GRID.resample(WORKING_GRID.image(np.ascontiguousarray(case.change, np.float32)))
    return sitk.Mask(weight, patient.brain_mni)


def midline_sentence(midline: Midline | None, movement_mm: float | None) -> str:
    """Where the midline lies and where it is predicted to go, in words; the septum pellucidum stands for it."""
    if movement_mm is None:
        moves = (
            "How the operation moves the midline is not told: the slices at the foramina of Monro lie outside what "
            "was predicted."
        )
    else:
        moves = f"The operation is predicted to move the septum {_in_words(movement_mm)}."
    if midline is None:
        return f"Where the midline lies before surgery cannot be read in this scan. {moves}"
    line = (
        "the line between the ends of the fissure between the hemispheres"
        if midline.by_fissure
        else "the middle plane of the aligned head (the ends of the fissure could not be read, so this is less exact)"
    )
    lies = "on" if abs(midline.before_mm) < 0.5 else f"{_in_words(midline.before_mm)} of"
    sentence = f"Before surgery the septum pellucidum lies {lies} {line}. {moves}"
    if movement_mm is None:
        return sentence
    after = midline.before_mm + movement_mm
    return f"{sentence} It is then predicted to lie {'on the line' if abs(after) < 0.5 else _in_words(after)}."


def _in_words(sideways_mm: float) -> str:
    if abs(sideways_mm) < 0.05:
        return "0.0 mm"
    return f"{abs(sideways_mm):.1f} mm to the patient's {'left' if sideways_mm > 0 else 'right'}"


def _movement(case: CasePrediction, midline: Midline | None, transform: sitk.Transform) -> float | None:
    first, last = septum_slices()
    predicted = sum(first <= z <= last for z in case.slices)
    if predicted < LEAST_PREDICTED * (last - first + 1):
        return None
    return septum_moves_mm(case.shift, 0.0 if midline is None else midline.septum_x, transform)


def _writer(patient: Patient, case: CasePrediction) -> Callable[[Path], None]:
    return lambda path: write_synthetic(generated_on_template(patient, case), path)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
