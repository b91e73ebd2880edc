"""The whole benchmark: prepared slices and a library in; trained systems, tables and a picture out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..cases.library import CaseLibrary, LibraryCase
from ..errors import InputError
from ..evaluation.bootstrap import RESAMPLES
from ..evaluation.evaluate import chosen_cases, finders, measurable, refuse_too_little, settings_key, summarise
from ..evaluation.lpips import load_lpips
from ..evaluation.measures import CaseMeasures
from ..evaluation.measuring import Bench
from ..evaluation.metrics import not_available
from ..evaluation.pools import BestPerSlice, BestPrecedent, Retrieval, WhereOperated
from ..evaluation.query_case import QueryCase
from ..evaluation.report import package_versions
from ..model.config import config_from_yaml
from ..model.device import chosen_device
from ..model.weights import verify
from ..prediction.fusion import BRIGHT_FLUID
from ..prediction.instruction import Instruction
from ..prediction.triplet_slices import slices_with_tumour, triplet_batch
from ..prediction.volume_prediction import SLICES_AT_ONCE
from ..progress import Progress
from ..retrieval.strategies import ImageEmbedding, TumourGuided
from ..training.config import training_from_yaml
from ..training.slices import PreparedSlices
from .budget import Budget
from .cost import Cost, cost_of, machine_of, remember_cost, remembered_cost
from .entries import PAPER, Entry, chosen_entries
from .nameless_cache import NamelessCache
from .result import BenchmarkResult, benchmark_cohort
from .setting import setting_in_words
from .trained_rows import (
    BenchmarkRow,
    Sampling,
    ceiling_row,
    mode_of,
    release,
    steps_of,
    trained_row,
    trivial_benchmark_rows,
)
from .trials import read_trials
from .workshop import Recipe, Workshop, refuse_another_setting
from .written import write_benchmark

PRECEDENTS_FROM = "train"


@dataclass(frozen=True)
class BenchmarkRequest:
    """``data``: prepared slices; ``library``: the cases they were made of, with the test patients; ``config``: shape
    and training of all systems; ``ours``: those of our shipped form, None = ``config``; ``budget``: "6000" or "30min"
    for each system; ``systems``: none = all; ``trials``: YAML file of changes of our shipped form. ``sampling_steps``:
    of the systems that sample, None = 50; ``precision``: of training and sampling, None = the configurations'.
    """

    data: Path
    library: Path
    out: Path
    config: Path
    budget: str
    ours: Path | None = None
    systems: tuple[str, ...] = ()
    trials: Path | None = None
    split: str = "test"
    limit: int | None = None
    stride: int = 1
    sequence: str = "T1w"
    sampling_steps: int | None = None
    precision: str | None = None
    raw: bool = False
    seed: int = 0
    resamples: int = RESAMPLES
    lpips_weights: tuple[Path, ...] = ()
    figure_patients: int = 3
    stable_diffusion: str | None = None
    medsam: str | None = None
    download: bool = False
    device: str = "auto"
    command: str = ""


def benchmark(request: BenchmarkRequest, progress: Progress) -> dict[str, Any]:
    """Train what is not trained, ask what was not asked, and write ``benchmark.md``, ``.json`` and ``.png``.

    A run that is stopped goes on where it was. Raises ``InputError`` for options that do not fit or rows of another
    setting in the same folder.
    """
    _refuse_impossible(request)
    progress.stage("Opening slices and library")
    library = CaseLibrary.open(request.library)
    chosen = chosen_cases(library.cases, request.split, request.limit)
    queries = measurable(chosen, request.sequence, request.split)
    instructive = _instructive(library, request.sequence)
    perceptual, lpips_reason = load_lpips(request.lpips_weights)
    workshop = _workshop(request)
    _refuse_other_slices(workshop.slices, library, request)
    entries = [*chosen_entries(request.systems), *_trials(request, workshop)]
    _refuse_bright_fluid(request, entries, workshop)
    for entry in entries:
        if entry.system is None:
            workshop.slices.shown_to(workshop.recipe_of(entry).model)  # raises for what was not prepared
    refuse_another_setting(workshop.folder, _training_setting(request, workshop))
    workshop.train_autoencoder(entries, progress)
    for entry in entries:
        workshop.train(entry, progress)
    bench = _bench(request, library, instructive, perceptual, progress)
    sampling = Sampling(request.seed, request.sampling_steps, request.raw)
    rows = _rows(entries, workshop, sampling)
    results, costs = _measured(rows, workshop, sampling, queries, bench, progress)
    progress.stage("Writing the tables")
    cohorts = [
        benchmark_cohort(cohort, rows, costs, results, queries, request.resamples, request.seed)
        for cohort in summarise([row.row for row in rows], results, queries, request.resamples, request.seed)
    ]
    result = BenchmarkResult(
        cohorts,
        setting_in_words(request, workshop, entries, len(bench.cases)),
        _provenance(request, library),
        not_available(lpips_reason, request.stride),
        len(chosen) - len(queries),
    )
    paths = write_benchmark(result, bench, queries, request.out, request.figure_patients)
    return {**paths, "systems": len(entries), "patients": sum(block.cohort.patients for block in cohorts)}


def _measured(
    rows: Sequence[BenchmarkRow],
    workshop: Workshop,
    sampling: Sampling,
    queries: Sequence[LibraryCase],
    bench: Bench,
    progress: Progress,
) -> tuple[dict[str, dict[str, CaseMeasures]], dict[str, Cost]]:
    """Row after row, so that one model at a time is in memory."""
    results: dict[str, dict[str, CaseMeasures]] = {}
    costs: dict[str, Cost] = {}
    for row in rows:
        results |= bench.measure_all([row.row], queries, progress)
        if row.entry is not None:
            costs[row.title] = _cost(row, row.entry, workshop, sampling, queries[0], bench)
        release([row])
    return results, costs


def _instructive(library: CaseLibrary, sequence: str) -> list[LibraryCase]:
    found = [case for case in library.cases if case.split == PRECEDENTS_FROM and sequence in case.sequences]
    if not found:
        raise InputError(
            f"The library has no training patient with a {sequence} scan to follow. See 'postop library split'."
        )
    return found


def _refuse_other_slices(slices: PreparedSlices, library: CaseLibrary, request: BenchmarkRequest) -> None:
    """Raise ``InputError`` for slices of another library, or of a time when patients to be tested were to be trained
    on."""
    strange = slices.cases() - {case.case_id for case in library.cases}
    if strange:
        raise InputError(
            f"{request.data} was made of another library: {len(strange)} of its cases are not in {request.library}. "
            f"Make it with 'postop library prepare {request.library}'."
        )
    patient_of = {case.case_id: case.patient_id for case in library.cases}
    trained = {patient_of[case] for case in (*slices.cases("train"), *slices.cases("val"))}
    tested = {case.patient_id for case in library.cases if case.split == request.split}
    if request.split == "test" and trained & tested:
        raise InputError(
            f"{request.data} was made before the library was split anew: {len(trained & tested)} patients to be tested "
            "would be trained on. Make it again with 'postop library prepare'."
        )


def _refuse_bright_fluid(request: BenchmarkRequest, entries: Sequence[Entry], workshop: Workshop) -> None:
    """Raise ``InputError`` before the training, not after it, for a sequence that image models cannot be asked."""
    if request.sequence not in BRIGHT_FLUID:
        return
    for entry in entries:
        if entry.system is not None or workshop.recipe_of(entry).model.target == "image":
            raise InputError(
                f"'{entry.title}' draws images only and its cavity is told by dark fluid, but on {request.sequence} "
                "fluid is bright. Take a T1-weighted sequence, or '--systems ours' alone."
            )


def _workshop(request: BenchmarkRequest) -> Workshop:
    slices = PreparedSlices(request.data)
    if request.sequence not in slices.sequences:
        raise InputError(f"{request.data} holds no {request.sequence}; choose from: {', '.join(slices.sequences)}.")
    recipe = _recipe(
        request.config,
        request.sequence,
        precision=request.precision,
        stable_diffusion=request.stable_diffusion,
        medsam=request.medsam,
        download=request.download or None,
    )
    shipped = _recipe(request.ours or request.config, request.sequence, precision=request.precision)
    if request.ours is None and recipe.model.target != "structure":
        raise InputError(
            f"{request.config} draws images; our shipped form does not. Name its configuration with --ours."
        )
    return Workshop(
        recipe, shipped, slices, Budget.parse(request.budget), request.out / "rows", chosen_device(request.device)
    )


def _recipe(config: Path, sequence: str, **overrides: Any) -> Recipe:
    return Recipe(config_from_yaml(config), training_from_yaml(config, sequence=sequence, **overrides))


def _trials(request: BenchmarkRequest, workshop: Workshop) -> list[Entry]:
    if request.trials is None:
        return []
    trivial = [row.title for row in trivial_benchmark_rows()]
    return read_trials(request.trials, workshop.shipped.model, workshop.shipped.training, trivial)


def _rows(entries: Sequence[Entry], workshop: Workshop, sampling: Sampling) -> list[BenchmarkRow]:
    drawn = [entry for entry in entries if workshop.recipe_of(entry).model.target == "image" or entry.kind == PAPER]
    ceiling = [ceiling_row(drawn[0], workshop)] if drawn else []
    return [*trivial_benchmark_rows(), *ceiling, *(trained_row(entry, workshop, sampling) for entry in entries)]


def _bench(
    request: BenchmarkRequest,
    library: CaseLibrary,
    instructive: Sequence[LibraryCase],
    perceptual: Any,
    progress: Progress,
) -> Bench:
    by_image = ImageEmbedding(library, request.sequence, progress)
    usual = finders(library, request.seed, progress)
    found_by = {
        **usual,
        Retrieval.RANDOM: WhereOperated(usual[Retrieval.RANDOM]),
        Retrieval.IMAGE: WhereOperated(BestPrecedent(library.cases, by_image)),
        Retrieval.SLICES: BestPerSlice(library, TumourGuided(library, per="slice", progress=progress)),
    }
    cache = NamelessCache(request.out / "measured", settings_key(request, library.checksum()))
    return Bench(instructive, found_by, request.sequence, request.stride, cache, perceptual)


def _cost(
    row: BenchmarkRow, entry: Entry, workshop: Workshop, sampling: Sampling, query: LibraryCase, bench: Bench
) -> Cost:
    mode, steps, asked = mode_of(entry, workshop), steps_of(entry, workshop, sampling), entry.asked
    key = {
        "model": verify(workshop.model_folder(entry)),
        "mode": mode,
        "steps": steps,
        "start": asked.start,
        "guidance": asked.guidance,
        "precision": workshop.recipe_of(entry).training.precision,
        "machine": machine_of(workshop.device),
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    file = workshop.folder / entry.key / f"cost-{name}.json"
    cost = remembered_cost(file, key)
    if cost is None:
        case = QueryCase.of(query, bench.sequence)
        shown = Instruction.of_case(bench.cases[0], bench.sequence)
        part = slices_with_tumour(case.tumour, case.brain)[:SLICES_AT_ONCE]
        triplets = triplet_batch(case.pre, case.tumour, case.brain, shown, part)
        pipe = row.row.system.pipe  # type: ignore[attr-defined]
        settings = {"mode": mode, "steps": steps, "start": asked.start, "guidance": asked.guidance}
        cost = cost_of(pipe, triplets, seed=sampling.seed, **settings)
        remember_cost(file, key, cost)
    return cost


def _training_setting(request: BenchmarkRequest, workshop: Workshop) -> dict[str, Any]:
    """What trained weights depend on; another one does not go on in the same folder."""
    with request.data.open("rb") as file:
        data = hashlib.file_digest(file, "sha256").hexdigest()
    values = {
        "data": data,
        "budget": workshop.budget.text,
        "configuration": dataclasses.asdict(workshop.recipe),
        "configuration of ours": dataclasses.asdict(workshop.shipped),
        "crop of the grid": 0,
    }
    return json.loads(json.dumps(values))


def _provenance(request: BenchmarkRequest, library: CaseLibrary) -> Mapping[str, Any]:
    versions = {"PostOpPredictorLib": __version__, "python": platform.python_version(), **package_versions()}
    return {"command": request.command, "versions": versions, "library_checksum": library.checksum()}


def _refuse_impossible(request: BenchmarkRequest) -> None:
    refuse_too_little(request, limit=1, stride=1, sampling_steps=1, resamples=100, figure_patients=0)
    Budget.parse(request.budget)
    chosen_entries(request.systems)
