"""Writes the user's nodes to files in world coordinates (RAS of the scene). The nodes themselves are never changed.

All work is done on copies that belong to no scene, so that no view, selector or undo list ever sees them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from .Errors import PredictionError
from .MaskExport import emptySentence, maskOf, nameOf, worldVolume, writeLabels, writeMask, writeNode
from .ResultAttributes import ROLE
from .Settings import ENHANCING_LABEL, TUMOUR_LABEL, PredictionInputs
from .TumourSegments import defaultIds, enhancingIds, segmentsOf


@dataclass(frozen=True)
class ExportedFiles:
    """Uncompressed NRRD files on one grid, that of the scan: ``volume`` in scanner units, ``brain`` uint8 0/1,
    ``tumour`` uint8 with 1 core and 4 enhancing.

    ``more``: further scans by sequence, each on its own grid. ``shownAs``: path of a file -> what the user calls it.
    """

    volume: Path
    tumour: Path
    brain: Path | None
    more: Mapping[str, Path] = field(default_factory=dict)
    shownAs: Mapping[str, str] = field(default_factory=dict)

    def asJobOptions(self) -> dict[str, Any]:
        """The files as options of a job of the command "predict"."""
        options: dict[str, Any] = {"pre": str(self.volume), "tumour": str(self.tumour)}
        if self.brain is not None:
            options["brain"] = str(self.brain)
        if self.more:
            options["more"] = {sequence: str(path) for sequence, path in self.more.items()}
        return options


def exportInputs(inputs: PredictionInputs, folder: Path) -> ExportedFiles:
    """Write the scan, the tumour mask and the brain mask, parent transforms applied, into the existing ``folder``.

    Raises ``PredictionError`` ("bad_input", "input_removed", "storage") with a sentence that names the node.
    """
    checkInputs(inputs)
    scan = worldVolume(inputs.volume)
    ids = _tumourIds(inputs)
    tumour = maskOf(inputs.tumour, ids, scan)
    if not tumour.any():
        raise PredictionError("bad_input", emptySentence(inputs.tumour))
    files = ExportedFiles(folder / "scan.nrrd", folder / "tumour.nrrd", None)
    writeNode(scan, files.volume)
    writeLabels(_tumourLabels(inputs.tumour, ids, tumour, scan), scan, files.tumour)
    shownAs = {str(files.volume): f"'{nameOf(inputs.volume)}'", str(files.tumour): f"'{nameOf(inputs.tumour)}'"}
    if inputs.brainSegmentation is not None:
        brain = maskOf(inputs.brainSegmentation, _brainIds(inputs), scan)
        if not brain.any():
            raise PredictionError("bad_input", emptySentence(inputs.brainSegmentation))
        files = replace(files, brain=folder / "brain.nrrd")
        writeMask(brain, scan, folder / "brain.nrrd")
        shownAs[str(files.brain)] = f"'{nameOf(inputs.brainSegmentation)}'"
    more = {}
    for number, (sequence, volume) in enumerate(inputs.more.items(), start=1):
        more[sequence] = folder / f"more-{number}.nrrd"
        writeNode(worldVolume(volume), more[sequence])
        shownAs[str(more[sequence])] = f"'{nameOf(volume)}'"
    return replace(files, more=more, shownAs=shownAs)


def checkInputs(inputs: PredictionInputs) -> None:
    """Refuse what cannot be a patient, before anything is copied; raises ``PredictionError``."""
    for node in (inputs.volume, inputs.tumour):
        if node is None:
            raise PredictionError("bad_input", _("Choose a pre-operative volume and a tumour segmentation."))
    for node in (inputs.volume, inputs.tumour, inputs.brainSegmentation, *inputs.more.values()):
        if node is not None:
            _checkIsOfTheUser(node)
    for volume in (inputs.volume, *inputs.more.values()):
        _checkVolume(volume)
    _checkTumour(inputs.tumour, inputs.segmentIds)
    if inputs.brainSegmentation is not None:
        _checkTumour(inputs.brainSegmentation, _brainIds(inputs))


def _checkIsOfTheUser(node: slicer.vtkMRMLNode) -> None:
    if node.GetScene() is None:
        sentence = _("'{name}' is not in the scene any more. Choose another node.")
        raise PredictionError("input_removed", sentence.format(name=nameOf(node)))
    if node.GetAttribute(ROLE):
        sentence = _("'{name}' belongs to the result of a prediction. Choose the patient's own images.")
        raise PredictionError("bad_input", sentence.format(name=nameOf(node)))


def _tumourIds(inputs: PredictionInputs) -> tuple[str, ...]:
    """The segments that were named, else those that the panel would tick."""
    ids = tuple(inputs.segmentIds) or defaultIds(inputs.tumour)
    if not ids and segmentsOf(inputs.tumour):
        sentence = _("No segment of '{name}' is called a tumour core. Say which of its segments are to be resected.")
        raise PredictionError("bad_input", sentence.format(name=nameOf(inputs.tumour)))
    return ids


def _tumourLabels(
    node: slicer.vtkMRMLNode, ids: Sequence[str], tumour: np.ndarray, scan: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    """The core with its enhancing part told apart (uint8), so that residual tumour can be: RANO asks for it."""
    labels = tumour * np.uint8(TUMOUR_LABEL)
    enhancing = enhancingIds(node, ids)
    if enhancing:
        labels[maskOf(node, enhancing, scan)] = ENHANCING_LABEL
    return labels


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
            raise PredictionError("bad_input", emptySentence(node))
        if not all(one.isdecimal() and int(one) > 0 for one in ids):
            raise PredictionError("bad_input", _("The labels of a label map are whole numbers above 0."))
        return
    if not node.IsA("vtkMRMLSegmentationNode"):
        sentence = _("'{name}' is no segmentation. Choose a segmentation or a label map volume.")
        raise PredictionError("bad_input", sentence.format(name=nameOf(node)))
    segmentation = node.GetSegmentation()
    if segmentation is None or segmentation.GetNumberOfSegments() == 0:
        raise PredictionError("bad_input", emptySentence(node))
    for one in ids:
        if segmentation.GetSegment(one) is None:
            sentence = _("The segmentation '{name}' has no segment '{segment}' any more. Choose its segments again.")
            raise PredictionError("bad_input", sentence.format(name=nameOf(node), segment=one))
