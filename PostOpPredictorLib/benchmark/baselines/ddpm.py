"""DDPM with the pre-operative scan beside the noise (Ho et al., NeurIPS 2020; Saharia et al., Palette, 2022).

Taken from the papers: noise prediction with the plain squared error; the condition image concatenated on channels; no
cross-attention condition, no dropout, no guidance. Not taken: ancestral sampling in 1000 steps (DDIM as for all rows).
"""

from __future__ import annotations

from torch import Tensor

from ...model.triplet import TripletBatch
from .baseline import Baseline


class Ddpm(Baseline):
    """Noisy post + pre."""

    name = "DDPM"

    def channels(self) -> tuple[int, int]:
        return self.autoencoder.latent_channels, self.autoencoder.latent_channels

    def beside(self, triplets: TripletBatch, drop_image: Tensor | None = None) -> Tensor:
        return self.autoencoder.to_latents(triplets.query_pre)
