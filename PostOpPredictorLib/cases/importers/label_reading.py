"""Reading the label maps of a data set, with checks that catch labels in another order than its publication says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...errors import InputError
from ...imaging.grid import Grid
from ...imaging.tumour_mask import on_grid_of, tumour_labels
from ...imaging.volumes import read_labels
from .plan import PlannedPair, PlannedSession

LUMIERE_COMPARTMENTS: Mapping[int, str] = {1: "Enhancing_Core", 2: "Necrotic_NonEnhancing", 3: "Edema_Compartment"}
"""What the labels mean in ``seg_mask.nii.gz``: not the order of BraTS."""

_KNOWN_AFTER = {"lumiere": {1, 2, 3}, "rhuh": {1, 2, 3}, "brats-post": {1, 2, 3, 4}, "bids": {3, 4}}
_ONE_VOXEL_OFF = 0.5
_VOLUME_TOLERANCE = 0.2
_LEAST_COMPARED_ML = 0.5


def read_tumour(pair: PlannedPair, scan: sitk.Image) -> tuple[sitk.Image, tuple[str, ...]]:
    """The tumour before surgery (0, 1, 2, 4; uint8) on the grid of ``scan``, and notes.

    Raises ``InputError`` when the labels are not those of the data set, or there is no tumour core.
    """
    assert pair.pre.labels is not None
    labels = read_labels(pair.pre.labels)
    notes = _checked(pair, pair.pre, labels)
    return on_grid_of(tumour_labels(labels, pair.preset), scan), notes


def read_after(pair: PlannedPair, scan: sitk.Image) -> tuple[sitk.Image, tuple[str, ...]]:
    """The data set's own labels after surgery (uint8) on the grid of ``scan``, and notes; all 0 is possible.

    Raises ``InputError`` when the labels are not those of the data set.
    """
    if pair.post.labels is None:
        return _of_masks(pair.post.masks, scan), ()
    labels = read_labels(pair.post.labels)
    notes = _checked(pair, pair.post, labels)
    strange = _present(labels) - _KNOWN_AFTER[pair.dataset]
    if strange:
        raise InputError(
            f"the labels after surgery hold {sorted(strange)}; known are {sorted(_KNOWN_AFTER[pair.dataset])}."
        )
    if not _present(labels):
        return Grid.of(scan).image(np.zeros(Grid.of(scan).shape, np.uint8)), (*notes, "no label at all after surgery")
    return on_grid_of(labels, scan), notes


def _of_masks(masks: Mapping[int, Path], scan: sitk.Image) -> sitk.Image:
    """Binary masks as one label map; where they overlap the first wins."""
    grid = Grid.of(scan)
    array = np.zeros(grid.shape, np.uint8)
    for label, path in masks.items():
        mask = read_labels(path)
        if _present(mask):
            marked = sitk.GetArrayFromImage(on_grid_of(mask, scan)) > 0
            array[marked & (array == 0)] = label
    return grid.image(array)


def _checked(pair: PlannedPair, session: PlannedSession, labels: sitk.Image) -> tuple[str, ...]:
    if pair.dataset == "rhuh" and session is pair.pre:
        return check_rhuh_volume(labels, pair.attributes.get("reported_enhancing_ml"))
    if pair.dataset != "lumiere":
        return ()
    if session.volumes is None:
        return (f"{session.name}: no measured_volumes_in_mm3.json, so the order of the labels is not verified",)
    return check_lumiere_volumes(labels, session.volumes, session.name)


def check_lumiere_volumes(labels: sitk.Image, record: Path, study: str) -> tuple[str, ...]:
    """Nothing when the labels have the recorded volumes (mm3), a note when the record cannot be used.

    Raises ``InputError`` when they differ; a sentence of its own when they would fit in another order.
    """
    recorded = _recorded(record)
    if recorded is None:
        return (f"{study}: {record.name} is not readable, so the order of the labels is not verified",)
    voxel = float(np.prod(labels.GetSpacing()))
    counts = np.bincount(sitk.GetArrayViewFromImage(labels).ravel(), minlength=4)
    strange = _present(labels) - set(LUMIERE_COMPARTMENTS)
    measured = {label: float(counts[label]) * voxel for label in LUMIERE_COMPARTMENTS}
    if not strange and _same(measured, recorded, (1, 2, 3)):
        return ()
    for order in itertools.permutations((1, 2, 3)):
        if not strange and _same(measured, recorded, order):
            raise InputError(
                f"the labels of {study} are in another order than LUMIERE's (1, 2, 3 are stored as "
                f"{', '.join(map(str, order))}), by the recorded volumes. Use the published masks as they are."
            )
    found = ", ".join(
        f"{LUMIERE_COMPARTMENTS[label]} {measured[label]:.0f}/{recorded[label]:.0f}" for label in measured
    )
    raise InputError(
        f"the label volumes of {study} differ from {record.name} (mm3, found/recorded: {found}"
        f"{'; unknown labels ' + str(sorted(strange)) if strange else ''}). Download the study again."
    )


def check_rhuh_volume(labels: sitk.Image, reported_ml: str | float | None) -> tuple[str, ...]:
    """A note when the enhancing tumour (label 3) has not the volume that the clinical table reports.

    Raises ``InputError`` when label 1 has it instead: the labels are then in another order.
    """
    if not isinstance(reported_ml, float) or reported_ml < _LEAST_COMPARED_ML:
        return ()
    ml = float(np.prod(labels.GetSpacing())) / 1000
    counts = np.bincount(sitk.GetArrayViewFromImage(labels).ravel(), minlength=4)
    found, other = counts[3] * ml, counts[1] * ml
    if abs(found - reported_ml) <= _VOLUME_TOLERANCE * reported_ml:
        return ()
    difference = f"the enhancing tumour has {found:.1f} ml in the mask, {reported_ml:.1f} ml in the clinical table"
    if abs(other - reported_ml) <= _VOLUME_TOLERANCE * reported_ml:
        raise InputError(f"{difference}, and label 1 has {other:.1f} ml: the labels are in another order.")
    return (difference,)


def _recorded(record: Path) -> dict[int, float] | None:
    try:
        content = json.loads(record.read_text(encoding="utf-8-sig"))
        return {label: float(content[name]) for label, name in LUMIERE_COMPARTMENTS.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _same(measured: Mapping[int, float], recorded: Mapping[int, float], order: tuple[int, ...]) -> bool:
    """Whether compartment k has the recorded volume when it is stored under label ``order[k - 1]``."""
    return all(abs(measured[stored] - recorded[label]) < _ONE_VOXEL_OFF for label, stored in enumerate(order, start=1))


def _present(labels: sitk.Image) -> set[int]:
    return {int(value) for value in np.unique(sitk.GetArrayViewFromImage(labels)) if value}
