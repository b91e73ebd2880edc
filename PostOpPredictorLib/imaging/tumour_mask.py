"""Tumour label maps of several conventions in ours: 0 none, 1 necrotic / non-enhancing core, 2 oedema, 4 enhancing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from . import brain
from .grid import Grid

CORE, OEDEMA, ENHANCING = 1, 2, 4

PRESETS: Mapping[str, Mapping[int, int]] = MappingProxyType(
    {
        "brats": {1: CORE, 2: OEDEMA, 4: ENHANCING},
        "brats2023": {1: CORE, 2: OEDEMA, 3: ENHANCING},
        "lumiere": {1: ENHANCING, 2: CORE, 3: OEDEMA},
        "any": {},
    }
)
"""Preset -> label in the file -> our label; "any" makes all of it core. LUMIERE's 2 also holds surgical cavities."""

_LEAST_SHARE_INSIDE = 0.5


def tumour_labels(labelmap: sitk.Image, labels: str | Sequence[int] = "brats") -> sitk.Image:
    """Translate ``labelmap`` (any whole-number type) into our convention {0, 1, 2, 4}, uint8, on the same grid.

    ``labels`` is a name of ``PRESETS``, or a list of labels ("1,4" or integers) that together are the core; other
    labels are then left out. Raises ``InputError`` for an unknown preset, a label that the preset does not know, and a
    map without core.
    """
    array = sitk.GetArrayViewFromImage(labelmap)
    counts = np.bincount(array.ravel().astype(np.int64))
    found = [int(v) for v in np.flatnonzero(counts) if v]
    if not found:
        raise InputError("The tumour mask is empty: no voxel is marked. Draw the tumour or choose another mask.")
    table = np.zeros(len(counts), np.uint8)
    for label, ours in _translation(labels, found).items():
        if label < len(table):
            table[label] = ours
    translated = table[array]
    if not np.isin(translated, (CORE, ENHANCING)).any():
        raise InputError(
            f"The tumour mask holds no tumour core with the labels {_name(labels)}: it holds {_listed(found)}. "
            "Choose the labels that mean core, or the preset 'any'."
        )
    return Grid.of(labelmap).image(translated)


def on_grid_of(mask: sitk.Image, image: sitk.Image) -> sitk.Image:
    """Resample the label map ``mask`` onto the grid of ``image`` (nearest neighbour) if they belong together.

    Raises ``InputError`` when more than half of the marked voxels lie outside the image, or outside the head in it.
    """
    points = _marked_points(mask)
    if len(points) == 0:
        raise InputError("The tumour mask is empty: no voxel is marked. Draw the tumour or choose another mask.")
    inside = _share_marked(points, image, None)
    if inside == 0:
        raise InputError(
            "The tumour mask lies wholly outside the scan: they do not share a place in space. Choose the mask that "
            "was drawn on this scan."
        )
    if inside < _LEAST_SHARE_INSIDE:
        raise InputError(
            f"Only {inside:.0%} of the tumour mask lies inside the scan. Choose the mask that was drawn on this scan, "
            "or a scan that covers the tumour."
        )
    in_head = _share_marked(points, image, brain.foreground(image))
    if in_head < _LEAST_SHARE_INSIDE:
        raise InputError(
            f"Only {in_head:.0%} of the tumour mask lies inside the head that the scan shows, so it seems to be "
            "another patient's mask "
            "or on another grid. Choose the mask that was drawn on this scan."
        )
    resampled = Grid.of(image).resample(mask, interpolator=sitk.sitkNearestNeighbor)
    if not sitk.GetArrayViewFromImage(resampled).any():
        raise InputError(
            "The tumour mask is smaller than one voxel of the scan and vanishes on its grid. Draw it on this scan."
        )
    return resampled


def _translation(labels: str | Sequence[int], found: list[int]) -> Mapping[int, int]:
    if isinstance(labels, str) and labels in PRESETS:
        if labels == "any":
            return dict.fromkeys(found, CORE)
        _refuse_unknown(labels, found)
        return PRESETS[labels]
    try:
        chosen = [int(v) for v in (labels.split(",") if isinstance(labels, str) else labels)]
    except ValueError:
        chosen = []
    if not chosen or min(chosen) <= 0:
        raise InputError(
            f"The tumour labels {_name(labels)} are neither a preset ({', '.join(PRESETS)}) nor a list of labels above "
            "0 such as 1,4. Choose one of these."
        )
    return dict.fromkeys(chosen, CORE)


def _refuse_unknown(preset: str, found: list[int]) -> None:
    known = PRESETS[preset]
    unknown = [label for label in found if label not in known]
    if not unknown:
        return
    fitting = [name for name, table in PRESETS.items() if table and all(label in table for label in found)]
    advice = "Give the labels of the core, such as 1,4, or the preset 'any'"
    if fitting:
        advice = f"Choose the preset {' or '.join(fitting)}, which fits these labels"
    raise InputError(
        f"The tumour mask holds the label(s) {_listed(found)}, but the preset {preset} expects "
        f"{_listed(sorted(known))}. {advice}."
    )


def _marked_points(mask: sitk.Image) -> np.ndarray:
    """Physical points (n, 3) in LPS mm of the marked voxels."""
    zyx = np.argwhere(sitk.GetArrayViewFromImage(mask))
    axes = np.reshape(mask.GetDirection(), (3, 3)) * np.asarray(mask.GetSpacing())
    return zyx[:, ::-1] @ axes.T + np.asarray(mask.GetOrigin())


def _share_marked(points: np.ndarray, image: sitk.Image, region: sitk.Image | None) -> float:
    """Share of ``points`` that lie inside ``image``, and where ``region`` is given inside its foreground."""
    axes = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    index = np.rint((points - np.asarray(image.GetOrigin())) @ np.linalg.inv(axes).T).astype(np.int64)
    inside = ((index >= 0) & (index < np.asarray(image.GetSize()))).all(axis=1)
    if region is not None:
        x, y, z = index[inside].T
        inside[inside] = sitk.GetArrayViewFromImage(region)[z, y, x] > 0
    return float(inside.mean())


def _listed(labels: Iterable[int]) -> str:
    return ", ".join(str(label) for label in labels)


def _name(labels: str | Sequence[int]) -> str:
    return f"'{labels}'" if isinstance(labels, str) else _listed(labels)
