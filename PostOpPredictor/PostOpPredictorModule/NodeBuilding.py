"""Makes nodes from arrays without showing them: no slice view changes, and segmentations start hidden.

Some tens of megabytes are copied in steps, between which the application stays usable.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from .ImageFiles import ImageData
from .Terminology import TERMINOLOGY_TAG, SegmentTerm

LABELMAP = "Binary labelmap"
BYTES_PER_STEP = 4_000_000
_VTK_TYPES = {"uint8": vtk.VTK_UNSIGNED_CHAR, "int16": vtk.VTK_SHORT, "uint16": vtk.VTK_UNSIGNED_SHORT}


def fillVolume(node: slicer.vtkMRMLScalarVolumeNode, image: ImageData) -> None:
    """Give ``node`` the voxels and the place of ``image``; other types than small integers become float32."""
    placeVoxels(node, image, filledImage(vtk.vtkImageData(), image.array))


def placeVoxels(node: slicer.vtkMRMLScalarVolumeNode, image: ImageData, voxels: vtk.vtkImageData) -> None:
    """Give ``node`` the place of ``image`` and its ``voxels``, which were filled before."""
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(image.ijkToRas))
    node.SetAndObserveImageData(voxels)


def fillSegmentation(
    node: slicer.vtkMRMLSegmentationNode,
    labels: ImageData,
    terms: Mapping[int, SegmentTerm],
    reference: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Give ``node`` one segment for every label of ``terms``, also for those without a voxel; all share one image."""
    image = filledImage(slicer.vtkOrientedImageData(), labels.array)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(labels.ijkToRas))
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(LABELMAP)
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    for label, term in terms.items():
        segment = slicer.vtkSegment()
        segment.SetName(term.name)
        segment.SetColor(*term.colour)
        segment.SetTag(TERMINOLOGY_TAG, term.entry)
        segment.SetLabelValue(label)
        segment.AddRepresentation(LABELMAP, image)
        segmentation.AddSegment(segment, term.segmentId)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility(False)


def placeDisplacement(node: slicer.vtkMRMLGridTransformNode, field: ImageData, grid: vtk.vtkImageData) -> None:
    """Make ``node`` the movement of tissue: ``field`` (RAS mm) tells for a point after surgery how far away it was;
    ``grid`` holds its vectors.

    That is what maps from the parent; what lies under ``node`` in the scene so moves to where it is after surgery.
    """
    spacing = np.linalg.norm(field.ijkToRas[:3, :3], axis=0)
    direction = np.eye(4)
    direction[:3, :3] = field.ijkToRas[:3, :3] / spacing
    grid.SetOrigin(*field.ijkToRas[:3, 3])
    grid.SetSpacing(*spacing)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetInterpolationModeToLinear()
    transform.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(direction))
    transform.SetDisplacementGridData(grid)
    node.SetAndObserveTransformFromParent(transform)


def fillColours(node: slicer.vtkMRMLColorTableNode, colours: np.ndarray) -> None:
    """Give ``node`` colours (count, 4): red, green, blue, opacity in 0..1. A slice view knows only opacity 0 or 1."""
    node.SetTypeToUser()
    node.SetNumberOfColors(len(colours))
    for number, colour in enumerate(colours):
        node.SetColor(number, f"{number}", *(float(part) for part in colour))


def filledImage(image: vtk.vtkImageData, array: np.ndarray) -> vtk.vtkImageData:
    """Give ``image`` the voxels (z, y, x) or vectors of ``array``, and return it; its place stays as it is."""
    for _step in fillingImage(image, array):
        pass
    return image


def fillingImage(image: vtk.vtkImageData, array: np.ndarray) -> Generator[None, None, vtk.vtkImageData]:
    """``filledImage`` in steps that take a few milliseconds each."""
    components = array.shape[3] if array.ndim == 4 else 1
    image.SetDimensions(*(int(size) for size in array.shape[2::-1]))
    image.AllocateScalars(_VTK_TYPES.get(array.dtype.name, vtk.VTK_FLOAT), components)
    scalars = vtk_to_numpy(image.GetPointData().GetScalars())
    values = array.reshape(scalars.shape)
    rows = max(1, BYTES_PER_STEP // (scalars.itemsize * components))
    for first in range(0, len(scalars), rows):
        scalars[first : first + rows] = values[first : first + rows]
        if first + rows < len(scalars):
            yield
    return image
