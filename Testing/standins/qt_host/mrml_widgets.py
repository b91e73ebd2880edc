"""Stand-ins for the qMRML widgets that the panel's .ui names, on the real MRML scene of ``slicer-core``."""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .pythonqt import connects_by_text


@connects_by_text
class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene; receivers are connected by the .ui alone."""

    mrmlSceneChanged = QtCore.Signal(object)
    SIGNATURES: ClassVar[dict[str, str]] = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._entered = False

    def setMRMLScene(self, scene: Any) -> None:
        """Hand the scene on to every connected selector."""
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        """Return the scene."""
        return self._scene

    isEntered = property(lambda self: self._entered)


class _SceneWatcher(qMRMLWidget):
    """Lists nodes and follows the scene: nodes that come, go or change their name."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._observed: list[tuple[Any, int]] = []

    def setMRMLScene(self, scene: Any) -> None:
        """Observe ``scene`` in the place of the one before."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed.clear()
        super().setMRMLScene(scene)
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
                self._observed.append((scene, scene.AddObserver(event, lambda *_: self._list_nodes())))
        self._list_nodes()

    def _list_nodes(self) -> None:
        raise NotImplementedError


@connects_by_text
class qMRMLNodeComboBox(_SceneWatcher):
    """Chooses one node of the scene. Without "None" the first node is chosen by itself, as in Slicer."""

    currentNodeChanged = QtCore.Signal(object)
    SIGNATURES = qMRMLWidget.SIGNATURES | {"currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged"}

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._types: list[str] = []
        self._flags = dict.fromkeys(("noneEnabled", "addEnabled", "removeEnabled", "showChildNodeTypes"), True)
        self._flags["noneEnabled"] = False
        self._none_text = "None"
        self._nodes: list[Any] = []
        self._current: Any = None
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox(self)
        row.addWidget(self._box)
        self._box.activated.connect(lambda index: self.setCurrentNode(self._nodes[index]))

    def _get_types(self) -> list[str]:
        return self._types

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)
        self._list_nodes()

    def _get_none_display(self) -> str:
        return self._none_text

    def _set_none_display(self, text: str) -> None:
        self._none_text = text
        self._list_nodes()

    def _flag(name: str) -> Any:  # type: ignore[misc]
        def write(self: Any, value: bool) -> None:
            self._flags[name] = value
            self._list_nodes()

        return QtCore.Property(bool, lambda self: self._flags[name], write)

    nodeTypes = QtCore.Property("QStringList", _get_types, _set_types)
    noneDisplay = QtCore.Property(str, _get_none_display, _set_none_display)
    noneEnabled = _flag("noneEnabled")
    addEnabled = _flag("addEnabled")
    removeEnabled = _flag("removeEnabled")
    showChildNodeTypes = _flag("showChildNodeTypes")

    def currentNode(self) -> Any:
        """Return the chosen node, or None."""
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        """Choose ``node``; a node that the widget does not list is none."""
        chosen = node if node in self._nodes else None
        index = self._nodes.index(chosen) if chosen in self._nodes else -1
        self._box.setCurrentIndex(index)
        if chosen is not self._current:
            self._current = chosen
            self.currentNodeChanged.emit(chosen)

    def nodeCount(self) -> int:
        """Return how many nodes can be chosen."""
        return sum(node is not None for node in self._nodes)

    def _fits(self, node: Any) -> bool:
        if node.GetHideFromEditors():
            return False
        if self._flags["showChildNodeTypes"]:
            return any(node.IsA(one) for one in self._types)
        return node.GetClassName() in self._types

    def _list_nodes(self) -> None:
        scene = self.mrmlScene()
        found = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())] if scene is not None else []
        self._nodes = ([None] if self._flags["noneEnabled"] else []) + [node for node in found if self._fits(node)]
        self._box.blockSignals(True)
        self._box.clear()
        self._box.addItems([self._none_text if node is None else node.GetName() or "" for node in self._nodes])
        self._box.blockSignals(False)
        keep = self._current if self._current in self._nodes else None
        if keep is None and not self._flags["noneEnabled"] and self._nodes:
            keep = self._nodes[0]
        self.setCurrentNode(keep)


@connects_by_text
class qMRMLSegmentSelectorWidget(_SceneWatcher):
    """Chooses a segmentation and one of its segments."""

    currentNodeChanged = QtCore.Signal(object)
    currentSegmentChanged = QtCore.Signal(str)
    SIGNATURES = qMRMLWidget.SIGNATURES | {"currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged"}

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._none, self._horizontal, self._ids = False, False, []
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._selector = qMRMLNodeComboBox(self)
        self._selector.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._segments = QtWidgets.QComboBox(self)
        row.addWidget(self._selector, 1)
        row.addWidget(self._segments, 1)
        self._selector.currentNodeChanged.connect(self._on_node)
        self._segments.currentIndexChanged.connect(lambda _: self.currentSegmentChanged.emit(self.currentSegmentID()))

    def _set_none(self, enabled: bool) -> None:
        self._none = enabled
        self._selector.noneEnabled = enabled

    def _set_horizontal(self, horizontal: bool) -> None:
        self._horizontal = horizontal

    noneEnabled = QtCore.Property(bool, lambda self: self._none, _set_none)
    horizontalLayout = QtCore.Property(bool, lambda self: self._horizontal, _set_horizontal)

    def currentNode(self) -> Any:
        """Return the segmentation, or None."""
        return self._selector.currentNode()

    def setCurrentNode(self, node: Any) -> None:
        """Choose a segmentation."""
        self._selector.setCurrentNode(node)

    def currentSegmentID(self) -> str:
        """Return the segment's id, or an empty string."""
        index = self._segments.currentIndex
        return self._ids[index] if 0 <= index < len(self._ids) else ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        """Choose a segment of the current segmentation."""
        self._segments.setCurrentIndex(self._ids.index(segment_id) if segment_id in self._ids else -1)

    def _list_nodes(self) -> None:
        self._selector.setMRMLScene(self.mrmlScene())

    def setMRMLScene(self, scene: Any) -> None:
        """Hand the scene to the selector, which observes it."""
        qMRMLWidget.setMRMLScene(self, scene)
        self._selector.setMRMLScene(scene)

    def _on_node(self, node: Any) -> None:
        ids = vtk.vtkStringArray()
        if node is not None:
            node.GetSegmentation().GetSegmentIDs(ids)
        self._ids = [ids.GetValue(index) for index in range(ids.GetNumberOfValues())]
        self._segments.blockSignals(True)
        self._segments.clear()
        if node is not None:
            self._segments.addItems([node.GetSegmentation().GetSegment(one).GetName() for one in self._ids])
        self._segments.blockSignals(False)
        self.currentNodeChanged.emit(node)
        self.currentSegmentChanged.emit(self.currentSegmentID())


def _plain(name: str, base: type) -> type:
    return type(name, (base,), {"__doc__": "Named by Slicer's own Python files; not used by the panel."})


WIDGETS: dict[str, Any] = {
    "qMRMLWidget": qMRMLWidget,
    "qMRMLNodeComboBox": qMRMLNodeComboBox,
    "qMRMLSegmentSelectorWidget": qMRMLSegmentSelectorWidget,
    "qMRMLSliderWidget": _plain("qMRMLSliderWidget", QtWidgets.QWidget),
    "qMRMLSpinBox": _plain("qMRMLSpinBox", QtWidgets.QDoubleSpinBox),
    "qMRMLRangeWidget": _plain("qMRMLRangeWidget", QtWidgets.QWidget),
}
assert hasattr(slicer, "vtkMRMLScene"), "slicer-core is needed"
