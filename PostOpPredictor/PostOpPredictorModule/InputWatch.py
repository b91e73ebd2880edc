"""Notices what happens to the inputs between their export and the result."""

from __future__ import annotations

import slicer
import vtk
from slicer.i18n import tr as _

from .Settings import PredictionInputs


class InputWatch:
    """Remembers in which state the inputs of a run were exported."""

    def __init__(self, inputs: PredictionInputs) -> None:
        self._inputs = inputs
        self._exported = self._state()

    def volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The input volume, as long as it is in the scene."""
        volume = self._inputs.volume
        return volume if volume.GetScene() is not None else None

    def warnings(self) -> list[str]:
        """A sentence for everything that the result does not show any more."""
        found = []
        if self.volume() is None:
            found.append(_("The pre-operative volume was removed from the scene while its prediction was made."))
        if self._inputs.tumour.GetScene() is None:
            found.append(_("The tumour segmentation was removed from the scene while the prediction was made."))
        brain = self._inputs.brainSegmentation
        if brain is not None and brain.GetScene() is None:
            found.append(_("The brain segmentation was removed from the scene while the prediction was made."))
        if not found and self._state() != self._exported:
            sentence = _(
                "The scan or the segmentation was edited or moved while the prediction was made. "
                "The result shows it as it was at the start."
            )
            found.append(sentence)
        return found

    def _state(self) -> tuple[object, ...]:
        nodes = (self._inputs.volume, self._inputs.tumour, self._inputs.brainSegmentation)
        return tuple(_stateOf(node) for node in nodes if node is not None)


def _stateOf(node: slicer.vtkMRMLTransformableNode) -> tuple[object, ...]:
    place = node.GetTransformNodeID(), _transformTimes(node)
    if not node.IsA("vtkMRMLSegmentationNode"):
        image = node.GetImageData()
        return (*place, _geometry(node), image.GetMTime() if image is not None else None)
    segmentation = node.GetSegmentation()
    source = segmentation.GetSourceRepresentationName()
    ids = [segmentation.GetNthSegmentID(number) for number in range(segmentation.GetNumberOfSegments())]
    voxels = [segmentation.GetSegment(one).GetRepresentation(source) for one in ids]
    return (*place, tuple(ids), tuple(image.GetMTime() if image is not None else None for image in voxels))


def _geometry(volume: slicer.vtkMRMLVolumeNode) -> tuple[float, ...]:
    """Where the voxels lie; the image's own time does not change with it."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return tuple(matrix.GetElement(row, column) for row in range(3) for column in range(4))


def _transformTimes(node: slicer.vtkMRMLTransformableNode) -> tuple[int, ...]:
    """Modification times of all transforms above ``node``."""
    times, transform = [], node.GetParentTransformNode()
    while transform is not None:
        times.append(transform.GetTransformToWorldMTime())
        transform = transform.GetParentTransformNode()
    return tuple(times)
