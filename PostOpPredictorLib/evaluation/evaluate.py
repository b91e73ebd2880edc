"""The whole evaluation: test patients of a library in, the honest table out (markdown, JSON, a picture)."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from ..cases.library import CaseLibrary, LibraryCase
from ..errors import InputError
from ..launched import own_share, use_own_gpu
from ..progress import Progress, SilentProgress
from ..retrieval.strategies import Random, TumourGuided
from ..shipped import shipped_model_folder, user_cache
from .bootstrap import RESAMPLES
from .lpips import load_lpips
from .measuring import Bench
from .pools import BestPrecedent, Pool, PrecedentFinder, Retrieval
from .query_case import SMALLEST_CORE_PX, measured_slices
from .report import Report, write_report
from .result_cache import ResultCache
from .rows import Row, model_rows, trivial_rows
from .shared_work import measure_share, wait_for_others
from .summary import CohortSummary, Results, differences, summarise_row
from .systems import AppearanceCeiling

Scans = Literal["early", "later"]
EARLY_UNTIL_DAYS = 7.0

MEASURES_VERSION = 4
"""To be raised whenever a metric changes its meaning: cached results of another version are not used."""


class Measured(Protocol):
    """What measures depend on, of an evaluation's or a benchmark's request."""

    @property
    def sequence(self) -> str: ...

    @property
    def stride(self) -> int: ...

    @property
    def lpips_weights(self) -> tuple[Path, ...]: ...


@dataclass(frozen=True)
class EvaluationRequest:
    """``limit`` patients of each kind; ``work`` the folder of cached results (default: the user's cache);
    ``with_model`` False leaves out our rows.

    ``pools``: the first one carries all modes. ``scans``: which are measured, by their time since surgery.
    ``stride``: every n-th slice. ``workers``: processes of this computer. ``command``: the command line, for the
    record.
    """

    library: Path
    model: Path | None = None
    out: Path = Path("evaluation")
    work: Path | None = None
    split: str = "test"
    sequence: str = "T1wCE"
    limit: int | None = None
    stride: int = 1
    modes: tuple[str, ...] = ("mean", "sample", "average")
    pools: tuple[Pool, ...] = (Pool.OWN, Pool.WHOLE)
    scans: Scans = "early"
    with_model: bool = True
    steps: int | None = None
    samples: int | None = None
    seed: int = 0
    resamples: int = RESAMPLES
    lpips_weights: tuple[Path, ...] = ()
    figure_patients: int = 3
    device: str = "auto"
    workers: int = 1
    command: str = ""


@dataclass(frozen=True)
class Prepared:
    """All that measuring needs. ``lpips_reason``: why LPIPS is not measured; ``left_out``: cases not measurable."""

    bench: Bench
    rows: Sequence[Row]
    queries: Sequence[LibraryCase]
    library_checksum: str
    model_checksum: str | None
    lpips_reason: str
    left_out: int


def evaluate(request: EvaluationRequest, progress: Progress) -> dict[str, Any]:
    """Measure every row on every test patient and write ``evaluation.md``, ``evaluation.json`` and ``evaluation.png``
    to ``request.out``.

    Among processes that ``accelerate launch`` or ``srun`` started every one measures its share of the patients, and the
    first one writes. The numbers are those of one process. Raises ``InputError`` when the library has no such patients
    or an option is out of range.
    """
    share = own_share()
    ready = prepare(request, progress)
    bench, rows, queries = ready.bench, ready.rows, ready.queries
    one = functools.partial(_measure_one, request)
    own = measure_share(share, bench, rows, queries, progress, request.workers, one)
    if share.rank > 0:
        return {"process": share.rank, "processes": share.count, "own_cases": own}
    if share.count > 1:
        wait_for_others(bench, rows, queries, progress)
    results = bench.measure_all(rows, queries, progress)
    progress.stage("Writing the table")
    cohorts = summarise(rows, results, queries, request.resamples, request.seed)
    report = Report(request, cohorts, ready.library_checksum, ready.model_checksum, ready.lpips_reason, ready.left_out)
    return write_report(report, bench, queries)


def prepare(request: EvaluationRequest, progress: Progress) -> Prepared:
    """Open library and model, in a worker's process too; raises ``InputError`` for options that do not fit them."""
    _refuse_impossible(request)
    use_own_gpu(own_share(), request.device)
    progress.stage("Opening library and model")
    library = CaseLibrary.open(request.library)
    chosen = chosen_cases(library.cases, request.split, request.limit, request.scans)
    queries = measurable(chosen, request.sequence, request.split)
    rows, model_checksum = _rows(request)
    rows = fit_for(rows, queries, progress)
    perceptual, reason = load_lpips(request.lpips_weights)
    cache = ResultCache(_work_folder(request), settings_key(request, library.checksum()))
    instructive = [case for case in library.cases if request.sequence in case.sequences]
    bench = Bench(
        instructive, finders(library, request.seed, progress), request.sequence, request.stride, cache, perceptual
    )
    return Prepared(bench, rows, queries, library.checksum(), model_checksum, reason, len(chosen) - len(queries))


@functools.lru_cache(maxsize=1)
def _prepared(request: EvaluationRequest) -> Prepared:
    return prepare(request, SilentProgress())


def _measure_one(request: EvaluationRequest, case_id: str) -> None:
    """One case, in a process that opens library and model for its first."""
    ready = _prepared(request)
    ready.bench.measure_all(ready.rows, [case for case in ready.queries if case.case_id == case_id], SilentProgress())


def chosen_cases(
    cases: Sequence[LibraryCase], split: str, limit: int | None = None, scans: Scans = "early"
) -> list[LibraryCase]:
    """The cases of a split with a scan of the first week after surgery (or of unknown time), or with a later one; with
    ``limit`` those of that many patients of each kind, drawn once and for all, not from one place only."""
    held = [case for case in cases if case.split == split and is_later(case) == (scans == "later")]
    if not held:
        raise InputError(
            f"The library has no case of the split '{split}' with a scan that is {scans}. "
            "Name another --split or --scans, or a library that holds them out."
        )
    if limit is None:
        return held
    chosen: set[str] = set()
    for source in {case.source for case in held}:
        patients = sorted({case.patient_id for case in held if case.source == source})
        chosen.update(np.random.default_rng(0).permutation(patients)[:limit].tolist())
    return [case for case in held if case.patient_id in chosen]


def is_later(case: LibraryCase) -> bool:
    """Whether the scan after surgery was taken later than in the first week."""
    return (case.days_since_surgery or 0.0) > EARLY_UNTIL_DAYS


def measurable(cases: Sequence[LibraryCase], sequence: str, split: str) -> list[LibraryCase]:
    """The cases with a ``sequence`` scan and a slice with enough tumour; raises ``InputError`` when there is none."""
    found = [case for case in cases if sequence in case.sequences and measured_slices(case)]
    if not found:
        raise InputError(
            f"No case of the split '{split}' has a {sequence} scan and a slice with {SMALLEST_CORE_PX} px of core. "
            "Choose another --sequence or --split."
        )
    return found


def summarise(
    rows: Sequence[Row], results: Results, queries: Sequence[LibraryCase], resamples: int = RESAMPLES, seed: int = 0
) -> list[CohortSummary]:
    """The figures of every kind of patients apart: phantom patients and real scans with a simulated operation are
    never mixed."""
    summaries = []
    for source in sorted({case.source for case in queries}):
        own = {case.case_id: case for case in queries if case.source == source}
        patient_of = {case_id: case.patient_id for case_id, case in own.items()}
        measured: list[Mapping[str, Any]] = [{i: results[row.key][i] for i in own} for row in rows]
        summarised = [summarise_row(row, m, patient_of, resamples, seed) for row, m in zip(rows, measured, strict=True)]
        summaries.append(
            CohortSummary(
                source=source,
                patients=len(set(patient_of.values())),
                cases=len(own),
                slices=sum(len(measures.per_slice["ssim_full"]) for measures in measured[0].values()),
                institutions=len({case.institution for case in own.values()}),
                rows=summarised,
                differences=differences(summarised, resamples, seed),
                proxy_cavities=sum(case.attributes.get("cavity") == "proxy" for case in own.values()),
            )
        )
    return summaries


def _rows(request: EvaluationRequest) -> tuple[list[Row], str | None]:
    rows = trivial_rows(request.pools, request.seed)
    if not request.with_model:
        return rows, None
    from ..model.device import chosen_device
    from ..model.pipeline import PostOpPipeline
    from ..model.weights import verify

    folder = request.model or shipped_model_folder()
    checksum = verify(folder)
    pipe = PostOpPipeline.from_pretrained(folder).to(chosen_device(request.device))
    ours = model_rows(
        pipe, checksum, request.modes, request.pools, seed=request.seed, steps=request.steps, samples=request.samples
    )
    return rows + ours, checksum


def fit_for(rows: Sequence[Row], queries: Sequence[LibraryCase], progress: Progress) -> list[Row]:
    """The rows that ``queries`` can be asked for: real pairs, whose tissue shift is not known, have no ceiling of the
    appearance."""
    unknown = sum(not query.files.shift.exists() for query in queries)
    if unknown == 0:
        return list(rows)
    progress.log(f"The appearance ceiling is left out: of {unknown} cases the tissue shift is not known.")
    return [row for row in rows if not isinstance(row.system, AppearanceCeiling)]


def finders(library: CaseLibrary, seed: int, progress: Progress) -> dict[Retrieval, PrecedentFinder]:
    """How a precedent is chosen: the most similar tumour, or anyone."""
    guided, random = TumourGuided(library, progress=progress), Random(library, seed, progress)
    for strategy in (guided, random):
        _ = strategy.index  # built here, under a stage of its own, not in the middle of the evaluation
    return {
        Retrieval.GUIDED: BestPrecedent(library.cases, guided),
        Retrieval.RANDOM: BestPrecedent(library.cases, random),
    }


def settings_key(request: Measured, library_checksum: str) -> str:
    """What stored results depend on beside row and case."""
    weights = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in request.lpips_weights]
    parts = [MEASURES_VERSION, library_checksum, request.sequence, request.stride, SMALLEST_CORE_PX, weights]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def refuse_too_little(request: object, **least: int) -> None:
    """Raise ``InputError`` for a field of ``request`` that is below its ``least`` value; None is the default's way."""
    for name, smallest in least.items():
        value = getattr(request, name)
        if value is not None and value < smallest:
            raise InputError(f"--{name.replace('_', '-')} is {value}; give at least {smallest}.")


def _work_folder(request: EvaluationRequest) -> Path:
    return request.work or user_cache() / "evaluation"


def _refuse_impossible(request: EvaluationRequest) -> None:
    refuse_too_little(request, limit=1, stride=1, resamples=100, figure_patients=0, workers=1)
    unknown = sorted(set(request.modes) - {"mean", "sample", "average"})
    if unknown or not request.modes:
        raise InputError(f"--modes is {', '.join(unknown) or 'empty'}; choose from mean, sample, average.")
    if not request.pools:
        raise InputError("--pools is empty; choose from: own institution, whole library.")
