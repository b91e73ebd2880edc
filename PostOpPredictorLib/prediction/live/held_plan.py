"""A plan as the session holds it: its mask, where it may change something, and what was predicted under it so far."""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...cases.case import FloatArray, LabelArray
from ...json_lines import plain
from ..patient import Patient
from ..plan_request import PlanRequest
from ..plans.following import reach_of
from ..plans.planned_mask import Plan, plan_of
from ..plans.read_out import Structure, read_out_of_plan
from ..triplet_slices import end_taper, slices_with_tumour
from ..volume_prediction import CasePrediction

MOST_PLANS_HELD = 6
TOLD_WITH_THE_VOLUME = ("cavity_ml", "eloquent")
"""The first depends on what is predicted; distances to all areas take as long as a slice."""


@dataclass
class HeldPlan:
    """``slices``: those that may change; ``ending`` (z, 1, 1): how much of each is used; ``figures``: of the tissue
    that is planned, whatever is predicted. ``outcomes`` (6, y, x) and ``shifts`` (y, x, 3) by slice: what the network
    said, as it said it.
    """

    key: str
    plan: Plan
    slices: tuple[int, ...]
    ending: FloatArray
    reach: LabelArray
    figures: dict[str, Any]
    outcomes: dict[int, FloatArray] = field(default_factory=dict)
    shifts: dict[int, FloatArray] = field(default_factory=dict)

    @property
    def said(self) -> dict[str, Any]:
        """What every answer says of the plan."""
        return {
            "name": self.plan.name,
            "description": self.plan.description,
            "warnings": list(self.plan.warnings),
        }


class HeldPlans:
    """The newest plans of one patient: going back to one costs nothing."""

    def __init__(self, patient: Patient, first: CasePrediction, structures: tuple[Structure, ...]) -> None:
        self._patient, self._first, self._structures = patient, first, structures
        self._held: OrderedDict[str, HeldPlan] = OrderedDict()

    def of(self, request: PlanRequest) -> HeldPlan:
        """The plan of ``request``. Raises ``InputError`` for one that cannot be followed."""
        key = key_of(request)
        if key not in self._held:
            self._held[key] = self._made(key, request)
        self._held.move_to_end(key)
        while len(self._held) > MOST_PLANS_HELD:
            self._held.popitem(last=False)
        return self._held[key]

    def _made(self, key: str, request: PlanRequest) -> HeldPlan:
        patient = self._patient
        plan = plan_of(request, " ".join(request.name.split()) or "plan", patient)
        reach = reach_of(patient.tumour, plan.mask)
        slices = slices_with_tumour(reach, patient.brain)
        figures = read_out_of_plan(patient, plan.mask, self._first, self._structures, areas=())
        for name in TOLD_WITH_THE_VOLUME:
            del figures[name]
        return HeldPlan(key, plan, slices, end_taper(slices, reach), reach, figures)


def key_of(request: PlanRequest) -> str:
    """Tells plans apart, also when a file of the same name was drawn anew."""
    files = [path for path in (request.mask, *(one.mask for one in request.spare)) if path is not None]
    drawn = [(found.st_mtime_ns, found.st_size) for found in (path.stat() for path in files if path.exists())]
    return json.dumps([plain(dataclasses.asdict(request)), drawn], sort_keys=True)


def planned(held: HeldPlan) -> LabelArray:
    """The plan's mask as the model is shown it: uint8 (z, y, x)."""
    return held.plan.mask.astype(np.uint8)
