"""Settings of a file laid over a frozen dataclass, with a sentence for everything that does not fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from ..errors import InputError

SECTIONS = ("model", "training")
Settings = TypeVar("Settings")


def read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """The mappings ``model:`` and ``training:`` of a YAML file; an absent one is empty.

    Raises ``InputError`` for a file that cannot be read, is no such mapping, or has another section.
    """
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"{path} could not be read as a YAML configuration ({error}). Give a text file of 'name: value' lines."
        ) from error
    if not isinstance(document, dict):
        raise InputError(f"{path} is not a YAML mapping. Give a text file of 'name: value' lines.")
    for name, values in document.items():
        if name not in SECTIONS:
            raise InputError(f"{path} has a section '{name}'. Only these are known: {', '.join(SECTIONS)}.")
        if not isinstance(values, dict | None):
            raise InputError(f"The section '{name}' of {path} is {values!r}; give 'name: value' lines under it.")
    return {name: document.get(name) or {} for name in SECTIONS}


def overlay(base: Settings, values: Mapping[str, Any], prefix: str = "") -> Settings:
    """The dataclass ``base`` with ``values`` laid over it, sections within sections.

    Raises ``InputError`` for an unknown name or a value of the wrong type; ``prefix`` stands before a name in it.
    """
    types = get_type_hints(type(base))
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in types:
            raise InputError(f"The configuration has no setting '{prefix}{name}'. Known here: {', '.join(types)}.")
        current = getattr(base, name)
        if not dataclasses.is_dataclass(current):
            changes[name] = _coerced(value, types[name], current, prefix + name)
        elif isinstance(value, dict):
            changes[name] = overlay(current, value, f"{prefix}{name}.")
        else:
            raise InputError(f"The setting '{prefix}{name}' must be a mapping, not {value!r}.")
    return dataclasses.replace(base, **changes)  # type: ignore[type-var]


def _coerced(value: Any, hint: Any, current: Any, name: str) -> Any:
    for kind in get_args(hint) if isinstance(hint, UnionType) else (hint,):
        if get_origin(kind) is tuple and isinstance(value, list | tuple):
            return tuple(_coerced(item, get_args(kind)[0], current, name) for item in value)
        if kind is float:
            number = _number(value)
            if number is not None:
                return number
        elif type(value) is kind:
            return value
    raise InputError(f"The setting '{name}' is {value!r}; it must be like its default {current!r}.")


def _number(value: Any) -> float | None:
    """YAML reads 1e-4, without a point, as text; it is taken as the number that it is meant to be."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
