"""The phantom cohort: a plan fixed by its seed, and the simulation of each case of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...progress import Progress, SilentProgress
from ...worker_processes import in_processes
from ..case import SimulatedCase, Split
from ..library import CaseLibrary
from ..semi_real import LATER, operations_plan, simulate_operations
from .anatomy import coarse_tissue, random_person, tissue_of
from .atlas import SourceAnatomy, eloquence, template_anatomy
from .attributes import describe
from .healing import LaterScans, heal
from .institutions import Practice, institutions
from .other_people import anatomy_of_label_map, label_maps
from .paint import post_signal
from .patient import Patient
from .signal import T1_SEQUENCES, add_tumour, healthy_signal, random_levels
from .surgery import operate
from .tumour import grow, random_plan, tumour_in
from .two_scans import both_scans
from .water import WATER_SEQUENCES, add_water_tumour, random_water_levels

TEMPLATE_SHARE = 0.2
"""How many phantoms have the template's anatomy when other people's is given."""

Job = Callable[[], Iterable[SimulatedCase]]


@dataclass(frozen=True)
class PlannedCase:
    """One case to simulate: everything random in it follows from ``seed`` and ``index``."""

    case_id: str
    patient_id: str
    seed: int
    index: int
    institution: str
    institution_count: int
    split: Split
    days: float | None = None
    """Of a later scan; None at once after surgery."""


def phantom_cohort_plan(n: int, seed: int, institution_count: int = 24) -> tuple[PlannedCase, ...]:
    """``n`` phantom patients, shared out evenly over the institutions in turn; a small cohort meets every split too."""
    turns = _turns(institutions(seed, institution_count))
    plan = []
    for index in range(n):
        practice = turns[index % institution_count]
        name = f"sub-P{index + 1:04d}"
        plan.append(PlannedCase(name, name, seed, index, practice.name, institution_count, practice.split))
    return tuple(plan)


def later_scans_plan(plan: Sequence[PlannedCase], later: LaterScans) -> tuple[PlannedCase, ...]:
    """Another scan of each of the first patients of ``plan``, weeks or months after the same operation."""
    if later.count > len(plan):
        raise InputError(
            f"There are {len(plan)} patients but {later.count} later scans of them. Ask for at most one each."
        )
    return tuple(
        replace(entry, case_id=f"{entry.case_id}{LATER}", days=later.day(entry.seed, entry.index, 17))
        for entry in plan[: later.count]
    )


def _turns(practices: tuple[Practice, ...]) -> list[Practice]:
    """The institutions in the order in which they get patients: each split spread evenly over the round."""
    places = []
    for split in ("train", "val", "test"):
        group = [p for p in practices if p.split == split]
        places += [((k + 0.5) / len(group), p.name, p) for k, p in enumerate(group)]
    return [practice for _, _, practice in sorted(places, key=lambda place: place[:2])]


def practice_of(entry: PlannedCase) -> Practice:
    """The institution that operates on a planned case."""
    return next(p for p in institutions(entry.seed, entry.institution_count) if p.name == entry.institution)


def simulate_case(
    entry: PlannedCase,
    *,
    anatomy_folder: Path | None = None,
    resection_map: Path | None = None,
    sequences: Sequence[str] = T1_SEQUENCES,
) -> SimulatedCase:
    """Simulate one patient before and after surgery; the same entry gives the same case, whatever ran before.

    What is drawn for a sequence or a later scan changes no other sequence and no early scan.
    """
    root = np.random.default_rng(np.random.SeedSequence([entry.seed, entry.index]))
    body, mass, surgeon, scanner, water, later = root.spawn(6)
    streams = _wanted(water, sequences)
    person = random_person(body, _source(body, anatomy_folder))
    plan = random_plan(mass)
    growth = grow(mass, coarse_tissue(person), plan)
    tissue = tissue_of(person, body, growth.push)
    tumour = tumour_in(mass, growth, tissue, plan)
    levels = random_levels(body) | {s: random_water_levels(own, s) for s, own in streams.items()}
    healthy = healthy_signal(body, tissue, levels)
    pre_signal = add_tumour(mass, {s: healthy[s] for s in T1_SEQUENCES}, tumour, plan, levels, tissue.brain)
    for s, own in streams.items():
        pre_signal[s] = add_water_tumour(own, healthy[s], s, tumour, plan, levels[s], tissue.brain)
    patient = Patient(tumour.labels, tissue.brain, tissue.wm, tissue.csf)
    operation = operate(patient, eloquence(resection_map), practice_of(entry), surgeon)
    attributes: dict[str, str | float] = {"sex": person.sex, "age": round(person.age)}
    visits = None
    if entry.days is not None:
        healing, again, later_water = later.spawn(3)
        operation = heal(operation, patient, entry.days, healing)
        visits = {"T1w": again, **_wanted(later_water, sequences)}
        attributes["days_since_surgery"] = entry.days
    after = post_signal(pre_signal, levels, patient, operation, surgeon)
    pre_image, post_image, brain_post = both_scans(pre_signal, after, tissue.brain, scanner, streams, visits)
    return SimulatedCase(
        case_id=entry.case_id,
        patient_id=entry.patient_id,
        institution=entry.institution,
        kind="phantom",
        split=entry.split,
        attributes={**describe(patient.core, operation.outcome, operation.eor_percent), **attributes},
        pre={s: pre_image[s] for s in sequences},
        post={s: post_image[s] for s in sequences},
        brain_pre=tissue.brain.astype(np.uint8),
        brain_post=brain_post.astype(np.uint8),
        tumour=tumour.labels,
        outcome=operation.outcome,
        shift=operation.shift,
        resection=operation.resection.astype(np.uint8),
    )


def _wanted(parent: np.random.Generator, sequences: Sequence[str]) -> dict[str, np.random.Generator]:
    """A generator for each of T2w and FLAIR that is wanted, the same whether the other one is or not."""
    streams = zip(WATER_SEQUENCES, parent.spawn(len(WATER_SEQUENCES)), strict=True)
    return {name: own for name, own in streams if name in sequences}


def _source(rng: np.random.Generator, anatomy_folder: Path | None) -> SourceAnatomy:
    """The template, or mostly (four of five) another person's brain when there is a folder of them."""
    if anatomy_folder is None:
        return template_anatomy()
    maps = label_maps(anatomy_folder)
    choice = int(rng.integers(len(maps)))
    return template_anatomy() if rng.random() < TEMPLATE_SHARE else anatomy_of_label_map(maps[choice])


