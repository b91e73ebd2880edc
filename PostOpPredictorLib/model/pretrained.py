"""Published weights to start from: Stable Diffusion in the layout of diffusers, and MedSAM's checkpoint.

Stable Diffusion comes as a folder (``unet/``, ``vae/``, ``scheduler/``) or under its name on the Hugging Face hub, as
safetensors or as the older .bin files, which are read without running code in them. Without leave nothing is fetched.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, ModelMixin, UNet2DConditionModel
from torch import Tensor, nn

from ..errors import InputError, ModelMissing
from .autoencoder import GreyAutoencoderKL, PixelPatches, build_autoencoder
from .config import PostOpConfig
from .denoiser import build_unet
from .medsam import load_medsam
from .pipeline import PostOpPipeline
from .sampling import build_scheduler

# Stable Diffusion's inpainting U-Nets see noisy latents, mask, latents of the masked image; our canvas comes before its
# mask. Others of nine channels are not published.
INPAINTING_ORDER = (0, 1, 2, 3, 5, 6, 7, 8, 4)
_SHAPE_OF_UNET = (
    "block_out_channels",
    "layers_per_block",
    "down_block_types",
    "up_block_types",
    "attention_head_dim",
    "cross_attention_dim",
    "norm_num_groups",
    "use_linear_projection",
    "out_channels",
)
_SHAPE_OF_VAE = ("block_out_channels", "layers_per_block", "latent_channels", "in_channels", "scaling_factor")
_NOISE = ("num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "prediction_type")


@dataclass(frozen=True)
class Pretrained:
    """``stable_diffusion``: folder or hub name; ``medsam``: its checkpoint file; "" = random weights.

    ``download``: whether a hub name may be fetched; else it must be in the hub's cache on this computer.
    """

    stable_diffusion: str = ""
    medsam: str = ""
    download: bool = False

    @property
    def place(self) -> str:
        """The folder, if there is one, else the hub name as it was given."""
        folder = Path(self.stable_diffusion).expanduser()
        return str(folder) if folder.is_dir() else self.stable_diffusion


def pretrained_pipeline(
    config: PostOpConfig, source: Pretrained, autoencoder: PixelPatches | GreyAutoencoderKL | None = None
) -> PostOpPipeline:
    """A pipeline of ``config``'s shape that starts from ``source``, and with ``autoencoder`` where that has none.

    Raises ``ModelMissing`` for weights that are not there or damaged, ``InputError`` for those of another shape.
    """
    if source.medsam and config.prompt.image_encoder != "medsam":
        raise InputError("A MedSAM checkpoint was given, but the model has another image encoder: leave it out.")
    unet = None
    if source.stable_diffusion:
        autoencoder = stable_diffusion_autoencoder(config, source)
        unet = stable_diffusion_unet(config, autoencoder.latent_channels, source)
    pipeline = PostOpPipeline.of(config, unet, autoencoder)
    if source.medsam:
        load_medsam(pipeline.prompt_adapter.image_encoder, Path(source.medsam).expanduser())
    return pipeline


def grown(source: PostOpPipeline, config: PostOpConfig) -> PostOpPipeline:
    """A pipeline of ``config`` with the weights of ``source``; conditions that ``source`` does not know start at zero.

    Such are the time since surgery, the own institution and the query's further scans, whose channels come last in this
    order; what is new must come after all that is known. Raises ``InputError`` where it does not, or where anything
    else of the shape differs.
    """
    seen, wanted = (_last_channels(one) for one in (source.config_tree, config))
    if wanted[: len(seen)] != seen:
        raise InputError(
            f"The model to start from sees {', '.join(seen)}, the new one {', '.join(wanted) or 'none of it'}. "
            "Let the new one see the same, and more after it."
        )
    before, after = (_shape_of(one) for one in (source.config_tree, config))
    if before != after:
        changed = sorted(name for name in before if before[name] != after[name])
        raise InputError(f"The model to start from has another '{changed[0]}'. Give its configuration.")
    pipeline = PostOpPipeline.of(config, autoencoder=source.autoencoder)
    for new, old in zip(pipeline.networks, source.networks, strict=True):
        weights = old.state_dict()
        if new is pipeline.unet:
            fresh = torch.zeros_like(new.conv_in.weight)
            known = weights["conv_in.weight"]
            fresh[:, : known.shape[1]] = known
            weights["conv_in.weight"] = fresh
        new.load_state_dict(weights)
    return pipeline


def _last_channels(config: PostOpConfig) -> list[str]:
    """The conditions that a model may grow by, in the order of their channels."""
    named = [name for name in ("time", "institution") if getattr(config, name)]
    return [*named, *config.context_sequences]


def _shape_of(config: PostOpConfig) -> dict[str, Any]:
    """What must agree between two configurations for weights to be carried over."""
    free = (
        "time",
        "time_dropout",
        "institution",
        "context_sequences",
        "context_dropout",
        "tissue_shift",
        "align_instruction",
        "plan_dropout",
        "condition_dropout",
        "guidance",
        "steps",
        "sequences",
    )
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in free}


def stable_diffusion_unet(config: PostOpConfig, latent_channels: int, source: Pretrained) -> UNet2DConditionModel:
    """Stable Diffusion's U-Net with the input channels that ``config`` needs: see ``with_input_channels``."""
    _refuse_another_noise(config, source)
    with torch.device("meta"):
        wanted = build_unet(config, latent_channels)
    unet = _load(UNet2DConditionModel, "unet", source)
    _refuse_another_shape("U-Net", unet, wanted, _SHAPE_OF_UNET, source)
    have, needed = unet.config.in_channels, wanted.config.in_channels
    inpainting = have == 2 * latent_channels + 1 and needed >= have
    if have != latent_channels and not inpainting:
        raise InputError(
            f"The U-Net of {source.stable_diffusion} has {have} input channels; give one of {latent_channels} (text to "
            f"image) or {2 * latent_channels + 1} (inpainting)."
        )
    return with_input_channels(unet, needed, INPAINTING_ORDER if inpainting and latent_channels == 4 else None)


