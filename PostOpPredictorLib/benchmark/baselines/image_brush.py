"""ImageBrush (Sun et al., NeurIPS 2023).

Taken from the paper: the 2 x 2 grid {E, E'; I, I'} is noised as a whole, beside the clean grid with the last quadrant
blank and its mask; a prompt encoder of the three known images and of their boxes of interest, joined by a
transformer of five layers; its tokens meet the U-Net by cross-attention in the middle blocks only, elsewhere there is
self-attention alone; the prompt is dropped for 5 %. Not taken: CLIP as the image encoder (the configuration's stands
in). Boxes: the tumour of E and I, the cavity of E'. We know of no guidance scale of theirs: 2, as for our paper row.
"""

from __future__ import annotations

import dataclasses

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from ...model.composite import cavity_box, mask_box
from ...model.config import PostOpConfig
from ...model.layouts import grid_canvas, quadrant
from ...model.triplet import CORE_LABELS, TripletBatch, label_mask
from .baseline import Baseline, Predict, classifier_free, with_null
from .image_features import ImageFeatures

DROP = 0.05
LAYERS = 5
CELLS = 4
PANELS = 3


class PromptEncoder(nn.Module):
    """16 tokens of each of the three images and one of each box: (B, 51, width); ``null`` (1, 1, width) for none."""

    def __init__(self, config: PostOpConfig) -> None:
        super().__init__()
        width = config.prompt.token_width
        self.features = ImageFeatures(config.prompt, cells=CELLS)
        self.image_head = nn.Linear(self.features.channels, width)
        self.box_head = nn.Sequential(nn.Linear(5, width), nn.SiLU(), nn.Linear(width, width))
        self.place = nn.Parameter(torch.randn(1, PANELS, CELLS**2 + 1, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, _heads(width), 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, LAYERS, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.null = nn.Parameter(torch.randn(1, 1, width) * 0.02)

    def forward(self, panels: Tensor, boxes: Tensor) -> Tensor:
        """``panels`` (B, 3, y, x) in [0, 1]; ``boxes`` (B, 3, 5), see ``box_numbers``."""
        batch = len(panels)
        features = self.features(panels.flatten(0, 1)[:, None])
        images = self.image_head(features.flatten(2).transpose(1, 2)).unflatten(0, (batch, PANELS))
        tokens = torch.cat([images, self.box_head(boxes)[:, :, None]], dim=2) + self.place
        return self.transformer(tokens.flatten(1, 2))


class ImageBrush(Baseline):
    """The whole noisy grid + clean grid + mask; prompt tokens in the middle blocks."""

    name = "ImageBrush"
    dropout = DROP
    condition_network: PromptEncoder

    @staticmethod
    def settings_of(config: PostOpConfig) -> PostOpConfig:
        return dataclasses.replace(Baseline.settings_of(config), layout="grid", noised="full", guidance=2.0)

    def build_condition_network(self) -> nn.Module:
        return PromptEncoder(self.config_tree)

    def channels(self) -> tuple[int, int]:
        return self.autoencoder.latent_channels, self.autoencoder.latent_channels + 1

    def prepare_unet(self) -> None:
        """No cross-attention but in the middle."""
        for blocks in (self.unet.down_blocks, self.unet.up_blocks):
            for layer in blocks.modules():
                if isinstance(layer, BasicTransformerBlock):
                    layer.attn2, layer.norm2 = None, None

    def noise_shape(self, triplets: TripletBatch) -> tuple[int, int, int]:
        channels, height, width = super().noise_shape(triplets)
        return channels, 2 * height, 2 * width

    def target_latents(self, triplets: TripletBatch, query_post: Tensor) -> Tensor:
        canvas = grid_canvas(triplets, self.autoencoder)[0]
        quadrant(canvas)[:] = self.autoencoder.to_latents(query_post)
        return canvas

    def beside(self, triplets: TripletBatch, drop_image: Tensor | None = None) -> Tensor:
        canvas, mask = grid_canvas(triplets, self.autoencoder)
        return torch.cat([canvas * (1 - mask), mask], dim=1)

    def tokens(self, whole: TripletBatch, drop: Tensor | None = None) -> Tensor:
        """Null where the prompt is dropped or no case instructs."""
        assert whole.has_instruction is not None
        panels = torch.cat([whole.instruction_pre, whole.instruction_post, whole.query_pre], dim=1)
        core = [label_mask(labels, CORE_LABELS) for labels in (whole.instruction_tumour, whole.query_tumour)]
        boxes = (mask_box(core[0]), cavity_box(whole.instruction_outcome), mask_box(core[1]))
        tokens = self.condition_network(panels, torch.stack([box_numbers(box) for box in boxes], dim=1))
        missing = ~whole.has_instruction
        return with_null(
            tokens, self.condition_network.null, missing if drop is None else missing | drop.to(missing.device)
        )

    def guided(self, triplets: TripletBatch, guidance: float) -> Predict:
        return classifier_free(self, triplets, guidance)

    def to_image(self, latents: Tensor) -> Tensor:
        return super().to_image(quadrant(latents))


def box_numbers(box: Tensor) -> Tensor:
    """(B, 1, y, x) rectangles of ones to (B, 5): rows and columns they span in [0, 1], and 1; or 0s."""
    numbers = []
    for profile in (box.amax(dim=3)[:, 0], box.amax(dim=2)[:, 0]):
        first, count = profile.argmax(dim=1).float(), profile.sum(dim=1)
        numbers += [first / profile.shape[1], (first + count) / profile.shape[1]]
    there = box.amax(dim=(1, 2, 3))
    return torch.stack([*numbers, torch.ones_like(there)], dim=1) * there[:, None]


def _heads(width: int) -> int:
    return max(1, width // 64)
