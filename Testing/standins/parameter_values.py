"""How each type of parameter is kept in a vtkMRMLScriptedModuleNode, under the same names as Slicer keeps it."""

from __future__ import annotations

import enum
import pathlib
import types
import typing
from collections.abc import Callable, Iterable, MutableSequence
from typing import Any

import slicer
import slicer.util

from .parameter_rules import IsInstance, NotNone, Validator

_PATHS = (pathlib.Path, pathlib.PurePath, pathlib.PosixPath, pathlib.PurePosixPath, pathlib.PureWindowsPath)


class Kept:
    """One way of keeping a value: as the text of a parameter."""

    cached = True

    def __init__(
        self, rules: Iterable[Validator], first: Any, to_text: Callable[[Any], str], of_text: Callable[[str], Any]
    ) -> None:
        self.rules = list(rules)
        self.first = first
        self._to_text = to_text
        self._of_text = of_text

    def check(self, value: Any) -> None:
        """Raise ValueError or TypeError when ``value`` may not be kept."""
        for rule in self.rules:
            rule.validate(value)

    def holds(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        node.SetParameter(name, self._to_text(value))

    def read(self, node: Any, name: str) -> Any:
        return self._of_text(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)


class KeptNode(Kept):
    """A node, by reference; the empty parameter beside it tells "no node" from "never set"."""

    def __init__(self, rules: Iterable[Validator], node_class: type) -> None:
        super().__init__([IsInstance(node_class), *rules], None, str, str)
        self.node_class = node_class

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class KeptNone(Kept):
    """None as one alternative of several."""

    def __init__(self) -> None:
        super().__init__([], None, lambda _: "True", lambda _: None)


class KeptAlternatives(Kept):
    """One of several types; each has a name of its own (``tumour.0``, ``tumour.1`` ...)."""

    def __init__(self, rules: Iterable[Validator], ways: list[Kept]) -> None:
        optional = len(ways) == 2 and isinstance(ways[1], KeptNone)
        super().__init__(rules, None if optional else ways[0].first, str, str)
        self.ways = ways
        self.cached = all(way.cached for way in ways)

    def _choice(self, value: Any) -> int:
        for index, way in enumerate(self.ways):
            if (value is None) != isinstance(way, KeptNone):
                continue
            try:
                way.check(value)
            except (TypeError, ValueError):
                continue
            return index
        raise TypeError(f"{value!r} is none of the types that are allowed")

    def holds(self, node: Any, name: str) -> bool:
        return any(way.holds(node, f"{name}.{index}") for index, way in enumerate(self.ways))

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        index = self._choice(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            self.ways[index].write(node, f"{name}.{index}", value)

    def read(self, node: Any, name: str) -> Any:
        for index, way in enumerate(self.ways):
            if way.holds(node, f"{name}.{index}"):
                return way.read(node, f"{name}.{index}")
        raise KeyError(name)

    def remove(self, node: Any, name: str) -> None:
        for index, way in enumerate(self.ways):
            way.remove(node, f"{name}.{index}")


class KeptList(Kept):
    """A list; reading it gives one that writes itself back when it is changed."""

    def __init__(self, rules: Iterable[Validator], element: Kept) -> None:
        super().__init__(rules, [], str, str)
        self.element = element
        self.cached = element.cached

    def holds(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(f"{name}.len"))

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        values = list(value)
        for one in values:
            self.element.check(one)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            for index, one in enumerate(values):
                self.element.write(node, f"{name}.{index}", one)
            node.SetParameter(f"{name}.len", str(len(values)))

    def read(self, node: Any, name: str) -> WatchedList:
        values = [self.element.read(node, f"{name}.{index}") for index in range(self._length(node, name))]
        return WatchedList(values, lambda changed: self.write(node, name, changed))

    def remove(self, node: Any, name: str) -> None:
        for index in range(self._length(node, name)):
            self.element.remove(node, f"{name}.{index}")
        node.UnsetParameter(f"{name}.len")

    def _length(self, node: Any, name: str) -> int:
        return int(node.GetParameter(f"{name}.len") or 0)


class WatchedList(MutableSequence):
    """A list that tells when it was changed. Like Slicer's it is not a ``list`` and has no ``+``."""

    def __init__(self, values: list[Any], changed: Callable[[list[Any]], None]) -> None:
        self._values = values
        self._changed = changed

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._values[index] = value
        self._changed(self._values)

    def __delitem__(self, index: Any) -> None:
        del self._values[index]
        self._changed(self._values)

    def insert(self, index: int, value: Any) -> None:
        self._values.insert(index, value)
        self._changed(self._values)

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, WatchedList) else other)

    def __repr__(self) -> str:
        return f"WatchedList({self._values})"


def kept(annotated: Any) -> tuple[Kept, list[Any]]:
    """Return how a value of this (possibly annotated) type is kept, and the annotations that are no rules."""
    type_, notes = split_annotations(annotated)
    rules = [note for note in notes if isinstance(note, Validator)]
    return _way(type_, rules), [note for note in notes if not isinstance(note, Validator)]


def split_annotations(annotated: Any) -> tuple[Any, list[Any]]:
    """Return the plain type and its annotations."""
    if typing.get_origin(annotated) is typing.Annotated:
        type_, *notes = typing.get_args(annotated)
        return type_, notes
    return annotated, []


def is_node_type(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, slicer.vtkMRMLNode)


def _way(type_: Any, rules: list[Validator]) -> Kept:
    if type_ in (int, float):
        allowed = (int, float) if type_ is float else int
        return Kept([NotNone(), IsInstance(allowed), *rules], 0, str, type_)
    if type_ is str:
        return Kept([NotNone(), IsInstance(str), *rules], "", str, str)
    if type_ is bool:
        return Kept([NotNone(), IsInstance(bool), *rules], False, lambda v: str(bool(v)), lambda text: text == "True")
    if type_ in _PATHS:
        return Kept([NotNone(), IsInstance(type_), *rules], type_(), str, type_)
    if type_ is types.NoneType:
        return KeptNone()
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return Kept([IsInstance(type_), *rules], next(iter(type_)), lambda v: v.name, _enum_reader(type_))
    if is_node_type(type_):
        return KeptNode(rules, type_)
    if typing.get_origin(type_) is list:
        return KeptList(rules, kept(typing.get_args(type_)[0])[0])
    if typing.get_origin(type_) in (typing.Union, types.UnionType):
        return KeptAlternatives(rules, [kept(argument)[0] for argument in typing.get_args(type_)])
    raise TypeError(f"the stand-in cannot keep a {type_}")


def _enum_reader(type_: type[enum.Enum]) -> Callable[[str], enum.Enum]:
    def read(text: str) -> enum.Enum:
        try:
            return type_[text]
        except KeyError:
            raise ValueError(f"{text!r} is not a name in {type_}") from None

    return read
