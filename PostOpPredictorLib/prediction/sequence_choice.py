"""Whether a scan is T1-weighted with or without contrast medium, told from the tumour's brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..cases.case import FloatArray, LabelArray
from ..errors import InputError
from ..imaging import template
from ..imaging.grid import WORKING_GRID
from .outcome_volume import tumour_core

SEQUENCES = ("T1w", "T1wCE")
ENHANCING_LABEL = 4
BRIGHTER_THAN_WHITE_MATTER = 1.15
RIM_PERCENTILE = 90.0


@dataclass(frozen=True)
class SequenceChoice:
    """``sequence`` T1w or T1wCE, and the sentence that says why."""

    sequence: str
    reason: str


def choose_sequence(asked: str, pre: FloatArray, tumour: LabelArray, brain: LabelArray) -> SequenceChoice:
    """What the user asked for; for "auto", T1wCE when the tumour's bright part is clearly brighter than white matter.

    White matter is the brightest healthy tissue of a T1-weighted scan, and a tumour is darker; only contrast medium
    makes it brighter. The bright part is the 90th percentile within the enhancing label, or within the core and its rim
    where the mask has none. Arrays (z, y, x) on WORKING_GRID, ``pre`` in [0, 1]. Raises ``InputError`` for a name that
    is no sequence.
    """
    if asked in SEQUENCES:
        return SequenceChoice(asked, "given by the user")
    if asked != "auto":
        raise InputError(f"There is no sequence '{asked}'. Choose one of: auto, {', '.join(SEQUENCES)}.")
    enhancing = tumour == ENHANCING_LABEL
    region = enhancing if enhancing.sum() >= 10 else ndimage.binary_dilation(tumour_core(tumour)) & (brain > 0)
    healthy = (tumour == 0) & (brain > 0) & (_white_matter() > 0.9)
    if not healthy.any():
        return SequenceChoice("T1w", "no white matter was found to compare the tumour with")
    ratio = float(np.percentile(pre[region], RIM_PERCENTILE) / max(float(np.median(pre[healthy])), 1e-6))
    sequence = "T1wCE" if ratio > BRIGHTER_THAN_WHITE_MATTER else "T1w"
    return SequenceChoice(sequence, f"the tumour's bright part has {ratio:.2f} times the grey level of white matter")


def _white_matter() -> np.ndarray:
    return sitk.GetArrayFromImage(WORKING_GRID.resample(template.tissue("wm")))
