"""A small picture of how the patient's tumour and a precedent's lie over each other, as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from .CompareFraming import voxelsOf
from .PredictionNodes import PrecedentNodes, PredictionNodes

OWN_COLOUR, PRECEDENT_COLOUR = (255, 205, 60), (70, 200, 255)
HEIGHT = 200
"""Pixels."""
BRIGHTEST = 99.5


def writeOverlapPicture(path: Path, nodes: PredictionNodes, precedent: PrecedentNodes) -> bool:
    """Write the axial slice that shows most of both tumours, outlined over the scan; False where a part is missing.

    Left is the patient's right, as in Slicer's axial views.
    """
    if any(node is None or node.GetScene() is None for node in (nodes.preop, nodes.tumour, precedent.tumour)):
        return False
    scan = slicer.util.arrayFromVolume(nodes.preop)
    own, other = (_maskOn(nodes.preop, one) for one in (nodes.tumour, precedent.tumour))
    if not own.any():
        return False
    shared = (own & other).sum(axis=(1, 2))
    level = int(np.argmax(shared if shared.any() else own.sum(axis=(1, 2))))
    toRas = vtk.vtkMatrix4x4()
    nodes.preop.GetIJKToRASMatrix(toRas)
    # Columns from right to left and rows from front to back.
    flips = tuple(slice(None, None, -1 if toRas.GetElement(axis, axis) > 0 else 1) for axis in (1, 0))
    _writePng(path, overlapPixels(*(image[level][flips] for image in (scan, own, other))))
    return True


def overlapPixels(scan: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The scan (rows, columns) in grey with the outlines of both masks: uint8 (rows, columns, 3), enlarged."""
    black, white = 0.0, max(float(np.percentile(scan[scan != 0], BRIGHTEST)) if (scan != 0).any() else 1.0, 1e-6)
    grey = np.clip((scan - black) / (white - black), 0, 1) * 255
    factor = max(1, round(HEIGHT / scan.shape[0]))
    enlarge = np.ones((factor, factor))
    picture = np.repeat(np.kron(grey, enlarge)[..., None], 3, axis=-1).astype(np.uint8)
    for mask, colour in ((other, PRECEDENT_COLOUR), (own, OWN_COLOUR)):
        picture[_outline(np.kron(mask, enlarge) > 0)] = colour
    return np.ascontiguousarray(picture)


def _outline(mask: np.ndarray) -> np.ndarray:
    """The innermost pixels of ``mask`` that touch what is outside."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, :-2] & padded[1:-1, 2:] & padded[:-2, 1:-1] & padded[2:, 1:-1]
    return mask & ~inner


def _maskOn(volume: Any, segmentation: Any) -> np.ndarray:
    """Where the segments lie on the grid of ``volume`` (k, j, i); both lie in the same space."""
    rasToIjk, toLocal = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(rasToIjk)
    parent = volume.GetParentTransformNode()
    if parent is not None:
        parent.GetMatrixTransformFromWorld(toLocal)
    matrix = slicer.util.arrayFromVTKMatrix(rasToIjk) @ slicer.util.arrayFromVTKMatrix(toLocal)
    points = voxelsOf(segmentation)
    shape = slicer.util.arrayFromVolume(volume).shape
    indices = np.round(points @ matrix[:3, :3].T + matrix[:3, 3]).astype(int)[:, ::-1]
    inside = ((indices >= 0) & (indices < shape)).all(axis=1)
    mask = np.zeros(shape, bool)
    mask[tuple(indices[inside].T)] = True
    return mask


def _writePng(path: Path, pixels: np.ndarray) -> None:
    rows, columns, _ = pixels.shape
    image = vtk.vtkImageData()
    image.SetDimensions(columns, rows, 1)
    # VTK's first row is the lowest.
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(pixels[::-1]).reshape(-1, 3), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
