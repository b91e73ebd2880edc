"""What a benchmark found, before it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..cases.library import LibraryCase
from ..evaluation.summary import CohortSummary, Results, RowSummary
from .comparison import Comparison, comparisons
from .cost import Cost
from .entries import PAPER, SHIPPED, TRIAL
from .strata import RetrievalGain, Stratum, audit, retrieval_gain
from .trained_rows import BenchmarkRow

GAIN_METRIC = "ssim_peri"


@dataclass(frozen=True)
class NamedRow:
    """A row of the tables with its figures and what it costs (None for the trivial ones)."""

    row: BenchmarkRow
    summary: RowSummary
    cost: Cost | None

    @property
    def tables(self) -> tuple[int, ...]:
        """The tables it stands in; the trivial rows in the first."""
        return self.row.entry.tables if self.row.entry is not None else (1,)


@dataclass(frozen=True)
class BenchmarkCohort:
    """All figures of one kind of patients. ``audited``: the title of the row that the bias audit is about."""

    cohort: CohortSummary
    rows: Sequence[NamedRow]
    comparisons: Mapping[int, Sequence[Comparison]]
    gains: Sequence[RetrievalGain]
    audited: str
    audit: Sequence[Stratum]

    def table(self, number: int) -> list[NamedRow]:
        """The rows of table 1, 2 or 3, which is there only when there are trials."""
        return _table(self.rows, number)


@dataclass(frozen=True)
class BenchmarkResult:
    """``setting``: what was trained and asked how, in words, for the page; ``provenance``: the same for machines."""

    cohorts: Sequence[BenchmarkCohort]
    setting: Mapping[str, str]
    provenance: Mapping[str, Any]
    not_available: Mapping[str, str]
    left_out: int


def benchmark_cohort(
    cohort: CohortSummary,
    rows: Sequence[BenchmarkRow],
    costs: Mapping[str, Cost],
    results: Results,
    queries: Sequence[LibraryCase],
    resamples: int,
    seed: int,
) -> BenchmarkCohort:
    """Compare, stratify and audit one kind of patients; ``costs``: a row's title -> cost."""
    named = [NamedRow(row, summary, costs.get(row.title)) for row, summary in zip(rows, cohort.rows, strict=True)]
    compared = {
        number: _against(reference, _table(named, number), resamples, seed)
        for number, reference in (
            (1, _reference(named, SHIPPED, PAPER)),
            (2, _reference(named, PAPER)),
            (3, _reference(named, SHIPPED)),
        )
        if reference is not None
    }
    audited = _reference(named, SHIPPED, PAPER)
    own = [query for query in queries if query.source == cohort.source]
    return BenchmarkCohort(
        cohort,
        named,
        compared,
        _gains(named, results, {query.case_id: query.patient_id for query in own}, resamples, seed),
        audited.row.title if audited else "",
        audit(own, audited.summary.patients, resamples, seed) if audited else [],
    )


def _table(rows: Sequence[NamedRow], number: int) -> list[NamedRow]:
    found = [row for row in rows if number in row.tables]
    if number == 3 and not any(row.row.entry is not None and row.row.entry.kind == TRIAL for row in found):
        return []
    return found


def _reference(rows: Sequence[NamedRow], *kinds: str) -> NamedRow | None:
    for kind in kinds:
        for row in rows:
            if row.row.entry is not None and row.row.entry.kind == kind:
                return row
    return None


def _against(reference: NamedRow, rows: Sequence[NamedRow], resamples: int, seed: int) -> list[Comparison]:
    others = [(row.row.title, row.summary) for row in rows if row is not reference]
    return comparisons((reference.row.title, reference.summary), others, resamples, seed)


def _gains(
    rows: Sequence[NamedRow], results: Results, patient_of: Mapping[str, str], resamples: int, seed: int
) -> list[RetrievalGain]:
    """Of each of our two forms over the copy, and of the paper's over itself with random retrieval."""
    by_key = {
        row.row.entry.key if row.row.entry else row.row.title: row.row
        for row in rows
        if row.row.entry is None or row.row.entry.kind != TRIAL
    }
    pairs = [("paper", "copy of pre-op"), ("ours", "copy of pre-op"), ("paper", "random-retrieval")]
    return [
        retrieval_gain(
            (by_key[first].title, by_key[second].title),
            (results[by_key[first].row.key], results[by_key[second].row.key]),
            patient_of,
            GAIN_METRIC,
            resamples,
            seed,
        )
        for first, second in pairs
        if first in by_key and second in by_key
    ]
