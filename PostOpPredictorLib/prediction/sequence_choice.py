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
WHITE_MATTER_BELOW_VESSELS = 0.67
"""Grey level of white matter where 1 is the 99.5th percentile: 0.70 to 0.86 without contrast medium, less with it."""
RIM_PERCENTILE = 90.0


@dataclass(frozen=True)
class SequenceChoice:
    """``sequence`` T1w or T1wCE, and the sentence that says why."""

    sequence: str
    reason: str


def choose_sequence(asked: str, pre: FloatArray, tumour: LabelArray, brain: LabelArray) -> SequenceChoice:
    """What the user asked for; for "auto", T1wCE when something is brighter than healthy tissue alone can be.

    White matter is the brightest healthy tissue of a T1-weighted scan, and a tumour is darker; only contrast medium
    makes tumour, vessels and plexus brighter. So T1wCE is told by the tumour's bright part (90th percentile within the
    enhancing label, or within the core and its rim where the mask has none), and for a tumour that does not enhance by
    the room that the scan's brightest voxels leave above white matter. Arrays (z, y, x) on WORKING_GRID, ``pre`` in [0,
    1]. Raises ``InputError`` for a name that is no sequence.
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
    white = max(float(np.median(pre[healthy])), 1e-6)
    ratio = float(np.percentile(pre[region], RIM_PERCENTILE)) / white
    sequence = "T1wCE" if ratio > BRIGHTER_THAN_WHITE_MATTER or white < WHITE_MATTER_BELOW_VESSELS else "T1w"
    reason = (
        f"compared with white matter, the tumour's bright part has {ratio:.2f} and the brightest voxels {1 / white:.2f}"
    )
    return SequenceChoice(sequence, reason)


def _white_matter() -> np.ndarray:
    return sitk.GetArrayFromImage(WORKING_GRID.resample(template.tissue("wm")))
