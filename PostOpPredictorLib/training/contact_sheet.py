"""A picture of validation slices beside the model's answers, so that a person sees what the loss does not tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..atomic_files import whole_file
from ..model.autoencoder import GreyAutoencoderKL, PixelPatches
from ..model.pipeline import PostOpPipeline, PredictedSlices
from ..model.structure import decode_structure, encode_structure
from ..model.triplet import TripletBatch
from .slices import PreparedSlices, TrainingBatch

_COLOURS = (
    torch.tensor([[0, 0, 0], [64, 160, 255], [255, 200, 0], [230, 40, 40], [60, 220, 120], [240, 240, 240]]) / 255
)


def write_contact_sheet(
    pipeline: PostOpPipeline,
    slices: PreparedSlices,
    path: Path,
    count: int = 10,
    *,
    sequence: str | None = None,
    reconstruction: bool = False,
) -> None:
    """One row a slice: pre, precedent post, true post, rendered from the true structure, mean, sample, structures.

    "mean" only with v-prediction; the true and the predicted structures only from a structure model. ``sequence``: None
    = the last one of the slices. ``reconstruction``: pre and true post, each beside what the autoencoder makes of it,
    and nothing that the denoiser draws.
    """
    batch = _shown(slices, count, sequence or slices.sequences[-1]).to(pipeline.device)
    modes = [network.training for network in pipeline.networks]
    for network in pipeline.networks:
        network.eval()
    columns = _reconstructed(pipeline, batch) if reconstruction else _columns(pipeline, batch)
    for network, training in zip(pipeline.networks, modes, strict=True):
        network.train(training)
    picture = torch.cat([torch.cat(list(column), dim=1) for column in columns], dim=2)
    pixels = (picture.clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy()
    with whole_file(path) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary)


def _shown(slices: PreparedSlices, count: int, sequence: str) -> TrainingBatch:
    """Validation slices evenly through the file, else the first of training, with their best instruction."""
    rows = slices.rows("val", sequence=sequence)
    if len(rows):
        rows = rows[torch.linspace(0, len(rows) - 1, min(count, len(rows))).long()]
    else:
        rows = slices.rows("train", sequence=sequence)[:count]
    generator = torch.Generator().manual_seed(0)
    instruction = slices.draw_instruction(rows, 1, generator, sequence=sequence)
    return slices.batch(rows, instruction, sequence, 0, generator)


@torch.no_grad()
def _reconstructed(pipeline: PostOpPipeline, batch: TrainingBatch) -> list[Tensor]:
    config, autoencoder = pipeline.config_tree, pipeline.autoencoder
    whole = batch.on_panel(config.panel, config.zoom)
    images = [
        image for true in (whole.triplets.query_pre, whole.query_post) for image in (true, _again(autoencoder, true))
    ]
    return [_grey(image) for image in images]


def _again(autoencoder: PixelPatches | GreyAutoencoderKL, image: Tensor) -> Tensor:
    return autoencoder.to_image(autoencoder.to_latents(image))


@torch.no_grad()
def _columns(pipeline: PostOpPipeline, batch: TrainingBatch) -> list[Tensor]:
    triplets = batch.triplets
    columns = [_grey(triplets.query_pre), _grey(triplets.instruction_post), _grey(batch.query_post)]
    if pipeline.has_renderer:
        true = decode_structure(encode_structure(batch.query_outcome, batch.query_shift))
        columns.append(_grey(pipeline.render(triplets, true.outcome, true.shift_mm)))
    modes = ["mean", "sample"] if pipeline.config_tree.prediction_type == "v_prediction" else ["sample"]
    answers = [_answer(pipeline, triplets, mode) for mode in modes]
    columns += [_grey(answer.image) for answer in answers]
    if pipeline.has_renderer:
        columns.append(_COLOURS[batch.query_outcome.long().cpu()].permute(0, 3, 1, 2))
        for answer in answers:
            assert answer.outcome_probability is not None
            columns.append(torch.einsum("bkyx,kc->bcyx", answer.outcome_probability.cpu(), _COLOURS))
    return columns


def _answer(pipeline: PostOpPipeline, triplets: TripletBatch, mode: str) -> PredictedSlices:
    """The slices drawn at once; one by one on the paper's grid, where the optimizer leaves little memory for them."""
    if pipeline.config_tree.layout != "grid":
        return pipeline(triplets, mode=mode)
    drawn = [pipeline(triplets.rows(slice(row, row + 1)), mode=mode).image for row in range(len(triplets))]
    return PredictedSlices(torch.cat(drawn))


def _grey(image: Tensor) -> Tensor:
    return image.cpu().expand(-1, 3, -1, -1)
