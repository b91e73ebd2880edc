"""Outlines that show in chosen views only, without a change to how the user's own views show the same segmentations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer
import vtk

OUTLINE_THICKNESS = 2
KEPT_OUT = "PostOpPredictor.KeptOutOfCompareViews"
"""Marks a display node whose list of views is ours, also in a scene that was saved meanwhile."""
_A_VIEW_OF_THE_USER = "vtkMRMLSliceNodeRed"
"""Named where the scene has no other view than ours: an empty list would mean all views."""


@dataclass(frozen=True)
class _Outline:
    original: Any
    node: Any
    display: Any
    observer: int


class CompareOutlines:
    """Each outline is a hidden node of our own that shares the segments of the original and follows its transform.

    (A second display node of the original would do, but Slicer's 2D displayable manager keeps a pointer to a display
    node that was removed before its segmentation, and follows it at the next change.)

    A display node without a list of views shows in all of them, so all others of the scene get a list of the views
    that are not ours while the outlines are shown; ``remove()`` empties it again, unless somebody else changed it.
    (Slicer does not say when it saves a scene, so such lists may be saved: ``freeSavedDisplays`` empties them.)
    """

    def __init__(self, scene: Any, viewIds: set[str]) -> None:
        self._scene = scene
        self._viewIds = viewIds
        self._outlines: list[_Outline] = []
        self._ownDisplays: list[Any] = []
        self._restricted: list[tuple[Any, set[str]]] = []
        self._observers = [
            scene.AddObserver(scene.NodeAddedEvent, self._onNodeAdded),
            scene.AddObserver(scene.NodeRemovedEvent, self._onNodeRemoved),
        ]
        for displayNode in _nodesOf(scene, "vtkMRMLSegmentationDisplayNode"):
            self._keepOut(displayNode)

    def add(self, segmentation: Any, viewId: str) -> None:
        """Outline all segments of ``segmentation`` in the view ``viewId`` and nowhere else."""
        if segmentation is None or segmentation.GetScene() is None:
            return
        display = self._display(viewId)
        node = self._newNode("vtkMRMLSegmentationNode")
        node.SetName(f"{segmentation.GetName()} outline")
        node.SetAndObserveSegmentation(segmentation.GetSegmentation())
        node.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
        self._scene.AddNode(node)
        node.SetAndObserveDisplayNodeID(display.GetID())
        observer = segmentation.AddObserver(
            slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
            lambda *_args: node.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID()),
        )
        self._outlines.append(_Outline(segmentation, node, display, observer))

    def remove(self) -> None:
        """Take our outlines out of the scene and give the other display nodes their views back."""
        for observer in self._observers:
            self._scene.RemoveObserver(observer)
        for outline in self._outlines:
            self._takeAway(outline)
        for display, views in self._restricted:
            display.RemoveAttribute(KEPT_OUT)
            if display.GetScene() is not None and views == set(display.GetViewNodeIDs()):
                display.RemoveAllViewNodeIDs()
        self._outlines, self._ownDisplays, self._restricted, self._observers = [], [], [], []

    def _display(self, viewId: str) -> Any:
        display = self._newNode("vtkMRMLSegmentationDisplayNode")
        display.AddViewNodeID(viewId)
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        display.SetVisibility3D(False)
        display.SetSliceIntersectionThickness(OUTLINE_THICKNESS)
        self._ownDisplays.append(display)
        self._scene.AddNode(display)
        return display

    def _newNode(self, className: str) -> Any:
        node = self._scene.CreateNodeByClass(className)
        node.UnRegister(None)
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        return node

    def _takeAway(self, outline: _Outline) -> None:
        """The segmentation before its display node: the other way round Slicer crashes later."""
        outline.original.RemoveObserver(outline.observer)
        for node in (outline.node, outline.display):
            if node.GetScene() is not None:
                self._scene.RemoveNode(node)

    def _keepOut(self, display: Any) -> None:
        _free(display)
        if display in self._ownDisplays or display.GetNumberOfViewNodeIDs() > 0:
            return
        others = {node.GetID() for node in _nodesOf(self._scene, "vtkMRMLAbstractViewNode")} - self._viewIds
        views = others or {_A_VIEW_OF_THE_USER}
        self._restricted.append((display, views))
        _addViews(display, views)
        display.SetAttribute(KEPT_OUT, "1")

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, _scene: Any, _event: str, node: Any) -> None:
        if node is None:
            return
        if node.IsA("vtkMRMLSegmentationDisplayNode"):
            self._keepOut(node)
        elif node.IsA("vtkMRMLAbstractViewNode") and node.GetID() not in self._viewIds:
            for display, views in self._restricted:
                if views == set(display.GetViewNodeIDs()):
                    views.add(node.GetID())
                    _addViews(display, {node.GetID()})

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, _scene: Any, _event: str, node: Any) -> None:
        for outline in [one for one in self._outlines if one.original is node]:
            self._outlines.remove(outline)
            self._takeAway(outline)


def freeSavedDisplays(scene: Any) -> None:
    """Give the display nodes their views back that were saved while the compare view was shown; not while it is."""
    for display in _nodesOf(scene, "vtkMRMLSegmentationDisplayNode"):
        _free(display)


def _free(display: Any) -> None:
    if display.GetAttribute(KEPT_OUT):
        display.RemoveAttribute(KEPT_OUT)
        display.RemoveAllViewNodeIDs()


def _addViews(display: Any, viewIds: set[str]) -> None:
    wasModifying = display.StartModify()
    for viewId in sorted(viewIds):
        display.AddViewNodeID(viewId)
    display.EndModify(wasModifying)


def _nodesOf(scene: Any, className: str) -> list[Any]:
    return [scene.GetNthNodeByClass(index, className) for index in range(scene.GetNumberOfNodesByClass(className))]
