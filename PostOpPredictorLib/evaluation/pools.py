"""From which cases a precedent may come, and which one is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..cases.library import CaseLibrary, LibraryCase
from ..prediction.instruction import Instruction
from ..prediction.outcome_volume import tumour_core
from ..prediction.precedents import Precedents
from ..retrieval.query import Query
from ..retrieval.strategies import RetrievalStrategy
from .query_case import SMALLEST_CORE_PX, QueryCase


class Pool(StrEnum):
    """Test patients belong to institutions that training has never seen."""

    OWN = "own institution"
    WHOLE = "whole library"


class Retrieval(StrEnum):
    """How a precedent is chosen within its pool."""

    GUIDED = "guided"
    RANDOM = "random"
    IMAGE = "by image"
    SLICES = "guided, each slice its own"


@dataclass(frozen=True)
class Precedent:
    """The chosen case and the IoU of its tumour core with the query's, whole volume."""

    case: LibraryCase
    iou: float

    def instruction(self, sequence: str) -> Instruction:
        """What a system is shown of it. Raises ``LibraryError`` when the case has no scan of ``sequence``."""
        return Instruction.of_case(self.case, sequence)


@dataclass(frozen=True)
class PrecedentBySlice(Precedent):
    """Every slice its own case, as in the paper. ``case``: the one of the most slices, ``iou``: its own."""

    found: Precedents

    def instruction(self, sequence: str) -> Instruction:
        shown = self.found.instruction()
        assert shown is not None
        return shown


@dataclass(frozen=True)
class OperatedSlices(Precedent):
    """A case that was not chosen for where its tumour lies, and would at the query's heights often show a pair in
    which nothing was operated: its tumour is laid over the height of ``query_core`` (z, y, x), the query's."""

    query_core: NDArray[np.bool_]

    def instruction(self, sequence: str) -> Instruction:
        whole = Instruction.of_case(self.case, sequence)
        levels = operated_levels(self.query_core, tumour_core(whole.tumour))
        shown = {name: getattr(whole, name)[levels] for name in ("pre", "post", "tumour", "outcome")}
        return replace(whole, **shown)


def operated_levels(query_core: NDArray[np.bool_], case_core: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For each slice of the query one of the case, from the lowest of the one tumour to the highest of the other.

    Both (z, y, x); of the case only slices with ``SMALLEST_CORE_PX`` of core count, where there are such.
    """
    area = case_core.sum(axis=(1, 2))
    held = np.flatnonzero(area >= min(SMALLEST_CORE_PX, area.max()))
    own = np.flatnonzero(query_core.any(axis=(1, 2)))
    place = (np.arange(len(query_core)) - own[0]) / max(own[-1] - own[0], 1)
    return held[np.round(place.clip(0, 1) * (len(held) - 1)).astype(np.intp)]


class PrecedentFinder(Protocol):
    """Chooses among ``allowed`` case ids; ``None`` when nothing is similar. Tests pass fakes."""

    def __call__(self, case: QueryCase, allowed: frozenset[str]) -> Precedent | None: ...


def allowed_cases(cases: Sequence[LibraryCase], query: LibraryCase, pool: Pool) -> frozenset[str]:
    """The ids of those ``cases`` that may instruct ``query``: never one of its own patient; an unknown institution is
    nobody's own."""
    return frozenset(
        case.case_id
        for case in cases
        if case.patient_id != query.patient_id
        and case.case_id != query.case_id
        and (pool is Pool.WHOLE or (query.institution != "" and case.institution == query.institution))
    )


class BestPrecedent:
    """The first case that a retrieval strategy ranks, as ``postop predict`` takes it (k = 1)."""

    def __init__(self, cases: Sequence[LibraryCase], strategy: RetrievalStrategy) -> None:
        self._cases = {case.case_id: case for case in cases}
        self._strategy = strategy

    def __call__(self, case: QueryCase, allowed: frozenset[str]) -> Precedent | None:
        found = self._strategy.rank(_query_of(case), 1, allowed)
        return Precedent(self._cases[found[0].case_id], found[0].iou) if found else None


class WhereOperated:
    """The precedent of another finder, whose tumour is laid over the height of the query's."""

    def __init__(self, finder: PrecedentFinder) -> None:
        self._finder = finder

    def __call__(self, case: QueryCase, allowed: frozenset[str]) -> OperatedSlices | None:
        found = self._finder(case, allowed)
        return OperatedSlices(found.case, found.iou, case.core) if found else None


class BestPerSlice:
    """The most similar case of every slice, from a strategy that ranks by slice (``postop predict --per slice``)."""

    def __init__(self, library: CaseLibrary, strategy: RetrievalStrategy) -> None:
        self._library = library
        self._strategy = strategy

    def __call__(self, case: QueryCase, allowed: frozenset[str]) -> PrecedentBySlice | None:
        matches = tuple(self._strategy.rank(_query_of(case), 1, allowed))
        found = Precedents(self._library, case.sequence, matches, by_slice=True)
        return PrecedentBySlice(found.best, matches[0].iou, found) if found.best is not None else None


def _query_of(case: QueryCase) -> Query:
    return Query(tumour=case.core, pre=case.pre, own_case_id=case.case.case_id, own_patient_id=case.case.patient_id)
