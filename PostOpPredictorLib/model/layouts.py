"""In-context layouts: how the instruction (I_pre, I_post) and the query reach the U-Net beside the noisy target."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pixel_unshuffle

from ..cases.case import SEQUENCES
from .autoencoder import ImageAutoencoder
from .composite import cavity_box, composite
from .config import PostOpConfig
from .triplet import CORE_LABELS, OEDEMA_LABEL, TripletBatch, label_mask, outcome_maps

MASK_CELLS = 2
STACKED_MASKS = 10
PLAN_MASKS = 2
STACKED_COORDINATES = 4
TIME_CHANNELS = 3
LONGEST_DAYS = 365.0


def stacked_channels(latent_channels: int, config: PostOpConfig) -> int:
    """Number of channels of ``stacked_condition``."""
    masks = STACKED_MASKS + (PLAN_MASKS if config.plan else 0)
    constants = (TIME_CHANNELS if config.time else 0) + (1 if config.institution else 0)
    beside = 2 * (latent_channels + MASK_CELLS**2) if config.neighbour_slices else 0
    context = (latent_channels + 1) * len(config.context_sequences)
    return 4 * latent_channels + masks * MASK_CELLS**2 + STACKED_COORDINATES + constants + beside + context


def stacked_condition(
    triplets: TripletBatch, autoencoder: ImageAutoencoder, factor: int, config: PostOpConfig
) -> Tensor:
    """Everything on channels at latent resolution: latents of Q_pre, Q_comp, I_pre, I_post; masks; MNI position.

    Where ``config`` says so: the planned resection among the masks, and whether there is one; the days since surgery
    and of the instruction; whether the instruction is of the own institution; before these the query's slices below and
    above; after all others the query's further scans, each with whether it is there.
    Returns (B, stacked_channels, y / factor, x / factor). Four times fewer pixels than the grid, and every query pixel
    meets the instruction's pixel of the same MNI place.
    """
    images = (
        triplets.query_pre,
        composite(
            triplets.query_pre, triplets.instruction_post, triplets.instruction_outcome, config.composite_soft_edge
        ),
        triplets.instruction_pre,
        triplets.instruction_post,
    )
    latents = autoencoder.to_latents(torch.cat(images)).chunk(len(images))
    masks = torch.cat(
        [
            label_mask(triplets.query_tumour, CORE_LABELS),
            label_mask(triplets.query_tumour, (OEDEMA_LABEL,)),
            triplets.query_brain,
            label_mask(triplets.instruction_tumour, CORE_LABELS),
            cavity_box(triplets.instruction_outcome),
            outcome_maps(triplets.instruction_outcome),
            *(_plan_masks(triplets) if config.plan else ()),
        ],
        dim=1,
    )
    height, width = latents[0].shape[-2:]
    cells = _cells(masks, height, width)
    constants = [
        value.to(cells)[:, None, None, None].expand(-1, 1, height, width) for value in _constants(triplets, config)
    ]
    beside = []
    if config.neighbour_slices:
        assert triplets.query_beside is not None
        scans, cores = triplets.query_beside.split(2, dim=1)
        beside = [*autoencoder.to_latents(scans.flatten(0, 1)[:, None]).unflatten(0, (len(triplets), 2)).unbind(1)]
        beside.append(_cells(cores, height, width))
    context = _context(triplets, autoencoder, config)
    places = _coordinates(triplets, factor, config.zoom)
    return torch.cat([*latents, cells, places, *beside, *constants, *context], dim=1)


def _context(triplets: TripletBatch, autoencoder: ImageAutoencoder, config: PostOpConfig) -> list[Tensor]:
    """Latents of every further scan and a constant channel that says whether it is there."""
    assert triplets.query_context is not None and triplets.has_context is not None
    found = []
    for at in (SEQUENCES.index(name) for name in config.context_sequences):
        latents = autoencoder.to_latents(triplets.query_context[:, at : at + 1])
        there = triplets.has_context[:, at].to(latents)[:, None, None, None]
        found += [latents, there.expand(-1, 1, *latents.shape[-2:])]
    return found


def _cells(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks (B, n, y, x) at latent resolution, each on 2 x 2 channels so that edges stay where they are."""
    return pixel_unshuffle(adaptive_avg_pool2d(masks, (height * MASK_CELLS, width * MASK_CELLS)), MASK_CELLS)


