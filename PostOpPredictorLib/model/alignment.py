"""The precedent laid onto the query: moved and scaled within the slice until its tumour lies where the query's does."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from .triplet import CORE_LABELS, TripletBatch, label_mask

MINIMUM_PIXELS = 20
LARGEST_SCALE = 2.0


def with_aligned_instruction(triplets: TripletBatch) -> TripletBatch:
    """The batch with its instruction shifted and scaled, slice by slice, so that the two tumour cores have one centre
    and one area.

    The scale is held between a half and two; where either core has less than 20 pixels the instruction stays as it is.
    Needs whole slices: what lies beyond a crop cannot be moved into it.
    """
    # A grid in bfloat16 would be half a pixel off.
    with torch.autocast(triplets.query_pre.device.type, enabled=False):
        return _aligned(triplets)


def _aligned(triplets: TripletBatch) -> TripletBatch:
    query, shown = (
        label_mask(tumour, CORE_LABELS)[:, 0] for tumour in (triplets.query_tumour, triplets.instruction_tumour)
    )
    known = (query.sum(dim=(1, 2)) >= MINIMUM_PIXELS) & (shown.sum(dim=(1, 2)) >= MINIMUM_PIXELS)
    scale = (shown.sum(dim=(1, 2)) / query.sum(dim=(1, 2)).clamp(min=1)).sqrt()
    scale = torch.where(known, scale.clamp(1 / LARGEST_SCALE, LARGEST_SCALE), 1.0)
    step = torch.where(known[:, None], _centre(shown) - scale[:, None] * _centre(query), 0.0)
    matrix = torch.zeros(len(triplets), 2, 3, device=step.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :, 2] = step
    grid = affine_grid(matrix, [len(triplets), 1, *query.shape[-2:]], align_corners=False)

    def image(array: Tensor) -> Tensor:
        return grid_sample(array, grid, align_corners=False)

    def labels(array: Tensor) -> Tensor:
        moved = grid_sample(array[:, None].float(), grid, mode="nearest", align_corners=False)
        return moved[:, 0].to(array.dtype)

    return replace(
        triplets,
        instruction_pre=image(triplets.instruction_pre),
        instruction_post=image(triplets.instruction_post),
        instruction_tumour=labels(triplets.instruction_tumour),
        instruction_outcome=labels(triplets.instruction_outcome),
    )


def _centre(mask: Tensor) -> Tensor:
    """Centre (B, 2) of (B, y, x) masks as x, y from -1 to 1 between the outer borders of the slice."""
    height, width = mask.shape[-2:]
    pixels = mask.sum(dim=(1, 2)).clamp(min=1)
    x = (torch.arange(width, device=mask.device) + 0.5) * 2 / width - 1
    y = (torch.arange(height, device=mask.device) + 0.5) * 2 / height - 1
    return torch.stack([(mask * x).sum(dim=(1, 2)), (mask * y[:, None]).sum(dim=(1, 2))], dim=1) / pixels[:, None]
