"""The tumour-aware prompt adapter: P_tumor = concat(p_seg, p_comp) (paper, section 'Tumor-aware prompt adapter')."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from .config import PromptConfig
from .encoding_cache import EncodingCache
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
        self.cache: EncodingCache | None = None
        self.freeze_pretrained()

    def freeze_pretrained(self) -> None:
        """MedSAM is used as published: its weights take no gradient."""
        if self.settings.image_encoder == "medsam":
            self.image_encoder.requires_grad_(False)

    @classmethod
    def of(cls, config: PromptConfig) -> PromptAdapter:
        """A fresh adapter of ``config``'s shape."""
        return cls(dataclasses.asdict(config))

    def cache_embeddings(self, folder: Path) -> None:
        """Keep the embeddings of a frozen image encoder in ``folder``, for its weights as they are now."""
        self.cache = EncodingCache(folder, self.image_encoder, f"pooled 2 x 2 {self.settings.image_size} px")

    def embed_image(self, composite: Tensor) -> Tensor:
        """(B, 1, y, x) to the pooled image embedding (B, 4 * vit_out_channels), from the cache if there is one."""
        if self.cache is not None and not self._encoder_learns:
            return self.cache.encodings(composite, self._encode)
        return self._encode(composite)

    @property
    def _encoder_learns(self) -> bool:
        return torch.is_grad_enabled() and any(p.requires_grad for p in self.image_encoder.parameters())

    def _encode(self, composite: Tensor) -> Tensor:
        medsam = self.settings.image_encoder == "medsam"
        # One image of 1024 px needs 1 GiB in each of MedSAM's global attentions.
        parts = composite.split(1) if medsam else (composite,)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not medsam):
            made = [self.image_encoder(medsam_input(part, self.settings.image_size)) for part in parts]
            return torch.cat([adaptive_avg_pool2d(features, 2).flatten(1) for features in made])

    def _embed_where(self, composite: Tensor, wanted: Tensor) -> Tensor:
        """``embed_image`` of at least the rows ``wanted`` (B,) bool; null tokens replace the others."""
        one_by_one = self.settings.image_encoder == "medsam"
        if wanted.all() or self._encoder_learns or (wanted.any() and not one_by_one):
            return self.embed_image(composite)
        embedding = composite.new_zeros(len(composite), 4 * self.settings.vit_out_channels)
        if wanted.any():
            embedding[wanted] = self.embed_image(composite[wanted]).to(embedding.dtype)
        return embedding

    def forward(
        self, tumour: Tensor, composite: Tensor, drop: Tensor | None = None, image_embedding: Tensor | None = None
    ) -> Tensor:
        """Tokens (B, 2, token_width).

        ``tumour`` (B, 1, y, x) mask of the query's tumour core; ``composite`` (B, 1, y, x); ``drop`` (B,) bool: the
        null tokens instead; ``image_embedding`` (B, 4 * vit_out_channels), made before, spares the image encoder.
        """
        seg = self.mask_encoder(tumour) if self.settings.use_seg else self.null_tokens[0].expand(len(tumour), -1)
        if self.settings.use_comp:
            if image_embedding is None:
                wanted = torch.ones(len(tumour), dtype=torch.bool) if drop is None else ~drop
                image_embedding = self._embed_where(composite, wanted)
            comp = self.image_head(image_embedding)
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
