"""How the maps of a prediction look: colours that a person can read as more and less, range, and legend in units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from slicer.i18n import tr as _

from .ImageFiles import ImageData

COLOURS = 256
LEAST_SHOWN = 0.02
"""Below this part of the range a map is transparent, so that the scan shows where nothing is to be told."""
TOP_PERCENTILE = 99.5
BRIGHTNESS_MAPS = ("spreadPrecedents", "spreadNoise", "uncertainty")
"""In percent of the brightness range; all have the same range, so that their colours compare."""
LEAST_TOP_PERCENT, LEAST_TOP_INFLUENCE = 2.0, 0.05

# Perceptually even, also for the colour-blind: matplotlib's (CC0), and blue to red over nothing for what has a sign.
_ANCHORS = {
    "inferno": "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 "
    "f9cb35 f2ea69 fcffa4",
    "viridis": "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b "
    "addc30 d8e219 fde725",
    "signed": "2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b",
}


@dataclass(frozen=True)
class MapLook:
    """``label``: what the user chooses; ``name`` of the node; ``title`` of the legend, with the unit; ``colours``:
    "inferno", "viridis" or "signed"; ``labelFormat`` of the legend's numbers."""

    label: str
    name: str
    title: str
    colours: str
    labelFormat: str


def mapLooks() -> dict[str, MapLook]:
    """The looks of all maps by their role."""
    # All as wide: Slicer makes the letters as large as the widest number lets it.
    percent, share = "%5.0f", "%5.2f"
    return {
        "spreadPrecedents": MapLook(
            _("Spread over precedents"),
            _("Spread over precedents (synthetic)"),
            _("Spread over precedents\n(% of the brightness range)"),
            "inferno",
            percent,
        ),
        "spreadNoise": MapLook(
            _("Spread over noise"),
            _("Spread over noise (synthetic)"),
            _("Spread over noise\n(% of the brightness range)"),
            "inferno",
            percent,
        ),
        "uncertainty": MapLook(
            _("90 % interval"),
            _("90 % interval, half width (synthetic)"),
            _("90 % interval, plus or minus\n(% of the brightness range)"),
            "inferno",
            percent,
        ),
        "cavityAgreement": MapLook(
            _("Cavity probability"),
            _("Cavity probability over precedents (synthetic)"),
            _("Cavity probability\nover the precedents (0 to 1)"),
            "viridis",
            share,
        ),
        "generated": MapLook(
            _("Generated tissue"),
            _("Generated tissue (synthetic)"),
            _("Origin of the image\n(0 own tissue, 1 generated)"),
            "viridis",
            share,
        ),
        "influence": MapLook(
            _("Influence of precedent {rank}"),
            _("Influence of precedent {rank} (synthetic)"),
            _("Influence of precedent {rank}\n(change of cavity probability)"),
            "signed",
            "%+.2f",
        ),
    }


def colourTable(colours: str) -> np.ndarray:
    """``COLOURS`` x (red, green, blue, opacity) in 0..1; what means "nothing" is transparent."""
    anchors = np.array([[int(one[at : at + 2], 16) / 255 for at in (0, 2, 4)] for one in _ANCHORS[colours].split()])
    places = np.linspace(0, len(anchors) - 1, COLOURS)
    table = np.ones((COLOURS, 4))
    for part in range(3):
        table[:, part] = np.interp(places, np.arange(len(anchors)), anchors[:, part])
    values = np.linspace(-1, 1, COLOURS) if colours == "signed" else np.linspace(0, 1, COLOURS)
    table[np.abs(values) < LEAST_SHOWN, 3] = 0.0
    return table


def mapRanges(images: Mapping[str, ImageData], influences: Sequence[ImageData]) -> dict[str, tuple[float, float]]:
    """The values at both ends of the colours, by role; ``influences`` share a range that is the same on both sides."""
    tops = [_top(images[role].array) for role in BRIGHTNESS_MAPS if role in images]
    percent = max([*tops, LEAST_TOP_PERCENT])
    influence = max([*(_top(np.abs(one.array)) for one in influences), LEAST_TOP_INFLUENCE])
    ranges = dict.fromkeys(BRIGHTNESS_MAPS, (0.0, percent))
    return ranges | {"cavityAgreement": (0.0, 1.0), "generated": (0.0, 1.0), "influence": (-influence, influence)}


def _top(values: np.ndarray) -> float:
    told = values[values > 0]
    return float(np.percentile(told, TOP_PERCENTILE)) if told.size else 0.0
