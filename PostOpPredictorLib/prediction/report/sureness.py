"""How sure: the maps of spread and the probability of the cavity, each with its colour scale in its own units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..prediction_figure import CAVITY_COLOUR
from .finished import Finished
from .picture import ColourScale, Picture, colours_of
from .view import Layer, Map, planes_of

PIXELS_PER_MM = 1.7
STEPS = 12
NICE = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0)


@dataclass(frozen=True)
class ColourBar:
    """A scale from ``low`` to ``high`` in ``unit``; ``gradient``: colours from left to right as CSS."""

    low: str
    high: str
    unit: str
    gradient: str


@dataclass(frozen=True)
class MapRow:
    """One map in three planes with what it means."""

    title: str
    meaning: str
    pictures: list[Picture]
    bar: ColourBar


PERCENT_MAPS = (
    (
        "uncertainty_mni",
        "Interval that holds the truth",
        "Half the width of the interval that held the true brightness of 90 % of the voxels of validation patients.",
    ),
    (
        "spread_precedents_mni",
        "Spread over precedents",
        "How much the picture depends on which similar case is followed: the standard deviation over them.",
    ),
    (
        "spread_noise_mni",
        "Spread over noise",
        "How much the picture varies by chance when the same case is followed: the standard deviation over samples.",
    ),
)


def map_rows(finished: Finished) -> list[MapRow]:
    """The maps that were written. Those in percent share one scale, so that they can be compared by eye."""
    found = {kind: finished.read(kind) for kind, _, _ in PERCENT_MAPS}
    highest = max((_high(values) for values in found.values() if values is not None), default=1.0)
    unit = "% of the brain's brightness range"
    rows = [
        _row(finished, title, meaning, values, Map(values, 0.0, highest, "magma"), unit)
        for kind, title, meaning in PERCENT_MAPS
        if (values := found[kind]) is not None
    ]
    agreement = finished.read("cavity_agreement_mni")
    if agreement is not None:
        meaning = "Mean probability of the cavity over the precedents: 1 where all agree that tissue is gone."
        over = Map(agreement, 0.0, 1.0, "viridis")
        rows.append(_row(finished, "Probability of the cavity", meaning, agreement, over, "probability"))
    return rows


def colour_bar(low: float, high: float, unit: str, scale: ColourScale) -> ColourBar:
    """The legend of a map."""
    steps = colours_of(scale, np.linspace(0.0, 1.0, STEPS))
    colours = ", ".join(f"rgb({round(r)} {round(g)} {round(b)})" for r, g, b in steps.tolist())
    return ColourBar(f"{low:g}", f"{high:g}", unit, f"linear-gradient(90deg, {colours})")


def _high(values: np.ndarray) -> float:
    """A round number that 99 % of the map's voxels do not exceed."""
    top = float(np.percentile(values[values > 0], 99.0)) if (values > 0).any() else 1.0
    return next((nice for nice in NICE if nice >= top), float(math.ceil(top)))


def _row(finished: Finished, title: str, meaning: str, values: np.ndarray, over: Map, unit: str) -> MapRow:
    cavity = finished.read("cavity_mask_mni")
    layers = [] if cavity is None else [Layer(cavity > 0.5, CAVITY_COLOUR)]
    pictures = planes_of(finished.mni, finished.before, title, PIXELS_PER_MM, layers, over)
    return MapRow(title, meaning, pictures, colour_bar(over.low, over.high, unit, over.scale))
