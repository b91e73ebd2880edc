"""Where the compare views look: a plane through the tumour, the whole brain in every view, the same scale of zoom."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

BRAIN_OF_MNI = np.array([[-74.0, 74.0], [-110.0, 78.0], [-75.0, 86.0]])
"""Extent of the ICBM152 brain, RAS, mm."""
MARGIN_BESIDE, MARGIN_ABOVE = 1.06, 1.18  # the captions stand above
NEAR = 3.0
"""Voxels of the tumour within so many mm of a plane count for it."""
_BACKGROUND = 0.05  # of the brightest voxels
_BRIGHTEST = 99.5  # percentile


def brainCorners(volumes: Sequence[Any]) -> np.ndarray:
    """Corners (8 for each volume, 3) of the boxes around the brains of scans in MNI space, world RAS, mm.

    What is brighter than background, within the template's brain (so that neck and scalp do not count). Where a
    volume lies under a transform its corners do too.
    """
    return np.concatenate([_cornersOf(volume) for volume in volumes])


def _cornersOf(volume: Any) -> np.ndarray:
    extent = _extentOfContent(volume)
    brain = np.stack([np.maximum(extent[:, 0], BRAIN_OF_MNI[:, 0]), np.minimum(extent[:, 1], BRAIN_OF_MNI[:, 1])], 1)
    box = brain if (brain[:, 0] < brain[:, 1]).all() else extent
    return np.array([_toWorld(volume, corner) for corner in itertools.product(*box)])


def voxelsOf(segmentation: Any) -> np.ndarray:
    """Middles (n, 3) of all voxels in the segments of ``segmentation``, world RAS, mm; (0, 3) where there is none."""
    if segmentation is None or segmentation.GetScene() is None:
        return np.empty((0, 3))
    found = [np.empty((0, 3))]
    for segmentId in segmentation.GetSegmentation().GetSegmentIDs():
        labelmap = slicer.vtkOrientedImageData()
        if not segmentation.GetBinaryLabelmapRepresentation(segmentId, labelmap):
            continue
        voxels = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(labelmap.GetDimensions()[::-1])
        indices = np.argwhere(voxels > 0)[:, ::-1] + np.array(labelmap.GetExtent()[::2])
        matrix = vtk.vtkMatrix4x4()
        labelmap.GetImageToWorldMatrix(matrix)
        found.append(_moved(indices, slicer.util.arrayFromVTKMatrix(matrix)))
    local = np.concatenate(found)
    toWorld = vtk.vtkMatrix4x4()
    parent = segmentation.GetParentTransformNode()
    if parent is not None:
        parent.GetMatrixTransformToWorld(toWorld)
    return _moved(local, slicer.util.arrayFromVTKMatrix(toWorld))


def frame(sliceLogics: Sequence[Any], corners: np.ndarray, target: np.ndarray) -> None:
    """Zoom all views so that ``corners`` fit in each, in the plane that cuts most of the points ``target`` (n, 3).

    All get the same field of view from left to right, as linked zooming keeps it. Without a point: the middle.
    """
    for logic in sliceLogics:
        logic.FitSliceToBackground()
    width = max(_widthNeeded(logic.GetSliceNode(), corners) for logic in sliceLogics)
    for logic in sliceLogics:
        node = logic.GetSliceNode()
        columns, rows, _slices = node.GetDimensions()
        node.SetFieldOfView(width, width * rows / columns, node.GetFieldOfView()[2])
        node.JumpSliceByCentering(*_middleInPlane(node, corners, target))


def _widthNeeded(node: Any, corners: np.ndarray) -> float:
    axes = _axes(node)
    wide, high = (float(np.ptp(corners @ axes[:, axis])) for axis in (0, 1))
    columns, rows, _slices = node.GetDimensions()
    return max(MARGIN_BESIDE * wide, MARGIN_ABOVE * high * columns / rows)


def _middleInPlane(node: Any, corners: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The middle of the brain, moved along the view's normal into the plane that cuts most of ``target``."""
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    if len(target) == 0:
        return middle
    normal = _axes(node)[:, 2]
    depths = np.sort(target @ normal)
    near = np.searchsorted(depths, depths + NEAR, "right") - np.searchsorted(depths, depths - NEAR)
    depth = np.median(depths[near == near.max()])
    return middle + normal * float(depth - normal @ middle)


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _axes(node: Any) -> np.ndarray:
    return slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, :3]


def _extentOfContent(volume: Any) -> np.ndarray:
    voxels = slicer.util.arrayFromVolume(volume)
    content = voxels > _BACKGROUND * np.percentile(voxels[::2, ::2, ::2], _BRIGHTEST)
    shape = voxels.shape[::-1]
    limits = []
    for axis in (2, 1, 0):  # i, j, k of an array stored k, j, i
        filled = np.flatnonzero(content.any(axis=tuple({0, 1, 2} - {axis})))
        limits.append((filled[0] - 0.5, filled[-1] + 0.5) if filled.size else (-0.5, shape[2 - axis] - 0.5))
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    ijkToRas = slicer.util.arrayFromVTKMatrix(matrix)
    corners = _moved(np.array(list(itertools.product(*limits))), ijkToRas)
    return np.stack([corners.min(axis=0), corners.max(axis=0)], axis=1)


def _toWorld(node: Any, point: Sequence[float]) -> np.ndarray:
    world = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(point, world)
    return np.array(world)
