"""The phantom cohort: a plan fixed by its seed, and the simulation of each case of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..case import SimulatedCase, Split
from .anatomy import coarse_tissue, random_person, tissue_of
from .atlas import SourceAnatomy, eloquence, template_anatomy
from .attributes import describe
from .institutions import Practice, institutions
from .other_people import anatomy_of_label_map, label_maps
from .paint import post_signal
from .scanner import misplaced, misregistration, one_window, random_settings, scan
from .signal import add_tumour, healthy_signal, random_levels
from .surgery import Patient, operate
from .tumour import grow, random_plan, tumour_in


TEMPLATE_SHARE = 0.2


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


def phantom_cohort_plan(n: int, seed: int, institution_count: int = 24) -> tuple[PlannedCase, ...]:
    """``n`` phantom patients, shared out evenly over the institutions in a fixed random order."""
    practices = institutions(seed, institution_count)
    order = np.random.default_rng(np.random.SeedSequence([seed, 5])).permutation(institution_count)
    plan = []
    for index in range(n):
        practice = practices[int(order[index % institution_count])]
        name = f"sub-P{index + 1:04d}"
        plan.append(PlannedCase(name, name, seed, index, practice.name, institution_count, practice.split))
    return tuple(plan)


def practice_of(entry: PlannedCase) -> Practice:
    """The institution that operates on a planned case."""
    return next(p for p in institutions(entry.seed, entry.institution_count) if p.name == entry.institution)


def simulate_case(
    entry: PlannedCase, *, anatomy_folder: Path | None = None, resection_map: Path | None = None
) -> SimulatedCase:
    """Simulate one patient before and after surgery; the same entry gives the same case, whatever ran before."""
    root = np.random.default_rng(np.random.SeedSequence([entry.seed, entry.index]))
    body, mass, surgeon, scanner = root.spawn(4)
    person = random_person(body, _source(body, anatomy_folder))
    plan = random_plan(mass)
    growth = grow(mass, coarse_tissue(person), plan)
    tissue = tissue_of(person, body, growth.push)
    tumour = tumour_in(mass, growth, tissue, plan)
    levels = random_levels(body)
    pre_signal = add_tumour(mass, healthy_signal(body, tissue, levels), tumour, plan, levels, tissue.brain)
    labels = tumour.labels
    patient = Patient(labels, tissue.brain, tissue.wm, tissue.csf)
    operation = operate(patient, eloquence(), practice_of(entry), surgeon)
    post = post_signal(pre_signal, levels, patient, operation, surgeon)
    first = random_settings(scanner)
    second = random_settings(scanner, similar_to=first)
    post, brain_post = misplaced(post, tissue.brain, misregistration(scanner))
    pre_image, post_image = one_window(
        scan(pre_signal, tissue.brain, first, scanner), scan(post, brain_post, second, scanner), tissue.brain, brain_post
    )
    attributes = describe(patient.core, operation.outcome, operation.eor_percent)
    return SimulatedCase(
        case_id=entry.case_id,
        patient_id=entry.patient_id,
        institution=entry.institution,
        kind="phantom",
        split=entry.split,
        attributes={**attributes, "sex": person.sex, "age": round(person.age)},
        pre=pre_image,
        post=post_image,
        brain_pre=tissue.brain.astype(np.uint8),
        brain_post=brain_post.astype(np.uint8),
        tumour=labels,
        outcome=operation.outcome,
        shift=operation.shift,
    )


def _source(rng: np.random.Generator, anatomy_folder: Path | None) -> SourceAnatomy:
    """The template, or mostly (four of five) another person's brain when there is a folder of them."""
    if anatomy_folder is None:
        return template_anatomy()
    maps = label_maps(anatomy_folder)
    choice = int(rng.integers(len(maps)))
    return template_anatomy() if rng.random() < TEMPLATE_SHARE else anatomy_of_label_map(maps[choice])


__all__: Sequence[str] = ["PlannedCase", "phantom_cohort_plan", "practice_of", "simulate_case"]
