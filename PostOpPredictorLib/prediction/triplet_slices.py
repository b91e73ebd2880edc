"""Which axial slices are predicted, and how they and their instruction are handed to the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy import ndimage

from ..cases.case import SEQUENCES, FloatArray, LabelArray
from ..errors import InputError
from ..imaging.grid import WORKING_GRID
from ..model.triplet import TripletBatch
from .instruction import Instruction
from .outcome_volume import tumour_core

MARGIN_SLICES = 4
"""Predicted above and below the tumour core, so that a cavity or oedema that reaches further ends smoothly."""


def slices_with_tumour(tumour: LabelArray, brain: LabelArray) -> tuple[int, ...]:
    """The slices with tumour core (what models are trained on) and a few above and below, if there is brain.

    Raises ``InputError`` when there is no tumour core at all.
    """
    held = np.flatnonzero(np.any(tumour_core(tumour), axis=(1, 2)))
    if held.size == 0:
        raise InputError(
            "The tumour mask is empty on the MNI grid, so there is nothing to predict. Check the mask and its labels."
        )
    first, last = int(held[0]) - MARGIN_SLICES, int(held[-1]) + MARGIN_SLICES
    return tuple(z for z in range(max(first, 0), min(last + 1, len(brain))) if np.any(brain[z]))


def end_taper(chosen: Sequence[int], tumour: LabelArray) -> FloatArray:
    """How much of each slice is used, float32 (z, 1, 1): all where core is, less towards the last, 0 beyond."""
    holds_core = np.any(tumour_core(tumour), axis=(1, 2))
    away = ndimage.distance_transform_edt(~holds_core) if holds_core.any() else np.zeros(len(tumour))
    weight = np.zeros((len(tumour), 1, 1), np.float32)
    weight[list(chosen), 0, 0] = np.clip(1.0 - away[list(chosen)] / (MARGIN_SLICES + 1), 0.0, 1.0)
    return weight


def triplet_batch(
    pre: FloatArray,
    tumour: LabelArray,
    brain: LabelArray,
    instruction: Instruction | None,
    slices: Sequence[int],
    *,
    plan: LabelArray | None = None,
    days: float | None = None,
    own_institution: bool = False,
    context: Mapping[str, FloatArray] | None = None,
) -> TripletBatch:
    """The query's ``slices`` (indices along z of WORKING_GRID) with their instruction; None: no similar case.

    ``plan`` (z, y, x), 1 where tissue is to be taken; ``days`` since surgery; both None where nothing is asked.
    ``context``: further scans (z, y, x) of the query by their sequence, like ``pre``.
    """
    shown = instruction or Instruction.empty()
    index, context = list(slices), context or {}
    beside = [np.clip(np.add(index, step), 0, len(pre) - 1) for step in (-1, 1)]

    def images(array: np.ndarray, levels: Sequence[int] | np.ndarray = index) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array[levels], dtype=np.float32))[:, None]

    def cores(levels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(tumour_core(tumour[levels]).astype(np.float32))[:, None]

    def labels(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array[index], dtype=np.uint8))

    return TripletBatch(
        query_pre=images(pre),
        query_tumour=labels(tumour),
        query_brain=images(brain > 0),
        instruction_pre=images(shown.pre),
        instruction_post=images(shown.post),
        instruction_tumour=labels(shown.tumour),
        instruction_outcome=labels(shown.outcome),
        z_mm=torch.tensor([mni_height(z) for z in index], dtype=torch.float32),
        has_instruction=torch.full((len(index),), instruction is not None),
        query_plan=None if plan is None else labels(plan > 0),
        has_plan=torch.full((len(index),), plan is not None),
        days=torch.full((len(index),), 0.0 if days is None else days),
        has_days=torch.full((len(index),), days is not None),
        shown_days=torch.full((len(index),), shown.days),
        own_institution=torch.full((len(index),), own_institution),
        query_beside=torch.cat([images(pre, z) for z in beside] + [cores(z) for z in beside], dim=1),
        query_context=torch.cat([images(context.get(name, np.zeros_like(pre))) for name in SEQUENCES], dim=1)
        if context
        else None,
        has_context=torch.tensor([[name in context for name in SEQUENCES]] * len(index)),
    )


def mni_height(z: int) -> float:
    """MNI z in mm of slice ``z`` of WORKING_GRID."""
    return WORKING_GRID.origin[2] + z * WORKING_GRID.spacing[2]
