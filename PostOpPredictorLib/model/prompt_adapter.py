"""The tumour-aware prompt adapter: P_tumor = concat(p_seg, p_comp) (paper, section 'Tumor-aware prompt adapter')."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from .config import PromptConfig
from .medsam import build_image_encoder, medsam_input


class PromptAdapter(ModelMixin, ConfigMixin):
    """Two tokens that condition the U-Net by cross-attention: p_seg = E_seg(M_pre^Q) and p_comp = E_comp(Q_comp).

    E_seg is a small convolutional encoder of the query's tumour mask; E_comp is MedSAM's image encoder (frozen) or a
    compact one of the same class (trained), averaged to 2 x 2 and projected. Each token has a learned null that stands
    in when the condition is dropped.
    """

    @register_to_config
    def __init__(self, shape: dict[str, Any]) -> None:
        super().__init__()
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in shape.items()}
        self.settings = PromptConfig(**fields)
        width = self.settings.token_width
        self.mask_encoder = _mask_encoder(self.settings.seg_channels, width)
        self.image_encoder = build_image_encoder(self.settings)
        pooled = self.settings.vit_out_channels * 4
        self.image_head = nn.Sequential(nn.LayerNorm(pooled), nn.Linear(pooled, width))
        self.null_tokens = nn.Parameter(torch.randn(2, width) * 0.02)
        self.freeze_pretrained()

    def freeze_pretrained(self) -> None:
        """MedSAM is used as published: its weights take no gradient."""
        if self.settings.image_encoder == "medsam":
            self.image_encoder.requires_grad_(False)

    @classmethod
    def of(cls, config: PromptConfig) -> PromptAdapter:
        """A fresh adapter of ``config``'s shape."""
        return cls(dataclasses.asdict(config))

    def embed_image(self, composite: Tensor) -> Tensor:
        """(B, 1, y, x) to the pooled image embedding (B, 4 * vit_out_channels), which a cache of embeddings stores."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.settings.image_encoder != "medsam"):
            features = self.image_encoder(medsam_input(composite, self.settings.image_size))
        return adaptive_avg_pool2d(features, 2).flatten(1)

    def forward(
        self, tumour: Tensor, composite: Tensor, drop: Tensor | None = None, image_embedding: Tensor | None = None
    ) -> Tensor:
        """Tokens (B, 2, token_width).

        ``tumour`` (B, 1, y, x) mask of the query's tumour core; ``composite`` (B, 1, y, x); ``drop`` (B,) bool: the
        null tokens instead; ``image_embedding`` (B, 4 * vit_out_channels), from a cache, spares the image encoder.
        """
        seg = self.mask_encoder(tumour) if self.settings.use_seg else self.null_tokens[0].expand(len(tumour), -1)
        if self.settings.use_comp:
            embedding = self.embed_image(composite) if image_embedding is None else image_embedding
            comp = self.image_head(embedding)
        else:
            comp = self.null_tokens[1].expand(len(tumour), -1)
        tokens = torch.stack([seg, comp], dim=1)
        if drop is None:
            return tokens
        return torch.where(drop[:, None, None], self.null_tokens.expand(len(tumour), -1, -1), tokens)


def _mask_encoder(channels: tuple[int, ...], width: int) -> nn.Module:
    layers: list[nn.Module] = []
    previous = 1
    for count in channels:
        layers += [nn.Conv2d(previous, count, 3, stride=2, padding=1), nn.GroupNorm(min(8, count), count), nn.SiLU()]
        previous = count
    pooled = previous * 16
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.LayerNorm(pooled), nn.Linear(pooled, width))
