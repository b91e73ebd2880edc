"""Between images and what the diffusion runs on: diffusers' KL autoencoder, or an exact rearrangement of pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from .config import AutoencoderConfig
from .encoding_cache import EncodingCache


class ImageAutoencoder(Protocol):
    """Images (B, 1, y, x) in [0, 1] to latents (B, channels, y / factor, x / factor) of about unit scale, and back."""

    def to_latents(self, image: Tensor) -> Tensor: ...

    def to_image(self, latents: Tensor) -> Tensor: ...


class PixelPatches(ModelMixin, ConfigMixin):
    """Lossless, without weights: every ``factor`` x ``factor`` pixels become ``factor**2`` channels in [-1, 1]."""

    @register_to_config
    def __init__(self, factor: int = 4) -> None:
        super().__init__()
        # gives ModelMixin a tensor to save, and a dtype and device to report
        self.register_buffer("scale", torch.tensor(2.0))

    @property
    def latent_channels(self) -> int:
        return self.config.factor**2

    @property
    def factor(self) -> int:
        return self.config.factor

    def to_latents(self, image: Tensor) -> Tensor:
        return pixel_unshuffle(image * 2 - 1, self.config.factor)

    def to_image(self, latents: Tensor) -> Tensor:
        return (pixel_shuffle(latents, self.config.factor) + 1) / 2


class GreyAutoencoderKL(AutoencoderKL):
    """``diffusers.AutoencoderKL`` for grey images; a three-channel one (Stable Diffusion's) gets the value thrice."""

    cache: EncodingCache | None = None

    def keep_latents(self, folder: Path | None) -> None:
        """Keep the latents of every image in ``folder``, for the weights as they are now: they must not learn on.

        They come back as float32, also where bfloat16 arithmetic made them. None keeps them no longer.
        """
        self.cache = None if folder is None else EncodingCache(folder, self, "latents")

    @property
    def latent_channels(self) -> int:
        return self.config.latent_channels

    @property
    def factor(self) -> int:
        return 2 ** (len(self.config.block_out_channels) - 1)

    def to_latents(self, image: Tensor) -> Tensor:
        latents = self._unscaled(image) if self.cache is None else self.cache.encodings(image, self._unscaled)
        return latents * self.config.scaling_factor

    def _unscaled(self, image: Tensor) -> Tensor:
        return self.encode(self._coloured(image)).latent_dist.mode()

    def to_image(self, latents: Tensor) -> Tensor:
        decoded = self.decode(latents / self.config.scaling_factor).sample
        return (decoded.mean(dim=1, keepdim=True) + 1) / 2

    def training_loss(self, image: Tensor, noise: Tensor | torch.Generator, kl_weight: float = 1e-6) -> Tensor:
        """L1 reconstruction plus a weak pull of the latents to the unit Gaussian.

        ``noise``: what the latents are drawn with, of their shape and unit scale, or where to draw it from.
        """
        posterior = self.encode(self._coloured(image)).latent_dist
        if isinstance(noise, torch.Generator):
            noise = torch.randn(posterior.mean.shape, generator=noise)
        decoded = self.decode(posterior.mean + posterior.std * noise.to(posterior.mean)).sample
        return (decoded - self._coloured(image)).abs().mean() + kl_weight * posterior.kl().mean()

    @torch.no_grad()
    def fit_scale(self, images: Tensor) -> None:
        """Scale latents so that those of ``images`` have unit variance, as the noise has (Rombach et al. 2022, 3.3)."""
        self.register_to_config(scaling_factor=1.0)
        self.register_to_config(scaling_factor=round(1 / float(self.to_latents(images).std()), 6))

    def _coloured(self, image: Tensor) -> Tensor:
        return (image * 2 - 1).expand(-1, self.config.in_channels, -1, -1)


def build_autoencoder(config: AutoencoderConfig, image_channels: int = 1) -> PixelPatches | GreyAutoencoderKL:
    """A fresh autoencoder; the ``kl`` kind starts from random weights."""
    if config.kind == "patches":
        return PixelPatches(factor=config.factor)
    levels = len(config.block_out_channels)
    return GreyAutoencoderKL(
        in_channels=image_channels,
        out_channels=image_channels,
        latent_channels=config.latent_channels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_num_groups,
        scaling_factor=config.scaling_factor,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    )
