"""Where the metrics look: the brain, the box around what was operated, the wall of the cavity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion

PERI_CAVITY_MARGIN_MM = 10.0
IN_PLANE_SPACING_MM = 1.5

_IN_PLANE_CROSS = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], dtype=bool)


@dataclass(frozen=True)
class Regions:
    """Boolean masks (slices, y, x). ``brain``: pre-operative brain; ``peri_cavity``: see ``peri_cavity_box``;
    ``wall``: see ``cavity_wall``."""

    brain: np.ndarray
    peri_cavity: np.ndarray
    wall: np.ndarray

    @classmethod
    def of(cls, brain: np.ndarray, tumour_core: np.ndarray, true_cavity: np.ndarray) -> Regions:
        """The regions of a stack of slices; all arguments boolean (slices, y, x)."""
        return cls(brain, peri_cavity_box(tumour_core, true_cavity), cavity_wall(true_cavity, brain))


def peri_cavity_box(
    tumour_core: np.ndarray,
    true_cavity: np.ndarray,
    margin_mm: float = PERI_CAVITY_MARGIN_MM,
    spacing_mm: float = IN_PLANE_SPACING_MM,
) -> np.ndarray:
    """Per slice, the bounding box of (tumour core before surgery or true cavity after it), widened by ``margin_mm``
    and cut at the frame.

    Boolean (slices, y, x) -> boolean (slices, y, x); empty where neither is present.
    """
    margin = round(margin_mm / spacing_mm)
    operated = tumour_core | true_cavity
    boxes = np.zeros(operated.shape, dtype=bool)
    for box, mask in zip(boxes, operated, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size:
            top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
            box[top : rows[-1] + margin + 1, left : columns[-1] + margin + 1] = True
    return boxes


def cavity_wall(true_cavity: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """The 2-px band on both sides of the true cavity's border in each slice, without the outermost 2 px of the brain.

    The brain's own edge is cut out because the brain mask draws it equally sharp in every picture.
    """
    band = binary_dilation(true_cavity, _IN_PLANE_CROSS) & ~binary_erosion(true_cavity, _IN_PLANE_CROSS)
    return band & binary_erosion(brain, _IN_PLANE_CROSS, iterations=2)
