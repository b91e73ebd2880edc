"""The composite image: the query's pre-op scan with the precedent's resection region pasted in (paper, Q_comp)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from .triplet import HOLE_LABELS, label_mask


def cavity_box(instruction_outcome: Tensor) -> Tensor:
    """M_bbox: bounding box of the retrieved case's cavity, per slice.

    ``instruction_outcome`` (B, y, x) outcome labels. Returns (B, 1, y, x) float: 1 inside the box, all 0 where there is
    no cavity.
    """
    return mask_box(label_mask(instruction_outcome, HOLE_LABELS))


def mask_box(mask: Tensor) -> Tensor:
    """The bounding box of each mask (B, 1, y, x): 1 inside it, all 0 where the mask is empty."""
    rows = _between_first_and_last(mask.amax(dim=3, keepdim=True), 2)
    columns = _between_first_and_last(mask.amax(dim=2, keepdim=True), 3)
    return rows * columns


def composite(
    query_pre: Tensor, instruction_post: Tensor, instruction_outcome: Tensor, soft_edge_px: int = 0
) -> Tensor:
    """Q_comp = M_bbox(I_post) * I_post + (1 - M_bbox(I_post)) * Q_pre.

    Images (B, 1, y, x) in [0, 1]; ``instruction_outcome`` (B, y, x). With ``soft_edge_px`` the box fades over that many
    pixels on either side of its border.
    """
    box = cavity_box(instruction_outcome)
    if soft_edge_px > 0:
        box = avg_pool2d(box, 2 * soft_edge_px + 1, stride=1, padding=soft_edge_px, count_include_pad=True)
    return box * instruction_post + (1 - box) * query_pre


def _between_first_and_last(profile: Tensor, dim: int) -> Tensor:
    forward = torch.cummax(profile, dim).values
    backward = torch.cummax(profile.flip(dim), dim).values.flip(dim)
    return forward * backward
