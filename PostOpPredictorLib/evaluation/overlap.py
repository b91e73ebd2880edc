"""How well a predicted region (the cavity, the residual tumour) meets the true one, in a slice or in a volume."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt


def dice(predicted: np.ndarray, true: np.ndarray) -> float | None:
    """Dice of two boolean arrays; ``None`` where there is nothing to find (``true`` is empty), so that all systems
    share one set of slices."""
    if not true.any():
        return None
    return 2.0 * float((predicted & true).sum()) / float(predicted.sum() + true.sum())


def slice_dice(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Dice of every slice, boolean (slices, y, x) -> (slices,); NaN where the true slice is empty."""
    both = (predicted & true).sum(axis=(1, 2))
    areas = predicted.sum(axis=(1, 2)) + true.sum(axis=(1, 2))
    return np.where(true.any(axis=(1, 2)), 2.0 * both / np.maximum(areas, 1), np.nan)


def relative_volume_error(predicted: np.ndarray, true: np.ndarray) -> float | None:
    """|predicted volume - true volume| / true volume; ``None`` when the true volume is 0."""
    volume = int(true.sum())
    return abs(int(predicted.sum()) - volume) / volume if volume else None


def volume_error_ml(predicted: np.ndarray, true: np.ndarray, spacing_mm: float = 1.5) -> float:
    """|predicted volume - true volume| in ml; unlike the relative error it has a value when nothing was to be found."""
    return abs(int(predicted.sum()) - int(true.sum())) * spacing_mm**3 / 1000.0


def hausdorff95_mm(predicted: np.ndarray, true: np.ndarray, spacing_mm: float = 1.5) -> float | None:
    """95th percentile of the distances between both surfaces, both ways pooled, in mm; ``None`` when either volume is
    empty."""
    if not (predicted.any() and true.any()):
        return None
    predicted, true = _cropped_to(predicted | true, predicted, true)
    surfaces = [mask & ~binary_erosion(mask) for mask in (predicted, true)]
    to_true = distance_transform_edt(~surfaces[1], sampling=spacing_mm)[surfaces[0]]
    to_predicted = distance_transform_edt(~surfaces[0], sampling=spacing_mm)[surfaces[1]]
    return float(np.percentile(np.concatenate([to_true, to_predicted]), 95))


def _cropped_to(extent: np.ndarray, *volumes: np.ndarray) -> list[np.ndarray]:
    """The volumes cut to the bounding box of ``extent``, with one empty voxel around."""
    axes = range(extent.ndim)
    box = []
    for axis in axes:
        hit = np.flatnonzero(extent.any(axis=tuple(other for other in axes if other != axis)))
        box.append(slice(hit[0], hit[-1] + 1))
    return [np.pad(volume[tuple(box)], 1) for volume in volumes]
