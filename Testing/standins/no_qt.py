"""What stands for ``qt`` and ``ctk`` where there is no Qt: enough to load Slicer's own Python files, and an icon."""

from __future__ import annotations

from types import ModuleType
from typing import Any


class QIcon:
    """An icon that only remembers its file."""

    def __init__(self, path: str = "") -> None:
        self.path = path


class QColor:
    """Slicer's colour serializer derives from it at import; nothing here has a colour."""


def missing_class(name: str) -> type:
    """Return a class to name in an annotation; making an object of it raises RuntimeError."""

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"there is no Qt in this process, so no {name}; the third ring (Testing/widget) has one")

    return type(name, (), {"__init__": refuse})


def _placeholder(name: str, **known: Any) -> ModuleType:
    module = ModuleType(name, "Placeholder: there is no Qt in this process.")
    # Special names are asked for by the import system and by inspect, which expect an AttributeError.
    vars(module).update(known, __getattr__=lambda attribute: _class_of(module, attribute))
    return module


def _class_of(module: ModuleType, attribute: str) -> type:
    if attribute.startswith("_"):
        raise AttributeError(attribute)
    found = missing_class(f"{module.__name__}.{attribute}")
    setattr(module, attribute, found)
    return found


qt = _placeholder("qt", QIcon=QIcon, QColor=QColor)
ctk = _placeholder("ctk")
