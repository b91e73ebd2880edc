"""One slice under a plan: the network sees it and its neighbours, and all that follows is done in a slab of the brain.

What the steps of ``predict_case`` need of slices further away is taken from the prediction without a plan, so that a
slice looks as it does in the volume that comes after it (``Testing/backend/test_live_slices.py`` measures how nearly).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage

from ...cases.case import FloatArray
from ...imaging.grid import WORKING_GRID
from ...model.structure import Structure
from ...model.triplet import TripletBatch
from ..fusion import beside_fluid, fluid_level, fuse, within_seam
from ..instruction import Instruction
from ..outcome_volume import (
    CAVITY_LABELS,
    OUTCOME_COUNT,
    change_weight,
    ended,
    outcome_labels,
    smooth_shift,
    smooth_through_plane,
    without_islands,
)
from ..patient import Patient
from ..plans.following import follow_plan
from ..triplet_slices import triplet_batch
from ..volume_prediction import CasePrediction
from .held_plan import HeldPlan, planned

SMOOTHED_OVER = 1
"""Slices on each side that the network is asked for; in the smoothing through planes all others weigh 4 %."""
SLAB = 6
"""Slices on each side of the slab; a change is felt over four, and hardly any shift reaches further."""
AROUND_THE_BRAIN = 3


class LivePipeline(Protocol):
    """What is asked of ``model.PostOpPipeline``."""

    def tokens(self, triplets: TripletBatch) -> torch.Tensor: ...

    def expected_structure(
        self, triplets: TripletBatch, tokens: torch.Tensor, seed: int = 0, guidance: float | None = None
    ) -> Structure: ...

    def render(
        self, triplets: TripletBatch, outcome_probability: torch.Tensor, shift_mm: torch.Tensor
    ) -> torch.Tensor: ...


@dataclass(frozen=True)
class PredictedSlice:
    """``image`` float32 (y, x) in scanner units, 0 outside the brain; ``cavity`` bool (y, x)."""

    image: FloatArray
    cavity: np.ndarray


class SlicePredictor:
    """One patient with one precedent, whose slices are predicted under any plan. ``first``: without a plan.

    ``asked``: the conditions of ``triplet_batch`` that stay; ``seed`` and ``guidance`` as for ``predict_case``.
    """

    def __init__(
        self,
        pipe: LivePipeline,
        patient: Patient,
        instruction: Instruction | None,
        first: CasePrediction,
        *,
        seed: int = 0,
        guidance: float | None = None,
        **asked: Any,
    ) -> None:
        self._pipe, self._patient, self._instruction, self._first = pipe, patient, instruction, first
        self._seed, self._guidance, self._asked = seed, guidance, asked
        self._tokens: dict[int, torch.Tensor] = {}
        self._box = _box_around(patient.brain)
        self._own = _OwnTissue(patient, first.sequence)

    def without_plan(self, z: int) -> PredictedSlice:
        """Slice ``z`` of the prediction without a plan."""
        first = self._first
        image = self._fused(z, first.shift[z], first.synthesised[z], first.change[z])
        return PredictedSlice(image, np.isin(first.outcome[z], CAVITY_LABELS))

    def under(self, held: HeldPlan, z: int) -> PredictedSlice:
        """Slice ``z`` under a plan; beyond the slices that the plan may change it is the patient's own."""
        if z not in held.slices:
            return PredictedSlice(self._own.units[z], np.zeros(WORKING_GRID.shape[1:], bool))
        near = range(max(z - SMOOTHED_OVER, 0), min(z + SMOOTHED_OVER, WORKING_GRID.shape[0] - 1) + 1)
        self._ask_the_network(held, [one for one in near if one in held.slices])
        along = slice(max(z - SLAB, 0), min(z + SLAB + 1, WORKING_GRID.shape[0]))
        at = z - along.start
        slab = (along, *self._box)
        patient, first = self._patient, self._first
        brain, ending = patient.brain[slab] > 0, held.ending[along]
        probability, shift = first.outcome_probability[(slice(None), *slab)].copy(), first.shift[slab].copy()
        fresh = slice(near.start - along.start, near.stop - along.start)
        probability[:, fresh], shift[fresh] = self._smoothed(held, near)
        probability = without_islands(probability, held.reach[slab])
        probability = follow_plan(probability, shift, patient.tumour[slab], brain, held.plan.mask[slab])
        labels = outcome_labels(probability)
        weight = change_weight(labels > 0, brain)[at] * np.minimum(2.0 * ending[at], 1.0)
        whole_shift = self._on_slice(shift[at], 0.0)
        synthesised = self._drawn(held, z, self._on_slice_of_outcomes(probability[:, at]), whole_shift)
        image = self._fused(z, whole_shift, synthesised, self._on_slice(weight, 0.0))
        return PredictedSlice(image, self._on_slice(np.isin(labels[at], CAVITY_LABELS), False))

    def _on_slice(self, part: np.ndarray, outside: float | bool) -> np.ndarray:
        """``part`` (y, x, ...) of the box around the brain on the whole slice."""
        whole = np.full((*WORKING_GRID.shape[1:], *part.shape[2:]), outside, part.dtype)
        whole[self._box] = part
        return whole

    def _on_slice_of_outcomes(self, part: FloatArray) -> FloatArray:
        whole = np.zeros((OUTCOME_COUNT, *WORKING_GRID.shape[1:]), np.float32)
        whole[0] = 1.0
        whole[(slice(None), *self._box)] = part
        return whole

    def _ask_the_network(self, held: HeldPlan, wanted: list[int]) -> None:
        missing = [z for z in wanted if z not in held.outcomes]
        if not missing:
            return
        batch = self._batch(held, missing)
        with torch.inference_mode():
            found = self._pipe.expected_structure(batch, self._tokens_of(missing, batch), self._seed, self._guidance)
        outcome, shift = found.outcome.float().cpu().numpy(), found.shift_mm.float().cpu().numpy()
        for at, z in enumerate(missing):
            held.outcomes[z], held.shifts[z] = outcome[at], np.moveaxis(shift[at], 0, -1)

    def _tokens_of(self, slices: list[int], batch: TripletBatch) -> torch.Tensor:
        rows = [at for at, z in enumerate(slices) if z not in self._tokens]
        if rows:
            made = self._pipe.tokens(batch.rows(torch.tensor(rows)))
            self._tokens |= {slices[row]: one for row, one in zip(rows, made, strict=True)}
        return torch.stack([self._tokens[z] for z in slices])

    def _batch(self, held: HeldPlan, slices: list[int]) -> TripletBatch:
        patient = self._patient
        return triplet_batch(
            patient.pre,
            patient.tumour,
            patient.brain,
            self._instruction,
            slices,
            plan=planned(held),
            context=patient.context,
            **self._asked,
        )

    def _smoothed(self, held: HeldPlan, near: range) -> tuple[FloatArray, FloatArray]:
        """Outcome (6, n, y, x) and shift (n, y, x, 3) of the slices ``near`` in the box; best in their middle."""
        brain = self._patient.brain[(slice(near.start, near.stop), *self._box)] > 0
        outcome = np.zeros((OUTCOME_COUNT, *brain.shape), np.float32)
        shift = np.zeros((*brain.shape, 3), np.float32)
        outcome[0] = 1.0
        for at, z in enumerate(near):
            if z in held.outcomes:
                outcome[:, at], shift[at] = held.outcomes[z][(slice(None), *self._box)], held.shifts[z][self._box]
        ending = held.ending[near.start : near.stop]
        return smooth_through_plane(ended(outcome, ending), brain), smooth_shift(shift * ending[..., None], brain)

    def _drawn(self, held: HeldPlan, z: int, outcome: FloatArray, shift: FloatArray) -> FloatArray:
        with torch.inference_mode():
            drawn = self._pipe.render(
                self._batch(held, [z]),
                torch.from_numpy(np.ascontiguousarray(outcome[None])),
                torch.from_numpy(np.ascontiguousarray(np.moveaxis(shift, -1, 0)[None])),
            )
        return drawn[0, 0].float().cpu().numpy()

    def _fused(self, z: int, shift: FloatArray, synthesised: FloatArray, weight: FloatArray) -> FloatArray:
        units = self._patient.window.restore(np.clip(synthesised, 0.0, 1.0))
        return fuse(self._own.shifted(z, shift), units, weight, self._patient.brain[z])


