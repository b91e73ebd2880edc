"""Writes the user's nodes to files in world coordinates (RAS of the scene). The nodes themselves are never changed.

All work is done on copies that belong to no scene, so that no view, selector or undo list ever sees them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .Errors import PredictionError
from .ResultAttributes import ROLE
from .Settings import TUMOUR_LABEL, PredictionInputs
from .TumourSegments import defaultIds, segmentsOf

LABELMAP = "Binary labelmap"


@dataclass(frozen=True)
class ExportedFiles:
    """Uncompressed NRRD files on one grid, that of the scan: ``volume`` in scanner units, the masks uint8 0/1."""

    volume: Path
    tumour: Path
    brain: Path | None

    def asJobOptions(self) -> dict[str, str]:
        """The files as options of a job of the command "predict"."""
        options = {"pre": str(self.volume), "tumour": str(self.tumour)}
        return options if self.brain is None else {**options, "brain": str(self.brain)}


def exportInputs(inputs: PredictionInputs, folder: Path) -> ExportedFiles:
    """Write the scan, the tumour mask and the brain mask, parent transforms applied, into the existing ``folder``.

    Raises ``PredictionError`` ("bad_input", "input_removed", "storage") with a sentence that names the node.
    """
    checkInputs(inputs)
    scan = worldVolume(inputs.volume)
    tumour = _maskOf(inputs.tumour, _tumourIds(inputs), scan)
    if not tumour.any():
        raise PredictionError("bad_input", _emptySentence(inputs.tumour))
    files = ExportedFiles(folder / "scan.nrrd", folder / "tumour.nrrd", None)
    _write(scan, files.volume)
    _writeMask(tumour, scan, files.tumour)
    if inputs.brainSegmentation is None:
        return files
    brain = _maskOf(inputs.brainSegmentation, _brainIds(inputs), scan)
    if not brain.any():
        raise PredictionError("bad_input", _emptySentence(inputs.brainSegmentation))
    _writeMask(brain, scan, folder / "brain.nrrd")
    return ExportedFiles(files.volume, files.tumour, folder / "brain.nrrd")


def checkInputs(inputs: PredictionInputs) -> None:
    """Refuse what cannot be a patient, before anything is copied; raises ``PredictionError``."""
    for node in (inputs.volume, inputs.tumour):
        if node is None:
            raise PredictionError("bad_input", _("Choose a pre-operative volume and a tumour segmentation."))
    for node in (inputs.volume, inputs.tumour, inputs.brainSegmentation):
        if node is not None and node.GetScene() is None:
            sentence = _("'{name}' is not in the scene any more. Choose another node.")
            raise PredictionError("input_removed", sentence.format(name=nameOf(node)))
        if node is not None and node.GetAttribute(ROLE):
            sentence = _("'{name}' belongs to the result of a prediction. Choose the patient's own images.")
            raise PredictionError("bad_input", sentence.format(name=nameOf(node)))
    _checkVolume(inputs.volume)
    _checkTumour(inputs.tumour, inputs.segmentIds)
    if inputs.brainSegmentation is not None:
        _checkTumour(inputs.brainSegmentation, _brainIds(inputs))


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


def _tumourIds(inputs: PredictionInputs) -> tuple[str, ...]:
    """The segments that were named, else those that the panel would tick."""
    ids = tuple(inputs.segmentIds) or defaultIds(inputs.tumour)
    if not ids and segmentsOf(inputs.tumour):
        sentence = _("No segment of '{name}' is called a tumour core. Say which of its segments are to be resected.")
        raise PredictionError("bad_input", sentence.format(name=nameOf(inputs.tumour)))
    return ids


def _brainIds(inputs: PredictionInputs) -> tuple[str, ...]:
    return (inputs.brainSegmentId,) if inputs.brainSegmentId else ()


def _checkVolume(volume: slicer.vtkMRMLNode) -> None:
    name = nameOf(volume)
    if not volume.IsA("vtkMRMLScalarVolumeNode") or volume.IsA("vtkMRMLLabelMapVolumeNode"):
        sentence = _("'{name}' is no scan. Choose a T1-weighted volume (of a sequence: one of its volumes).")
        raise PredictionError("bad_input", sentence.format(name=name))
    image = volume.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise PredictionError("bad_input", _("The volume '{name}' is empty. Load its images again.").format(name=name))
    if image.GetNumberOfScalarComponents() != 1 or volume.IsA("vtkMRMLTensorVolumeNode"):
        sentence = _("The volume '{name}' holds several values per voxel. Choose one with one grey value per voxel.")
        raise PredictionError("bad_input", sentence.format(name=name))
    if min(image.GetDimensions()) < 2:
        raise PredictionError("bad_input", _("'{name}' is a single slice. Choose a 3-D volume.").format(name=name))


def _checkTumour(node: slicer.vtkMRMLNode, ids: Sequence[str]) -> None:
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        if node.GetImageData() is None:
            raise PredictionError("bad_input", _emptySentence(node))
        if not all(one.isdecimal() and int(one) > 0 for one in ids):
            raise PredictionError("bad_input", _("The labels of a label map are whole numbers above 0."))
        return
    if not node.IsA("vtkMRMLSegmentationNode"):
        sentence = _("'{name}' is no segmentation. Choose a segmentation or a label map volume.")
        raise PredictionError("bad_input", sentence.format(name=nameOf(node)))
    segmentation = node.GetSegmentation()
    if segmentation is None or segmentation.GetNumberOfSegments() == 0:
        raise PredictionError("bad_input", _emptySentence(node))
    for one in ids:
        if segmentation.GetSegment(one) is None:
            sentence = _("The segmentation '{name}' has no segment '{segment}' any more. Choose its segments again.")
            raise PredictionError("bad_input", sentence.format(name=nameOf(node), segment=one))


def _emptySentence(node: slicer.vtkMRMLNode) -> str:
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


def _maskOf(node: slicer.vtkMRMLNode, ids: Iterable[str], scan: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
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


def _writeMask(mask: np.ndarray, scan: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    image = vtk.vtkImageData()
    image.SetDimensions(scan.GetImageData().GetDimensions())
    image.GetPointData().SetScalars(numpy_to_vtk((mask * np.uint8(TUMOUR_LABEL)).ravel(), deep=True))
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.CopyOrientation(scan)
    node.SetAndObserveImageData(image)
    _write(node, path)


def _write(node: slicer.vtkMRMLVolumeNode, path: Path) -> None:
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(False)
    if not storage.WriteData(node) or not path.is_file():
        sentence = _("'{name}' could not be written to the temporary folder. Free some space on the disk.")
        raise PredictionError("storage", sentence.format(name=nameOf(node)))
