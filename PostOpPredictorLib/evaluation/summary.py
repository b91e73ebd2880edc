"""From measured cases to the figures of the table: means over patients with intervals, and paired differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .bootstrap import Interval, mean_interval, paired_interval, pooled_interval
from .measures import CaseMeasures, Value
from .metrics import METRICS, Metric
from .pools import Pool, Retrieval
from .rows import OURS, TRIVIAL, Row

Results = Mapping[str, Mapping[str, CaseMeasures]]
"""Row key -> case id -> measures."""


@dataclass(frozen=True)
class RowSummary:
    """``over_patients``: metric -> mean of one value per patient; ``over_slices``: mean of all slices, intervals
    still over patients."""

    row: Row
    patients: dict[str, dict[str, Value]]
    over_patients: dict[str, Interval]
    over_slices: dict[str, Interval]
    seconds_per_case: float
    without_precedent: int


@dataclass(frozen=True)
class Difference:
    """First minus second, paired by patient. For a metric that is best at 1 it is the difference of the distances to
    1."""

    question: str
    metric: Metric
    first: str
    second: str
    interval: Interval

    @property
    def verdict(self) -> str:
        """ "better", "worse" (the interval excludes 0) or "no difference shown", for the first system."""
        if not self.interval.excludes_zero:
            return "no difference shown"
        return "better" if self.interval.mean * (self.metric.better or -1) > 0 else "worse"


@dataclass(frozen=True)
class CohortSummary:
    """All figures of one kind of patients ("phantom", "semi-real" or "real").

    ``proxy_cavities``: cases whose true cavity was derived, because their data set has no label for it.
    """

    source: str
    patients: int
    cases: int
    slices: int
    institutions: int
    rows: list[RowSummary]
    differences: list[Difference]
    proxy_cavities: int = 0

    @property
    def simulated(self) -> bool:
        """Whether the operations are simulated; those of imported pairs are not."""
        return self.source != "real"


def summarise_row(
    row: Row, measured: Mapping[str, CaseMeasures], patient_of: Mapping[str, str], resamples: int, seed: int
) -> RowSummary:
    """Values per patient (mean of the patient's cases) and their intervals."""
    cases: dict[str, list[CaseMeasures]] = defaultdict(list)
    for case_id in sorted(measured):
        cases[patient_of[case_id]].append(measured[case_id])
    patients = {
        patient: {metric.key: _mean(case.value(metric.key) for case in own) for metric in METRICS}
        for patient, own in sorted(cases.items())
    }
    over_patients, over_slices = {}, {}
    for metric in METRICS:
        values = [patients[patient][metric.key] for patient in patients]
        if interval := mean_interval(values, resamples=resamples, seed=seed):
            over_patients[metric.key] = interval
        slices = [
            [v for case in own for v in case.per_slice.get(metric.key, []) if v is not None] for own in cases.values()
        ]
        if interval := pooled_interval(slices, resamples=resamples, seed=seed):
            over_slices[metric.key] = interval
    seconds = sum(case.seconds for case in measured.values()) / max(len(measured), 1)
    lonely = sum(case.precedent is None for case in measured.values()) if row.retrieval is not None else 0
    return RowSummary(row, patients, over_patients, over_slices, seconds, lonely)


def differences(rows: Sequence[RowSummary], resamples: int, seed: int) -> list[Difference]:
    """Ours against the best trivial row of the same pool; guided against random; own institution against the whole
    library."""
    found: list[Difference] = []
    options = {"resamples": resamples, "seed": seed}
    for ours in (row for row in rows if row.row.kind == OURS and row.row.retrieval is Retrieval.GUIDED):
        trivial = [row for row in rows if row.row.kind == TRIVIAL and row.row.pool in (None, ours.row.pool)]
        for metric in METRICS:
            if best := _best(trivial, metric):
                found += _difference("ours - best trivial", metric, ours, best, options)
    for question, other_of in (
        ("guided - random", _its_random),
        ("own institution - whole library", _its_whole_library),
    ):
        for first in rows:
            if second := other_of(first, rows):
                found += [item for metric in METRICS for item in _difference(question, metric, first, second, options)]
    return found


def _its_random(row: RowSummary, rows: Sequence[RowSummary]) -> RowSummary | None:
    if row.row.retrieval is not Retrieval.GUIDED or row.row.kind not in (OURS, TRIVIAL):
        return None
    return _matching(rows, row.row.same_but(Retrieval.RANDOM))


def _its_whole_library(row: RowSummary, rows: Sequence[RowSummary]) -> RowSummary | None:
    if row.row.kind != OURS or row.row.retrieval is not Retrieval.GUIDED or row.row.pool is not Pool.OWN:
        return None
    return _matching(rows, row.row.same_but(Retrieval.GUIDED, Pool.WHOLE))


def _matching(rows: Sequence[RowSummary], wanted: tuple[str, Retrieval | None, Pool | None]) -> RowSummary | None:
    return next((item for item in rows if (item.row.system.name, item.row.retrieval, item.row.pool) == wanted), None)


def _best(rows: Sequence[RowSummary], metric: Metric) -> RowSummary | None:
    measured = [row for row in rows if metric.key in row.over_patients]
    return max(measured, key=lambda row: metric.gain(row.over_patients[metric.key].mean), default=None)


def _difference(
    question: str, metric: Metric, first: RowSummary, second: RowSummary, options: dict[str, int]
) -> list[Difference]:
    columns = [
        [_comparable(metric, row.patients[patient][metric.key]) for patient in first.patients]
        for row in (first, second)
    ]
    interval = paired_interval(columns[0], columns[1], **options)
    return [Difference(question, metric, first.row.title, second.row.title, interval)] if interval else []


def _comparable(metric: Metric, value: Value) -> Value:
    return abs(value - 1.0) if metric.better == 0 and value is not None else value


def _mean(values: Iterable[Value]) -> Value:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
