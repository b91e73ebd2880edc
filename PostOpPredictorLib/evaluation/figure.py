"""One picture: a few patients from left to right, from top to bottom what was known, what came out, and what each
system said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..cases.library import LibraryCase
from .measuring import Bench
from .query_case import QueryCase
from .summary import CohortSummary

_INCHES = 1.7
SIMULATED = "Simulated patients: nothing here is a real operation"


def draw_figure(
    cohorts: Sequence[CohortSummary],
    bench: Bench,
    queries: Sequence[LibraryCase],
    per_cohort: int,
    target: Path,
    title: str = SIMULATED,
) -> None:
    """Draw the slice with the largest true cavity of ``per_cohort`` patients and write it as PNG.

    Phantom patients only, where there are any: a table is passed on, and the licence of a real scan may forbid that.
    Row 1: scan before surgery with the tumour core outlined; row 2: true outcome with the true cavity outlined; then
    one row per system.
    """
    drawn = [cohort for cohort in cohorts if cohort.source == "phantom"] or cohorts
    shown = [query for cohort in drawn for query in _first_patients(queries, cohort.source, per_cohort)]
    rows = [summary.row for summary in cohorts[0].rows]
    height, width = len(rows) + 2, max(len(shown), 1)
    figure = Figure(figsize=(width * _INCHES + 2.4, height * _INCHES + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(height, width, squeeze=False)
    for label, row_axes in zip(
        [
            "before surgery, tumour core",
            "true outcome (simulated)" if title == SIMULATED else "true outcome",
            *(row.title for row in rows),
        ],
        axes,
        strict=True,
    ):
        row_axes[0].set_ylabel(
            label.replace(", ", "\n").replace(" (", "\n("), fontsize=7, rotation=0, ha="right", va="center"
        )
    for column, query in enumerate(shown):
        _draw_column(axes[:, column], query, bench, [bench.cache.picture(row, query.case_id) for row in rows])
        number = sum(other.source == query.source for other in shown[: column + 1])
        axes[0, column].set_title(f"{query.source} {number}", fontsize=8)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    FigureCanvasAgg(figure)
    figure.savefig(target, format="png", dpi=110)


def _draw_column(axes: np.ndarray, query: LibraryCase, bench: Bench, pictures: Sequence[np.ndarray]) -> None:
    case = QueryCase.of(query, bench.sequence, bench.stride)
    z = case.picture_slice
    _show(axes[0], case.pre[z], case.core[z])
    _show(axes[1], case.post[z] * (case.brain[z] > 0), case.true_cavity[z])
    for axis, picture in zip(axes[2:], pictures, strict=True):
        _show(axis, picture / 255.0, None)


def _show(axis: Axes, picture: np.ndarray, outline: np.ndarray | None) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if outline is not None and outline.any():
        axis.contour(outline, levels=[0.5], colors=["#f2a900"], linewidths=0.8)


def _first_patients(queries: Sequence[LibraryCase], source: str, count: int) -> list[LibraryCase]:
    """One case each of the first patients of a kind."""
    one_case = {query.patient_id: query for query in reversed(queries) if query.source == source}
    return sorted(one_case.values(), key=lambda query: query.case_id)[:count]
