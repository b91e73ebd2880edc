"""The figure of a prediction: pre, tumour, predicted post, and the best precedent before and after its operation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..cases.library import LibraryCase
from ..imaging.grid import TEMPLATE_GRID, WORKING_GRID
from .figure import FAINT, WARNING, Column, Outline, draw_planes, unit_image
from .outcome_volume import CAVITY_LABELS, RESIDUAL_LABEL, tumour_core
from .patient import Patient
from .upsampling import on_template
from .volume_prediction import CasePrediction

CORE_COLOUR, OEDEMA_COLOUR, CAVITY_COLOUR, RESIDUAL_COLOUR = "#ff9f43", "#54a0ff", "#2ee6a6", "#ff5d73"
FOOTER = "SYNTHETIC — research use only, not for clinical decisions. Trained on simulated operations."


def draw_prediction(
    path: Path,
    patient: Patient,
    prediction: CasePrediction,
    post_mni: sitk.Image,
    precedent: LibraryCase | None,
    sequence: str,
    header: str,
    details: str,
) -> None:
    """Write prediction.png; ``post_mni`` is the predicted scan on TEMPLATE_GRID in scanner units."""
    columns = [*patient_columns(patient), predicted_column(patient, prediction, post_mni)]
    columns += precedent_columns(precedent, sequence)
    draw_planes(path, columns, core_mask(patient), patient.brain_mni, header, details, FOOTER)


def patient_columns(patient: Patient) -> list[Column]:
    """The scan as it is, and the scan with its tumour outlined."""
    scan = shown(patient, patient.scan_mni)
    labels = sitk.GetArrayFromImage(patient.labels_mni)
    outlines = [_outline(tumour_core(labels), CORE_COLOUR, "tumour core")]
    if (labels == 2).any():
        outlines.insert(0, _outline(labels > 0, OEDEMA_COLOUR, "oedema"))
    return [Column("before surgery", scan), Column("tumour mask", scan, tuple(outlines))]


def predicted_column(patient: Patient, prediction: CasePrediction, post_mni: sitk.Image) -> Column:
    """The predicted scan with thin outlines of the cavity and of what tumour is left."""
    return Column(
        "predicted after surgery\nSYNTHETIC", shown(patient, post_mni), outcome_outlines(prediction.outcome), WARNING
    )


def precedent_columns(precedent: LibraryCase | None, sequence: str) -> list[Column]:
    """The precedent before and after its operation, or two empty columns that say that there is none."""
    if precedent is None:
        return [
            Column("NO SIMILAR CASE\nin the library", None, colour=WARNING),
            Column("predicted without\na precedent", None, colour=WARNING),
        ]
    pre, post = (upsampled(array) for array in (precedent.pre(sequence), precedent.post(sequence)))
    core = Outline(_mask(tumour_core(precedent.tumour())), CORE_COLOUR, "tumour core")
    source = precedent.source or "library"
    return [
        Column(f"precedent before\n{precedent.case_id} ({source})", pre, (core,), FAINT),
        Column("precedent after", post, outcome_outlines(precedent.outcome()), FAINT),
    ]


def outcome_outlines(outcome: np.ndarray) -> tuple[Outline, ...]:
    """Outlines of the cavity and, where there is any, of residual tumour; ``outcome`` (z, y, x) on WORKING_GRID."""
    outlines = [Outline(_mask(np.isin(outcome, CAVITY_LABELS)), CAVITY_COLOUR, "cavity")]
    if (outcome == RESIDUAL_LABEL).any():
        outlines.append(Outline(_mask(outcome == RESIDUAL_LABEL), RESIDUAL_COLOUR, "residual tumour"))
    return tuple(outlines)


def shown(patient: Patient, image: sitk.Image) -> sitk.Image:
    """An image of the patient in scanner units, windowed to [0, 1]; 0 outside the brain."""
    unit = patient.window.normalise(sitk.GetArrayFromImage(image))
    return unit_image(unit * (sitk.GetArrayFromImage(patient.brain_mni) > 0), TEMPLATE_GRID)


def _outline(mask: np.ndarray, colour: str, name: str) -> Outline:
    return Outline(TEMPLATE_GRID.image(mask.astype(np.uint8)), colour, name)


def _mask(mask: np.ndarray) -> sitk.Image:
    """A mask of WORKING_GRID on TEMPLATE_GRID with a smooth border."""
    return TEMPLATE_GRID.image((on_template(mask) > 0.5).astype(np.uint8))


def core_mask(patient: Patient) -> sitk.Image:
    """The tumour core on TEMPLATE_GRID: what the planes are cut through."""
    return TEMPLATE_GRID.image(tumour_core(sitk.GetArrayViewFromImage(patient.labels_mni)).astype(np.uint8))


def upsampled(array: np.ndarray) -> sitk.Image:
    """An image of WORKING_GRID in [0, 1] on TEMPLATE_GRID."""
    image = TEMPLATE_GRID.resample(WORKING_GRID.image(array.astype(np.float32)))
    return unit_image(sitk.GetArrayFromImage(image), TEMPLATE_GRID)
