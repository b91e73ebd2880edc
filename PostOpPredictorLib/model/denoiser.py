"""The diffusion's view of a batch, for training and sampling alike: target, condition, one U-Net call, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from .autoencoder import GreyAutoencoderKL, PixelPatches
from .composite import composite
from .config import STRUCTURE_PIXELS, PostOpConfig, UNetConfig
from .layouts import grid_canvas, quadrant, stacked_channels, stacked_condition
from .prompt_adapter import PromptAdapter
from .structure import STRUCTURE_CHANNELS, encode_structure
from .triplet import CORE_LABELS, TripletBatch, label_mask


@dataclass(frozen=True)
class Condition:
    """``tokens`` (B, 2, width); ``maps`` (B, c, h, w) beside the noisy target; ``canvas`` (B, c, h, w): clean grid."""

    tokens: Tensor
    maps: Tensor
    canvas: Tensor | None = None


@dataclass(frozen=True)
class Denoiser:
    """Networks and settings that turn noisy target, time and condition into the U-Net's prediction for the target."""

    config: PostOpConfig
    unet: UNet2DConditionModel
    autoencoder: PixelPatches | GreyAutoencoderKL
    prompt_adapter: PromptAdapter

    @property
    def factor(self) -> int:
        """Pixels per latent pixel."""
        return STRUCTURE_PIXELS if self.config.target == "structure" else self.autoencoder.factor

    def noise_shape(self, triplets: TripletBatch) -> tuple[int, int, int]:
        """(channels, y, x) of what is noised."""
        height, width = (size // self.factor for size in triplets.query_pre.shape[-2:])
        if self.config.target == "structure":
            return STRUCTURE_CHANNELS, height, width
        double = 2 if self.config.noised == "full" else 1
        return self.autoencoder.latent_channels, height * double, width * double

    def target_latents(
        self, triplets: TripletBatch, query_post: Tensor, query_outcome: Tensor, query_shift: Tensor
    ) -> Tensor:
        """x_0 of training: structure code, or latents of the true post-op image; the filled canvas if all is noised."""
        if self.config.target == "structure":
            return encode_structure(query_outcome, query_shift)
        latents = self.autoencoder.to_latents(query_post)
        if self.config.noised == "target":
            return latents
        canvas = grid_canvas(triplets, self.autoencoder)[0]
        quadrant(canvas)[:] = latents
        return canvas

    def condition(
        self, triplets: TripletBatch, drop_tokens: Tensor | None = None, tokens: Tensor | None = None
    ) -> Condition:
        """What steers the denoising. ``drop_tokens`` (B,) bool: the learned null; ``tokens``: ready-made, for crops."""
        if tokens is None:
            tokens = self.tokens(triplets, drop_tokens)
        if self.config.layout == "grid":
            canvas, mask = grid_canvas(triplets, self.autoencoder)
            return Condition(tokens, torch.cat([canvas * (1 - mask), mask], dim=1), canvas)
        maps = stacked_condition(triplets, self.autoencoder, self.factor, self.config)
        return Condition(tokens, maps)

    def tokens(self, triplets: TripletBatch, drop: Tensor | None = None) -> Tensor:
        """P_tumor (B, 2, width); the null tokens where ``drop`` is True or there is no instruction."""
        missing = ~triplets.has_instruction if triplets.has_instruction is not None else None
        if drop is not None and missing is not None:
            missing = missing | drop
        comp = composite(
            triplets.query_pre, triplets.instruction_post, triplets.instruction_outcome, self.config.composite_soft_edge
        )
        return self.prompt_adapter(label_mask(triplets.query_tumour, CORE_LABELS), comp, missing)

    def __call__(self, noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """The U-Net's output (noise or velocity) for the target, of ``noisy``'s shape."""
        sample = noisy
        if self.config.layout == "grid" and self.config.noised == "target":
            assert condition.canvas is not None
            sample = condition.canvas.clone()
            quadrant(sample)[:] = noisy
        output = self.unet(
            torch.cat([sample, condition.maps], dim=1), time, encoder_hidden_states=condition.tokens
        ).sample
        return quadrant(output) if sample is not noisy else output

    def to_image(self, latents: Tensor) -> Tensor:
        """Denoised image latents (or the canvas that holds them) to the image (B, 1, y, x) in [0, 1]."""
        if self.config.noised == "full":
            latents = quadrant(latents)
        return self.autoencoder.to_image(latents).clamp(0, 1)


def build_unet(config: PostOpConfig, latent_channels: int) -> UNet2DConditionModel:
    """The U-Net of ``config``'s shape with random weights; ``latent_channels`` of the image autoencoder."""
    if config.layout == "grid":
        target, extra = latent_channels, latent_channels + 1
    else:
        target = STRUCTURE_CHANNELS if config.target == "structure" else latent_channels
        extra = stacked_channels(latent_channels, config)
    return unet_of(config.unet, target + extra, target, config.prompt.token_width)


def unet_of(shape: UNetConfig, in_channels: int, out_channels: int, token_width: int) -> UNet2DConditionModel:
    """One builder for every system: ``diffusers.UNet2DConditionModel`` with attention on the levels ``shape`` names."""
    down = tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in shape.attention_levels)
    up = tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(shape.attention_levels))
    return UNet2DConditionModel(
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=shape.block_out_channels,
        layers_per_block=shape.layers_per_block,
        down_block_types=down,
        up_block_types=up,
        attention_head_dim=shape.attention_heads,
        cross_attention_dim=token_width,
        norm_num_groups=shape.norm_num_groups,
        use_linear_projection=shape.use_linear_projection,
    )
