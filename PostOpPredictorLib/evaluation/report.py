"""The evaluation's outputs on disk: markdown for people, JSON with everything, one picture."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..atomic_files import whole_file
from ..cases.library import LibraryCase
from .bootstrap import Interval
from .figure import SIMULATED, draw_figure
from .markdown import markdown_report
from .measuring import Bench
from .metrics import METRICS, not_available
from .summary import CohortSummary, Difference, RowSummary

if TYPE_CHECKING:
    from .evaluate import EvaluationRequest

PACKAGES = ("torch", "diffusers", "numpy", "scipy", "SimpleITK", "safetensors")


@dataclass(frozen=True)
class Report:
    """All that is written. ``lpips_reason`` is empty when LPIPS was measured; ``left_out``: cases not measurable."""

    request: EvaluationRequest
    cohorts: list[CohortSummary]
    library_checksum: str
    model_checksum: str | None
    lpips_reason: str
    left_out: int = 0

    @property
    def not_available(self) -> dict[str, str]:
        """Metric -> why there is no value."""
        return not_available(self.lpips_reason, self.request.stride)


def write_report(report: Report, bench: Bench, queries: Sequence[LibraryCase]) -> dict[str, Any]:
    """Write the three files, each whole or not at all, the JSON last; returns their paths and the main counts."""
    out = Path(report.request.out)
    paths = {"markdown": out / "evaluation.md", "figure": out / "evaluation.png", "json": out / "evaluation.json"}
    provenance = provenance_of(report)
    with whole_file(paths["figure"]) as temporary:
        title = SIMULATED if _all_simulated(report) else "Test patients"
        draw_figure(report.cohorts, bench, queries, report.request.figure_patients, temporary, title)
    with whole_file(paths["markdown"]) as temporary:
        temporary.write_text(
            markdown_report(report.cohorts, provenance, report.not_available, paths["figure"].name, report.left_out),
            encoding="utf-8",
        )
    with whole_file(paths["json"]) as temporary:
        temporary.write_text(json.dumps(json_report(report, provenance), indent=1) + "\n", encoding="utf-8")
    patients = {f"{cohort.source.replace('-', '_')}_patients": cohort.patients for cohort in report.cohorts}
    return {**paths, **patients, "simulated": _all_simulated(report)}


def _all_simulated(report: Report) -> bool:
    return all(cohort.simulated for cohort in report.cohorts)


def provenance_of(report: Report) -> dict[str, Any]:
    """Everything needed to make the same table again."""
    request = report.request
    settings = {
        key: value
        for key, value in asdict(request).items()
        if key not in ("library", "model", "out", "work", "workers", "command", "lpips_weights")
    }
    return {
        "command": request.command,
        "settings": settings,
        "versions": {"PostOpPredictorLib": __version__, "python": platform.python_version(), **package_versions()},
        "library_checksum": report.library_checksum,
        "model_checksum": report.model_checksum,
    }


def json_report(report: Report, provenance: dict[str, Any]) -> dict[str, Any]:
    """Plain data: definitions, provenance, and for every kind of patients all rows and differences with intervals."""
    return {
        "title": "Predicted against true post-operative MRI",
        "simulated": _all_simulated(report),
        **provenance,
        "metrics": {metric.key: asdict(metric) for metric in METRICS},
        "not_available": report.not_available,
        "cases_left_out": report.left_out,
        "cohorts": [_cohort(cohort) for cohort in report.cohorts],
    }


def _cohort(cohort: CohortSummary) -> dict[str, Any]:
    counts = {key: getattr(cohort, key) for key in ("source", "patients", "cases", "slices", "institutions")}
    return {
        **counts,
        "simulated": cohort.simulated,
        "proxy_cavities": cohort.proxy_cavities,
        "rows": [row_json(row) for row in cohort.rows],
        "differences": [_difference(item) for item in cohort.differences],
    }


def row_json(summary: RowSummary) -> dict[str, Any]:
    """A row of the table as plain data."""
    row = summary.row
    return {
        "title": row.title,
        "kind": row.kind,
        "system": row.system.name,
        "retrieval": row.retrieval,
        "pool": row.pool,
        "note": row.system.note,
        "seconds_per_case": round(summary.seconds_per_case, 3),
        "queries_without_precedent": summary.without_precedent,
        "mean_over_patients": {key: interval_json(value) for key, value in summary.over_patients.items()},
        "mean_over_slices": {key: interval_json(value) for key, value in summary.over_slices.items()},
        # A list in a fixed order, not a table by name: patients stay anonymous.
        "patients": {key: [values[key] for values in summary.patients.values()] for key in summary.over_patients},
    }


def _difference(item: Difference) -> dict[str, Any]:
    return {
        "question": item.question,
        "metric": item.metric.key,
        "first": item.first,
        "second": item.second,
        **interval_json(item.interval),
        "verdict": item.verdict,
    }


def interval_json(interval: Interval) -> dict[str, Any]:
    """An interval as plain data."""
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in asdict(interval).items()}


def package_versions() -> dict[str, str]:
    """The versions that figures may depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
