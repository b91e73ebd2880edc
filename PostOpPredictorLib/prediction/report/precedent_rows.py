"""The precedents, ranked: how their tumours overlap the patient's, how they looked after surgery, what they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..figure import PLANES
from ..outcome_volume import CAVITY_LABELS, tumour_core
from ..prediction_figure import CAVITY_COLOUR, CORE_COLOUR
from .finished import Finished
from .picture import Picture
from .sureness import ColourBar, colour_bar
from .view import Layer, Map, View, planes_of

PRECEDENT_COLOUR = "#7cc4ff"
PIXELS_PER_VOXEL = 2.7
PIXELS_PER_MM = 1.8
MOST_PICTURED = 6
FACTS = (
    ("operated at", "{institution}", "{source}"),
    ("resected", "{eor_percent} %", "{resection_class}"),
    ("tumour core", "{tumour_ml} ml", ""),
    ("residual", "{residual_ml} ml", ""),
    ("place", "{hemisphere}", "{lobe}"),
)
"""Name, and how the library's attributes tell it; what it does not have is left out."""
PROXY = "a proxy: derived from other labels, not drawn"


@dataclass(frozen=True)
class PrecedentRow:
    """One precedent; ``entry``: what precedents.json says, ``facts``: name and value, ``pictures``: caption first."""

    entry: Mapping[str, Any]
    facts: list[tuple[str, str]]
    pictures: list[tuple[str, Picture]]


def precedent_rows(finished: Finished) -> list[PrecedentRow]:
    """Every precedent, the first six with pictures."""
    entries = finished.precedents["precedents"]
    view = View.on_working_grid(finished.prediction.patient)
    most = influence_limit(finished)
    return [PrecedentRow(entry, _facts(entry), _pictures(finished, view, entry, most)) for entry in entries]


def influence_limit(finished: Finished) -> float:
    """A round number that no influence in the report exceeds by much: the end of their colour scale."""
    ranks = range(1, MOST_PICTURED + 1)
    found = [np.abs(change) for rank in ranks if (change := finished.read(f"influence_{rank}_mni")) is not None]
    top = max((float(np.percentile(one[one > 0], 99.5)) for one in found if (one > 0).any()), default=1.0)
    return next(limit for limit in (0.1, 0.2, 0.5, 1.0) if limit >= min(top, 1.0))


def influence_bar(finished: Finished) -> ColourBar | None:
    """The colour scale of the pictures of influence; None when there are none."""
    if not any(kind.startswith("influence_") for kind in finished.names):
        return None
    most = influence_limit(finished)
    return colour_bar(-most, most, "cavity's probability without it", "coolwarm")


def _facts(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    told = [(name, ", ".join(_filled(part, entry) for part in parts if _filled(part, entry))) for name, *parts in FACTS]
    if entry.get("cavity") == "proxy":
        told.append(("cavity", PROXY))
    return [(name, text) for name, text in told if text]


def _filled(pattern: str, entry: Mapping[str, Any]) -> str:
    """``pattern`` with the entry's values, empty where one is unknown."""
    try:
        return pattern.format_map(entry)
    except KeyError:
        return ""


def _pictures(finished: Finished, view: View, entry: Mapping[str, Any], most: float) -> list[tuple[str, Picture]]:
    if entry["rank"] > MOST_PICTURED:
        return []
    prediction = finished.prediction
    case = prediction.precedents.library.case(entry["case_id"])
    name = f"precedent {entry['rank']}"
    both = [
        Layer(tumour_core(case.tumour()), PRECEDENT_COLOUR),
        Layer(tumour_core(prediction.patient.tumour), CORE_COLOUR),
    ]
    cavity = [Layer(np.isin(case.outcome(), CAVITY_LABELS), CAVITY_COLOUR)]
    sequence, axial = prediction.sequence.sequence, PLANES[:1]
    pictures = [
        ("overlap of the tumours", prediction.patient.pre, both, f"tumours of the patient and of {name}"),
        ("its scan before", case.pre(sequence), both[:1], f"{name} before surgery"),
        ("its scan after", case.post(sequence), cavity, f"{name} after surgery"),
    ]
    drawn = [
        (caption, planes_of(view, image, what, PIXELS_PER_VOXEL, layers, planes=axial)[0])
        for caption, image, layers, what in pictures
    ]
    change = finished.read(f"influence_{entry['rank']}_mni")
    if change is not None:
        over = Map(change, -most, most, "coolwarm")
        (picture,) = planes_of(
            finished.mni, finished.before, f"influence of {name}", PIXELS_PER_MM, over=over, planes=axial
        )
        drawn.append(("what it changes", picture))
    return drawn
