"""PySide6 seen as PythonQt: properties are attributes, ``connect("signal(arguments)", slot)``, strict about both."""

from __future__ import annotations

import ctypes
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

# Virtual methods (Qt would look for an override and find a property) and a static method of the same name.
_STAY_METHODS = {"sizeHint", "minimumSizeHint", "singleShot"}


_loading: list[bool] = []


@contextmanager
def children_are_no_attributes() -> Iterator[None]:
    """While PySide6 loads a .ui it makes every child an attribute of the top widget; PythonQt does not."""
    _loading.append(True)
    try:
        yield
    finally:
        _loading.pop()


def _keep_singletons_alive() -> None:
    """PySide6 6.12 counts references to None, True and False as if they were immortal, which they are from Python 3.12.

    Below that the process ends with "deallocating None" after some thousand calls, so they are given references enough.
    """
    if sys.version_info < (3, 12):
        for one in (None, True, False, NotImplemented, Ellipsis):
            ctypes.c_ssize_t.from_address(id(one)).value += 1 << 40


@cache
def make_pythonqt_like() -> None:
    """Change PySide6's classes once."""
    _keep_singletons_alive()
    # Names are read as Qt gives them, before any class is changed.
    classes = [one for module in (QtCore, QtGui, QtWidgets) for one in _everything(module).values() if _is_changed(one)]
    for one in classes:
        meta = one.staticMetaObject
        for index in range(meta.propertyOffset(), meta.propertyCount()):
            name = meta.property(index).name()
            if name not in _STAY_METHODS:
                setattr(one, name, _attribute(name, meta.property(index).isWritable()))
        if issubclass(one, QtWidgets.QWidget):
            one.__setattr__ = _refuse_new_attributes
    QtCore.QObject.name = _attribute("objectName", True)
    QtCore.QObject.className = lambda self: self.metaObject().className()


def _everything(module: ModuleType) -> dict[str, Any]:
    """PySide6 makes its classes when they are first asked for, so ``vars`` alone would miss some."""
    return {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}


def _is_changed(one: object) -> bool:
    if not (isinstance(one, type) and issubclass(one, QtCore.QObject)):
        return False
    return issubclass(one, (QtWidgets.QWidget, QtCore.QTimer, QtGui.QAction)) or one is QtCore.QObject


def _attribute(name: str, writable: bool) -> property:
    def read(self: Any) -> Any:
        return self.property(name)

    def write(self: Any, value: Any) -> None:
        if not self.setProperty(name, value):
            raise TypeError(f"{type(self).__name__}.{name} cannot be {value!r}")

    return property(read, write if writable else None)


def _refuse_new_attributes(self: Any, name: str, value: Any) -> None:
    """PythonQt creates no attribute on a C++ object; a mistyped property must not pass unnoticed."""
    known = inspect.getattr_static(type(self), name, None)
    if hasattr(type(known), "__set__"):
        known.__set__(self, value)
    elif isinstance(known, QtCore.Property):
        known.fset(self, value)
    elif name.startswith("_"):
        self.__dict__[name] = value
    elif not _loading:
        raise AttributeError(f"{type(self).__name__} has no property {name}")


def connect(self: Any, signal: str, slot: Callable[..., Any]) -> bool:
    """``sender.connect("signal(arguments)", slot)``; an unknown signal is an error here (PythonQt only prints one)."""
    bound = _by_signature(self, signal)
    bound.connect(slot)
    return True


def disconnect(self: Any, signal: str, slot: Callable[..., Any]) -> bool:
    """The reverse of ``connect``."""
    return bool(_by_signature(self, signal).disconnect(slot))


def _by_signature(sender: Any, signature: str) -> Any:
    known = getattr(type(sender), "SIGNATURES", {})
    if signature in known:
        return getattr(sender, known[signature])
    meta = sender.metaObject()
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    if meta.indexOfSignal(normalized) < 0:
        raise ValueError(f"{type(sender).__name__} has no signal {signature}")
    return getattr(sender, signature.partition("(")[0])


class Settings(QtCore.QSettings):
    """Gives back strings, as settings read from a file do."""

    def setValue(self, key: str, value: Any) -> None:
        """Store ``value``; only text survives a restart unchanged, so nothing else is taken."""
        super().setValue(key, value)

    def value(self, key: str, default: Any = None) -> Any:
        """Return the text, or the default."""
        found = super().value(key, default)
        if isinstance(found, bool):
            return "true" if found else "false"
        return str(found) if isinstance(found, (int, float)) else found


def connects_by_text(one: Any) -> Any:
    """Give a class of the host ``connect("signal(arguments)", slot)``; PySide6 asks only an object's very own class."""
    one.connect, one.disconnect = connect, disconnect
    return one


@cache
def _derived(one: Any) -> Any:
    """A class derived in Python from a widget, timer or action of Qt's; anything else as it is."""
    concrete = _is_changed(one) and one not in (QtCore.QObject, QtWidgets.QWidget)
    if not concrete:
        return one
    return connects_by_text(type(one.__name__, (one,), {"__doc__": one.__doc__}))


@cache
def qt_module() -> ModuleType:
    """Return the module ``qt``: all of QtCore, QtGui and QtWidgets, with the loader of .ui files."""
    from .ui_loader import UiLoader

    module = ModuleType("qt", "Stand-in for PythonQt's qt.")
    for source in (QtCore, QtGui, QtWidgets):
        vars(module).update({name: _derived(one) for name, one in _everything(source).items()})
    vars(module).update(QUiLoader=UiLoader, QSettings=Settings)
    return module
