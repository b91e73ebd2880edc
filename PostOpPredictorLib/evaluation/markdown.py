"""The table as markdown, with what a reader must know to believe it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .bootstrap import LEVEL, Interval
from .metrics import METRICS, PSNR_CEILING_DB, Metric
from .query_case import SMALLEST_CORE_PX
from .regions import PERI_CAVITY_MARGIN_MM
from .ssim import MS_SSIM_SIDE
from .summary import CohortSummary, Difference, RowSummary

KIND_OF_PATIENT = {
    "phantom": "phantom patients (simulated anatomy, simulated tumour, simulated surgery)",
    "semi-real": "semi-real patients (a real pre-operative scan, simulated surgery)",
    "real": "real patients (imported pairs; see the library's own notes on what its cavities are)",
}
DEFINITIONS = f"""\
- Both pictures are multiplied by the pre-operative brain mask. Slices: axial, 1.5 mm, with at least
  {SMALLEST_CORE_PX} px of tumour core.
- SSIM: 11-px Gaussian window, sigma 1.5, windows wholly inside the frame, data range 1; in brain: mean over the windows
  centred in the brain. Full-frame values are raised by background and unchanged brain: read the peri-cavity ones.
- Peri-cavity: per slice, the bounding box of tumour core and true cavity, widened by {PERI_CAVITY_MARGIN_MM:.0f} mm.
- MS-SSIM: five scales, on the slice padded with zeros to {MS_SSIM_SIDE} px.
- PSNR: a slice identical to the truth counts as {PSNR_CEILING_DB:.0f} dB.
- Cavity: outcome labels cavity, blood and air. Dice per slice over the slices with a true cavity; per volume over the
  whole volume. Volume error: relative to the true volume (residual tumour: in ml, for the true one may be 0).
- Wall sharpness: gradient along the true cavity's wall, predicted over true (a grey smudge is near 0). Wall agreement:
  the predicted gradient projected on the true one (1: the same edge; near 0: none, or another edge).
- Through-plane gradient: difference of neighbouring slices in brain and peri-cavity box, predicted over true (1: as the
  real scan; above 1 the slices flicker; below 1 they are too smooth). Cavity overlap of neighbours: Dice of the cavity
  between neighbouring slices, predicted over true (1: as steady as the real one; below 1 it flickers).
- Precedents never come from the query's own patient. Own institution: other patients of the held-out institution; whole
  library: all other patients. Guided and random are compared within one pool.
- Best trivial: for each metric the best of copy, retrieved post-op and composites of the same pool, chosen on these
  very patients, which favours the trivial side."""

ALL_SIMULATED = (
    "Every operation in this table is simulated. No figure says how good a prediction for a real patient is."
)
SOME_REAL = "Each heading says which patients are real and which simulated; the two are never averaged together."

GROUP_TITLES = {
    "image": "Image",
    "cavity": "Cavity",
    "residual": "Residual tumour",
}


def markdown_report(
    cohorts: Sequence[CohortSummary],
    provenance: Mapping[str, Any],
    not_available: Mapping[str, str],
    figure: str,
    left_out: int = 0,
) -> str:
    """The whole page; ``figure`` is the picture's file name beside it, ``left_out`` counts unmeasurable cases."""
    simulated = all(cohort.simulated for cohort in cohorts)
    lines = [
        f"# Evaluation on {'simulated' if simulated else 'test'} patients",
        "",
        f"**{ALL_SIMULATED if simulated else SOME_REAL}**",
        "",
        f"![{'Simulated test' if simulated else 'Test'} patients, one row of pictures per system]({figure})",
        "",
    ]
    for cohort in cohorts:
        lines += _cohort(cohort)
    lines += _reading(cohorts, not_available, left_out)
    lines += _provenance(provenance)
    return "\n".join(lines) + "\n"


def proxy_note(cohort: CohortSummary) -> list[str]:
    """What must stand beside a table that rests on derived cavities; nothing where all are labelled."""
    if cohort.proxy_cavities == 0:
        return []
    return [
        f"**The true cavity of {cohort.proxy_cavities} of {cohort.cases} cases is a proxy**: their data set has no "
        "label for it, so it was derived from other labels (docs/import.md). Every figure of the cavity, and of the "
        "region around it, rests on that.",
        "",
    ]


def _short_kind(cohort: CohortSummary) -> str:
    return f"simulated, {cohort.source}" if cohort.simulated else cohort.source


def cell(interval: Interval | None, metric: Metric) -> str:
    """Mean and interval, e.g. "0.553 [0.531, 0.574]"; "n/a" where there is none."""
    if interval is None:
        return "n/a"
    mean = f"{interval.mean:.{metric.digits}f}"
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} [{interval.low:.{metric.digits}f}, {interval.high:.{metric.digits}f}]"


