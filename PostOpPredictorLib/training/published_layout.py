"""Random weights in the layouts and under the key names of the published ones, to try the loading without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from ..model.autoencoder import build_autoencoder
from ..model.config import PostOpConfig
from ..model.denoiser import unet_of
from ..model.medsam import build_image_encoder

OLDER_NAMES = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
"""Attention in the autoencoders of Stable Diffusion 1 and 2, as they are published to this day."""
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.8.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}


def write_stable_diffusion(
    folder: Path,
    model: PostOpConfig,
    in_channels: int = 4,
    *,
    half: bool = False,
    older: bool = True,
    variant: str = "",
    scheduler: dict[str, Any] | None = None,
) -> UNet2DConditionModel:
    """A folder of diffusers with random weights of ``model``'s shape; returns its U-Net.

    ``in_channels``: 4, or 9 as for inpainting. ``half``: float16. ``older``: the autoencoder as a .bin file with the
    key names of 2022, and a configuration without scaling factor. ``variant``: part of the file names, as ".fp16".
    """
    latent = model.autoencoder.latent_channels
    unet = unet_of(model.unet, in_channels, latent, model.prompt.token_width)
    dtype = torch.float16 if half else torch.float32
    _write_part(folder / "unet", "UNet2DConditionModel", _settings(unet), _weights(unet, dtype), variant, False)
    autoencoder = build_autoencoder(model.autoencoder, 3)
    settings = _settings(autoencoder)
    weights = _weights(autoencoder, dtype)
    if older:
        weights = {_older(name): value for name, value in weights.items()}
        settings.pop("scaling_factor")
    _write_part(folder / "vae", "AutoencoderKL", settings, weights, variant, older)
    (folder / "scheduler").mkdir(parents=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({**SCHEDULER, **(scheduler or {})}))
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return unet


def write_medsam(path: Path, model: PostOpConfig) -> dict[str, Tensor]:
    """A checkpoint as MedSAM's authors lay it out, with a few weights of prompt encoder and decoder; its encoder's."""
    encoder = build_image_encoder(model.prompt).state_dict()
    others = {
        "prompt_encoder.no_mask_embed.weight": torch.zeros(1, 4),
        "mask_decoder.iou_token.weight": torch.zeros(1, 4),
    }
    torch.save({**{f"image_encoder.{name}": value for name, value in encoder.items()}, **others}, path)
    return dict(encoder)


def _write_part(
    folder: Path, class_name: str, settings: dict[str, Any], weights: dict[str, Tensor], variant: str, pickled: bool
) -> None:
    folder.mkdir(parents=True)
    document = {"_class_name": class_name, "_diffusers_version": "0.8.0", **settings}
    (folder / "config.json").write_text(json.dumps(document))
    name = f"diffusion_pytorch_model{variant}"
    if pickled:
        torch.save(weights, folder / f"{name}.bin")
    else:
        save_file(weights, folder / f"{name}.safetensors", metadata={"format": "pt"})


def _settings(network: Any) -> dict[str, Any]:
    return {name: value for name, value in network.config.items() if not name.startswith("_")}


def _weights(network: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: value.to(dtype).contiguous() for name, value in network.state_dict().items()}


def _older(name: str) -> str:
    if ".attentions." in name:
        for new, old in OLDER_NAMES.items():
            name = name.replace(new, old)
    return name
