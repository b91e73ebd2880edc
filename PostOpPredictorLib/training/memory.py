"""What training and sampling of a model take on a GPU, computed from the real shapes, and what fits on which card."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.config import PostOpConfig
from ..model.pipeline import PostOpPipeline
from ..model.triplet import TripletBatch
from .config import TrainingConfig
from .live_memory import imagined
from .objective import Objective
from .slices import TrainingBatch

GIB = 2**30
CARDS_GB = (16, 24, 40, 80)
CONTEXT_GIB = 0.6
"""CUDA's own share of a card."""
FRAGMENTS = 1.1
"""What the allocator of torch keeps beyond the tensors, at the most as a rule."""
BATCHES = (1, 4, 8)
MOST = 64
_ADAM = 8
_AVERAGE = 4


@dataclass(frozen=True)
class Row:
    """One setting: GiB of tensors for each of ``BATCHES`` slices at once."""

    name: str
    gib: tuple[float, ...]

    def at(self, slices: int) -> float:
        """GiB on a card with ``slices`` at once, with everything beside the tensors; linear beyond the last batch."""
        (low, first), (high, last) = list(zip(BATCHES, self.gib, strict=True))[-2:]
        slope = (last - first) / (high - low)
        known = dict(zip(BATCHES, self.gib, strict=True))
        # Below the last two the curve is flatter; the line through them would promise too much there.
        return known.get(slices, max(self.gib[0], first + slope * (slices - low))) * FRAGMENTS + CONTEXT_GIB

    def fits(self, card_gb: float) -> int:
        """The most slices at once on a card of so many GB (10^9 bytes), up to ``MOST``; 0 when not even one fits."""
        slices = 0
        while slices < MOST and self.at(slices + 1) <= card_gb * 1e9 / GIB:
            slices += 1
        return slices


def memory_rows(model: PostOpConfig, precision: str = "bfloat16") -> list[Row]:
    """Training with and without gradient checkpointing and average of the weights, and sampling."""
    rows = []
    for checkpointing in (False, True):
        training = TrainingConfig(crop=0, precision=precision, gradient_checkpointing=checkpointing)
        steps = [training_step_bytes(model, training, size) for size in BATCHES]
        for averaging in (True, False):
            name = "training" + ", checkpointing" * checkpointing + ", no average" * (not averaging)
            rows.append(Row(name, tuple((step + _states(model, averaging)) / GIB for step in steps)))
    return [*rows, Row("sampling", tuple(sampling_bytes(model, size) / GIB for size in BATCHES))]


def learning_parameters(model: PostOpConfig) -> int:
    """Number of weights of the denoiser that learn."""
    with torch.device("meta"):
        pipeline = PostOpPipeline.of(model)
    networks = (pipeline.unet, pipeline.prompt_adapter)
    return sum(p.numel() for network in networks for p in network.parameters() if p.requires_grad)


def training_step_bytes(model: PostOpConfig, training: TrainingConfig, slices: int) -> int:
    """The most bytes that are alive in forward and backward of the denoiser: weights, gradients, activations."""
    with imagined() as memory:
        pipeline = _pipeline(model)
        objective = Objective(pipeline, training)
        for network in objective.networks():
            network.train()
        pipeline.autoencoder.requires_grad_(False)
        if training.gradient_checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
        batch = empty_batch(slices, model.panel // model.zoom)
        draws = objective.draws(batch, torch.Generator())
        with torch.autocast("cpu", torch.bfloat16, enabled=training.precision == "bfloat16"):
            loss = objective.loss(batch, draws)
        loss.backward()
        return memory.peak


def sampling_bytes(model: PostOpConfig, slices: int) -> int:
    """The most bytes that are alive in one guided step of sampling and in decoding, all in float32."""
    with imagined() as memory, torch.no_grad():
        pipeline = _pipeline(model)
        triplets, denoiser = empty_batch(slices, model.panel).triplets, pipeline.denoiser
        conditions = [denoiser.condition(triplets), denoiser.condition(triplets.without_instruction())]
        noisy = torch.zeros(slices, *denoiser.noise_shape(triplets))
        answers = [denoiser(noisy, torch.zeros(slices), condition) for condition in conditions]
        denoiser.to_image(answers[0])
        return memory.peak


def empty_batch(slices: int, side: int) -> TrainingBatch:
    """A batch of black slices."""
    image, labels = torch.zeros(slices, 1, side, side), torch.zeros(slices, side, side, dtype=torch.uint8)
    fields = [field.name for field in dataclasses.fields(TripletBatch)]
    images = {name: image for name in fields if name.endswith(("pre", "post", "brain"))}
    maps = {name: labels for name in fields if name.endswith(("tumour", "outcome", "query_plan"))}
    triplets = TripletBatch(**images, **maps, z_mm=torch.zeros(slices))
    shift, known = torch.zeros(slices, 3, side // 2, side // 2), torch.zeros(slices, dtype=torch.bool)
    return TrainingBatch(triplets, image, labels, shift, image, triplets, known)


def table(rows: list[Row]) -> str:
    """Markdown: GiB for each batch, and the most slices at once on each card."""
    head = ["setting", *(f"{size} slices, GiB" for size in BATCHES), *(f"{card} GB card" for card in CARDS_GB)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [row.name, *(f"{row.at(size):.1f}" for size in BATCHES)]
        cells += [_number(row.fits(card)) for card in CARDS_GB]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(slices: int) -> str:
    return {0: "none", MOST: f"{MOST} or more"}.get(slices, str(slices))


def _pipeline(model: PostOpConfig) -> PostOpPipeline:
    pipeline = PostOpPipeline.of(model)
    adapter = pipeline.prompt_adapter
    # Which rows need an embedding depends on values, and there are none: all do.
    embed_all: Callable[[Tensor, Tensor], Tensor] = lambda composite, _: adapter.embed_image(composite)  # noqa: E731
    adapter._embed_where = embed_all
    return pipeline


def _states(model: PostOpConfig, averaging: bool) -> int:
    return learning_parameters(model) * (_ADAM + (_AVERAGE if averaging else 0))
