"""A small picture of how the patient's tumour and a precedent's lie over each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from .PredictionNodes import PrecedentNodes, PredictionNodes

OWN_COLOUR, PRECEDENT_COLOUR = (255, 205, 60), (70, 200, 255)
HEIGHT = 200
"""Pixels."""
BRIGHTEST = 99.5


@dataclass(frozen=True)
class Overlap:
    """Scan (k, j, i) with its matrix to RAS, and the labelmaps of both tumours: all that the picture is made of."""

    scan: np.ndarray
    toRas: np.ndarray
    own: list[_Labelmap]
    other: list[_Labelmap]

    def picture(self) -> bytes | None:
        """The axial slice that shows most of both tumours, outlined over the scan, as PPM; None where there is none.

        Left is the patient's right, as in Slicer's axial views. Calls no node: it may run in a thread.
        """
        level = self._bestLevel()
        if level is None:
            return None
        shape = self.scan.shape[1:]
        own, other = (
            np.any([np.zeros(shape, bool), *(one.on(level, shape, self.toRas) for one in maps)], axis=0)
            for maps in (self.own, self.other)
        )
        # Columns from right to left and rows from front to back.
        flips = tuple(slice(None, None, -1 if self.toRas[axis, axis] > 0 else 1) for axis in (1, 0))
        pixels = overlapPixels(*(image[flips] for image in (self.scan[level], own, other)))
        rows, columns, _ = pixels.shape
        # No byte is 0: it goes from Python to Qt whole, whether that takes bytes or a C string.
        return f"P6 {columns} {rows} 255\n".encode() + np.maximum(pixels, 1).tobytes()

    def _bestLevel(self) -> int | None:
        """The slice of the scan with most of what both share, by the count of voxels; None where the first has none."""
        toIjk, levels, counts = np.linalg.inv(self.toRas), len(self.scan), []
        for maps in (self.own, self.other):
            found = [one.points for one in maps]
            k = np.round(np.concatenate([np.empty((0, 3)), *found]) @ toIjk[2, :3] + toIjk[2, 3]).astype(int)
            counts.append(np.bincount(k[(k >= 0) & (k < levels)], minlength=levels))
        if not counts[0].any():
            return None
        both = np.minimum(*counts)
        return int(np.argmax(both if both.any() else counts[0]))


def overlapOf(nodes: PredictionNodes, precedent: PrecedentNodes) -> Overlap | None:
    """What the nodes hold of it; None where one of them is missing."""
    if any(node is None or node.GetScene() is None for node in (nodes.preop, nodes.tumour, precedent.tumour)):
        return None
    scan = slicer.util.arrayFromVolume(nodes.preop)
    return Overlap(scan, _ijkToRas(nodes.preop), _labelmaps(nodes.tumour), _labelmaps(precedent.tumour))


def overlapPixels(scan: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The scan (rows, columns) in grey with the outlines of both masks: uint8 (rows, columns, 3), enlarged."""
    black, white = 0.0, max(float(np.percentile(scan[scan != 0], BRIGHTEST)) if (scan != 0).any() else 1.0, 1e-6)
    grey = np.clip((scan - black) / (white - black), 0, 1) * 255
    factor = max(1, round(HEIGHT / scan.shape[0]))
    enlarge = np.ones((factor, factor))
    picture = np.repeat(np.kron(grey, enlarge)[..., None], 3, axis=-1).astype(np.uint8)
    for mask, colour in ((other, PRECEDENT_COLOUR), (own, OWN_COLOUR)):
        picture[_outline(np.kron(mask, enlarge) > 0)] = colour
    return picture


def _outline(mask: np.ndarray) -> np.ndarray:
    """The innermost pixels of ``mask`` that touch what is outside."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, :-2] & padded[1:-1, 2:] & padded[:-2, 1:-1] & padded[2:, 1:-1]
    return mask & ~inner


@dataclass(frozen=True)
class _Labelmap:
    """Voxels (k, j, i) of a segment, the index (i, j, k) of the first one, and the matrix to RAS without parents."""

    voxels: np.ndarray
    first: np.ndarray
    toRas: np.ndarray

    @cached_property
    def points(self) -> np.ndarray:
        """Middles (n, 3) of the marked voxels."""
        return (np.argwhere(self.voxels)[:, ::-1] + self.first) @ self.toRas[:3, :3].T + self.toRas[:3, 3]

    def on(self, level: int, shape: tuple[int, ...], toRas: np.ndarray) -> np.ndarray:
        """Which pixels (rows, columns) of a slice of the scan that ``toRas`` places have a marked voxel nearest."""
        marked = np.zeros(shape, bool)
        if not len(self.points):
            return marked
        # A tumour is a small part of a slice; the rest is not worth the arithmetic.
        fromRas = np.linalg.inv(toRas)
        pixels = self.points @ fromRas[:2, :3].T + fromRas[:2, 3]
        half = np.abs((fromRas @ self.toRas)[:2, :3]).sum(axis=1) / 2
        firstI, firstJ = np.maximum(np.floor(pixels.min(axis=0) - half), 0).astype(int)
        lastI, lastJ = np.maximum(np.ceil(pixels.max(axis=0) + half), -1).astype(int)
        part = marked[firstJ : lastJ + 1, firstI : lastI + 1]
        j, i = np.indices(part.shape)
        points = np.stack([i + firstI, j + firstJ, np.full_like(i, level), np.ones_like(i)])
        indices = np.round(np.tensordot(np.linalg.inv(self.toRas)[:3] @ toRas, points, axes=1)).astype(int)
        indices -= self.first[:, None, None]
        inside = ((indices >= 0) & (indices < np.array(self.voxels.shape[::-1])[:, None, None])).all(axis=0)
        part[inside] = self.voxels[tuple(indices[::-1, inside])]
        return marked


def _labelmaps(segmentation: Any) -> list[_Labelmap]:
    found = []
    for segmentId in segmentation.GetSegmentation().GetSegmentIDs():
        image = slicer.vtkOrientedImageData()
        if segmentation.GetBinaryLabelmapRepresentation(segmentId, image):
            voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]) > 0
            matrix = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(matrix)
            first = np.array(image.GetExtent()[::2])
            found.append(_Labelmap(voxels, first, slicer.util.arrayFromVTKMatrix(matrix)))
    return found


def _ijkToRas(volume: Any) -> np.ndarray:
    """Without parents: scan and tumours always share one."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array(slicer.util.arrayFromVTKMatrix(matrix))
