"""Pictures of what else was asked: further sequences, and days after surgery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...imaging.intensity import IntensityWindow
from ..figure import PLANES
from ..prediction_figure import CAVITY_COLOUR
from .finished import Finished
from .picture import Picture
from .view import Layer, planes_of

PIXELS_PER_MM = 1.7
DAY_FIGURES = (
    ("cavity_ml", "cavity"),
    ("blood_ml", "blood"),
    ("air_ml", "air"),
    ("oedema_ml", "oedema"),
    ("residual_ml", "residual tumour"),
)


@dataclass(frozen=True)
class Day:
    """One time after surgery."""

    days: float
    picture: Picture | None
    figures: list[tuple[str, Any]]


@dataclass(frozen=True)
class Sequence:
    """One further sequence: pictures with their captions."""

    entry: Mapping[str, Any]
    pictures: list[tuple[str, bool, Picture]]


def days(finished: Finished) -> list[Day]:
    """The strip through time, in the order of the series."""
    return [_day(finished, entry) for entry in finished.summary.get("series") or ()]


def sequences(finished: Finished) -> list[Sequence]:
    """Every further sequence before and after."""
    return [_sequence(finished, entry) for entry in finished.summary.get("more") or ()]


def _day(finished: Finished, entry: Mapping[str, Any]) -> Day:
    kind = f"day-{float(entry['days']):03g}"
    post, cavity = finished.read(f"{kind}/postop_mni"), finished.read(f"{kind}/cavity_mask_mni")
    picture = None
    if post is not None:
        layers = [] if cavity is None else [Layer(cavity > 0.5, CAVITY_COLOUR)]
        what = f"predicted scan on day {entry['days']:g}"
        picture = planes_of(finished.mni, finished.unit(post), what, PIXELS_PER_MM, layers, planes=PLANES[:1])[0]
    figures = [(name, entry[key]) for key, name in DAY_FIGURES if entry.get(key) is not None]
    return Day(float(entry["days"]), picture, figures)


def _sequence(finished: Finished, entry: Mapping[str, Any]) -> Sequence:
    name = entry["sequence"]
    before, after = finished.read(f"preop_mni_{name}"), finished.read(f"postop_mni_{name}")
    pictures: list[tuple[str, bool, Picture]] = []
    if before is not None and after is not None:
        window = IntensityWindow.of(before, before != 0)
        for title, synthetic, image in (("before", False, before), ("predicted", True, after)):
            shown = window.normalise(image) * (finished.before > 0)
            for picture in planes_of(finished.mni, shown, f"{name} {title}", PIXELS_PER_MM, planes=PLANES[:2]):
                pictures.append((title, synthetic, picture))
    return Sequence(entry, pictures)
