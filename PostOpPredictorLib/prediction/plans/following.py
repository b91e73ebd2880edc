"""A predicted outcome held to a plan: what is planned becomes the cavity, the rest of the tumour core is left.

The network is shown the plan, but nothing obliges it to follow. Its say in what fills the cavity, where oedema lies and
how the brain moves stays; where tissue is taken is the plan's. The plan is carried to the brain after surgery by the
predicted shift. All steps are monotone in the plan: more plan, more cavity and less residual tumour, voxel by voxel.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...cases.case import FloatArray, LabelArray
from ...imaging.grid import WORKING_GRID
from ..outcome_volume import CAVITY_LABELS, RESIDUAL_LABEL, tumour_core

OEDEMA_LABEL = 4
SMOOTH_VOXELS = 0.5
"""Takes the stairs of a mask away; a flat wall stays where it is."""
DOUBT = 0.1
"""Where the network expected no cavity its guess of the filling is noise: then it is fluid."""
FINER = 3
"""Points along each side of a voxel when a mask is carried back."""


def reach_of(tumour: LabelArray, plan: np.ndarray | None) -> LabelArray:
    """The tumour labels (z, y, x), with what else is planned as core: where something may change."""
    return tumour if plan is None else np.where((plan > 0) & ~tumour_core(tumour), 1, tumour).astype(np.uint8)


def follow_plan(
    probability: FloatArray, shift: FloatArray, tumour: LabelArray, brain: np.ndarray, plan: np.ndarray
) -> FloatArray:
    """Outcome probabilities (6, z, y, x) that follow ``plan``; they still sum to 1.

    ``tumour`` labels, ``brain`` and ``plan`` (above 0: tissue to be taken) are (z, y, x) on WORKING_GRID before
    surgery; ``shift`` (z, y, x, 3) mm, LPS, pull-back. Beyond the plan there is a hole only where the shift reaches out
    of the brain, so where no tissue is left to be seen.
    """
    inside = brain > 0
    hole, core, tissue = (
        carried(part, shift)
        for part in (
            _smooth((plan > 0) & inside, inside),
            _smooth(tumour_core(tumour) & inside, inside),
            inside.astype(np.float32),
        )
    )
    expected = probability[list(CAVITY_LABELS)].sum(axis=0)
    hole = np.minimum(hole, tissue) + (1.0 - tissue) * np.clip(expected, 0.0, 1.0)
    hole *= inside
    residual = (1.0 - hole) * np.clip(2.0 * core - 0.5, 0.0, 1.0) * (core > hole) * inside
    rest = np.clip(1.0 - hole - residual, 0.0, 1.0)
    told = np.zeros_like(probability)
    for label in CAVITY_LABELS:
        told[label] = hole * probability[label] / (expected + DOUBT)
    told[CAVITY_LABELS[0]] += hole * DOUBT / (expected + DOUBT)
    told[RESIDUAL_LABEL] = residual
    oedema = probability[OEDEMA_LABEL] / (probability[0] + probability[OEDEMA_LABEL] + DOUBT)
    told[OEDEMA_LABEL] = rest * oedema * inside
    told[0] = np.clip(1.0 - told[1:].sum(axis=0), 0.0, 1.0)
    return told


def carried(volume: np.ndarray, shift: FloatArray) -> FloatArray:
    """``volume`` (z, y, x) before surgery as it lies after it, float32: out(p) = volume(p + shift(p)), linear."""
    after = volume.astype(np.float32)
    moved = np.any(shift != 0.0, axis=-1)
    if moved.any():
        positions = (np.argwhere(moved) + _in_voxels(shift[moved])).T
        after[moved] = ndimage.map_coordinates(volume.astype(np.float32), positions, order=1, mode="nearest")
    return after


def carried_back(mask: np.ndarray, shift: FloatArray) -> np.ndarray:
    """The tissue that lies, or lay, in ``mask`` (bool, (z, y, x), after surgery): bool before surgery.

    Points in the mask and around it are sent along ``shift``; each voxel is what most points that reach it come from.
    """
    voxels = np.argwhere(ndimage.binary_dilation(mask, iterations=2))
    votes = np.zeros(mask.size, np.int32)
    vote = np.where(mask[tuple(voxels.T)], 1, -1)
    offsets = (np.arange(FINER) - (FINER - 1) / 2) / FINER
    for step in np.stack(np.meshgrid(offsets, offsets, offsets), axis=-1).reshape(-1, 3):
        after = (voxels + step).T
        pull = [ndimage.map_coordinates(shift[..., axis], after, order=1, mode="nearest") for axis in range(3)]
        source = np.rint(after.T + _in_voxels(np.stack(pull, axis=-1))).astype(int)
        held = np.all((source >= 0) & (source < mask.shape), axis=1)
        reached = np.ravel_multi_index(tuple(source[held].T), mask.shape)
        votes += np.bincount(reached, vote[held], mask.size).astype(np.int32)
    return votes.reshape(mask.shape) > 0


def _smooth(mask: np.ndarray, inside: np.ndarray) -> FloatArray:
    # Normalised by the brain: at its surface a mask must not fade.
    share = ndimage.gaussian_filter(mask.astype(np.float32), SMOOTH_VOXELS)
    whole = ndimage.gaussian_filter(inside.astype(np.float32), SMOOTH_VOXELS)
    return np.where(inside, np.clip(share / np.maximum(whole, 1e-6), 0.0, 1.0), 0.0).astype(np.float32)


def _in_voxels(shift: np.ndarray) -> np.ndarray:
    """Millimetres (n, 3) in LPS as voxels (z, y, x) of WORKING_GRID."""
    return shift[:, ::-1] / np.asarray(WORKING_GRID.spacing[::-1])
