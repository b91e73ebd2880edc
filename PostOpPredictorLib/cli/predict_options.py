"""Options of ``postop predict`` that say several things at once, such as ``--plan NAME=margin:5``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from ..prediction.plan_request import PlanRequest, SpareRequest, StructureRequest

PLAN_EXAMPLES = "NAME=margin:5, NAME=plan.nii.gz or NAME=margin:3,spare:motor.nii.gz:10"


def plan_from(text: str) -> PlanRequest:
    """``NAME=margin:MM`` or ``NAME=FILE``, each followed by ``,spare:FILE:MM`` as often as wanted (MM: 0 if left out).

    Raises ``InputError`` with what is wrong with ``text``.
    """
    from ..prediction.plan_request import PlanRequest

    name, what = _named(text, "--plan", PLAN_EXAMPLES)
    taken, *spared = re.split(r",\s*(?=spare:)", what)
    spare = tuple(_spare_from(part.removeprefix("spare:"), text) for part in spared)
    if not taken or taken.startswith("spare:"):
        raise InputError(f"--plan {text} does not say what is taken. Write {PLAN_EXAMPLES}.")
    if not taken.startswith("margin:"):
        return PlanRequest(name, mask=Path(taken).expanduser(), spare=spare)
    return PlanRequest(name, margin_mm=_millimetres(taken.removeprefix("margin:"), text), spare=spare)


def structure_from(text: str) -> StructureRequest:
    """``NAME=FILE``. Raises ``InputError``."""
    from ..prediction.plan_request import StructureRequest

    name, file = _named(text, "--structure", "NAME=FILE")
    return StructureRequest(name, Path(file).expanduser())


def further_scans(texts: Sequence[str], sequences: Sequence[str]) -> dict[str, Path]:
    """``SEQUENCE=FILE`` for each of ``texts``. Raises ``InputError`` for an unknown sequence or one twice."""
    scans: dict[str, Path] = {}
    for text in texts:
        sequence, file = _named(text, "--more", "SEQUENCE=FILE")
        if sequence not in sequences:
            raise InputError(f"--more {text} names no sequence that is known. Possible are {', '.join(sequences)}.")
        if sequence in scans:
            raise InputError(f"--more names {sequence} twice. Give one scan of each sequence.")
        scans[sequence] = Path(file).expanduser()
    return scans


def days_from(texts: Sequence[str]) -> tuple[float, ...]:
    """Days as ``1,30,90``, of each of ``texts``. Raises ``InputError`` for what is no number."""
    days: list[float] = []
    for text in texts:
        try:
            days += [float(part) for part in text.split(",") if part.strip()]
        except ValueError:
            raise InputError(
                f"--series {text} is no list of days. Write the days with commas, such as 1,30,90."
            ) from None
    return tuple(days)


def _spare_from(text: str, whole: str) -> SpareRequest:
    from ..prediction.plan_request import SpareRequest

    match = re.fullmatch(r"(.*):([-+.\d]+)", text)
    file, distance = match.groups() if match else (text, "0")
    if not file:
        raise InputError(f"--plan {whole} does not say which mask is to be spared. Write spare:FILE:MM.")
    return SpareRequest(Path(file).expanduser(), _millimetres(distance, whole))


def _millimetres(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"'{text}' in --plan {whole} is no number of millimetres. Write {PLAN_EXAMPLES}.") from None


def _named(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, rest = (part.strip() for part in text.partition("="))
    if not (name and equals and rest):
        raise InputError(f"{option} {text} is not understood. Write {option} {example}.")
    return name, rest