def stable_diffusion_autoencoder(config: PostOpConfig, source: Pretrained) -> GreyAutoencoderKL:
    """Stable Diffusion's autoencoder, which grey images enter on three equal channels."""
    with torch.device("meta"):
        wanted = build_autoencoder(config.autoencoder, 3)
    if not isinstance(wanted, GreyAutoencoderKL):
        raise InputError("Stable Diffusion has a KL autoencoder: set 'autoencoder: {kind: kl}' or 'family: paper'.")
    autoencoder = _load(GreyAutoencoderKL, "vae", source)
    _refuse_another_shape("autoencoder", autoencoder, wanted, _SHAPE_OF_VAE, source)
    return autoencoder


def with_input_channels(
    unet: UNet2DConditionModel, channels: int, order: tuple[int, ...] | None = None
) -> UNet2DConditionModel:
    """``unet`` itself with ``channels`` inputs; those it did not have start at zero weight and change nothing.

    ``order``: for the first inputs, in ours, the channel that each has in ``unet``; the same order when left out.
    """
    old = unet.conv_in
    taken = list(order or range(old.in_channels))
    if channels == old.in_channels and taken == list(range(channels)):
        return unet
    new = nn.Conv2d(channels, old.out_channels, old.kernel_size, padding=old.padding).to(old.weight)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : len(taken)] = old.weight[:, taken]
        new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=channels)
    return unet


def _load(network: type[ModelMixin], part: str, source: Pretrained) -> Any:
    options: dict[str, Any] = {"subfolder": part, "local_files_only": not source.download, "output_loading_info": True}
    options["low_cpu_mem_usage"] = importlib.util.find_spec("accelerate") is not None
    try:
        loaded, told = network.from_pretrained(source.place, **options, **_files_in(Path(source.place) / part))
    except Exception as error:
        raise ModelMissing(_sentence(part, source, f"{type(error).__name__}: {_first_line(error)}")) from error
    lacking = sorted(told["missing_keys"]) or sorted(name for name, tensor in _tensors(loaded) if tensor.is_meta)
    if lacking:
        raise ModelMissing(_sentence(part, source, f"it lacks {lacking[0]} and {len(lacking) - 1} more"))
    return loaded.float()


def _files_in(folder: Path) -> dict[str, Any]:
    """Which files of a folder are read: safetensors rather than .bin, full precision rather than half."""
    for variant in (None, "fp16"):
        for ending, safe in ((".safetensors", True), (".bin", False)):
            stem = "diffusion_pytorch_model" + (f".{variant}" if variant else "")
            if any(folder.glob(f"{stem}{ending}*")) or any(folder.glob(f"{stem}-*{ending}")):
                return {"variant": variant, "use_safetensors": safe}
    return {}


def _refuse_another_noise(config: PostOpConfig, source: Pretrained) -> None:
    """Weights that were trained to answer another question than ours are worse than they look."""
    try:
        theirs = DDIMScheduler.load_config(source.place, subfolder="scheduler", local_files_only=not source.download)
    except Exception as error:
        raise ModelMissing(_sentence("scheduler", source, f"{type(error).__name__}: {_first_line(error)}")) from error
    ours = build_scheduler(config).config
    for name in _NOISE:
        # Files of the first releases leave out the prediction type, which was noise then.
        found = theirs.get(name, "epsilon" if name == "prediction_type" else ours[name])
        if found != ours[name]:
            raise InputError(
                f"{source.stable_diffusion} was trained with {name} = {found}, the configuration has {ours[name]}. "
                + ("Set 'model: prediction_type' to it." if name == "prediction_type" else "Give other weights.")
            )


def _refuse_another_shape(
    what: str, loaded: ModelMixin, wanted: ModelMixin, names: tuple[str, ...], source: Pretrained
) -> None:
    for name in names:
        theirs, ours = (_plain(network.config[name]) for network in (loaded, wanted))
        if theirs != ours and not _same_on_all_levels(theirs, ours):
            raise InputError(
                f"The {what} of {source.stable_diffusion} has {name} = {theirs}, the configuration {ours}. "
                "Give the configuration the shape of the weights, or other weights."
            )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _same_on_all_levels(one: Any, other: Any) -> bool:
    """One number, or the same for each level."""
    first, second = (value if isinstance(value, tuple) else (value,) for value in (one, other))
    return len(set(first) | set(second)) == 1


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [*network.named_parameters(), *network.named_buffers()]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def _sentence(part: str, source: Pretrained, why: str) -> str:
    return (
        f"The part '{part}' of {source.stable_diffusion} could not be loaded ({why}). Give a folder of diffusers with "
        "unet, vae and scheduler, or a name on the Hugging Face hub together with --download."
    )