def _box_around(brain: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold the brain (z, y, x) and a few more."""
    held = [np.flatnonzero(brain.any(axis=axes)) for axes in ((0, 2), (0, 1))]
    return tuple(
        slice(max(int(along[0]) - AROUND_THE_BRAIN, 0), int(along[-1]) + 1 + AROUND_THE_BRAIN) for along in held
    )  # type: ignore[return-value]


class _OwnTissue:
    """The patient's scan on WORKING_GRID in scanner units, and a slice of it pulled along a shift."""

    def __init__(self, patient: Patient, sequence: str) -> None:
        scan = WORKING_GRID.resample(patient.scan, patient.registration.transform)
        self._brain = (patient.brain > 0).astype(np.float32)
        self._scan = sitk.GetArrayFromImage(scan).astype(np.float32)
        self.units = self._scan * self._brain
        self._deep = within_seam(patient.brain).astype(np.float32)
        self._fluid = float(patient.window.restore(np.asarray(fluid_level(patient.pre, patient.brain, sequence))))

    def shifted(self, z: int, shift: FloatArray) -> FloatArray:
        """Slice ``z`` (y, x) as ``warp_tissue`` pulls it along ``shift`` (y, x, 3), in mm, LPS."""
        moved = np.any(shift != 0.0, axis=-1) & (self._brain[z] > 0)
        own = self._scan[z].copy()
        if moved.any():
            there = np.argwhere(moved)
            at = np.column_stack([np.full(len(there), z), there]).astype(np.float64)
            positions = (at + shift[moved][:, ::-1] / np.asarray(WORKING_GRID.spacing[::-1])).T
            pulled, inside, deep = (
                ndimage.map_coordinates(volume, positions, order=1, mode="nearest")
                for volume in (self._scan, self._brain, self._deep)
            )
            own[moved] = beside_fluid(pulled, inside, deep, np.linalg.norm(shift[moved], axis=-1), self._fluid)
        return own
