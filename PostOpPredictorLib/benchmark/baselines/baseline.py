"""What all baselines share: noise-predicting diffusion on image latents, dropped conditions, sampling, a model folder.

Each baseline states its input, condition, dropout and guidance; U-Net builder, autoencoder, noise schedule, panel and
sampler are those of the paper's configuration, so that nothing else differs between two rows of the table.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from diffusers import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...atomic_files import whole_folder
from ...errors import InputError, ModelMissing
from ...model.autoencoder import GreyAutoencoderKL, PixelPatches, build_autoencoder
from ...model.config import PostOpConfig, config_from_mapping
from ...model.denoiser import Condition, unet_of
from ...model.panels import Placement
from ...model.pipeline import PredictedSlices
from ...model.pretrained import Pretrained, stable_diffusion_autoencoder, stable_diffusion_unet, with_input_channels
from ...model.sampling import build_scheduler, shared_noise, trajectory
from ...model.triplet import TripletBatch
from ...model.weights import verify, write_checksums
from ...progress import Progress, SilentProgress
from .image_features import ImageFeatures

WEIGHTS = "model.safetensors"
Predict = Callable[[Tensor, Tensor], Tensor]
Self = TypeVar("Self", bound="Baseline")


class Baseline(nn.Module):
    """One baseline. ``condition_network`` holds what it has beside U-Net and autoencoder; it may be empty.

    Calling it samples, with the arguments of ``PostOpPipeline``, so that ``predict_case`` takes either.
    """

    name: ClassVar[str]
    dropout: ClassVar[float] = 0.0
    has_renderer = False
    renderer = None
    unet: UNet2DConditionModel
    condition_network: nn.Module

    def __init__(self, config: PostOpConfig, autoencoder: PixelPatches | GreyAutoencoderKL | None = None) -> None:
        super().__init__()
        self.config_tree = self.settings_of(config)
        colours = 3 if config.family == "paper" else 1
        self.autoencoder = autoencoder or build_autoencoder(config.autoencoder, colours)
        if isinstance(self.autoencoder, GreyAutoencoderKL):
            # What latents are scaled by is fitted to the training slices, and a model folder must know it.
            scale = self.autoencoder.config.scaling_factor
            fitted = dataclasses.replace(self.config_tree.autoencoder, scaling_factor=scale)
            self.config_tree = dataclasses.replace(self.config_tree, autoencoder=fitted)
        self.condition_network = self.build_condition_network()
        target, beside = self.channels()
        self.unet = unet_of(config.unet, target + beside, target, config.prompt.token_width)
        self.scheduler = build_scheduler(self.config_tree)
        self.prepare_unet()

    @classmethod
    def fresh(
        cls: type[Self],
        config: PostOpConfig,
        source: Pretrained | None = None,
        autoencoder: PixelPatches | GreyAutoencoderKL | None = None,
    ) -> Self:
        """One that has learned nothing yet, or starts from ``source`` as our own rows do.

        Of Stable Diffusion's inputs only the noisy channels are taken; the channels beside them start at zero.
        """
        source = source or Pretrained()
        if not source.stable_diffusion:
            model = cls(config, autoencoder)
        else:
            autoencoder = stable_diffusion_autoencoder(config, source)
            model = cls(config, autoencoder)
            target, beside = model.channels()
            grid = dataclasses.replace(model.config_tree, layout="grid")
            unet = stable_diffusion_unet(grid, autoencoder.latent_channels, source)
            model.unet = with_input_channels(unet, target + beside, tuple(range(target)))
            model.prepare_unet()
        for features in model.image_features():
            if source.medsam:
                features.load(source.medsam)
        return model

    @staticmethod
    def settings_of(config: PostOpConfig) -> PostOpConfig:
        """``config``'s networks as a plain image diffusion that predicts noise, in 50 DDIM steps, without what our own
        form adds."""
        return dataclasses.replace(
            config,
            target="image",
            layout="stacked",
            noised="target",
            prediction_type="epsilon",
            steps=50,
            plan=False,
            time=False,
            institution=False,
            align_instruction=False,
            neighbour_slices=False,
            context_sequences=(),
        )

    def channels(self) -> tuple[int, int]:
        """Channels that are noised, and channels beside them."""
        raise NotImplementedError

    def build_condition_network(self) -> nn.Module:
        """Whatever makes the tokens."""
        return nn.Module()

    def prepare_unet(self) -> None:
        """Change the fresh U-Net, where a paper does."""

    def beside(self, triplets: TripletBatch, drop_image: Tensor | None = None) -> Tensor:
        """The channels beside the noisy ones (B, c, h, w)."""
        raise NotImplementedError

    def tokens(self, whole: TripletBatch, drop: Tensor | None = None) -> Tensor:
        """Tokens for cross-attention (B, n, width); one of zeros where there is no condition: it says nothing."""
        return whole.query_pre.new_zeros(len(whole), 1, self.config_tree.prompt.token_width)

    def draw_drops(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Whose tokens and whose image beside the noise are dropped in a training step, (size,) bool each."""
        drop = torch.rand(size, generator=generator) < self.dropout
        return drop, torch.zeros_like(drop)

    def noise_shape(self, triplets: TripletBatch) -> tuple[int, int, int]:
        """(channels, y, x) of what is noised."""
        height, width = (size // self.autoencoder.factor for size in triplets.query_pre.shape[-2:])
        return self.channels()[0], height, width

    def target_latents(self, triplets: TripletBatch, query_post: Tensor) -> Tensor:
        """x_0 of training."""
        return self.autoencoder.to_latents(query_post)

    def condition(
        self, triplets: TripletBatch, tokens: Tensor | None = None, drop_image: Tensor | None = None
    ) -> Condition:
        """What steers the denoising; ``tokens`` ready-made for crops."""
        return Condition(self.tokens(triplets) if tokens is None else tokens, self.beside(triplets, drop_image))

    def noise_of(self, noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """The U-Net's prediction of the noise in ``noisy``."""
        sample = torch.cat([noisy, condition.maps], dim=1)
        return self.unet(sample, time.to(noisy.device), encoder_hidden_states=condition.tokens).sample

    def guided(self, triplets: TripletBatch, guidance: float) -> Predict:
        """The noise that sampling follows: here without guidance."""
        condition = self.condition(triplets)
        return lambda noisy, time: self.noise_of(noisy, time, condition)

    def to_image(self, latents: Tensor) -> Tensor:
        """What was denoised as an image (B, 1, y, x) in [0, 1]."""
        return self.autoencoder.to_image(latents).clamp(0, 1)

    @torch.no_grad()
    def forward(
        self,
        triplets: TripletBatch,
        mode: str = "sample",
        steps: int | None = None,
        samples: int | None = None,
        seed: int = 0,
        guidance: float | None = None,
        start: str = "noise",
        progress: Progress | None = None,
    ) -> PredictedSlices:
        """One sample of each slice by DDIM, eta 0. Raises ``InputError`` for anything else than that."""
        steps = self.config_tree.steps if steps is None else steps
        if mode != "sample" or start != "noise" or not 1 <= steps <= self.config_tree.train_timesteps:
            raise InputError(
                f"'{self.name}' takes one sample from noise in 1 to {self.config_tree.train_timesteps} steps."
            )
        report = progress or SilentProgress()
        place = Placement.of(self.config_tree.panel, triplets.query_pre, self.config_tree.zoom)
        triplets = place.pad_triplets(triplets.to(self.device))
        self.scheduler.set_timesteps(steps)
        noise = shared_noise(self.noise_shape(triplets), len(triplets), seed, self.device)
        predict = self.guided(triplets, self.config_tree.guidance if guidance is None else guidance)
        latents = trajectory(self.scheduler, predict, noise, self.scheduler.timesteps, report.step)
        return PredictedSlices(place.cut(self.to_image(latents) * triplets.query_brain))

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.unet.parameters()).device

    @property
    def networks(self) -> list[nn.Module]:
        """Every network of it."""
        return [self.unet, self.autoencoder, self.condition_network]

    def learning_networks(self) -> list[nn.Module]:
        """Those that training changes."""
        return [self.unet, self.condition_network]

    def make_learnable(self) -> None:
        """Let gradients through to everything that training changes."""
        self.requires_grad_(False)
        for network in self.learning_networks():
            network.requires_grad_(True)
        for features in self.image_features():
            features.freeze_pretrained()

    def image_features(self) -> list[ImageFeatures]:
        """Its image encoder, if it has one."""
        return [module for module in self.modules() if isinstance(module, ImageFeatures)]

    def cache_embeddings(self, folder: Path) -> None:
        """Keep what a frozen image encoder says in ``folder``."""
        for features in self.image_features():
            features.cache_embeddings(folder)

    @property
    def prompt_adapter(self) -> Baseline:
        """Where the trainer looks for ``cache_embeddings``."""
        return self

    def save(self, folder: Path, *, replace: bool = False) -> None:
        """Write the model folder whole or not at all."""
        index = {"_class_name": type(self).__name__, "settings": dataclasses.asdict(self.config_tree)}
        with whole_folder(Path(folder), replace=replace) as temporary:
            (temporary / "model_index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
            save_file(state, temporary / WEIGHTS)
            write_checksums(temporary)

    @classmethod
    def from_pretrained(cls: type[Self], folder: Path) -> Self:
        """Read a model folder; raises ``ModelMissing`` or ``ModelTampered`` as ``PostOpPipeline`` does."""
        verify(folder)
        try:
            index: dict[str, Any] = json.loads((Path(folder) / "model_index.json").read_text(encoding="utf-8"))
            model = cls(config_from_mapping(index["settings"]))
            model.load_state_dict(load_file(Path(folder) / WEIGHTS))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelMissing(
                f"{folder} holds no '{cls.name}' ({type(error).__name__}). Remove it, and it is trained anew."
            ) from error
        return model.eval().requires_grad_(False)


def classifier_free(model: Baseline, triplets: TripletBatch, guidance: float) -> Predict:
    """u + guidance * (c - u); u has the learned null in place of the condition. 1 leaves u out."""
    condition = model.condition(triplets)
    if guidance == 1:
        return lambda noisy, time: model.noise_of(noisy, time, condition)
    everywhere = torch.ones(len(triplets), dtype=torch.bool, device=triplets.query_pre.device)
    without = dataclasses.replace(condition, tokens=model.tokens(triplets, everywhere))

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        null = model.noise_of(noisy, time, without)
        return null + guidance * (model.noise_of(noisy, time, condition) - null)

    return predict


def with_null(tokens: Tensor, null: Tensor, drop: Tensor | None) -> Tensor:
    """``tokens`` (B, n, width) with ``null`` (1, n or 1, width) where ``drop`` (B,) bool is True."""
    return tokens if drop is None else torch.where(drop[:, None, None], null.expand_as(tokens), tokens)
