"""Makes files of nodes: masks on the grid of a scan, and volumes, where they lie in the world (RAS of the scene).

All work is done on copies that belong to no scene, so that no view, selector or undo list ever sees them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .Errors import PredictionError
from .Settings import TUMOUR_LABEL

LABELMAP = "Binary labelmap"


def worldVolume(volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLScalarVolumeNode:
    """A copy of ``volume`` in no scene with its parent transform, linear or not, hardened."""
    copy = volume.NewInstance()
    copy.UnRegister(None)
    copy.SetName(volume.GetName())
    # The voxels are shared: a transform replaces them in the copy and never writes into them.
    copy.CopyContent(volume, False)
    _harden(copy, volume)
    return copy


def nameOf(node: slicer.vtkMRMLNode) -> str:
    """The node's name, as far as it has one."""
    return node.GetName() or node.GetID() or node.GetClassName()


def emptySentence(node: slicer.vtkMRMLNode) -> str:
    """What is said where nothing of ``node`` lies within the scan."""
    sentence = _("No voxel of '{name}' is marked within the scan. Draw it on this scan, or choose other segments.")
    return sentence.format(name=nameOf(node))


def _harden(copy: slicer.vtkMRMLTransformableNode, original: slicer.vtkMRMLTransformableNode) -> None:
    """What ``HardenTransform`` does, for a copy that is in no scene and so has no parent transform of its own."""
    parent = original.GetParentTransformNode()
    if parent is None:
        return
    if parent.IsTransformToWorldLinear():
        matrix = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(matrix)
        if _isRightAngled(copy, matrix):
            copy.ApplyTransformMatrix(matrix)
            return
    general = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(general)
    copy.ApplyTransform(general)


def _isRightAngled(copy: slicer.vtkMRMLTransformableNode, matrix: vtk.vtkMatrix4x4) -> bool:
    """Whether a volume keeps axes at right angles under ``matrix``; one that does not is resampled instead."""
    if not copy.IsA("vtkMRMLVolumeNode"):
        return True
    ijkToRas = vtk.vtkMatrix4x4()
    copy.GetIJKToRASMatrix(ijkToRas)
    axes = (slicer.util.arrayFromVTKMatrix(matrix) @ slicer.util.arrayFromVTKMatrix(ijkToRas))[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-3))


def maskOf(node: slicer.vtkMRMLNode, ids: Iterable[str], scan: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Where the chosen segments or labels of ``node`` lie in the world, on the grid of ``scan``: bool (z, y, x)."""
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        segmentation, chosen = _segmentationOfLabelmap(node, ids)
    else:
        segmentation, chosen = _segmentationOfSegments(node, ids)
    shape = scan.GetImageData().GetDimensions()[::-1]
    if not chosen:
        return np.zeros(shape, bool)
    _harden(segmentation, node)
    return _merged(segmentation, chosen, scan).reshape(shape)


def _segmentationOfSegments(
    node: slicer.vtkMRMLSegmentationNode, ids: Iterable[str]
) -> tuple[slicer.vtkMRMLSegmentationNode, list[str]]:
    nodeCopy, source = slicer.vtkMRMLSegmentationNode(), node.GetSegmentation()
    copy = nodeCopy.GetSegmentation()
    chosen = list(ids) or [source.GetNthSegmentID(number) for number in range(source.GetNumberOfSegments())]
    copy.SetSourceRepresentationName(source.GetSourceRepresentationName())
    copy.CopyConversionParameters(source)
    for one in chosen:
        copy.CopySegmentFromSegmentation(source, one)
    made = copy.CreateRepresentation(LABELMAP)
    if made:
        # Otherwise each of them would be made anew under a transform, which takes long for surfaces.
        copy.SetSourceRepresentationName(LABELMAP)
        copy.RemoveRepresentation("Closed surface")
    else:
        sentence = _("The segments of '{name}' could not be turned into a mask. Convert them to a binary labelmap.")
        raise PredictionError("bad_input", sentence.format(name=nameOf(node)))
    return nodeCopy, chosen


def _segmentationOfLabelmap(
    node: slicer.vtkMRMLLabelMapVolumeNode, ids: Iterable[str]
) -> tuple[slicer.vtkMRMLSegmentationNode, list[str]]:
    values = slicer.util.arrayFromVolume(node)
    labels = [int(one) for one in ids]
    marked = np.isin(values, labels) if labels else values > 0
    segmentation = slicer.vtkMRMLSegmentationNode()
    if not marked.any():
        return segmentation, []
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(node.GetImageData().GetDimensions())
    image.GetPointData().SetScalars(numpy_to_vtk(marked.astype(np.uint8).ravel(), deep=True))
    geometry = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(geometry)
    image.SetImageToWorldMatrix(geometry)
    segment = slicer.vtkSegment()
    segment.AddRepresentation(LABELMAP, image)
    segmentation.GetSegmentation().AddSegment(segment, "marked")
    return segmentation, ["marked"]


def _merged(
    segmentation: slicer.vtkMRMLSegmentationNode, ids: list[str], scan: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    reference = slicer.vtkSlicerSegmentationsModuleLogic.CreateOrientedImageDataFromVolumeNode(scan)
    reference.UnRegister(None)
    chosen = vtk.vtkStringArray()
    for one in ids:
        chosen.InsertNextValue(one)
    merged = slicer.vtkOrientedImageData()
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    if not segmentation.GenerateMergedLabelmapForAllSegments(merged, extent, reference, chosen):
        return np.zeros(reference.GetNumberOfPoints(), bool)
    return vtk_to_numpy(merged.GetPointData().GetScalars()) > 0


def writeMask(mask: np.ndarray, scan: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Write a mask (z, y, x) on the grid of ``scan`` as uint8 0/1."""
    writeLabels(mask * np.uint8(TUMOUR_LABEL), scan, path)


def writeLabels(labels: np.ndarray, scan: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Write labels (z, y, x; uint8) on the grid of ``scan``."""
    image = vtk.vtkImageData()
    image.SetDimensions(scan.GetImageData().GetDimensions())
    image.GetPointData().SetScalars(numpy_to_vtk(labels.ravel(), deep=True))
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.CopyOrientation(scan)
    node.SetAndObserveImageData(image)
    writeNode(node, path)


def writeNode(node: slicer.vtkMRMLVolumeNode, path: Path) -> None:
    """Write a volume uncompressed; raises ``PredictionError`` ("storage")."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(False)
    if not storage.WriteData(node) or not path.is_file():
        sentence = _("'{name}' could not be written to the temporary folder. Free some space on the disk.")
        raise PredictionError("storage", sentence.format(name=nameOf(node)))
