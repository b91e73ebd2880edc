"""A prediction of simple shapes, in memory: an ellipsoid brain with a ball of tumour, and operated neighbours of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer.util
from PostOpPredictorModule.ResultNodes import PrecedentNodes, PredictionNodes
from prediction_in_scene import CAVITY_COLOUR, TUMOUR_COLOUR, outlined, prediction_of

SPACING = 4.0  # mm
SHAPE = (46, 56, 46)  # k, j, i
ORIGIN = (-90.0, -128.0, -84.0)  # RAS of the first voxel
TUMOUR_AT = np.array([30.0, -10.0, 24.0])
TUMOUR_RADIUS = 14.0
CAVITY_RADIUS = 11.0
BRAIN_AXES = np.array([68.0, 88.0, 72.0])
BRAIN_AT = np.array([0.0, -16.0, 4.0])
GREY, WHITE, BLACK = 60.0, 100.0, 10.0


def phantom_prediction(precedents: int = 2) -> PredictionNodes:
    """New nodes in ``slicer.mrmlScene``, in MNI space, 4 mm voxels; what the compare view does not show is None.

    The precedents' scans are 7 times as bright, and 200 above that: another scanner's.
    """
    preop = _volume(_brain(TUMOUR_AT, TUMOUR_RADIUS, WHITE * 1.2), "Pre-op")
    preop.GetDisplayNode().SetAutoWindowLevel(False)
    preop.GetDisplayNode().SetWindowLevel(130.0, 60.0)
    return prediction_of(
        preop=preop,
        postop=_volume(_brain(TUMOUR_AT, CAVITY_RADIUS, BLACK), "Prediction (synthetic)"),
        tumour=outlined(preop, ball(TUMOUR_AT, TUMOUR_RADIUS), "Tumour", TUMOUR_COLOUR),
        cavity=outlined(preop, ball(TUMOUR_AT, CAVITY_RADIUS), "Predicted cavity", CAVITY_COLOUR),
        precedents=tuple(_precedent(rank) for rank in range(1, precedents + 1)),
    )


def ball(centre: np.ndarray, radius: float) -> np.ndarray:
    """Voxels (k, j, i) within ``radius`` mm of ``centre`` (RAS), bool."""
    return ((_points() - centre) ** 2).sum(axis=-1) <= radius**2


def _precedent(rank: int) -> PrecedentNodes:
    at = TUMOUR_AT + np.array([4.0 * rank, 0.0, 0.0])
    pre = _other_scanner(_brain(at, TUMOUR_RADIUS, WHITE * 1.2), f"Precedent {rank} before")
    return PrecedentNodes(
        rank=rank,
        iou=0.9 - 0.1 * rank,
        pre=pre,
        post=_other_scanner(_brain(at, CAVITY_RADIUS, BLACK), f"Precedent {rank} after"),
        tumour=outlined(pre, ball(at, TUMOUR_RADIUS), f"Precedent {rank} tumour", TUMOUR_COLOUR),
        cavity=outlined(pre, ball(at, CAVITY_RADIUS), f"Precedent {rank} cavity", CAVITY_COLOUR),
        attributes={"eor_percent": 97.0},
    )


def _other_scanner(brain: np.ndarray, name: str) -> Any:
    return _volume(np.where(brain > 0, brain * 7.0 + 200.0, 0.0), name)


def _brain(at: np.ndarray, radius: float, inside: float) -> np.ndarray:
    points = _points()
    distance = np.sqrt((((points - BRAIN_AT) / BRAIN_AXES) ** 2).sum(axis=-1))
    brain = np.where(distance < 0.8, WHITE, GREY) * (distance < 1.0)
    brain[ball(at, radius)] = inside
    return brain.astype(np.float32)


def _volume(voxels: np.ndarray, name: str) -> Any:
    matrix = np.diag([SPACING, SPACING, SPACING, 1.0])
    matrix[:3, 3] = ORIGIN
    volume = slicer.util.addVolumeFromArray(voxels.astype(np.float32), ijkToRAS=matrix, name=name)
    volume.CreateDefaultDisplayNodes()
    return volume


def _points() -> np.ndarray:
    """RAS (k, j, i, 3) of every voxel."""
    k, j, i = np.indices(SHAPE)
    return np.stack([i, j, k], axis=-1) * SPACING + np.array(ORIGIN)
