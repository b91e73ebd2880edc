"""How well predictions follow a plan: ``python -m PostOpPredictorLib.evaluation.plan_benchmark --library FOLDER``.

The plan is what was really taken in a simulated operation, so the outcome is known. Beside it: whether a larger plan
ever leaves more residual tumour.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..cases.library import CaseLibrary, LibraryCase
from ..errors import InputError
from ..model.pipeline import PostOpPipeline
from ..prediction.outcome_volume import CAVITY_LABELS, RESIDUAL_LABEL, VOXEL_ML
from ..prediction.plans.following import carried_back
from ..prediction.plans.patient_space import PatientSpace
from ..prediction.plans.planned_mask import grown, shrunk
from ..prediction.volume_prediction import CasePrediction, Pipeline, predict_case
from ..retrieval.strategies import strategy_named
from ..shipped import shipped_model_folder
from .evaluate import is_later
from .overlap import dice, volume_error_ml
from .pools import BestPrecedent, Pool, allowed_cases
from .query_case import QueryCase

MARGINS_MM = (-5.0, -3.0, 0.0, 3.0, 5.0, 10.0)
SEQUENCE = "T1wCE"


@dataclass(frozen=True)
class Agreement:
    """One prediction against the truth. ``resection_dice``: the tissue taken, before surgery; ``cavity_dice`` and the
    volumes: after it."""

    resection_dice: float
    cavity_dice: float
    cavity_error_percent: float
    residual_error_ml: float


@dataclass(frozen=True)
class NestedPlans:
    """Margins from small to large: residual ml of the label map after surgery, and Dice of the cavity, carried back,
    with the plan."""

    margins_mm: tuple[float, ...]
    label_ml: tuple[float, ...]
    plan_dice: tuple[float, ...]

    @property
    def violations(self) -> int:
        """How often the label map after surgery, whose brain has moved, shows more residual for a larger plan."""
        return sum(larger > smaller for smaller, larger in pairwise(self.label_ml))


@dataclass(frozen=True)
class PatientResult:
    """``nested`` is None where it was not tried."""

    case_id: str
    source: str
    without_plan: Agreement
    with_plan: Agreement
    nested: NestedPlans | None


class Bench:
    """A model and a library to take precedents from, as ``postop predict`` does."""

    def __init__(self, pipe: Pipeline, library: CaseLibrary) -> None:
        self._pipe, self._cases = pipe, library.cases
        self._finder = BestPrecedent(library.cases, strategy_named("tumour", library, sequence=SEQUENCE))

    def evaluate(self, query: QueryCase, nested: bool) -> PatientResult:
        """Predict one patient without a plan, with what was really taken, and with margins where ``nested``."""
        found = self._finder(query, allowed_cases(self._cases, query.case, Pool.WHOLE))
        precedent = found.case if found else None
        resection = query.case.resection()
        if resection is None:
            raise InputError(f"Case {query.case.case_id} does not say what was taken. Choose simulated cases.")
        taken = resection > 0

        def predicted(plan: np.ndarray | None) -> CasePrediction:
            mask = None if plan is None else plan.astype(np.uint8)
            return predict_case(
                self._pipe,
                query.pre,
                query.tumour,
                query.brain,
                precedent,
                sequence=query.sequence,
                plan=mask,
                context=query.context_for(self._pipe),
            )

        return PatientResult(
            query.case.case_id,
            query.case.source,
            _agreement(predicted(None), query, taken),
            _agreement(predicted(taken), query, taken),
            _nested(query, predicted) if nested else None,
        )


def _agreement(case: CasePrediction, query: QueryCase, taken: np.ndarray) -> Agreement:
    cavity = np.isin(case.outcome, CAVITY_LABELS)
    back = carried_back(cavity, case.shift) & (query.brain > 0)
    true_ml = float(query.true_cavity.sum())
    return Agreement(
        dice(back, taken) or 0.0,
        dice(cavity, query.true_cavity) or 0.0,
        100.0 * (float(cavity.sum()) - true_ml) / max(true_ml, 1.0),
        volume_error_ml(case.outcome == RESIDUAL_LABEL, query.true_residual),
    )


def _nested(query: QueryCase, predicted: Callable[[np.ndarray | None], CasePrediction]) -> NestedPlans:
    space = PatientSpace(sitk.Transform(3, sitk.sitkIdentity))
    core, brain = query.core & (query.brain > 0), query.brain > 0
    rows = []
    for margin in MARGINS_MM:
        plan = grown(core, margin, brain, space)[0] if margin >= 0 else shrunk(core, -margin, space)
        if not plan.any():
            continue
        case = predicted(plan)
        back = carried_back(np.isin(case.outcome, CAVITY_LABELS), case.shift) & brain
        label_ml = float((case.outcome == RESIDUAL_LABEL).sum()) * VOXEL_ML
        rows.append((margin, label_ml, dice(back, plan) or 0.0))
    return NestedPlans(*(tuple(values) for values in zip(*rows, strict=True)))


def chosen_cases(library: CaseLibrary, phantom: int, semi_real: int) -> list[QueryCase]:
    """The first held-out patients of either kind, each with one early case whose resection and contrast-enhanced scan
    are known."""
    chosen = []
    for source, count in (("phantom", phantom), ("semi-real", semi_real)):
        fitting = (
            case
            for case in sorted(library.cases, key=lambda one: one.case_id)
            if case.split == "test" and case.source == source and SEQUENCE in case.sequences and not is_later(case)
        )
        known: dict[str, LibraryCase] = {}
        for case in fitting:
            if case.files.resection.exists():
                known.setdefault(case.patient_id, case)
        chosen += [QueryCase.of(case, SEQUENCE) for case in list(known.values())[:count]]
    if not chosen:
        raise InputError(f"{library.folder} has no held-out simulated patient with a known resection.")
    return chosen


def summary(results: Sequence[PatientResult]) -> dict[str, object]:
    """Means by kind of patient, and the violations."""
    told: dict[str, object] = {}
    for source in sorted({result.source for result in results}):
        own = [result for result in results if result.source == source]
        for way in ("without_plan", "with_plan"):
            figures = [asdict(getattr(result, way)) for result in own]
            told[f"{source}, {way}, {len(own)} patients"] = {
                "resection_dice": _mean([one["resection_dice"] for one in figures]),
                "cavity_dice": _mean([one["cavity_dice"] for one in figures]),
                "cavity_error_percent": _mean([one["cavity_error_percent"] for one in figures]),
                "absolute_cavity_error_percent": _mean([abs(one["cavity_error_percent"]) for one in figures]),
                "residual_error_ml": _mean([one["residual_error_ml"] for one in figures]),
            }
    nested = [result.nested for result in results if result.nested]
    if nested:
        agreement = [value for one in nested for value in one.plan_dice]
        told["nested plans"] = {
            "patients": len(nested),
            "steps": sum(len(one.label_ml) - 1 for one in nested),
            "larger_plan_shows_more_residual": sum(one.violations for one in nested),
            "cavity_against_plan_dice_mean": _mean(agreement),
            "cavity_against_plan_dice_least": round(min(agreement), 3),
        }
    return told


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3)


def main() -> None:
    """Print a line per patient and the summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=None, help="default: the shipped one")
    parser.add_argument("--phantom", type=int, default=12)
    parser.add_argument("--semi-real", type=int, default=6)
    parser.add_argument("--nested", type=int, default=5, help="patients on whom nested margins are tried")
    arguments = parser.parse_args()
    library = CaseLibrary.open(arguments.library)
    bench = Bench(PostOpPipeline.from_pretrained(arguments.model or shipped_model_folder()), library)
    results = []
    queries = chosen_cases(library, arguments.phantom, arguments.semi_real)
    nested = set(np.linspace(0, len(queries) - 1, min(arguments.nested, len(queries))).round().astype(int).tolist())
    for at, query in enumerate(queries):
        began = time.perf_counter()
        results.append(bench.evaluate(query, nested=at in nested))
        print(json.dumps(asdict(results[-1])), f"{time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps(summary(results), indent=1))


if __name__ == "__main__":
    main()
