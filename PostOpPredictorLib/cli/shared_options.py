"""Options that several commands have are written once, in the signature of a function that uses them."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Collection
from typing import Any, TypeVar, get_type_hints

Result = TypeVar("Result")


def with_options_of(
    function: Callable[..., Any], leave_out: Collection[str] = ()
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Decorates a command ``f(own options, **options)``: typer sees its own options and those of ``function``.

    What the user gives of the latter arrives in ``options``; ``leave_out`` names those that the command does not have.
    Help shows the command's own required options first and its own others last.
    """

    def decorate(command: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(command)
        def wrapped(**given: Any) -> Result:
            return command(**given)

        own = _parameters(command)
        shared = {name: p for name, p in _parameters(function).items() if name not in own and name not in leave_out}
        needed = {name: p for name, p in own.items() if p.default is inspect.Parameter.empty}
        parameters = {**needed, **shared, **{name: p for name, p in own.items() if name not in needed}}
        wrapped.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        wrapped.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
        return wrapped

    return decorate


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Its named parameters with their types evaluated, all to be given by name."""
    named = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    # Without the type that is returned: it may be one that is imported only when the function runs.
    told = types.SimpleNamespace(__annotations__={name: parameter.annotation for name, parameter in named.items()})
    hints = get_type_hints(told, inspect.unwrap(function).__globals__, include_extras=True)
    return {
        name: parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in named.items()
    }
