"""Figures as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def figureText(values: Mapping[str, Any], name: str, text: str) -> str:
    """One figure for people; a dash where it is not known."""
    value = values.get(name)
    return text.format(value=value) if isinstance(value, (int, float)) and value == value else "-"
