"""Stand-in for ``slicer.parameterNodeWrapper``: typed access to a parameter node, and its connection to a GUI."""

from __future__ import annotations

import typing
import weakref
from collections.abc import Mapping
from typing import Any

import slicer.util
import vtk

from .parameter_gui import (
    GuiConnector,
    SlicerParameterNamePropertyName,
    createGuiConnector,
    findChildWidgetForParameter,
)
from .parameter_rules import Choice, Default, IsInstance, Maximum, Minimum, NotNone, Validator, WithinRange
from .parameter_values import Kept, kept

__all__ = [
    "Choice",
    "Default",
    "GuiConnector",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "createGuiConnector",
    "findChildWidgetForParameter",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]


class _Parameter:
    """One parameter of the class: how it is kept, and what it begins with."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        self.name = name
        self.annotated = annotated
        self.way, notes = kept(annotated)
        defaults = [note for note in notes if isinstance(note, Default)]
        if name in vars(owner):
            defaults = [Default(vars(owner)[name])]
        self.default = defaults[0] if defaults else Default(self.way.first)


class _Value:
    """One parameter of one node. What was read is remembered until the node says that it was modified."""

    def __init__(self, parameter: _Parameter, node: Any) -> None:
        self.way: Kept = parameter.way
        self.name = parameter.name
        self.node = node
        if not self.way.holds(node, self.name):
            self.way.write(node, self.name, parameter.default.value)
        self._remembered = self.way.read(node, self.name)
        # A plain method would keep this object, and with it the node, alive for ever.
        myself = weakref.ref(self)
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: (me := myself()) and me.refresh())

    def __del__(self) -> None:
        self.node.RemoveObserver(self._tag)

    def refresh(self) -> None:
        self._remembered = self.way.read(self.node, self.name)

    def read(self) -> Any:
        return self._remembered

    def write(self, value: Any) -> None:
        with slicer.util.NodeModify(self.node):
            self.way.write(self.node, self.name, value)
            self.refresh()


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator: every annotated name of the class becomes a parameter that lives in the node."""
    return _wrap if classtype is None else _wrap(classtype)


def isParameterNodeWrapper(classOrObj: Any) -> bool:
    """Whether a class, or an object of one, was made by ``parameterNodeWrapper``."""
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def _wrap(classtype: type) -> type:
    hints = typing.get_type_hints(classtype, include_extras=True)
    parameters = {name: _Parameter(classtype, name, hint) for name, hint in hints.items()}
    for name in parameters:
        setattr(classtype, name, _as_property(name))
    taken = {name: method for name, method in vars(_Methods).items() if not name.startswith("__")}
    for name, method in {**taken, "allParameters": parameters, "_is_parameter_node_wrapper": True}.items():
        if hasattr(classtype, name):
            raise ValueError(f"a parameter node may not have a parameter or method called {name}")
        setattr(classtype, name, method)
    classtype.__init__ = _Methods.__init__  # type: ignore[misc]
    return classtype


def _as_property(name: str) -> property:
    return property(lambda self: self._values[name].read(), lambda self, value: self._values[name].write(value))


class _Methods:
    """What the decorated class gets."""

    allParameters: typing.ClassVar[Mapping[str, _Parameter]]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        if parameterNode is None:
            raise ValueError("a parameter node is needed")
        self.parameterNode = parameterNode
        self._values = {name: _Value(parameter, parameterNode) for name, parameter in self.allParameters.items()}
        self._connected: dict[int, tuple[dict[str, GuiConnector], int]] = {}
        self._writing_to_gui = False

    @classmethod
    def dataType(cls, name: str) -> Any:
        """Return the type of a parameter, with its annotations."""
        return cls.allParameters[_known(cls, name)].annotated

    def default(self, name: str) -> Default:
        """Return what a parameter begins with."""
        return self.allParameters[_known(self, name)].default

    def getValue(self, name: str) -> Any:
        """Return the value of the parameter called ``name``."""
        return self._values[_known(self, name)].read()

    def setValue(self, name: str, value: Any) -> None:
        """Set the parameter called ``name``."""
        self._values[_known(self, name)].write(value)

    def isCached(self, name: str) -> bool:
        """Whether reading a parameter needs no look into the node."""
        return self.allParameters[_known(self, name)].way.cached

    def connectGui(self, gui: Any) -> int:
        """Bind every widget of ``gui`` (a widget, or an object that holds some) that names a parameter."""
        found = gui.findChildren(_qt().QWidget) if _is_widget(gui) else list(vars(gui).values())
        named = {w.property(SlicerParameterNamePropertyName): w for w in found if hasattr(w, "property")}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: Mapping[str, Any]) -> int:
        """Bind widgets or connectors to parameters; the number that is returned undoes it."""
        connectors = {
            _known(self, name): w if isinstance(w, GuiConnector) else createGuiConnector(w, self.dataType(name))
            for name, w in mapping.items()
        }
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._reader(name, connector))
        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._write_gui())
        number = max(self._connected, default=-1) + 1
        self._connected[number] = (connectors, tag)
        return number

    def disconnectGui(self, guiTag: int) -> None:
        """Undo a connection; unknown numbers are passed over."""
        connectors, tag = self._connected.pop(guiTag, ({}, None))
        for connector in connectors.values():
            connector.onChanged(None)
        if tag is not None:
            self.RemoveObserver(tag)

    def _reader(self, name: str, connector: GuiConnector) -> Any:
        def read() -> None:
            if not self._writing_to_gui:
                with slicer.util.NodeModify(self):
                    self.setValue(name, connector.read())

        return read

    def _write_gui(self) -> None:
        if self._writing_to_gui:
            return
        self._writing_to_gui = True
        try:
            for connectors, _ in self._connected.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._writing_to_gui = False

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: int) -> None:
        self.parameterNode.EndModify(wasModified)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)


def _qt() -> Any:
    import qt

    return qt


def _is_widget(gui: Any) -> bool:
    return bool(getattr(gui, "isWidgetType", lambda: False)())


def _known(owner: Any, name: str) -> str:
    if name not in owner.allParameters:
        raise ValueError(f"there is no parameter {name}; there are {', '.join(owner.allParameters)}")
    return name
