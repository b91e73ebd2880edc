"""One line of a client: which plan, which slice; or that it is enough."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...imaging.grid import WORKING_GRID
from ...job_options import request_from_options
from ..plan_request import PlanRequest

LARGEST_ID = 2**53


@dataclass(frozen=True)
class SliceRequest:
    """``slice``: index along z of WORKING_GRID; ``plan`` None: as predicted without one."""

    id: int
    slice: int
    plan: PlanRequest | None = None


@dataclass(frozen=True)
class Quit:
    """The client has had enough."""


@dataclass(frozen=True)
class Refusal:
    """A request that cannot be served; ``id`` None where the line did not tell one."""

    id: int | None
    message: str


def read_requests(lines: Sequence[bytes], folder: Path) -> tuple[list[Refusal], SliceRequest | Quit | None]:
    """What cannot be understood, and the newest request among the rest; a ``Quit`` wins over all."""
    refused: list[Refusal] = []
    newest: SliceRequest | Quit | None = None
    for line in lines:
        if not line.strip():
            continue
        found = read_request(line, folder)
        if isinstance(found, Refusal):
            refused.append(found)
        elif not isinstance(newest, Quit):
            newest = found
    return refused, newest


def read_request(line: bytes, folder: Path) -> SliceRequest | Quit | Refusal:
    """Read one line; relative paths in it start at ``folder``."""
    try:
        content = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return Refusal(None, f"A request is not valid JSON ({str(error)[:200]}). Write one object on one line.")
    if not isinstance(content, dict):
        return Refusal(None, "A request is no JSON object. Write {id, plan, slice} or {quit: true}.")
    number = content.get("id")
    known_id = number if type(number) is int and 0 <= number <= LARGEST_ID else None
    try:
        return _request_of(content, known_id, folder)
    except InputError as error:
        return Refusal(known_id, str(error))


def _request_of(content: dict[str, Any], number: int | None, folder: Path) -> SliceRequest | Quit:
    if content.get("quit") is True:
        return Quit()
    unknown = sorted(set(content) - {"id", "plan", "slice", "quit"})
    if unknown:
        raise InputError(f"A request names {', '.join(unknown)[:100]}, which none has. It is {{id, plan, slice}}.")
    if number is None:
        raise InputError("A request has no id. Give a whole number from 0 on, so that the answer can be told apart.")
    plan = content.get("plan")
    if plan is not None and not isinstance(plan, dict):
        raise InputError("The plan of a request is no JSON object. Write {margin_mm: 5}, or null for none.")
    made = None if plan is None else request_from_options(PlanRequest, plan, folder)
    return SliceRequest(number, _slice_of(content.get("slice")), made)


def _slice_of(value: object) -> int:
    deepest = WORKING_GRID.shape[0] - 1
    if type(value) is not int or not 0 <= value <= deepest:
        raise InputError(f"The slice is {str(value)[:60]!r}; give a whole number from 0 to {deepest}.")
    return value
