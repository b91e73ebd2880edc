"""What a model is made of, as one frozen tree of settings; everything the paper leaves open has its default here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..cases.case import SEQUENCES
from ..errors import InputError
from .settings import overlay, read_sections

STRUCTURE_PIXELS = 4


@dataclass(frozen=True)
class UNetConfig:
    """Shape of the denoising U-Net (``diffusers.UNet2DConditionModel``).

    ``attention_heads``: heads per level (what diffusers calls ``attention_head_dim`` in this class is their number).
    """

    block_out_channels: tuple[int, ...] = (48, 96, 144)
    layers_per_block: int = 1
    attention_levels: tuple[bool, ...] = (False, True, True)
    attention_heads: int | tuple[int, ...] = (1, 2, 3)
    norm_num_groups: int = 16
    use_linear_projection: bool = True


@dataclass(frozen=True)
class AutoencoderConfig:
    """``kind`` "patches": exact, weight-free rearrangement of ``factor`` x ``factor`` pixels into channels; "kl":
    ``diffusers.AutoencoderKL``.
    """

    kind: str = "patches"
    factor: int = 4
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (32, 64, 64)
    layers_per_block: int = 1
    scaling_factor: float = 1.0
    norm_num_groups: int = 16

    @property
    def pixels(self) -> int:
        """Side of the square of pixels that one latent pixel stands for."""
        return self.factor if self.kind == "patches" else 2 ** (len(self.block_out_channels) - 1)


@dataclass(frozen=True)
class PromptConfig:
    """The tumour-aware prompt adapter: P_tumor = (p_seg, p_comp), two tokens of ``token_width`` numbers each."""

    token_width: int = 128
    use_seg: bool = True
    use_comp: bool = True
    image_encoder: str = "compact"
    image_size: int = 128
    vit_patch: int = 16
    vit_width: int = 96
    vit_depth: int = 2
    vit_heads: int = 4
    vit_out_channels: int = 64
    seg_channels: tuple[int, ...] = (16, 32, 64, 128)


@dataclass(frozen=True)
class RendererConfig:
    """The network that renders the image from structure (``diffusers.UNet2DModel``); for ``target`` "structure"."""

    block_out_channels: tuple[int, ...] = (32, 64, 128)
    layers_per_block: int = 1
    norm_num_groups: int = 16


@dataclass(frozen=True)
class PostOpConfig:
    """A whole model. ``family`` "compact" is trained from nothing and shipped; "paper" has Stable Diffusion 2's shape.

    ``panel``: side in pixels of the square that a slice is padded to, never stretched; the grid's side is twice that.
    ``zoom``: pixels of the panel, along each side, for one of the slice, so that a large panel is filled.
    ``target``: "structure" denoises outcome maps and tissue shift and renders the image from them; "image" denoises the
    image latents. ``layout``: "stacked" puts the instruction on channels; "grid" is the paper's 2 x 2 canvas
    {I_pre, I_post; Q_pre, blank}. ``noised``: on the grid, "target" noises the blank quadrant only; "full" noises all
    four (ImageBrush). ``plan``: a planned resection may be given; ``time``: the days since surgery may; each is dropped
    in training with its own ``_dropout``. ``institution``: it is told whether the precedent is of the own institution.
    ``align_instruction``: the precedent is laid onto the query by their tumours, see ``model/alignment.py``.
    ``neighbour_slices``: the slices below and above the query's are seen, too.
    ``tissue_shift``: False teaches that tissue stays where it was; training sets it where no shift is known.
    ``sequences``: those that it was trained on; others are drawn with a warning.
    ``context_sequences``: the query's scans that are seen beside the one that is drawn, as far as they are there; each
    is dropped in training with ``context_dropout``.
    """

    family: str = "compact"
    panel: int = 128
    zoom: int = 1
    target: str = "structure"
    layout: str = "stacked"
    noised: str = "target"
    prediction_type: str = "v_prediction"
    train_timesteps: int = 1000
    condition_dropout: float = 0.1
    plan: bool = False
    plan_dropout: float = 0.5
    time: bool = False
    time_dropout: float = 0.3
    institution: bool = False
    align_instruction: bool = False
    neighbour_slices: bool = False
    tissue_shift: bool = True
    sequences: tuple[str, ...] = ("T1w", "T1wCE")
    context_sequences: tuple[str, ...] = ()
    context_dropout: float = 0.3
    guidance: float = 1.0
    steps: int = 10
    composite_soft_edge: int = 0
    unet: UNetConfig = field(default_factory=UNetConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    renderer: RendererConfig = field(default_factory=RendererConfig)

    def __post_init__(self) -> None:
        _one_of("family", self.family, ("compact", "paper"))
        _one_of("target", self.target, ("structure", "image"))
        _one_of("layout", self.layout, ("stacked", "grid"))
        _one_of("noised", self.noised, ("target", "full"))
        _one_of("prediction_type", self.prediction_type, ("v_prediction", "epsilon"))
        _one_of("autoencoder.kind", self.autoencoder.kind, ("patches", "kl"))
        _one_of("prompt.image_encoder", self.prompt.image_encoder, ("compact", "medsam"))
        if self.panel < 1 or self.panel % self.autoencoder.pixels:
            raise InputError(
                f"The setting 'panel' is {self.panel} pixels; give a multiple of the autoencoder's "
                f"{self.autoencoder.pixels}."
            )
        if self.zoom < 1:
            raise InputError(f"The setting 'zoom' is {self.zoom}; give 1 (none) or more.")
        if self.zoom > 1 and self.target == "structure":
            raise InputError("Structure is drawn at the slices' own resolution: set 'zoom: 1' or 'target: image'.")
        if self.layout == "grid" and self.target == "structure":
            raise InputError("The grid layout draws images, not structure: set 'target: image' or 'layout: stacked'.")
        if self.target == "structure" and self.autoencoder.pixels != STRUCTURE_PIXELS:
            raise InputError(
                f"A latent of the autoencoder stands for {self.autoencoder.pixels} pixels, structure needs "
                f"{STRUCTURE_PIXELS}: change the autoencoder's shape or set 'target: image'."
            )
        if self.layout == "grid" and self.plan:
            raise InputError("The grid layout has no place for a plan: set 'plan: false' or 'layout: stacked'.")
        if self.layout == "grid" and (self.time or self.institution):
            raise InputError("The grid layout is told neither time nor institution: set both to false.")
        if self.layout == "grid" and self.neighbour_slices:
            raise InputError("The grid layout shows one slice of the query: set 'neighbour_slices: false'.")
        for name in self.context_sequences:
            _one_of("context_sequences", name, SEQUENCES)
        if len(set(self.context_sequences)) < len(self.context_sequences):
            raise InputError("The setting 'context_sequences' names a sequence twice. Name each once.")
        if self.layout == "grid" and self.context_sequences:
            raise InputError("The grid layout shows one scan of the query: set 'context_sequences: []'.")
        if self.layout == "stacked" and self.noised == "full":
            raise InputError("'noised: full' belongs to the grid layout: set 'layout: grid' or 'noised: target'.")


def paper_config() -> PostOpConfig:
    """The MICCAI 2025 paper's configuration: Stable Diffusion 2's shape, 2 x 2 grid of 256 px panels, epsilon, DDIM 50,
    guidance 2. The library's slices of 128 px fill the panels at twice their size.
    """
    return PostOpConfig(
        family="paper",
        panel=256,
        zoom=2,
        target="image",
        layout="grid",
        prediction_type="epsilon",
        guidance=2.0,
        steps=50,
        unet=UNetConfig((320, 640, 1280, 1280), 2, (True, True, True, False), (5, 10, 20, 20), 32),
        autoencoder=AutoencoderConfig("kl", 8, 4, (128, 256, 512, 512), 2, 0.18215, 32),
        prompt=PromptConfig(
            token_width=1024,
            image_encoder="medsam",
            image_size=1024,
            vit_patch=16,
            vit_width=768,
            vit_depth=12,
            vit_heads=12,
            vit_out_channels=256,
            seg_channels=(32, 64, 128, 256),
        ),
    )


def config_from_mapping(values: Mapping[str, Any], base: PostOpConfig | None = None) -> PostOpConfig:
    """``base`` (the defaults when left out) with ``values`` laid over it.

    Raises ``InputError`` for an unknown name or a value of the wrong type.
    """
    return overlay(base or PostOpConfig(), values)


def config_from_yaml(path: Path) -> PostOpConfig:
    """Read the section ``model:`` of a YAML file that lists only what differs from the family's defaults."""
    model = read_sections(path)["model"]
    return config_from_mapping(model, paper_config() if model.get("family") == "paper" else None)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"The setting '{name}' is {value!r}; choose one of: {', '.join(allowed)}.")
