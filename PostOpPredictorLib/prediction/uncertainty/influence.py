"""What the prediction owes to each precedent: how the cavity changes when that one is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...cases.case import FloatArray
from ..outcome_volume import VOXEL_ML


@dataclass(frozen=True)
class Influence:
    """``change`` (z, y, x): the mean cavity probability without this precedent minus that with it, -1 to 1.

    ``ml``: the sum of its size, in millilitres of the template's head; ``percent``: its share of all precedents'.
    """

    change: FloatArray
    ml: float
    percent: float


def influences(cavities: Sequence[FloatArray], without_any: FloatArray | None = None) -> tuple[Influence, ...]:
    """Leave each of ``cavities`` (probabilities (z, y, x), one for each precedent) out of their mean.

    A single one has no others to be left with: it is compared with ``without_any``, the prediction without a precedent.
    """
    if len(cavities) == 1:
        changes = [] if without_any is None else [(without_any - cavities[0]).astype(np.float32)]
    else:
        mean = np.mean(cavities, axis=0, dtype=np.float32)
        changes = [(mean - cavity) / np.float32(len(cavities) - 1) for cavity in cavities]
    sizes = [float(np.abs(change).sum(dtype=np.float64)) * VOXEL_ML for change in changes]
    total = sum(sizes)
    return tuple(
        Influence(change, size, 100.0 * size / total if total else 0.0)
        for change, size in zip(changes, sizes, strict=True)
    )
