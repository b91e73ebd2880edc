"""Structure: the outcome as maps (cavity, residual tumour, blood, oedema, air) and a tissue shift, and its code.

The maps live on a grid of half the panel's resolution (3 mm for 1.5 mm panels) as area fractions, so that their borders
keep sub-pixel detail.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate, pixel_shuffle, pixel_unshuffle

from .triplet import HOLE_LABELS, OUTCOME_LABELS, outcome_maps

SHIFT_SCALE_MM = 8.0
SHIFT_CHANNELS = 3 * 4
"""The last channels of the code."""
STRUCTURE_FACTOR = 4
"""Pixels of an image for one of the code."""
STRUCTURE_CHANNELS = (len(OUTCOME_LABELS) - 1) * 4 + SHIFT_CHANNELS


@dataclass(frozen=True)
class Structure:
    """``outcome`` (B, 6, y, x): share of each of ``OUTCOME_LABELS``; ``shift_mm`` (B, 3, y, x): pull-back in LPS mm."""

    outcome: Tensor
    shift_mm: Tensor


def encode_structure(outcome_labels: Tensor, shift_mm: Tensor) -> Tensor:
    """Outcome labels (B, y, x), shift (B, 3, y / 2, x / 2) mm to the code (B, 32, y / 4, x / 4), about in [-1, 1]."""
    maps = avg_pool2d(outcome_maps(outcome_labels), 2) * 2 - 1
    return pixel_unshuffle(torch.cat([maps, shift_mm / SHIFT_SCALE_MM], dim=1), 2)


def decode_structure(code: Tensor) -> Structure:
    """The code back to shares of every outcome on the full panel (bilinear), which sum to 1, and the shift."""
    half = pixel_shuffle(code, 2)
    full = interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)
    shares = ((full[:, :-3] + 1) / 2).clamp(0, 1)
    shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=1)
    unchanged = (1 - shares.sum(dim=1, keepdim=True)).clamp(min=0)
    return Structure(torch.cat([unchanged, shares], dim=1), full[:, -3:] * SHIFT_SCALE_MM)


def within(structure: Structure, brain: Tensor) -> Structure:
    """The same structure with nothing changed and nothing shifted outside ``brain`` (B, 1, y, x)."""
    inside = structure.outcome * brain
    unchanged = inside[:, :1] + (1 - brain)
    return Structure(torch.cat([unchanged, inside[:, 1:]], dim=1), structure.shift_mm * brain)


def crisp(outcome: Tensor) -> Tensor:
    """Decide what each pixel is: shares (B, 6, y, x) to shares that are 0 or 1 except within a pixel of a border.

    Hole or tissue is decided first, from the summed share of cavity, blood and air, then what fills the hole: a hole
    whose filling is uncertain must not dissolve because no single filling has the majority.
    """
    hole_index, tissue_index = list(HOLE_LABELS), [i for i in range(len(OUTCOME_LABELS)) if i not in HOLE_LABELS]
    hole = torch.sigmoid((outcome[:, hole_index].sum(dim=1, keepdim=True) - 0.5) * 16)
    filling = torch.softmax(outcome[:, hole_index] * 16, dim=1) * hole
    tissue = torch.softmax(outcome[:, tissue_index] * 16, dim=1) * (1 - hole)
    decided = torch.empty_like(outcome)
    decided[:, hole_index], decided[:, tissue_index] = filling, tissue
    return decided


def warp_in_plane(image: Tensor, shift_mm: Tensor, pixel_mm: float = 1.5) -> Tensor:
    """image(p + shift(p)) within the slice: ``image`` (B, C, y, x); x and y of ``shift_mm`` (B, 3, y, x) are used."""
    height, width = image.shape[-2:]
    identity = affine_grid(
        torch.eye(2, 3, device=image.device, dtype=image.dtype).expand(len(image), -1, -1),
        list(image.shape),
        align_corners=False,
    )
    step = shift_mm[:, :2].permute(0, 2, 3, 1) / pixel_mm * 2 / torch.tensor([width, height], device=image.device)
    return grid_sample(image, identity + step, padding_mode="border", align_corners=False)
