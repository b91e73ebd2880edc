"""What if: a prediction for every plan, with its figures, beside what is predicted without a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...imaging.volumes import read_volume
from ...progress import Progress
from ..asked import Answer, AnswerFile, Asked
from ..outcome_volume import CAVITY_LABELS
from ..patient import Patient
from ..request import PredictionRequest
from ..volume_prediction import CasePrediction
from .eloquent_areas import LABEL
from .following import carried_back
from .mask_reading import read_structure_mask, refuse_off_the_scan
from .plan_files import plan_files, plans_table
from .planned_mask import Plan, called_plan, called_spared, called_structure, names_of, plan_of, refuse_same
from .read_out import Structure, read_out_of_plan, read_out_without_plan

LEAST_DICE = 0.8


def refuse_unreadable_plans(request: PredictionRequest) -> None:
    """Raise ``InputError`` for names that occur twice and masks that are not there, empty or not over the scan.

    Before the long work begins; whether a mask lies in the brain or touches the tumour is seen after the alignment.
    """
    refuse_same("structure", [structure.name for structure in request.structures])
    masks = _called_masks(request)
    for path, _ in masks:
        if not path.exists():
            raise InputError(f"{path} of the plans and structures does not exist. Check the path.")
    if masks:
        scan = read_volume(request.pre)
        for path, called in masks:
            refuse_off_the_scan(path, scan, called)


def masks_of(request: PredictionRequest) -> tuple[Path, ...]:
    """Every file that the plans and structures of ``request`` name."""
    return tuple(path for path, _ in _called_masks(request))


def _called_masks(request: PredictionRequest) -> list[tuple[Path, str]]:
    """The files of the plans, of what they spare and of the structures, each with what an error calls it."""
    masks = []
    for plan, name in zip(request.plans, names_of(request.plans), strict=True):
        called = called_plan(name)
        if plan.mask is not None:
            masks.append((plan.mask, called))
        masks += [(spare.mask, called_spared(at, called)) for at, spare in enumerate(plan.spare, start=1)]
    return masks + [(structure.mask, called_structure(structure.name)) for structure in request.structures]


def answer_without_plan(asked: Asked, progress: Progress) -> Answer | None:
    """The plans' figures for the prediction itself, asked for with plans or structures: row 0 of the table."""
    request = asked.request
    if not (request.plans or request.structures):
        return None
    progress.stage("Measuring what is taken and left")
    progress.step(0, 1)
    structures = structures_of(request, asked.prediction.patient)
    return Answer("without_plan", _without_plan(asked, structures))


def answer_plans(asked: Asked, progress: Progress) -> Answer | None:
    """A prediction that follows each plan, its figures and files, and the table of all."""
    request, patient = asked.request, asked.prediction.patient
    if not request.plans:
        return None
    names = names_of(request.plans)
    structures = structures_of(request, patient)
    plans = []
    progress.stage("Reading the plans")
    for at, (one, name) in enumerate(zip(request.plans, names, strict=True)):
        progress.step(at, len(names))
        plans.append(plan_of(one, name, patient))
    progress.step(len(names), len(names))
    instruction = asked.prediction.precedents.instruction()
    entries: list[dict[str, Any]] = []
    files: list[AnswerFile] = []
    for number, plan in enumerate(plans, start=1):
        progress.log(f"Plan {number} of {len(plans)}: {plan.description}.")
        case = asked.again(instruction, progress, plan=plan.mask.astype(np.uint8))
        own = plan_files(number, plan, patient, case, asked.prediction.sequence.sequence)
        entries.append(entry_of(number, plan, patient, case, structures, own))
        files += own
    table = plans_table([_without_plan(asked, structures), *entries])
    return Answer("plans", entries, (*files, table))


def structures_of(request: PredictionRequest, patient: Patient) -> tuple[Structure, ...]:
    """The structures that distances are told to, read. Raises ``InputError``."""
    return tuple(
        Structure(one.name, read_structure_mask(one.mask, patient, called_structure(one.name)).marked)
        for one in request.structures
    )


def entry_of(
    number: int,
    plan: Plan,
    patient: Patient,
    case: CasePrediction,
    structures: tuple[Structure, ...],
    files: list[AnswerFile],
) -> dict[str, Any]:
    """What the result says of one plan; ``case`` is the prediction that follows it."""
    dice = dice_with_plan(case, plan.mask, patient)
    warnings = list(plan.warnings)
    if dice < LEAST_DICE:
        warnings.append(f"The predicted cavity follows it only roughly (Dice {dice:.2f}).")
    return {
        "number": number,
        "name": plan.name,
        "description": plan.description,
        "read_out": read_out_of_plan(patient, plan.mask, case, structures),
        "dice_cavity_plan": round(dice, 4),
        "warnings": warnings,
        "eloquent_label": LABEL,
        "files": {file.kind.partition("/")[2]: file.name for file in files},
    }


def dice_with_plan(case: CasePrediction, plan: np.ndarray, patient: Patient) -> float:
    """Dice of the predicted cavity, carried back to the brain before surgery, with the plan."""
    taken = carried_back(np.isin(case.outcome, CAVITY_LABELS), case.shift) & (patient.brain > 0)
    return 2.0 * float((taken & plan).sum()) / float(taken.sum() + plan.sum())


def _without_plan(asked: Asked, structures: tuple[Structure, ...]) -> dict[str, Any]:
    return {
        "number": 0,
        "name": "without a plan",
        "description": "what is predicted from the precedent",
        "read_out": read_out_without_plan(asked.prediction.patient, asked.prediction.case, structures),
        "warnings": [],
        "eloquent_label": LABEL,
    }