def write_cohort(
    library_folder: Path,
    n: int,
    seed: int,
    workers: int = 1,
    anatomy_folder: Path | None = None,
    resection_map: Path | None = None,
    real_cases_folder: Path | None = None,
    sequences: Sequence[str] = T1_SEQUENCES,
    later: LaterScans | None = None,
    progress: Progress | None = None,
) -> CaseLibrary:
    """Simulate ``n`` phantom patients (and operate on the real ones) into the library, several processes at once.

    ``later`` scans of the first patients, and of a share of the operations on real ones, are cases of their own.
    Cases that the library holds already are kept, so an interrupted run goes on where it stopped; each case appears
    whole. Raises ``Cancelled`` from ``progress``, ``LibraryError`` when the folder holds something else.
    """
    progress = progress or SilentProgress()
    entries = phantom_cohort_plan(n, seed)
    if later is not None:
        entries += later_scans_plan(entries, later)
    planned = operations_plan(real_cases_folder, seed, later=later) if real_cases_folder is not None else ()
    library = _opened(Path(library_folder))
    present = {case.case_id for case in library.cases}
    how: dict[str, Any] = {"resection_map": resection_map, "sequences": tuple(sequences)}
    jobs: list[Job] = []
    for operations in planned:
        if not present.issuperset(operations.case_ids):
            skip = frozenset(present.intersection(operations.case_ids))
            jobs.append(partial(simulate_operations, operations, skip=skip, **how))
    for entry in entries:
        if entry.case_id not in present:
            jobs.append(partial(_one_case, entry, anatomy_folder=anatomy_folder, **how))
    progress.stage("Simulating patients before and after surgery")
    _run(jobs, library.folder, workers, progress)
    return CaseLibrary.open(library.folder)


def _opened(folder: Path) -> CaseLibrary:
    """The library in ``folder``, made when there is none."""
    if (folder / "dataset_description.json").exists():
        return CaseLibrary.open(folder, allow_empty=True)
    return CaseLibrary.create(folder)


def _one_case(entry: PlannedCase, **how: Any) -> tuple[SimulatedCase, ...]:
    return (simulate_case(entry, **how),)


def _add(job: Job, folder: Path) -> None:
    library = CaseLibrary.open(folder, allow_empty=True)
    for case in job():
        library.add(case)


def _run(jobs: Sequence[Job], folder: Path, workers: int, progress: Progress) -> None:
    """Do the jobs in ``workers`` processes of one thread each; stop at once when the user cancels."""
    if workers <= 1:
        for done, job in enumerate(jobs):
            progress.step(done, len(jobs))
            _add(job, folder)
    else:
        for _ in in_processes(partial(_add, folder=folder), jobs, workers, progress):
            pass
    progress.step(len(jobs), len(jobs))


__all__ = ["PlannedCase", "later_scans_plan", "phantom_cohort_plan", "practice_of", "simulate_case", "write_cohort"]
