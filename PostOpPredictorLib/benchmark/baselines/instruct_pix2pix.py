"""InstructPix2Pix (Brooks, Holynski, Efros, CVPR 2023).

Taken from the paper: the input image's latents, their mode and not scaled, beside the noisy ones; the weights of the
new input channels start at zero; text alone, image alone and both dropped for 5 % of the examples each; two guidance
scales, image 1.5 and text 7.5, combined as in its equation 3. In place of the constant text "Post-operative
glioblastoma MRI" stands one learned embedding: a constant text is a constant embedding, and no text encoder is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model.triplet import TripletBatch
from .baseline import Baseline, Predict, with_null

DROP = 0.05
TEXT_GUIDANCE = 7.5
IMAGE_GUIDANCE = 1.5


class Instruction(nn.Module):
    """The embedding of the one instruction, and that of no instruction: (1, 1, width) each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.text = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.null = nn.Parameter(torch.randn(1, 1, width) * 0.02)


class InstructPix2Pix(Baseline):
    """Noisy post + pre (unscaled), one instruction."""

    name = "InstructPix2Pix"
    dropout = DROP
    condition_network: Instruction

    def build_condition_network(self) -> nn.Module:
        return Instruction(self.config_tree.prompt.token_width)

    def channels(self) -> tuple[int, int]:
        return self.autoencoder.latent_channels, self.autoencoder.latent_channels

    def prepare_unet(self) -> None:
        """Nothing comes in through the new channels at first."""
        with torch.no_grad():
            self.unet.conv_in.weight[:, self.channels()[0] :] = 0

    def draw_drops(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One draw for both, so that the three ways to drop exclude each other (the authors' training code)."""
        draw = torch.rand(size, generator=generator)
        return draw < 2 * DROP, (draw >= DROP) & (draw < 3 * DROP)

    def tokens(self, whole: TripletBatch, drop: Tensor | None = None) -> Tensor:
        return with_null(self.condition_network.text.expand(len(whole), -1, -1), self.condition_network.null, drop)

    def beside(self, triplets: TripletBatch, drop_image: Tensor | None = None) -> Tensor:
        """The mode of the encoder for the scan, not multiplied by the scaling factor; zeros where it is dropped."""
        latents = self.autoencoder.to_latents(triplets.query_pre)
        latents = latents / getattr(self.autoencoder.config, "scaling_factor", 1.0)
        return latents if drop_image is None else latents * (~drop_image)[:, None, None, None]

    def guided(self, triplets: TripletBatch, guidance: float) -> Predict:
        """e(0, 0) + s_text * (e(image, text) - e(image, 0)) + s_image * (e(image, 0) - e(0, 0)); own two scales."""
        everywhere = torch.ones(len(triplets), dtype=torch.bool, device=triplets.query_pre.device)
        null = self.tokens(triplets, everywhere)
        with_both = self.condition(triplets)
        with_image = self.condition(triplets, null)
        with_nothing = self.condition(triplets, null, everywhere)

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            both, image, nothing = (self.noise_of(noisy, time, c) for c in (with_both, with_image, with_nothing))
            return nothing + TEXT_GUIDANCE * (both - image) + IMAGE_GUIDANCE * (image - nothing)

        return predict
