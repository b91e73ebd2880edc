"""Adds the nodes of one prediction: each marked before anything else happens to it, and in its folder.

What returns a ``Generator`` works in short steps; the node is its value.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .ImageFiles import ImageData
from .MapLooks import MapLook, colourTable
from .NodeBuilding import fillColours, fillingImage, fillSegmentation, placeVoxels
from .ResultAttributes import COLOURS_ROLE, RUN_ID, SOURCE, isSimulated, markNode
from .Terminology import SegmentTerm
from .WindowLevel import GreyWindow


class NodeAdder:
    """``record`` goes with every node that is not given another; ``source``: the input volume or None."""

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        runId: str,
        record: Mapping[str, Any],
        source: slicer.vtkMRMLScalarVolumeNode | None,
    ) -> None:
        self.scene, self.runId, self.record, self.source = scene, runId, record, source
        self.item = 0
        self._colours: dict[str, str] = {}

    def begin(self, name: str) -> None:
        """Make the folder in which everything lies: beside the scan, else at the top."""
        hierarchy = self._hierarchy()
        own = hierarchy.GetItemByDataNode(self.source) if self.source is not None else 0
        parent = (hierarchy.GetItemParent(own) if own else 0) or hierarchy.GetSceneItemID()
        self.item = self.folder(name, parent)

    def folder(self, name: str, parent: int | None = None) -> int:
        """A new folder, in the prediction's own where no ``parent`` is given."""
        hierarchy = self._hierarchy()
        item = hierarchy.CreateFolderItem(self.item if parent is None else parent, name)
        hierarchy.SetItemAttribute(item, RUN_ID, self.runId)
        return item

    def node(
        self,
        className: str,
        role: str,
        name: str,
        record: Mapping[str, Any] | None = None,
        rank: int | None = None,
        item: int | None = None,
    ) -> slicer.vtkMRMLNode:
        """A new node, marked before anything else happens to it, so that it is found again if something fails."""
        record = self.record if record is None else record
        if isSimulated(role, record):
            name = _("{name} (simulated)").format(name=name)
        node = self.scene.CreateNodeByClass(className)
        node.UnRegister(None)
        node.SetName(self.scene.GenerateUniqueName(name))
        markNode(node, role, self.runId, record, rank)
        self.scene.AddNode(node)
        if self.source is not None:
            node.SetNodeReferenceID(SOURCE, self.source.GetID())
        hierarchy = self._hierarchy()
        own = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(item or self.item, node)
        hierarchy.SetItemParent(own, item or self.item)
        return node

    def volume(
        self, role: str, name: str, image: ImageData, window: GreyWindow | None, **where: Any
    ) -> Generator[None, None, slicer.vtkMRMLScalarVolumeNode]:
        """A new volume that no view shows; ``where``: record, rank and item as of ``node``."""
        voxels = yield from fillingImage(vtk.vtkImageData(), image.array)
        node = self.node("vtkMRMLScalarVolumeNode", role, name, **where)
        # The window before the voxels: with an automatic one a histogram of all of them would be made first.
        node.CreateDefaultDisplayNodes()
        if window is not None:
            window.apply(node)
        placeVoxels(node, image, voxels)
        return node

    def segmentation(
        self,
        role: str,
        name: str,
        labels: ImageData,
        terms: Mapping[int, SegmentTerm],
        reference: slicer.vtkMRMLScalarVolumeNode,
        **where: Any,
    ) -> slicer.vtkMRMLSegmentationNode:
        """A new hidden segmentation."""
        node = self.node("vtkMRMLSegmentationNode", role, name, **where)
        fillSegmentation(node, labels, terms, reference)
        return node

    def map(
        self, role: str, look: MapLook, image: ImageData, ends: tuple[float, float], **where: Any
    ) -> Generator[None, None, slicer.vtkMRMLScalarVolumeNode]:
        """A new volume in the colours of ``look``, from the first to the second of ``ends``."""
        name = look.name.format(rank=where.get("rank"))
        node = yield from self.volume(role, name, image, GreyWindow(*ends), **where)
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID(self._colourNode(look.colours))
        display.SetInterpolate(True)
        return node

    def _colourNode(self, colours: str) -> str:
        if colours not in self._colours:
            # A table that is hidden from editors would not be saved with the scene.
            node = self.node("vtkMRMLColorTableNode", COLOURS_ROLE, f"PostOpPredictor {colours}", {})
            fillColours(node, colourTable(colours))
            self._colours[colours] = node.GetID()
        return self._colours[colours]

    def _hierarchy(self) -> slicer.vtkMRMLSubjectHierarchyNode:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
