"""Whether a scan is T1-weighted with or without contrast medium, told from the tumour's brightness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..cases.case import SEQUENCES, FloatArray, LabelArray
from ..errors import InputError
from ..imaging import template
from ..imaging.grid import WORKING_GRID
from .outcome_volume import tumour_core

T1_SEQUENCES = ("T1w", "T1wCE")
ENHANCING_LABEL = 4
BRIGHTER_THAN_WHITE_MATTER = 1.15
WHITE_MATTER_BELOW_VESSELS = 0.67
"""Grey level of white matter where 1 is the 99.5th percentile: 0.70 to 0.86 without contrast medium, less with it."""
RIM_PERCENTILE = 90.0


@dataclass(frozen=True)
class SequenceChoice:
    """``sequence``, one of ``SEQUENCES``, and the sentence that says why."""

    sequence: str
    reason: str


def choose_sequence(asked: str, pre: FloatArray, tumour: LabelArray, brain: LabelArray) -> SequenceChoice:
    """What the user asked for; for "auto", T1wCE when something is brighter than healthy tissue alone can be.

    White matter is the brightest healthy tissue of a T1-weighted scan, and a tumour is darker; only contrast medium
    makes tumour, vessels and plexus brighter. So T1wCE is told by the tumour's bright part (90th percentile within the
    enhancing label, or within the core and its rim where the mask has none), and for a tumour that does not enhance by
    the room that the scan's brightest voxels leave above white matter. Arrays (z, y, x) on WORKING_GRID, ``pre`` in [0,
    1]. "auto" chooses between these two only. Raises ``InputError`` for a name that is no sequence, and for "auto" when
    grey matter is brighter than white matter, as on T2w and FLAIR.
    """
    if asked in SEQUENCES:
        return SequenceChoice(asked, "given by the user")
    if asked != "auto":
        raise InputError(f"There is no sequence '{asked}'. Choose one of: auto, {', '.join(SEQUENCES)}.")
    enhancing = tumour == ENHANCING_LABEL
    region = enhancing if enhancing.sum() >= 10 else ndimage.binary_dilation(tumour_core(tumour)) & (brain > 0)
    outside = (tumour == 0) & (brain > 0)
    healthy = outside & (_matter("wm") > 0.9)
    if not healthy.any():
        return SequenceChoice("T1w", "no white matter was found to compare the tumour with")
    white = max(float(np.median(pre[healthy])), 1e-6)
    _refuse_grey_above_white(pre[outside & (_matter("gm") > 0.9)], white)
    ratio = float(np.percentile(pre[region], RIM_PERCENTILE)) / white
    sequence = "T1wCE" if ratio > BRIGHTER_THAN_WHITE_MATTER or white < WHITE_MATTER_BELOW_VESSELS else "T1w"
    reason = (
        f"compared with white matter, the tumour's bright part has {ratio:.2f} and the brightest voxels {1 / white:.2f}"
    )
    return SequenceChoice(sequence, reason)


def untrained_warning(pipe: Any, sequence: str) -> str | None:
    """A sentence where the model ``pipe`` was not trained on ``sequence``; None where it was.

    A model that does not say which sequences it knows (``sequences`` of its settings) knows the T1-weighted ones.
    """
    known = getattr(getattr(pipe, "config_tree", None), "sequences", T1_SEQUENCES)
    if sequence in known:
        return None
    return (
        f"This model was not trained on {sequence} (only on {', '.join(known)}): what it draws there is a guess from "
        "other contrasts, and its grey values are not to be trusted."
    )


def with_warning(choice: SequenceChoice, pipe: Any) -> SequenceChoice:
    """``choice`` with a reason that also says when the model ``pipe`` was not trained on that sequence."""
    warning = untrained_warning(pipe, choice.sequence)
    return choice if warning is None else replace(choice, reason=f"{choice.reason}. {warning.rstrip('.')}")


def _refuse_grey_above_white(grey: np.ndarray, white: float) -> None:
    """Medians of grey over white matter: 0.58 to 0.94 in T1w and T1wCE of 11 BraTS patients and 15 phantoms."""
    if grey.size and float(np.median(grey)) > white:
        raise InputError(
            f"Grey matter is {float(np.median(grey)) / white:.2f} times as bright as white matter, so the scan does "
            "not look T1-weighted. Say with --sequence T2w or --sequence FLAIR what it is (or T1w, if that it is)."
        )


def _matter(name: Literal["gm", "wm"]) -> np.ndarray:
    return sitk.GetArrayFromImage(WORKING_GRID.resample(template.tissue(name)))
