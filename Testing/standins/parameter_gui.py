"""Connects parameters to widgets, for the widget classes that Slicer has connectors for and the panel may use.

It needs a ``qt`` module only when a panel is connected; ring 3 brings one.
"""

from __future__ import annotations

import enum
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Any

import slicer

from .parameter_rules import Choice, Maximum, Minimum, WithinRange
from .parameter_values import is_node_type, split_annotations

SlicerParameterNamePropertyName = "SlicerParameterName"
_LARGEST = 2**31 - 1


class GuiConnector:
    """Reads and writes one widget. ``signal`` names the signal, ``_value`` the property that holds the value."""

    signal = ""
    _value = ""

    def __init__(self, widget: Any, datatype: Any) -> None:
        self._widget = widget
        self._type, self._notes = split_annotations(datatype)
        self._callback: Callable[[], None] | None = None

    def widget(self) -> Any:
        return self._widget

    def read(self) -> Any:
        return getattr(self._widget, self._value)

    def write(self, value: Any) -> None:
        setattr(self._widget, self._value, value)

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call ``callback`` whenever the user changes the widget; None stops it."""
        self._callback = callback
        signal = getattr(self._widget, self.signal)
        (signal.disconnect if callback is None else signal.connect)(self.changed)

    def changed(self, *_: Any) -> None:
        if self._callback:
            self._callback()

    def _note(self, kind: type) -> Any:
        return next((note for note in self._notes if isinstance(note, kind)), None)


class CheckBox(GuiConnector):
    signal, _value = "stateChanged", "checked"


class CheckableButton(GuiConnector):
    signal, _value = "toggled", "checked"

    def write(self, value: bool) -> None:
        self._widget.checkable = True
        super().write(value)


class Number(GuiConnector):
    signal, _value = "valueChanged", "value"

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__(widget, datatype)
        both = self._note(WithinRange)
        low, high = both or self._note(Minimum), both or self._note(Maximum)
        widget.minimum = low.minimum if low else -_LARGEST - 1
        widget.maximum = high.maximum if high else _LARGEST

    def read(self) -> Any:
        return self._type(self._widget.value)


class EnumList(GuiConnector):
    """The items are the enumeration's ``label()``, or its names."""

    signal, _value = "currentIndexChanged", "currentIndex"

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__(widget, datatype)
        label = getattr(self._type, "label", lambda member: member.name)
        self._members = list(self._type)
        before = widget.currentIndex
        widget.clear()
        for member in self._members:
            widget.addItem(label(member))
        widget.currentIndex = before

    def read(self) -> Any:
        return self._members[self._widget.currentIndex]

    def write(self, value: Any) -> None:
        self._widget.currentIndex = self._members.index(value)


class ChoiceList(EnumList):
    """The items are those of the annotation ``Choice``."""

    def __init__(self, widget: Any, datatype: Any) -> None:
        GuiConnector.__init__(self, widget, datatype)
        choice = self._note(Choice)
        if choice is None:
            raise RuntimeError("a combo box for a plain type needs the annotation Choice")
        self._members = list(choice.choices)
        widget.clear()
        for member in self._members:
            widget.addItem(str(member))


class TextLine(GuiConnector):
    signal, _value = "textChanged", "text"

    def write(self, value: str) -> None:
        # Setting an equal text would move the cursor of someone who is typing.
        if value != self._widget.text:
            self._widget.text = value


class PathLine(GuiConnector):
    signal, _value = "currentPathChanged", "currentPath"

    def read(self) -> Any:
        return self._type(getattr(self._widget, self._value))

    def write(self, value: Any) -> None:
        setattr(self._widget, self._value, str(value))


class DirectoryButton(PathLine):
    signal, _value = "directoryChanged", "directory"


class NodeList(GuiConnector):
    signal = "currentNodeChanged"

    def __init__(self, widget: Any, datatype: Any) -> None:
        super().__init__(widget, datatype)
        widget.nodeTypes = tuple(kind().GetClassName() for kind in _alternatives(self._type) if is_node_type(kind))

    def read(self) -> Any:
        return self._widget.currentNode()

    def write(self, value: Any) -> None:
        self._widget.setCurrentNode(value)


def _alternatives(type_: Any) -> tuple[Any, ...]:
    return typing.get_args(type_) if typing.get_origin(type_) in (typing.Union, types.UnionType) else (type_,)


def _connector(widget_class: type, type_: Any) -> type[GuiConnector] | None:
    """As in Slicer the widget must be of exactly the class, not of one derived from it."""
    import ctk
    import qt

    def is_one_of(*names: str) -> bool:
        found = [getattr(place, name, None) for name in names for place in (qt, ctk, slicer)]
        return widget_class in [one for one in found if one is not None]

    plain = isinstance(type_, type)
    rules: list[tuple[bool, type[GuiConnector], tuple[str, ...]]] = [
        (type_ is bool, CheckBox, ("QCheckBox", "ctkCheckBox")),
        (type_ is bool, CheckableButton, ("QPushButton", "ctkCheckablePushButton")),
        (type_ is int, Number, ("QSpinBox", "QSlider")),
        (type_ in (int, float), Number, ("QDoubleSpinBox", "ctkSliderWidget", "ctkDoubleSpinBox")),
        (type_ in (int, float, str, bool), ChoiceList, ("QComboBox", "ctkComboBox")),
        (plain and issubclass(type_, enum.Enum), EnumList, ("QComboBox", "ctkComboBox")),
        (type_ is str, TextLine, ("QLineEdit",)),
        (plain and issubclass(type_, pathlib.PurePath), PathLine, ("ctkPathLineEdit",)),
        (plain and issubclass(type_, pathlib.PurePath), DirectoryButton, ("ctkDirectoryButton",)),
        (any(is_node_type(kind) for kind in _alternatives(type_)), NodeList, ("qMRMLNodeComboBox",)),
    ]
    return next((kind for fits, kind, names in rules if fits and is_one_of(*names)), None)


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:
    """Return the connector between a widget and a parameter's type; RuntimeError when Slicer has none either."""
    kind = _connector(type(widget), split_annotations(datatype)[0])
    if kind is None:
        raise RuntimeError(f"there is no connector between {datatype} and {type(widget).__name__}")
    return kind(widget, datatype)


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    """Return the widget below ``widget`` that names the parameter, or None."""
    import qt

    children = widget.findChildren(qt.QWidget)
    return next((child for child in children if child.property(SlicerParameterNamePropertyName) == parameter), None)
