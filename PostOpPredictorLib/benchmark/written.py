"""The benchmark's three files: page, data, picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..atomic_files import whole_file
from ..cases.library import LibraryCase
from ..evaluation.figure import SIMULATED, draw_figure
from ..evaluation.measuring import Bench
from ..evaluation.metrics import METRICS
from ..evaluation.report import interval_json, row_json
from .comparison import Comparison
from .result import BenchmarkCohort, BenchmarkResult, NamedRow
from .strata import RetrievalGain, Stratum
from .tables import benchmark_page


def write_benchmark(
    result: BenchmarkResult, bench: Bench, queries: Sequence[LibraryCase], out: Path, figure_patients: int
) -> dict[str, Path]:
    """Write ``benchmark.md``, ``benchmark.png`` and ``benchmark.json`` to ``out``, each whole or not at all."""
    paths = {"markdown": out / "benchmark.md", "figure": out / "benchmark.png", "json": out / "benchmark.json"}
    cohorts = [block.cohort for block in result.cohorts]
    title = SIMULATED if all(cohort.simulated for cohort in cohorts) else "Test patients"
    with whole_file(paths["figure"]) as temporary:
        draw_figure(cohorts, bench, queries, figure_patients, temporary, title)
    with whole_file(paths["markdown"]) as temporary:
        temporary.write_text(benchmark_page(result, paths["figure"].name), encoding="utf-8")
    with whole_file(paths["json"]) as temporary:
        temporary.write_text(json.dumps(benchmark_json(result), indent=1) + "\n", encoding="utf-8")
    return paths


def benchmark_json(result: BenchmarkResult) -> dict[str, Any]:
    """Everything on the page and each patient's values, as plain data."""
    return {
        "title": "Benchmark: predicted against true post-operative MRI",
        "setting": dict(result.setting),
        **result.provenance,
        "metrics": {metric.key: asdict(metric) for metric in METRICS},
        "not_available": dict(result.not_available),
        "cases_left_out": result.left_out,
        "cohorts": [_cohort(block) for block in result.cohorts],
    }


def _cohort(block: BenchmarkCohort) -> dict[str, Any]:
    counts = {key: getattr(block.cohort, key) for key in ("source", "simulated", "patients", "cases", "slices")}
    return {
        **counts,
        "rows": [_row(row) for row in block.rows],
        "comparisons": {str(number): [_comparison(c) for c in found] for number, found in block.comparisons.items()},
        "retrieval_gain": [_gain(gain) for gain in block.gains],
        "audit": {"row": block.audited, "strata": [_stratum(stratum) for stratum in block.audit]},
    }


def _row(row: NamedRow) -> dict[str, Any]:
    entry = row.row.entry
    return {
        **row_json(row.summary),
        "title": row.row.title,
        "key": entry.key if entry else None,
        "tables": list(row.tables),
        "cost": asdict(row.cost) if row.cost else None,
    }


def _comparison(item: Comparison) -> dict[str, Any]:
    return {
        "reference": item.reference,
        "row": item.row,
        "metric": item.metric.key,
        **interval_json(item.interval),
        "p": item.p,
        "verdict": item.verdict,
    }


def _gain(gain: RetrievalGain) -> dict[str, Any]:
    return {
        "first": gain.first,
        "second": gain.second,
        "metric": gain.metric,
        "spearman": gain.correlation,
        "strata": [_stratum(stratum) for stratum in gain.strata],
    }


def _stratum(stratum: Stratum) -> dict[str, Any]:
    return {
        "attribute": stratum.attribute,
        "group": stratum.group,
        "patients": stratum.patients,
        "results": {metric: interval_json(interval) for metric, interval in stratum.results.items()},
    }
