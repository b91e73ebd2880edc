"""Every row on every case: predict, measure, remember; what was measured before is read from the cache."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..cases.library import LibraryCase
from ..prediction.instruction import Instruction
from ..progress import Progress
from .measures import CaseMeasures, measure
from .metrics import PerceptualDistance
from .pools import Pool, Precedent, PrecedentFinder, Retrieval, allowed_cases
from .query_case import QueryCase
from .result_cache import ResultCache
from .rows import Row


@dataclass(frozen=True)
class Bench:
    """What all rows share. ``cases``: those of the whole library that may be precedents; ``finders``: how one is
    chosen."""

    cases: Sequence[LibraryCase]
    finders: Mapping[Retrieval, PrecedentFinder]
    sequence: str
    stride: int
    cache: ResultCache
    perceptual: PerceptualDistance | None = None

    def measure_all(
        self, rows: Sequence[Row], queries: Sequence[LibraryCase], progress: Progress
    ) -> dict[str, dict[str, CaseMeasures]]:
        """Row key -> case id -> measures, for every row and query. ``progress.step`` may raise to cancel: what is
        done stays cached."""
        progress.stage("Evaluating the test patients")
        results: dict[str, dict[str, CaseMeasures]] = {row.key: {} for row in rows}
        for number, query in enumerate(queries):
            session = _CaseSession(self, query)
            for position, row in enumerate(rows):
                progress.step(number * len(rows) + position, len(rows) * len(queries))
                results[row.key][query.case_id] = self.cache.read(row, query.case_id) or session.measured(row)
        progress.step(1, 1)
        return results

    def unmeasured(self, rows: Sequence[Row], queries: Sequence[LibraryCase]) -> list[LibraryCase]:
        """The queries of which a row is not in the cache."""
        return [query for query in queries if any(self.cache.read(row, query.case_id) is None for row in rows)]


class _CaseSession:
    """One query while its rows are worked through: its volumes and its precedents are read once, and only when a row
    needs them."""

    def __init__(self, bench: Bench, query: LibraryCase) -> None:
        self._bench = bench
        self._query = query
        self._case: QueryCase | None = None
        self._precedents: dict[tuple[Retrieval, Pool], tuple[Precedent, Instruction] | None] = {}

    def measured(self, row: Row) -> CaseMeasures:
        if self._case is None:
            self._case = QueryCase.of(self._query, self._bench.sequence, self._bench.stride)
        found = self._precedent(self._case, row)
        start = time.perf_counter()
        answer = row.system.predict_case(self._case, found[1] if found else None)
        seconds = round(time.perf_counter() - start, 3)
        case_id, iou = (found[0].case.case_id, round(found[0].iou, 4)) if found else (None, None)
        measures = measure(answer, self._case, seconds, self._bench.perceptual, case_id, iou)
        z = self._case.picture_slice
        self._bench.cache.write(row, self._query.case_id, measures, answer.image[z] * (self._case.brain[z] > 0))
        return measures

    def _precedent(self, case: QueryCase, row: Row) -> tuple[Precedent, Instruction] | None:
        if row.retrieval is None or row.pool is None:
            return None
        key = (row.retrieval, row.pool)
        if key not in self._precedents:
            allowed = allowed_cases(self._bench.cases, self._query, row.pool)
            found = self._bench.finders[row.retrieval](case, allowed) if allowed else None
            self._precedents[key] = (found, found.instruction(case.sequence)) if found else None
        return self._precedents[key]
