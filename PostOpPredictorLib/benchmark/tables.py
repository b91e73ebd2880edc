"""The benchmark as a page: setting, Table 1, Table 2, paired tests, retrieval, bias audit."""

from __future__ import annotations

from collections.abc import Sequence

from ..evaluation.bootstrap import LEVEL
from ..evaluation.markdown import DEFINITIONS, KIND_OF_PATIENT, arrow, cell, markdown_table, proxy_note
from ..evaluation.metrics import METRIC
from .comparison import Comparison
from .result import BenchmarkCohort, BenchmarkResult, NamedRow
from .strata import RetrievalGain, Stratum

IMAGE = (
    "ssim_full",
    "ssim_brain",
    "ssim_peri",
    "ms_ssim_full",
    "psnr_full",
    "psnr_brain",
    "psnr_peri",
    "lpips_full",
)
CAVITY = ("cavity_dice", "cavity_hd95_mm", "cavity_volume_error", "through_plane", "cavity_steadiness")
TITLES = {1: "Table 1: all systems", 2: "Table 2: retrieval and ablations", 3: "Trials of our own form"}
NOTES = """\
- All systems: same slices, same U-Net builder, same budget (ours, shipped form: three quarters for the structure, one
  quarter for the renderer; VISII: InstructPix2Pix' model and 1000 steps on one pair; a KL autoencoder that several
  share has one more budget, one of a trial's own a quarter of its budget); batch and optimiser as the setting says, the
  same for all but our shipped form, which may have its own. In tables 1 and 2
  one precedent serves a whole volume, from the training patients, so that nothing but the system differs.
- A figure of fewer patients than the others of its row says of how many. HD95 is a distance between two cavities: where
  a system finds none there is no distance, which flatters a system that misses the hard ones.
- GFLOPs: multiplications and additions counted apart, for one slice with all its denoising steps and guidance.
- p: two-sided, signs of the patients' differences flipped; not corrected for the number of comparisons.
- Ceiling: it sees the truth and is no predictor."""


def benchmark_page(result: BenchmarkResult, figure: str) -> str:
    """The whole page as markdown; ``figure`` is the picture's file name beside it."""
    lines = ["# Benchmark", "", *_setting(result), f"![One row of pictures per system]({figure})", ""]
    for block in result.cohorts:
        lines += _cohort(block, result)
    lines += ["## How to read it", "", *DEFINITIONS.splitlines(), *NOTES.splitlines()]
    notes = dict.fromkeys(f"- {r.row.title}: {r.summary.row.system.note}." for b in result.cohorts for r in b.rows)
    missing = [f"- {key}: not available: {reason}." for key, reason in result.not_available.items()]
    return "\n".join([*lines, *notes, *missing, "", *_provenance(result)]) + "\n"


def _setting(result: BenchmarkResult) -> list[str]:
    return ["## Setting", "", *markdown_table(["what", "value"], [list(item) for item in result.setting.items()]), ""]


def _cohort(block: BenchmarkCohort, result: BenchmarkResult) -> list[str]:
    cohort = block.cohort
    kind = KIND_OF_PATIENT.get(cohort.source, f"{cohort.source or 'unknown'} patients")
    lines = [
        f"## {'Simulated' if cohort.simulated else 'Real'}: {kind}",
        "",
        f"{cohort.patients} patients ({cohort.cases} cases, {cohort.slices} slices). "
        f"Mean over patients [{LEVEL:.0%} bootstrap interval over patients]. Budget: {result.setting['budget']}.",
        "",
        *proxy_note(cohort),
    ]
    for number, title in TITLES.items():
        if rows := block.table(number):
            lines += [f"### {title}", "", *_quality(rows, IMAGE), "", *_cavity_and_cost(rows), ""]
        if compared := block.comparisons.get(number):
            lines += [f"### {title}: paired differences", "", *_paired(compared), ""]
    for gain in block.gains:
        lines += _gain(gain)
    if block.audit:
        lines += [f"### Bias audit of '{block.audited}'", "", *_strata(block.audit), ""]
    return lines


def _quality(rows: Sequence[NamedRow], keys: Sequence[str]) -> list[str]:
    return markdown_table(["system", *_headings(keys)], [[row.row.title, *_cells(row, keys)] for row in rows])


def _cavity_and_cost(rows: Sequence[NamedRow]) -> list[str]:
    header = ["system", *_headings(CAVITY), "parameters, million", "GFLOPs per slice", "seconds per slice"]
    return markdown_table(header, [[row.row.title, *_cells(row, CAVITY), *_cost(row)] for row in rows])


def _cost(row: NamedRow) -> list[str]:
    if row.cost is None:
        return ["–", "–", "–"]
    return [f"{row.cost.parameters / 1e6:.2f}", f"{row.cost.gflops:.4g}", f"{row.cost.seconds:.3g}"]


def _headings(keys: Sequence[str]) -> list[str]:
    return [f"{METRIC[key].title} {arrow(METRIC[key])}" for key in keys]


def _cells(row: NamedRow, keys: Sequence[str]) -> list[str]:
    found = [(row.summary.over_patients.get(key), METRIC[key]) for key in keys]
    most = max((interval.patients for interval in row.summary.over_patients.values()), default=0)
    return [
        cell(interval, metric) + (f" ({interval.patients} of {most})" if interval and interval.patients < most else "")
        for interval, metric in found
    ]


def _paired(compared: Sequence[Comparison]) -> list[str]:
    header = ["row", f"metric, {compared[0].reference} minus row", "difference", "p", f"{compared[0].reference} is"]
    body = [
        [
            item.row,
            f"{item.metric.title} {arrow(item.metric)}",
            cell(item.interval, item.metric),
            "n/a" if item.p is None else f"{item.p:.4f}",
            item.verdict,
        ]
        for item in compared
    ]
    return markdown_table(header, body)


def _gain(gain: RetrievalGain) -> list[str]:
    rho = "n/a" if gain.correlation is None else f"{gain.correlation:.2f}"
    title = f"Retrieval: gain in {METRIC[gain.metric].title}, {gain.first} minus {gain.second}"
    return [f"### {title}", "", f"Spearman's correlation with the achieved IoU: {rho}.", "", *_strata(gain.strata), ""]


def _strata(strata: Sequence[Stratum]) -> list[str]:
    metrics = [metric for metric in METRIC if any(metric in stratum.results for stratum in strata)]
    header = ["by", "group", "patients", *(METRIC[metric].title for metric in metrics)]
    body = [
        [s.attribute, s.group, str(s.patients), *(cell(s.results.get(m), METRIC[m]) for m in metrics)] for s in strata
    ]
    return markdown_table(header, body)


def _provenance(result: BenchmarkResult) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in result.provenance["versions"].items())
    left_out = f"- {result.left_out} test cases were left out: no such sequence, or too little tumour core."
    return [
        "## How it was made",
        "",
        f"- Command: `{result.provenance['command'] or 'postop benchmark'}`",
        f"- Versions: {versions}",
        f"- Library checksum: `{result.provenance['library_checksum']}`",
        *([left_out] if result.left_out else []),
    ]
