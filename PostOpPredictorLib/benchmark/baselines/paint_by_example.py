"""Paint by Example (Yang et al., CVPR 2023).

Taken from the paper and its code: the U-Net sees noisy latents, latents of the source with a hole, and the mask (1
where the source is kept); the exemplar is compressed to one token by an image encoder, five transformer layers of one
head, a layer norm and a projection; a learned vector replaces it for 20 % of the examples; guidance 5. Not taken: CLIP
(the image encoder is of the kind that the configuration names, MedSAM or the compact one), and self-supervision: the
hole is the bounding box of the query's tumour and the exemplar the operated region of a random training patient.
"""

from __future__ import annotations

import dataclasses

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate

from ...model.composite import cavity_box, mask_box
from ...model.config import PostOpConfig
from ...model.triplet import CORE_LABELS, TripletBatch, label_mask
from .baseline import Baseline, Predict, classifier_free, with_null
from .image_features import ImageFeatures

DROP = 0.2
GUIDANCE = 5.0
MAPPER_LAYERS = 5


class ExemplarEncoder(nn.Module):
    """Image encoder, mapper, one token; ``null`` (1, 1, width) is the token of no exemplar."""

    def __init__(self, config: PostOpConfig) -> None:
        super().__init__()
        width = config.prompt.token_width
        self.features = ImageFeatures(config.prompt, cells=2)
        hidden = self.features.channels * 4
        blocks = [
            BasicTransformerBlock(hidden, 1, hidden, activation_fn="gelu", attention_bias=True)
            for _ in range(MAPPER_LAYERS)
        ]
        self.mapper = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, width))
        self.null = nn.Parameter(torch.randn(1, 1, width))

    def forward(self, exemplar: Tensor) -> Tensor:
        """(B, 1, s, s) in [0, 1] to (B, 1, width)."""
        return self.head(self.mapper(self.features(exemplar).flatten(1)[:, None]))


class PaintByExample(Baseline):
    """Noisy post + masked pre + mask; one token of the exemplar."""

    name = "Paint by Example"
    dropout = DROP
    condition_network: ExemplarEncoder

    @staticmethod
    def settings_of(config: PostOpConfig) -> PostOpConfig:
        return dataclasses.replace(Baseline.settings_of(config), guidance=GUIDANCE)

    def build_condition_network(self) -> nn.Module:
        return ExemplarEncoder(self.config_tree)

    def channels(self) -> tuple[int, int]:
        return self.autoencoder.latent_channels, self.autoencoder.latent_channels + 1

    def beside(self, triplets: TripletBatch, drop_image: Tensor | None = None) -> Tensor:
        kept = 1 - mask_box(label_mask(triplets.query_tumour, CORE_LABELS))
        # The authors multiply a scan in [-1, 1], so the hole is grey: 0 there is 0.5 here.
        source = self.autoencoder.to_latents((triplets.query_pre - 0.5) * kept + 0.5)
        return torch.cat([source, interpolate(kept, size=source.shape[-2:])], dim=1)

    def tokens(self, whole: TripletBatch, drop: Tensor | None = None) -> Tensor:
        """The exemplar's token; the null where it is dropped or the instruction shows no operated region."""
        box = cavity_box(whole.instruction_outcome)
        none = box.amax(dim=(1, 2, 3)) == 0
        tokens = self.condition_network(exemplar_of(whole.instruction_post, box, self.config_tree.prompt.image_size))
        return with_null(tokens, self.condition_network.null, none if drop is None else none | drop.to(none.device))

    def guided(self, triplets: TripletBatch, guidance: float) -> Predict:
        return classifier_free(self, triplets, guidance)


def exemplar_of(post: Tensor, box: Tensor, size: int) -> Tensor:
    """What of ``post`` (B, 1, y, x) lies in ``box`` (a rectangle of ones each), stretched to (B, 1, size, size).

    Slices without a box come out whole.
    """
    top, height = _extent(box.amax(dim=3)[:, 0])
    left, width = _extent(box.amax(dim=2)[:, 0])
    steps = (torch.arange(size, device=post.device) + 0.5) / size
    y = (top[:, None] + steps * height[:, None]) / post.shape[-2] * 2 - 1
    x = (left[:, None] + steps * width[:, None]) / post.shape[-1] * 2 - 1
    places = torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], dim=-1)
    return grid_sample(post, places, padding_mode="border", align_corners=False)


def _extent(profile: Tensor) -> tuple[Tensor, Tensor]:
    """First one and number of ones of each row (B, n); 0 and n where there is none."""
    count = profile.sum(dim=1)
    empty = count == 0
    return profile.argmax(dim=1).float(), torch.where(empty, torch.full_like(count, profile.shape[1]), count)
