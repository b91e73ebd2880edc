"""Which scans of a LUMIERE patient belong to one operation, by the expert ratings (datasets.md, "Pairing rule")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .clinical_table import ClinicalTable, known

SAME_OPERATION_WEEKS = 8
"""A Post-Op scan this much later than the first one of an operation may follow another operation."""

Role = Literal["pre", "post", "rated", "unrated", "contradictory"]


@dataclass(frozen=True, order=True)
class Timepoint:
    """A study: the week, and which of several in one week (0 where it is the only one)."""

    week: int
    suffix: int = 0

    @classmethod
    def parse(cls, text: str) -> Timepoint | None:
        """The study that "week-000-1" names; ``None`` for anything else."""
        match = re.fullmatch(r"week[-_ ]?(\d+)(?:[-_ ](\d+))?", text.strip(), re.IGNORECASE)
        return cls(int(match[1]), int(match[2] or 0)) if match else None

    def __str__(self) -> str:
        return f"week-{self.week:03d}" + (f"-{self.suffix}" if self.suffix else "")


@dataclass(frozen=True)
class RatedScan:
    """What the rating table says of one study; ``extent`` is CRET or PRET where an expert named it."""

    when: Timepoint
    role: Role
    ratings: tuple[str, ...]
    extent: str | None = None


@dataclass(frozen=True)
class Operation:
    """One operation: the studies that may stand for before and after it, best first, or the ``problem`` with it.

    ``recurrence``: it was not the first, so the tumour mask before it may hold the cavity of an earlier one.
    """

    number: int
    before: tuple[RatedScan, ...] = ()
    after: tuple[RatedScan, ...] = ()
    recurrence: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class PatientRatings:
    """A patient's studies in order of time, and what was odd about the rows."""

    scans: tuple[RatedScan, ...]
    notes: tuple[str, ...]


def ratings_of(table: ClinicalTable) -> dict[int, PatientRatings]:
    """The rated studies by the patient's number; raises ``InputError`` when a column is missing."""
    patient, when = table.needed("patient"), table.needed("date", "timepoint")
    rating, why = table.needed("rating", but_not="rating rationale"), table.column("rating rationale")
    rows: dict[int, dict[Timepoint, list[tuple[str, str]]]] = {}
    notes: dict[int, list[str]] = {}
    for row in table.rows:
        digits = re.search(r"\d+", row.get(patient, ""))
        if digits is None:
            continue
        studies, odd = rows.setdefault(int(digits[0]), {}), notes.setdefault(int(digits[0]), [])
        time = Timepoint.parse(row.get(when, ""))
        if time is None:
            odd.append(f"a rating row names no week ({row.get(when, '')!r})")
        else:
            studies.setdefault(time, []).append((row.get(rating, ""), row.get(why, "") if why else ""))
    return {
        number: _patient({time: _scan(time, cells) for time, cells in studies.items()}, notes[number])
        for number, studies in rows.items()
    }


def operations_of(scans: Sequence[RatedScan]) -> tuple[Operation, ...]:
    """The operations of one patient, from his studies in order of time."""
    operations: list[Operation] = []
    waiting: list[RatedScan] = []
    after: list[RatedScan] = []
    for scan in scans:
        if scan.role == "unrated":
            continue
        if scan.role != "post":
            waiting, after = [*([] if after else waiting), scan], []
        elif after and scan.when.week - after[0].when.week <= SAME_OPERATION_WEEKS:
            after.append(scan)
            operations[-1] = _operation(operations[:-1], waiting, after)
        else:
            waiting, after = ([] if after else waiting), [scan]
            operations.append(_operation(operations, waiting, after))
    return tuple(operations)


def role_of(rating: str) -> Role:
    """What a rating says about when the scan was made."""
    text = (known(rating) or "").lower()
    before, after = re.search(r"\bpre-?\s?op", text), re.search(r"\bpost-?\s?op", text)
    if before and after:
        return "contradictory"
    if not text:
        return "unrated"
    return "pre" if before else "post" if after else "rated"


def _patient(studies: dict[Timepoint, RatedScan], notes: list[str]) -> PatientRatings:
    scans = tuple(studies[time] for time in sorted(studies))
    odd = [
        f"contradictory rows at {scan.when}: {' and '.join(scan.ratings)}" for scan in scans if _is_contradictory(scan)
    ]
    return PatientRatings(scans, (*notes, *odd))


def _scan(when: Timepoint, cells: Sequence[tuple[str, str]]) -> RatedScan:
    """One study from all its rows: rows that tell different things about surgery contradict each other."""
    roles = {role_of(rating) for rating, _ in cells} - {"unrated"}
    role: Role = "unrated" if not roles else roles.pop() if len(roles) == 1 else "contradictory"
    extents = {found for _, why in cells for found in re.findall(r"\b(CRET|PRET)\b", why.upper())}
    ratings = tuple(dict.fromkeys(known(rating) or "no rating" for rating, _ in cells))
    return RatedScan(when, role, ratings, extents.pop() if len(extents) == 1 else None)


def _operation(earlier: Sequence[Operation], waiting: Sequence[RatedScan], after: Sequence[RatedScan]) -> Operation:
    number = len(earlier) + 1
    before = _directly_before(waiting)
    problem = None
    if not waiting:
        problem = f"no scan before the Post-Op scan of {after[0].when}"
    elif _is_contradictory(waiting[-1]):
        problem = f"contradictory rows at {waiting[-1].when} ({' and '.join(waiting[-1].ratings)})"
    elif not before and number == 1:
        problem = _why_not_first(waiting, after[0])
    return Operation(number, before or tuple(waiting[-1:]), tuple(after), number > 1, problem)


def _directly_before(waiting: Sequence[RatedScan]) -> tuple[RatedScan, ...]:
    """The Pre-Op scans that no other rated scan follows, the first of them first."""
    count = 0
    while count < len(waiting) and waiting[-1 - count].role == "pre":
        count += 1
    return tuple(waiting[len(waiting) - count :])


def _why_not_first(waiting: Sequence[RatedScan], after: RatedScan) -> str:
    if not any(scan.role == "pre" for scan in waiting):
        return f"no Pre-Op row before the Post-Op scan of {after.when}"
    between = waiting[-1]
    return f"contradictory rows: {between.when} ({' and '.join(between.ratings)}) lies between Pre-Op and Post-Op"


def _is_contradictory(scan: RatedScan) -> bool:
    return scan.role == "contradictory"
