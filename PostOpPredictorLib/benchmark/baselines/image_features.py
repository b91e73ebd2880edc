"""The configuration's image encoder (MedSAM, frozen, or its compact sibling, trained), for baselines that need one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from ...model.config import PromptConfig
from ...model.encoding_cache import EncodingCache
from ...model.medsam import build_image_encoder, load_medsam, medsam_input


class ImageFeatures(nn.Module):
    """Images (B, 1, y, x) in [0, 1] to features averaged over ``cells`` x ``cells``: (B, channels, cells, cells)."""

    def __init__(self, config: PromptConfig, cells: int) -> None:
        super().__init__()
        self.config, self.cells, self.channels = config, cells, config.vit_out_channels
        self.encoder = build_image_encoder(config)
        self.cache: EncodingCache | None = None
        self.freeze_pretrained()

    @property
    def frozen(self) -> bool:
        """MedSAM is used as published."""
        return self.config.image_encoder == "medsam"

    def freeze_pretrained(self) -> None:
        """MedSAM's weights take no gradient."""
        if self.frozen:
            self.encoder.requires_grad_(False)

    def load(self, checkpoint: str) -> None:
        """Take over MedSAM's published weights."""
        load_medsam(self.encoder, Path(checkpoint).expanduser())

    def cache_embeddings(self, folder: Path) -> None:
        """Keep a frozen encoder's features in ``folder``."""
        if self.frozen:
            self.cache = EncodingCache(folder, self.encoder, f"{self.config.image_size} px, {self.cells}^2 cells")

    def forward(self, images: Tensor) -> Tensor:
        flat = self._flat(images) if self.cache is None else self.cache.encodings(images, self._flat)
        return flat.unflatten(1, (self.channels, self.cells, self.cells))

    def _flat(self, images: Tensor) -> Tensor:
        # One image of 1024 px needs 1 GiB in each of MedSAM's global attentions.
        parts = images.split(1) if self.frozen else (images,)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            made = [self.encoder(medsam_input(part, self.config.image_size)) for part in parts]
            return torch.cat([adaptive_avg_pool2d(features, self.cells).flatten(1) for features in made])