def _plan_masks(triplets: TripletBatch) -> tuple[Tensor, Tensor]:
    assert triplets.query_plan is not None and triplets.has_plan is not None
    planned = label_mask(triplets.query_plan, (1,))
    return planned, triplets.has_plan[:, None, None, None].to(planned).expand_as(planned)


def _constants(triplets: TripletBatch, config: PostOpConfig) -> list[Tensor]:
    """One number a slice each (B,). New ones come last: weights trained without them can be carried over."""
    assert triplets.has_instruction is not None
    constants, instructed = [], triplets.has_instruction.float()
    if config.time:
        assert triplets.days is not None and triplets.has_days is not None and triplets.shown_days is not None
        known = triplets.has_days.float()
        constants += [known, days_code(triplets.days) * known, days_code(triplets.shown_days) * instructed]
    if config.institution:
        assert triplets.own_institution is not None
        constants.append(triplets.own_institution.float() * instructed)
    return constants


def days_code(days: Tensor) -> Tensor:
    """Days since surgery as a number from 0 (the day itself) to 1 (a year later): the early days count most."""
    return torch.log1p(days.clamp(0, LONGEST_DAYS)) / math.log1p(LONGEST_DAYS)


def _coordinates(triplets: TripletBatch, factor: int, zoom: int = 1) -> Tensor:
    """MNI position of every latent pixel in units of about 1: x, |x|, y, z. (B, 4, y / factor, x / factor)."""
    height, width = (size // factor for size in triplets.query_pre.shape[-2:])
    device = triplets.query_pre.device
    assert triplets.corner is not None
    rows = (torch.arange(height, device=device) + 0.5) * factor / zoom + triplets.corner[:, :1].to(device)
    columns = (torch.arange(width, device=device) + 0.5) * factor / zoom + triplets.corner[:, 1:].to(device)
    y = (rows / 64 - 1)[:, :, None].expand(-1, height, width)
    x = (columns / 64 - 1)[:, None, :].expand(-1, height, width)
    z = (triplets.z_mm.to(device) / 80)[:, None, None].expand(-1, height, width)
    return torch.stack([x, x.abs(), y, z], dim=1).float()


def grid_canvas(triplets: TripletBatch, autoencoder: ImageAutoencoder) -> tuple[Tensor, Tensor]:
    """The paper's 2 x 2 canvas {I_pre, I_post; Q_pre, blank} as latents, and the mask of the blank quadrant.

    Returns (B, c, 2h, 2w) with the blank quadrant encoded from an empty (black) panel, and (B, 1, 2h, 2w) with 1 in
    that quadrant.
    """
    blank = torch.zeros_like(triplets.query_pre)
    panels = (triplets.instruction_pre, triplets.instruction_post, triplets.query_pre, blank)
    top_left, top_right, bottom_left, bottom_right = autoencoder.to_latents(torch.cat(panels)).chunk(4)
    canvas = join_quadrants(top_left, top_right, bottom_left, bottom_right)
    mask = torch.zeros_like(canvas[:, :1])
    quadrant(mask)[:] = 1
    return canvas, mask


def join_quadrants(top_left: Tensor, top_right: Tensor, bottom_left: Tensor, bottom_right: Tensor) -> Tensor:
    """Four (B, c, h, w) panels to one (B, c, 2h, 2w) canvas."""
    return torch.cat([torch.cat([top_left, top_right], dim=3), torch.cat([bottom_left, bottom_right], dim=3)], dim=2)


def quadrant(canvas: Tensor) -> Tensor:
    """The bottom right quadrant, where the answer is drawn: a view."""
    height, width = canvas.shape[-2] // 2, canvas.shape[-1] // 2
    return canvas[..., height:, width:]
