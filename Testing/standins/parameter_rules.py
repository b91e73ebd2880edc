"""Annotations of a parameter: its default and what values it takes."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any


class Default:
    """The value a parameter begins with; ``generator`` makes a new one each time."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value = value
        self._generator = generator

    @property
    def value(self) -> Any:
        """The value to begin with."""
        return self._generator() if self._generator else self._value


class Validator:
    """Base of the rules: ``validate`` raises ValueError (or TypeError) for what is not allowed."""

    def validate(self, value: Any) -> None:
        """Raise when ``value`` is not allowed."""
        raise NotImplementedError


class WithinRange(Validator):
    """Both ends belong to the range."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within [{self.minimum}, {self.maximum}]")


class Minimum(Validator):
    """Not less than ``minimum``."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is less than {self.minimum}")


class Maximum(Validator):
    """Not more than ``maximum``."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is more than {self.maximum}")


class Choice(Validator):
    """One of ``choices``."""

    def __init__(self, choices: Container[Any]) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is not one of {self.choices}")


class NotNone(Validator):
    """Something must be given."""

    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("a value is needed")


class IsInstance(Validator):
    """None, or a value of the class or classes."""

    def __init__(self, classtype: Any) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"{value!r} is a {type(value).__name__}, not a {self.classtype}")
