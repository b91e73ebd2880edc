"""A MRML scene with what the application puts around one: logics, colours, subject hierarchy, ``.mrb`` files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
import slicer.util
import vtk

LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
}
"""Module -> class of its logic."""


class SceneWithLogics:
    """An empty scene that becomes ``slicer.mrmlScene``; ``slicer.modules.<name>.logic()`` gives the modules' logics.

    ``logics`` holds them by module name, ``application`` is the application's logic.
    """

    def __init__(self, cache_folder: Path) -> None:
        self.scene = slicer.vtkMRMLScene()
        slicer.mrmlScene = self.scene
        self.application = slicer.vtkSlicerApplicationLogic()
        self.application.SetMRMLScene(self.scene)
        self._allow_scene_files(cache_folder)
        self._add_colours()
        self.logics = {name: self._logic(name, class_name) for name, class_name in LOGICS.items()}
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        slicer.modules = SimpleNamespace(
            **{name.lower(): SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in self.logics.items()},
            colors=SimpleNamespace(logic=lambda: self._colours),
        )

    def close(self) -> None:
        """Take everything down in the order in which nothing is left that observes what is gone."""
        self.scene.Clear(True)
        with _silence():
            for logic in self.logics.values():
                logic.SetMRMLScene(None)
            self.application.SetMRMLScene(None)

    def _logic(self, name: str, class_name: str) -> Any:
        logic = getattr(slicer, class_name)()
        with _silence():
            logic.SetMRMLApplicationLogic(self.application)
            logic.SetMRMLScene(self.scene)
        self.application.SetModuleLogic(name, logic)
        return logic

    def _add_colours(self) -> None:
        # The application's logic does not keep the modules' logics alive.
        self._colours = slicer.vtkSlicerColorLogic()
        with _silence():
            # The files with more colour tables belong to the application.
            self._colours.SetMRMLApplicationLogic(self.application)
            self._colours.SetMRMLScene(self.scene)
        self.application.SetModuleLogic("Colors", self._colours)
        self.application.GetColorLogic().SetMRMLScene(self.scene)
        self.application.GetColorLogic().AddDefaultColorNodes()

    def _allow_scene_files(self, cache_folder: Path) -> None:
        """Reading a ``.mrb`` needs a cache and a manager of data even where nothing is remote."""
        cache = slicer.vtkCacheManager()
        cache.SetRemoteCacheDirectory(str(cache_folder))
        self.scene.SetCacheManager(cache)
        manager = slicer.vtkDataIOManager()
        manager.SetCacheManager(cache)
        self.scene.SetDataIOManager(manager)


@contextmanager
def _silence() -> Iterator[None]:
    """The terminologies' files belong to the application; their logic complains whenever its scene changes."""
    before = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(before)


def write_scene(path: Path) -> None:
    """Save ``slicer.mrmlScene`` as a ``.mrb`` file."""
    slicer.mrmlScene.SetURL(str(path.with_suffix(".mrml")))
    assert slicer.mrmlScene.WriteToMRB(str(path)), f"{path} could not be written"


def read_scene(path: Path) -> None:
    """Replace what is in ``slicer.mrmlScene`` with a ``.mrb`` file."""
    slicer.mrmlScene.Clear(False)
    assert slicer.mrmlScene.ReadFromMRB(str(path)), f"{path} could not be read"


def read_node(path: Path, node_class: str = "vtkMRMLScalarVolumeNode", name: str | None = None) -> Any:
    """Read a volume (a ``.seg.nrrd`` as a segmentation) into the scene, as ``slicer.util.loadVolume`` would."""
    is_segmentation = path.name.endswith(".seg.nrrd")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode" if is_segmentation else node_class, name or "")
    storage = slicer.mrmlScene.CreateNodeByClass(
        "vtkMRMLSegmentationStorageNode" if is_segmentation else "vtkMRMLVolumeArchetypeStorageNode"
    )
    storage.UnRegister(None)
    storage.SetFileName(str(path))
    assert storage.ReadData(node), f"{path} could not be read"
    node.SetName(name or path.name.split(".")[0])
    node.CreateDefaultDisplayNodes()
    return node


def add_segmentation(labels: Any, reference: Any, names: dict[int, str], name: str = "Tumour") -> Any:
    """Add a segmentation with one segment for each label of the array (k, j, i) on the grid of ``reference``."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    before = set(slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeDisplayNode"))
    for label, segment_name in names.items():
        segment_id = node.GetSegmentation().AddEmptySegment(segment_name, segment_name)
        slicer.util.updateSegmentBinaryLabelmapFromArray((labels == label).astype("uint8"), node, segment_id, reference)
    # slicer.util removes its temporary volumes, but not their display nodes.
    for left in set(slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeDisplayNode")) - before:
        slicer.mrmlScene.RemoveNode(left)
    return node


def place(node: Any, matrix: Any, name: str = "Transform") -> Any:
    """Put a node under a new linear transform with this 4 x 4 matrix (to parent, RAS) and return the transform node."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    slicer.util.updateTransformMatrixFromArray(transform, matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def ijk_to_ras(volume: Any) -> Any:
    """Return the 4 x 4 matrix of a volume from its voxels to RAS, as an array."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)
