"""Does the cavity flicker from slice to slice? The picture's own measure is ``metrics.through_plane_ratio``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def neighbour_overlap(mask: np.ndarray, slices: Sequence[int]) -> float | None:
    """Dice of ``mask`` (slices, y, x; bool) between direct neighbours, over all pairs together.

    ``slices``: their indices along z. Two pairs of masks weigh as much as their areas, so that the tip of a cavity,
    which no neighbour meets, hardly counts. ``None`` where no direct neighbours hold any of it.
    """
    below = np.flatnonzero(np.diff(slices) == 1)
    both = int((mask[below] & mask[below + 1]).sum())
    areas = int(mask[below].sum()) + int(mask[below + 1].sum())
    return 2.0 * both / areas if areas else None


def cavity_steadiness(predicted: np.ndarray, true: np.ndarray, slices: Sequence[int]) -> float | None:
    """``neighbour_overlap`` of the predicted cavity over that of the true one; both (slices, y, x), bool.

    1: as steady as the real cavity; below: it flickers; above: it is smoother than real ones. ``None`` where either has
    no direct neighbours, or the true one none that meet.
    """
    ours, theirs = neighbour_overlap(predicted, slices), neighbour_overlap(true, slices)
    return ours / theirs if ours is not None and theirs else None
