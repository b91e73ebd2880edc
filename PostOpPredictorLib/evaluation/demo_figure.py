"""The picture of the demonstration: predicted beside what was simulated to have happened."""

from __future__ import annotations

from pathlib import Path

from ..prediction.figure import Column, draw_planes
from ..prediction.patient_prediction import PatientPrediction
from ..prediction.prediction_figure import (
    core_mask,
    outcome_outlines,
    patient_columns,
    precedent_columns,
    predicted_column,
    upsampled,
)
from .demo_patient import Truth

TRUTH_COLOUR = "#7bd88f"
FOOTER = "SYNTHETIC — a simulated patient with a simulated operation. Research use only, not for clinical decisions."


def draw_demo(path: Path, prediction: PatientPrediction, truth: Truth, details: str) -> None:
    """Write the picture: before (with the tumour outlined), predicted, true, and the precedent before and after."""
    patient = prediction.patient
    columns = [
        patient_columns(patient)[1],
        predicted_column(patient, prediction.case, prediction.post_mni),
        Column("true outcome\n(simulated)", upsampled(truth.post), outcome_outlines(truth.outcome), TRUTH_COLOUR),
        *precedent_columns(prediction.precedents.best, prediction.sequence.sequence),
    ]
    header = "Demonstration: predicted and true post-operative MRI of a simulated patient"
    draw_planes(path, columns, core_mask(patient), patient.brain_mni, header, details, FOOTER)
