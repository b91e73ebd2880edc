"""``PostOpPipeline``: one diffusers pipeline for both families, from slices and their instruction to post-op slices."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ModelMixin, UNet2DConditionModel
from diffusers.utils.logging import disable_progress_bar
from torch import Tensor

from ..atomic_files import whole_folder
from ..errors import InputError, ModelMissing
from ..progress import Progress, SilentProgress
from .alignment import with_aligned_instruction
from .autoencoder import GreyAutoencoderKL, PixelPatches, build_autoencoder
from .composite import composite
from .config import PostOpConfig, config_from_mapping
from .denoiser import Denoiser, build_unet
from .panels import Placement
from .prompt_adapter import PromptAdapter
from .renderer import Renderer
from .sampling import build_scheduler, expected_target, sampled_target
from .structure import Structure, crisp, decode_structure, within
from .triplet import TripletBatch
from .weights import MAX_SHARD, verify, write_checksums

MODES = ("mean", "sample", "average")
STARTS = ("noise", "composite")
EMBEDDINGS = "POSTOP_EMBEDDINGS"


@dataclass(frozen=True)
class PredictedSlices:
    """``image`` (B, 1, y, x) in [0, 1], 0 outside the brain.

    From a structure model also ``outcome_probability`` (B, 6, y, x) over ``OUTCOME_LABELS`` and ``shift_mm``
    (B, 3, y, x), the pull-back displacement in LPS mm; None from an image model.
    """

    image: Tensor
    outcome_probability: Tensor | None = None
    shift_mm: Tensor | None = None


class PostOpPipeline(DiffusionPipeline):
    """The paper's method and our extension of it: tumour-aware prompt, in-context instruction, latent diffusion.

    Modes: ``mean`` (one step: the expected outcome), ``sample`` (a DDIM trajectory: one plausible outcome), ``average``
    (the mean of several samples). With ``target`` "structure" the diffusion yields outcome maps and tissue shift, and
    the renderer draws the image from them.
    """

    _optional_components = ["renderer"]  # noqa: RUF012  diffusers reads this name as a plain list

    def __init__(
        self,
        unet: UNet2DConditionModel,
        autoencoder: PixelPatches | GreyAutoencoderKL,
        prompt_adapter: PromptAdapter,
        scheduler: DDIMScheduler,
        renderer: Renderer | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet, autoencoder=autoencoder, prompt_adapter=prompt_adapter, scheduler=scheduler, renderer=renderer
        )
        self.register_to_config(settings=settings or {})
        self.config_tree: PostOpConfig = config_from_mapping(dict(settings or {}))

    @classmethod
    def of(
        cls,
        config: PostOpConfig,
        unet: UNet2DConditionModel | None = None,
        autoencoder: PixelPatches | GreyAutoencoderKL | None = None,
    ) -> PostOpPipeline:
        """A pipeline of ``config``'s shape with fresh, random weights, except for networks that are given.

        Raises ``InputError`` when the shape is impossible.
        """
        try:
            autoencoder = autoencoder or build_autoencoder(config.autoencoder, 3 if config.family == "paper" else 1)
            return cls(
                unet=unet or build_unet(config, autoencoder.latent_channels),
                autoencoder=autoencoder,
                prompt_adapter=PromptAdapter.of(config.prompt),
                scheduler=build_scheduler(config),
                renderer=Renderer.of(config.renderer) if config.target == "structure" else None,
                settings=dataclasses.asdict(config),
            )
        except (ValueError, IndexError) as error:
            raise InputError(f"No network can be built from this configuration ({error}). Change its shape.") from error

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> PostOpPipeline:
        """Load a model folder; its checksums are verified first.

        Where the environment names a folder ``POSTOP_EMBEDDINGS``, image embeddings are kept there between runs.
        Raises ``ModelMissing`` for a folder that is no model, ``ModelTampered`` when a file is not the published one.
        """
        verify(Path(folder))
        disable_progress_bar()
        try:
            settings = json.loads((Path(folder) / "model_index.json").read_text(encoding="utf-8"))["settings"]
            parts = {name: _load(part, Path(folder) / name, options) for name, part in _networks_of(settings).items()}
            scheduler = DDIMScheduler.from_pretrained(Path(folder) / "scheduler")
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelMissing(
                f"The model in {folder} could not be loaded ({error}). Fetch the model again."
            ) from error
        pipeline = cls(scheduler=scheduler, settings=settings, **parts)
        for network in pipeline.networks:
            network.eval().requires_grad_(False)
        if os.environ.get(EMBEDDINGS):
            pipeline.prompt_adapter.cache_embeddings(Path(os.environ[EMBEDDINGS]).expanduser())
        return pipeline

    def save(self, folder: Path, *, replace: bool = False) -> None:
        """Write the model folder whole or not at all: safetensors shards under 15 MB, configurations, checksums."""
        with whole_folder(Path(folder), replace=replace) as temporary:
            self.save_pretrained(temporary, safe_serialization=True, max_shard_size=MAX_SHARD)
            write_checksums(temporary)

    @property
    def networks(self) -> list[torch.nn.Module]:
        """Every network of the pipeline."""
        candidates = (self.unet, self.autoencoder, self.prompt_adapter, self.renderer)
        return [network for network in candidates if network is not None]

    @property
    def denoiser(self) -> Denoiser:
        """The networks of the diffusion with their settings."""
        return Denoiser(self.config_tree, self.unet, self.autoencoder, self.prompt_adapter)

    @property
    def has_renderer(self) -> bool:
        """Whether the model predicts structure and renders the image from it."""
        return self.renderer is not None

    @torch.no_grad()
    def __call__(
        self,
        triplets: TripletBatch,
        mode: str = "mean",
        steps: int | None = None,
        samples: int | None = None,
        seed: int = 0,
        guidance: float | None = None,
        start: str = "noise",
        draw: bool = True,
        progress: Progress | None = None,
    ) -> PredictedSlices:
        """Predict the post-operative slices of ``triplets``.

        ``steps`` of denoising for "sample" and "average"; ``samples`` to average; ``guidance`` 1 = none; ``start``
        "noise" or "composite" (the precedent's outcome laid over the query). The same seed gives the same slices.
        Without ``draw`` a structure model leaves the image black, for who renders it later.
        Raises ``InputError`` for settings that do not fit, and whatever ``progress.step`` raises to cancel.
        """
        if mode not in MODES:
            raise InputError(f"There is no mode '{mode}'; choose one of: {', '.join(MODES)}.")
        if start not in STARTS:
            raise InputError(f"A prediction cannot start from '{start}'; choose one of: {', '.join(STARTS)}.")
        triplets, place = self._placed(triplets)
        guidance = self.config_tree.guidance if guidance is None else guidance
        if mode == "mean":
            target = expected_target(self.denoiser, self.scheduler, triplets, seed, guidance)
            return _cut(self._finish(triplets, target, draw), place)
        steps = self.config_tree.steps if steps is None else steps
        runs = (4 if samples is None else samples) if mode == "average" else 1
        longest = self.config_tree.train_timesteps
        if not 1 <= steps <= longest or runs < 1:
            raise InputError(
                f"{steps} steps and {runs} samples were asked for; give 1 to {longest} steps and at least 1 sample."
            )
        report = progress or SilentProgress()
        drawn = []
        for run in range(runs):
            target = sampled_target(
                self.denoiser,
                self.scheduler,
                triplets,
                steps=steps,
                seed=seed + run,
                guidance=guidance,
                start=self._composite_start(triplets) if start == "composite" else None,
                on_step=_counting(report, run, runs),
            )
            drawn.append(self._finish(triplets, target, draw))
        return _cut(_mean_of(drawn), place)

    @torch.no_grad()
    def tokens(self, triplets: TripletBatch) -> Tensor:
        """The prompt's tokens (B, 2, width): no plan changes them, so that many plans may share them."""
        return self.denoiser.tokens(self._placed(triplets)[0])

    @torch.no_grad()
    def expected_structure(
        self, triplets: TripletBatch, tokens: Tensor, seed: int = 0, guidance: float | None = None
    ) -> Structure:
        """What mode ``mean`` predicts, before it is drawn; ``tokens`` of the same slices. Only of a structure model."""
        placed, place = self._placed(triplets)
        guidance = self.config_tree.guidance if guidance is None else guidance
        target = expected_target(self.denoiser, self.scheduler, placed, seed, guidance, tokens)
        found = within(decode_structure(target), placed.query_brain)
        return Structure(place.cut(found.outcome), place.cut(found.shift_mm))

    @torch.no_grad()
    def render(self, triplets: TripletBatch, outcome_probability: Tensor, shift_mm: Tensor) -> Tensor:
        """The image (B, 1, y, x) of ``outcome_probability`` (B, 6, y, x), made crisp, and ``shift_mm`` (B, 3, y, x)."""
        return self._drawn(self._shown(triplets.to(self.unet.device)), outcome_probability, shift_mm)

    def _drawn(self, triplets: TripletBatch, outcome_probability: Tensor, shift_mm: Tensor) -> Tensor:
        structure = Structure(crisp(outcome_probability.to(self.unet.device)), shift_mm.to(self.unet.device))
        return self.renderer.render(triplets, structure)

    def refuse_unknown(self, *, plan: bool = False, days: bool = False) -> None:
        """Raise ``InputError`` when a condition is wanted that the model was not trained with."""
        for name, wanted, known in (
            ("planned resection", plan, self.config_tree.plan),
            ("time since surgery", days, self.config_tree.time),
        ):
            if wanted and not known:
                raise InputError(f"This model was not trained with a {name}. Choose another model, or leave it out.")

    def _placed(self, triplets: TripletBatch) -> tuple[TripletBatch, Placement]:
        """The slices as the networks see them, on the panel, and their place there."""
        place = Placement.of(self.config_tree.panel, triplets.query_pre, self.config_tree.zoom)
        return place.pad_triplets(self._shown(triplets.to(self.unet.device))), place

    def _shown(self, triplets: TripletBatch) -> TripletBatch:
        return with_aligned_instruction(triplets) if self.config_tree.align_instruction else triplets

    def _finish(self, triplets: TripletBatch, target: Tensor, draw: bool) -> PredictedSlices:
        if self.config_tree.target == "image":
            return PredictedSlices(self.denoiser.to_image(target) * triplets.query_brain)
        structure = within(decode_structure(target), triplets.query_brain)
        black = torch.zeros_like(triplets.query_pre)
        image = self._drawn(triplets, structure.outcome, structure.shift_mm) if draw else black
        return PredictedSlices(image, structure.outcome, structure.shift_mm)

    def _composite_start(self, triplets: TripletBatch) -> Tensor:
        still = torch.zeros_like(triplets.query_pre[..., ::2, ::2]).expand(-1, 3, -1, -1)
        pasted = composite(
            triplets.query_pre,
            triplets.instruction_post,
            triplets.instruction_outcome,
            self.config_tree.composite_soft_edge,
        )
        return self.denoiser.target_latents(triplets, pasted, triplets.instruction_outcome, still)


def _networks_of(settings: dict[str, Any]) -> dict[str, type[ModelMixin]]:
    config = config_from_mapping(settings)
    networks: dict[str, type[ModelMixin]] = {
        "unet": UNet2DConditionModel,
        "autoencoder": PixelPatches if config.autoencoder.kind == "patches" else GreyAutoencoderKL,
        "prompt_adapter": PromptAdapter,
    }
    if config.target == "structure":
        networks["renderer"] = Renderer
    return networks


def _load(network: type[ModelMixin], folder: Path, options: dict[str, Any]) -> ModelMixin:
    # Without accelerate diffusers would warn of what we ask for anyway.
    options = {"low_cpu_mem_usage": False, **options}
    return network.from_pretrained(folder, local_files_only=True, use_safetensors=True, **options).float()


def _cut(slices: PredictedSlices, place: Placement) -> PredictedSlices:
    """What was drawn on the panel, as large as the slices that were given."""
    outcome, shift = slices.outcome_probability, slices.shift_mm
    return PredictedSlices(
        place.cut(slices.image),
        None if outcome is None else place.cut(outcome),
        None if shift is None else place.cut(shift),
    )


def _counting(progress: Progress, run: int, runs: int) -> Callable[[int, int], None]:
    return lambda done, total: progress.step(run * total + done, runs * total)


def _mean_of(drawn: list[PredictedSlices]) -> PredictedSlices:
    def mean(values: list[Tensor | None]) -> Tensor | None:
        return None if values[0] is None else torch.stack([v for v in values if v is not None]).mean(dim=0)

    image = mean([one.image for one in drawn])
    assert image is not None
    return PredictedSlices(
        image, mean([one.outcome_probability for one in drawn]), mean([one.shift_mm for one in drawn])
    )
