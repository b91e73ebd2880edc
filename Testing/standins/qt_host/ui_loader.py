"""Loads a Qt Designer file with the stand-ins in the place of Slicer's and CTK's widgets."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import ctk_widgets, mrml_widgets
from .pythonqt import children_are_no_attributes, qt_module


class UiLoader(QtUiTools.QUiLoader):
    """``QUiLoader`` that knows the stand-ins; a class of the .ui that nobody stands for is an error.

    The file's connections are kept for ``qMRMLWidget.setMRMLScene``: only selectors that the .ui connects get a scene.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stand_ins = {**ctk_widgets.WIDGETS, **mrml_widgets.WIDGETS}

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        """Make one widget; called by Qt for each of the file."""
        stand_in = self._stand_ins.get(class_name)
        if stand_in is None:
            if not class_name.startswith("Q"):
                raise ValueError(f"the .ui names {class_name}, for which there is no stand-in")
            stand_in = getattr(qt_module(), class_name)
        widget = stand_in(parent)
        widget.setObjectName(name)
        return widget

    def load(self, device: QtCore.QIODevice, parent: Any = None) -> Any:
        """Return the file's top widget."""
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = [
            (one.findtext("sender"), one.findtext("signal"), one.findtext("receiver"), one.findtext("slot"))
            for one in root.iterfind("connections/connection")
        ]
        for element in root.findall("connections"):
            root.remove(element)
        flags = _take_flags(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        with children_are_no_attributes():
            top = super().load(buffer, parent)
        _apply(top, connections, flags)
        return top


def _take_flags(root: ElementTree.Element) -> list[tuple[str, str, str]]:
    """Remove properties that are sets of a stand-in's flags: (widget, property, flags as written)."""
    taken = []
    for widget in root.iter("widget"):
        for element in widget.findall("property"):
            flags = element.findtext("set")
            if flags is not None and widget.get("class", "").startswith(("ctk", "qMRML")):
                taken.append((widget.get("name", ""), element.get("name", ""), flags))
                widget.remove(element)
    return taken


def _apply(top: Any, connections: list[tuple[Any, ...]], flags: list[tuple[str, str, str]]) -> None:
    for name, what, value in flags:
        setattr(top.findChild(QtWidgets.QWidget, name), what, value)
    for sender, signal, receiver, slot in connections:
        if (signal, slot) != ("mrmlSceneChanged(vtkMRMLScene*)", "setMRMLScene(vtkMRMLScene*)"):
            raise ValueError(f"the host does not know the connection {signal} -> {slot}")
        if sender != top.name:
            raise ValueError(f"{sender} is not the top widget")
        found = top.findChild(QtWidgets.QWidget, receiver)
        if found is None:
            raise ValueError(f"the .ui connects {receiver}, which it does not have")
        top.mrmlSceneChanged.connect(found.setMRMLScene)
