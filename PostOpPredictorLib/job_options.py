"""Fills a command's request dataclass from the ``options`` of a job; what does not fit is refused with a sentence."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from .errors import InputError

Request = TypeVar("Request")


def request_from_options(request_type: type[Request], options: Mapping[str, Any], folder: Path) -> Request:
    """Return ``request_type`` filled from plain JSON values.

    Understood field types: str, int, float, bool, Path (relative ones start at ``folder``), Enum by value, Literal,
    ``X | None``, list, tuple, frozenset and dict of these, nested dataclasses.
    Raises ``InputError`` for an unknown, a missing or an ill-typed option.
    """
    return _dataclass_from(request_type, options, folder, where="")


def _dataclass_from(kind: type[Any], options: Mapping[str, Any], folder: Path, where: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for name in options:
        if name not in fields:
            raise InputError(_unknown_option(f"{where}{name}", name, list(fields)))
    for field in fields.values():
        if field.name not in options and _is_required(field):
            raise InputError(f"The option {where}{field.name} is missing. Add it to the options of the job.")
    hints = typing.get_type_hints(kind)
    values = {name: _value(hints[name], value, folder, f"{where}{name}") for name, value in options.items()}
    return kind(**values)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _unknown_option(full_name: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    advice = f"Did you mean {near[0]}?" if near else f"Possible are {', '.join(known) or 'none'}."
    return f"The option {full_name} is not known. {advice}"


def _value(kind: Any, value: Any, folder: Path, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(typing.get_args(kind), value, folder, where)
    if origin is typing.Annotated:
        return _value(typing.get_args(kind)[0], value, folder, where)
    if origin is typing.Literal:
        return _choice({item: item for item in typing.get_args(kind)}, value, where)
    if origin is not None:
        return _collection(origin, typing.get_args(kind), value, folder, where)
    if kind in (Any, object):
        return value
    if kind in (list, tuple, frozenset, dict):
        return _collection(kind, (), value, folder, where)
    if dataclasses.is_dataclass(kind):
        return _dataclass_from(typing.cast(type, kind), _expect(dict, value, where), folder, f"{where}.")
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _choice({member.value: member for member in kind}, value, where)
    return _scalar(kind, value, folder, where)


def _one_of(kinds: tuple[Any, ...], value: Any, folder: Path, where: str) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    failure: InputError | None = None
    for kind in (kind for kind in kinds if kind is not types.NoneType):
        try:
            return _value(kind, value, folder, where)
        except InputError as error:
            failure = failure or error
    raise failure or InputError(f"The option {where} must be null. Remove it.")


def _choice(choices: Mapping[Any, Any], value: Any, where: str) -> Any:
    # By type too: true would otherwise be found under 1.
    for name, member in choices.items():
        if type(name) is type(value) and name == value:
            return member
    known = ", ".join(str(name) for name in choices)
    raise InputError(f"The option {where} is {_shown(value)}, which is none of {known}. Choose one of these.")


def _collection(origin: Any, parts: tuple[Any, ...], value: Any, folder: Path, where: str) -> Any:
    if issubclass(origin, Mapping):
        item_kind = parts[1] if len(parts) == 2 else Any
        items = _expect(dict, value, where).items()
        return {key: _value(item_kind, item, folder, f"{where}.{key}") for key, item in items}
    values = _expect(list, value, where)
    kinds = list(parts) if origin is tuple and parts and parts[-1] is not Ellipsis else None
    if kinds is not None and len(kinds) != len(values):
        raise InputError(f"The option {where} needs {len(kinds)} values, not {len(values)}. Give exactly that many.")
    kinds = kinds or [parts[0] if parts else Any] * len(values)
    made = [
        _value(kind, item, folder, f"{where}[{place}]")
        for place, (kind, item) in enumerate(zip(kinds, values, strict=True))
    ]
    return origin(made) if origin in (tuple, frozenset, set) else made


def _scalar(kind: Any, value: Any, folder: Path, where: str) -> Any:
    if kind is Path:
        text = _expect(str, value, where)
        if not text or "\0" in text:
            raise InputError(f"The option {where} is no path: it is {_shown(value)}. Name a file or a folder.")
        return folder / Path(text).expanduser()
    if kind is float and type(value) is int:
        return float(value)
    if kind in (str, int, float, bool):
        return _expect(kind, value, where)
    raise InputError(f"The option {where} cannot be given in a job file. Use the command line for it.")


_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


def _expect(kind: type, value: Any, where: str) -> Any:
    # Not isinstance: True is an int to Python, not to a person who wrote the job.
    if type(value) is not kind:
        raise InputError(f"The option {where} must be {_WORDS[kind]}, but is {_shown(value)}. Correct it in the job.")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
