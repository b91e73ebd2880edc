"""Appearance: one step from structure, the pre-op scan and the precedent's tissue brightness to the post-op image."""

from __future__ import annotations

from dataclasses import asdict

import torch
from diffusers import UNet2DModel
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from .config import RendererConfig
from .structure import Structure, warp_in_plane
from .triplet import CORE_LABELS, OEDEMA_LABEL, TripletBatch, label_mask, outcome_maps

RENDERER_INPUTS = (2 + 6 + 3) * 4 + 10


class Renderer(UNet2DModel):
    """A U-Net that adds to the shifted pre-op scan what the operation changed; 2 x 2 pixels on channels, one pass."""

    @classmethod
    def of(cls, config: RendererConfig) -> Renderer:
        """A fresh renderer whose first output is the shifted pre-op scan itself (last layer zero)."""
        shape = asdict(config)
        levels = len(shape["block_out_channels"])
        renderer = cls(
            in_channels=RENDERER_INPUTS,
            out_channels=4,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            add_attention=False,
            **shape,
        )
        torch.nn.init.zeros_(renderer.conv_out.weight)
        torch.nn.init.zeros_(renderer.conv_out.bias)
        return renderer

    def render(self, triplets: TripletBatch, structure: Structure) -> Tensor:
        """The post-op image (B, 1, y, x) in [0, 1], 0 outside the brain."""
        shifted = warp_in_plane(triplets.query_pre, structure.shift_mm)
        maps = torch.cat(
            [
                shifted,
                triplets.query_pre,
                structure.outcome,
                label_mask(triplets.query_tumour, CORE_LABELS),
                label_mask(triplets.query_tumour, (OEDEMA_LABEL,)),
                triplets.query_brain,
            ],
            dim=1,
        )
        cells = pixel_unshuffle(maps, 2)
        brightness = instruction_brightness(triplets)[:, :, None, None].expand(-1, -1, *cells.shape[-2:])
        change = self(torch.cat([cells, brightness], dim=1), torch.zeros(len(cells), device=cells.device)).sample
        return (shifted + pixel_shuffle(change, 2)).clamp(0, 1) * triplets.query_brain


def instruction_brightness(triplets: TripletBatch) -> Tensor:
    """Mean brightness of the precedent's post-op scan in each outcome tissue, and whether it is there: (B, 10).

    This is how the filling of the precedent's cavity (fluid, blood, air as its surgeons leave them) reaches the
    prediction.
    """
    maps = outcome_maps(triplets.instruction_outcome)
    pixels = maps.sum(dim=(2, 3))
    means = (maps * triplets.instruction_post).sum(dim=(2, 3)) / pixels.clamp(min=1)
    present = (pixels >= 5).float()
    return torch.cat([means * present, present], dim=1)
