"""What participants.tsv says about a simulated operation."""

from __future__ import annotations

import numpy as np

from .atlas import voxel_axes
from .fields import BoolArray
from .tumour import VOXEL_ML


def resection_class(eor_percent: float) -> str:
    """The surgical term for an extent of resection (datasets.md, "Surgical terms")."""
    if eor_percent >= 99.95:
        return "gross total"
    if eor_percent > 95:
        return "near total"
    return "subtotal" if eor_percent >= 91 else "partial"


def lobe(right: float, front: float, up: float) -> str:
    """The lobe of a place in MNI RAS mm, by rough planes; good enough to sort cases by."""
    if abs(right) < 26 and -32 < front < 16 and -8 < up < 24:
        return "deep"
    if up < 8 - 0.35 * (front + 20) and abs(right) > 26 and -58 < front < 22 and up < 12:
        return "temporal"
    if 28 < abs(right) < 46 and -22 < front < 24 and -6 < up < 18:
        return "insular"
    if front > -18:
        return "frontal"
    return "occipital" if front < -66 else "parietal"


def describe(core: BoolArray, outcome: np.ndarray, eor_percent: float) -> dict[str, str | float]:
    """Volumes, side, lobe and extent of resection from the labels (z, y, x) on the working grid."""
    z, y, x = (axis.ravel() for axis in voxel_axes())
    where = np.argwhere(core)
    right, front, up = -x[where[:, 2]].mean(), -y[where[:, 1]].mean(), z[where[:, 0]].mean()
    return {
        "eor_percent": round(eor_percent, 2),
        "resection_class": resection_class(eor_percent),
        "tumour_ml": round(float(core.sum() * VOXEL_ML), 3),
        "residual_ml": round(float((outcome == 2).sum() * VOXEL_ML), 3),
        "cavity_ml": round(float(np.isin(outcome, (1, 3, 5)).sum() * VOXEL_ML), 3),
        "hemisphere": "right" if right > 0 else "left",
        "lobe": lobe(float(right), float(front), float(up)),
    }
