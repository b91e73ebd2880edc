"""The scan before and after, in three planes: in the patient's own space and in MNI space; what moved, what is made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ...imaging.grid import WORKING_GRID
from ..figure import PLANES
from ..outcome_images import cavity_in_patient_space
from ..outcome_volume import RESIDUAL_LABEL, tumour_core
from ..prediction_figure import CAVITY_COLOUR, CORE_COLOUR, OEDEMA_COLOUR, RESIDUAL_COLOUR
from .finished import Finished
from .picture import Picture
from .view import Layer, Map, View, planes_of

PIXELS_PER_MM = 2.4


@dataclass(frozen=True)
class Column:
    """Pictures of one volume, one per plane."""

    title: str
    synthetic: bool
    pictures: list[Picture]


@dataclass(frozen=True)
class PlaneTable:
    """Columns side by side, planes below one another; ``legend``: (colour, dashed, name)."""

    columns: list[Column]
    legend: list[tuple[str, bool, str]]


LEGEND = [
    (CORE_COLOUR, False, "tumour core"),
    (OEDEMA_COLOUR, False, "oedema"),
    (CAVITY_COLOUR, False, "predicted cavity"),
    (RESIDUAL_COLOUR, False, "predicted residual tumour"),
]


def in_patient_space(finished: Finished) -> PlaneTable:
    """The patient's own scan and the prediction in it, 1 mm along the scan's own axes."""
    prediction = finished.prediction
    patient, view = prediction.patient, View.of_scan(prediction.patient)
    labels = view.array(patient.labels, interpolator=sitk.sitkNearestNeighbor)
    residual = WORKING_GRID.image((prediction.case.outcome == RESIDUAL_LABEL).astype(np.float32))
    to_mni = patient.registration.transform.GetInverse()
    after = [
        Layer(view.array(cavity_in_patient_space(patient, prediction.case)) > 0.5, CAVITY_COLOUR),
        Layer(view.array(residual, to_mni) > 0.5, RESIDUAL_COLOUR),
    ]
    pre, post = (finished.unit(view.array(image)) for image in (patient.scan, prediction.post_patient))
    return _table(view, pre, post, labels, after, "the patient's own space")


def in_mni_space(finished: Finished) -> PlaneTable:
    """The same in MNI space, brain only."""
    after = outcome_layers(finished)
    return _table(finished.mni, finished.before, finished.predicted, finished.tumour, after, "MNI space")


def outcome_layers(finished: Finished) -> list[Layer]:
    """Outlines of the predicted cavity and residual tumour in MNI space, as their files say."""
    cavity, outcome = finished.read("cavity_mask_mni"), finished.read("outcome_mni")
    assert cavity is not None and outcome is not None
    return [Layer(cavity > 0.5, CAVITY_COLOUR), Layer(outcome == RESIDUAL_LABEL, RESIDUAL_COLOUR)]


def tumour_layers(labels: np.ndarray) -> list[Layer]:
    """Outlines of the tumour core and of the oedema around it."""
    return [Layer(labels > 0, OEDEMA_COLOUR), Layer(tumour_core(labels), CORE_COLOUR)]


def moved_and_generated(finished: Finished) -> list[Picture]:
    """The predicted scan with what is generated in colour, and arrows from where tissue was to where it goes."""
    shift = finished.mni.array(WORKING_GRID.image(np.ascontiguousarray(finished.prediction.case.shift)))
    weight = finished.read("generated_mni")
    over = None if weight is None else Map(weight, 0.0, 1.0, "generated")
    what = "predicted scan with generated tissue and movement"
    return planes_of(finished.mni, finished.predicted, what, PIXELS_PER_MM, over=over, shift=shift)


def _table(
    view: View, pre: np.ndarray, post: np.ndarray, labels: np.ndarray, after: list[Layer], space: str
) -> PlaneTable:
    synthetic = "predicted scan after surgery, synthetic"
    columns = [
        Column(
            "Before surgery",
            False,
            planes_of(view, pre, f"scan before surgery in {space}", PIXELS_PER_MM, tumour_layers(labels)),
        ),
        Column("Predicted", True, planes_of(view, post, f"{synthetic}, in {space}", PIXELS_PER_MM)),
        Column(
            "Outlined",
            True,
            planes_of(view, post, f"{synthetic}, outlined, in {space}", PIXELS_PER_MM, after),
        ),
    ]
    shown = [_is_seen(view, labels == 2), any(_is_seen(view, layer.mask) for layer in after[1:])]
    absent = {"oedema": not shown[0], "predicted residual tumour": not shown[1]}
    return PlaneTable(columns, [entry for entry in LEGEND if not absent.get(entry[2], False)])


def _is_seen(view: View, mask: np.ndarray) -> bool:
    return any(view.cut(mask, plane).any() for plane in PLANES)


def plane_edges() -> list[tuple[str, str, str]]:
    """Name, left and right edge of each plane."""
    return [(plane.name, plane.left, plane.right) for plane in PLANES]