def shown_metrics(cohort: CohortSummary, group: str) -> list[Metric]:
    """The metrics of a group of which at least one row has a value."""
    return [m for m in METRICS if m.group == group and any(m.key in row.over_patients for row in cohort.rows)]


def _cohort(cohort: CohortSummary) -> list[str]:
    kind = KIND_OF_PATIENT.get(cohort.source, f"{cohort.source or 'unknown'} patients")
    lines = [
        f"## {'Simulated' if cohort.simulated else 'Real'}: {kind}",
        "",
        f"{cohort.patients} patients ({cohort.cases} cases) of {cohort.institutions} institutions, "
        f"{cohort.slices} slices. Mean over patients [{LEVEL:.0%} bootstrap interval over patients].",
        "",
        *proxy_note(cohort),
    ]
    for group, title in GROUP_TITLES.items():
        metrics = shown_metrics(cohort, group)
        if metrics:
            lines += [f"### {title} ({_short_kind(cohort)})", "", *_table(cohort.rows, metrics), ""]
    lines += _over_slices(cohort)
    for question in dict.fromkeys(item.question for item in cohort.differences):
        found = [item for item in cohort.differences if item.question == question]
        lines += [f"### Paired difference, {question} ({_short_kind(cohort)})", "", *_difference_table(found), ""]
    return lines


def _table(rows: Sequence[RowSummary], metrics: Sequence[Metric]) -> list[str]:
    seconds = metrics[0].group == "image"
    header = ["system, retrieval, pool", *(f"{metric.title} {arrow(metric)}" for metric in metrics)]
    body = [[row.row.title, *(cell(row.over_patients.get(metric.key), metric) for metric in metrics)] for row in rows]
    if seconds:
        header.append("s per case")
        body = [[*line, f"{row.seconds_per_case:.2f}"] for line, row in zip(body, rows, strict=True)]
    return markdown_table(header, body)


def _over_slices(cohort: CohortSummary) -> list[str]:
    metrics = [m for m in METRICS if any(m.key in row.over_slices for row in cohort.rows)]
    header = ["system, retrieval, pool", *(f"{metric.title} {arrow(metric)}" for metric in metrics)]
    body = [[row.row.title, *(cell(row.over_slices.get(m.key), m) for m in metrics)] for row in cohort.rows]
    title = f"### Mean over all slices instead of patients ({_short_kind(cohort)})"
    return [title, "", *markdown_table(header, body), ""]


def _difference_table(found: Sequence[Difference]) -> list[str]:
    """One line per pair of rows would be too wide, so one line per metric and pair."""
    header = ["first", "minus second", "metric", "difference", "first is"]
    body = []
    for item in found:
        metric = item.metric
        title = f"distance of {metric.title} to 1" if metric.better == 0 else metric.title
        body.append([item.first, item.second, title, cell(item.interval, metric), item.verdict])
    return markdown_table(header, body)


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return ["| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *body]]


def arrow(metric: Metric) -> str:
    """Which way is better."""
    return {1: "↑", -1: "↓", 0: "→1"}[metric.better]


def _reading(cohorts: Sequence[CohortSummary], not_available: Mapping[str, str], left_out: int) -> list[str]:
    rows = [summary for cohort in cohorts for summary in cohort.rows]
    notes = dict.fromkeys(f"- {row.row.system.name}: {row.row.system.note}." for row in rows)
    lonely = [
        f"- {row.row.title} ({cohort.source}): {row.without_precedent} of {cohort.cases} cases found no similar case; "
        "the trivial systems then copy the pre-operative scan, the model predicts without an instruction."
        for cohort in cohorts
        for row in cohort.rows
        if row.without_precedent
    ]
    missing = [f"- {key}: not available: {reason}." for key, reason in not_available.items()]
    skipped = [f"- {left_out} test cases were left out: no such sequence, or no slice with enough tumour core."] * (
        left_out > 0
    )
    return ["## How to read it", "", *DEFINITIONS.splitlines(), *notes, *lonely, *missing, *skipped, ""]


def _provenance(provenance: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    return [
        "## How it was made",
        "",
        f"- Command: `{provenance['command'] or 'postop evaluate'}`",
        f"- Versions: {versions}",
        f"- Library checksum: `{provenance['library_checksum']}`",
        f"- Model checksum: `{provenance['model_checksum'] or 'no model'}`",
        f"- Settings: {', '.join(f'{key} {_plain(value)}' for key, value in provenance['settings'].items())}",
    ]


def _plain(value: object) -> str:
    return " + ".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)
