"""What each part of the model is trained to make small."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from ..model.config import PostOpConfig
from ..model.denoiser import Denoiser
from ..model.layouts import quadrant
from ..model.renderer import Renderer
from ..model.structure import SHIFT_CHANNELS, Structure, crisp, decode_structure, encode_structure
from .config import TrainingConfig
from .draws import NoiseDraws, draw_noise
from .slices import TrainingBatch


def denoising_loss(
    denoiser: Denoiser,
    scheduler: DDIMScheduler,
    batch: TrainingBatch,
    training: TrainingConfig,
    draws: NoiseDraws | torch.Generator,
) -> Tensor:
    """The paper's loss E || target - prediction ||^2, where the target is noise or velocity.

    Weighted around the lesion; tokens, instruction, plan, time and further scans are dropped at random,
    independently. ``draws``: the
    random numbers, or where to draw them from.
    """
    config = denoiser.config
    batch = batch.on_panel(config.panel, config.zoom)
    if isinstance(draws, torch.Generator):
        draws = draw_noise(config, training, (len(batch), *denoiser.noise_shape(batch.triplets)), draws)
    draws = draws.to(batch.query_post.device)
    triplets = batch.triplets.without_instruction(draws.drop_instruction).without_plan(draws.drop_plan)
    triplets = triplets.without_time(draws.drop_time).without_context(draws.drop_context)
    whole = batch.whole.without_instruction(draws.drop_instruction)
    with torch.no_grad():
        clean = denoiser.target_latents(triplets, batch.query_post, batch.query_outcome, batch.query_shift)
    condition = denoiser.condition(triplets, tokens=denoiser.tokens(whole, draws.drop_tokens))
    output = denoiser(scheduler.add_noise(clean, draws.noise, draws.times), draws.times, condition)
    epsilon = config.prediction_type == "epsilon"
    wanted = draws.noise if epsilon else scheduler.get_velocity(clean, draws.noise, draws.times)
    weight = latent_weight(batch.lesion, clean, config, training)
    if config.target == "structure":
        weight = weight * known_channels(batch.shift_known, clean)
    return (weight * (output - wanted) ** 2).mean()


def rendering_loss(
    renderer: Renderer, batch: TrainingBatch, training: TrainingConfig, noise: Tensor | torch.Generator
) -> Tensor:
    """L1 of the image and of its gradients, with the true structure disturbed as a predicted one would be.

    ``noise``: what disturbs it, of the code's shape and unit scale, or where to draw it from.
    """
    code = encode_structure(batch.query_outcome, batch.query_shift)
    if isinstance(noise, torch.Generator):
        noise = torch.randn(code.shape, generator=noise)
    structure = decode_structure(code + training.structure_noise * noise.to(code.device))
    image = renderer.render(batch.triplets, Structure(crisp(structure.outcome), structure.shift_mm))
    brain = batch.triplets.query_brain
    error = (image - batch.query_post) * brain
    weight = batch.lesion + (1 - batch.lesion) * training.outside_weight
    gradients = [
        (weight[..., 1:, :] * error.diff(dim=-2).abs()).mean(),
        (weight[..., 1:] * error.diff(dim=-1).abs()).mean(),
    ]
    return (weight * error.abs()).mean() + sum(gradients, torch.zeros((), device=error.device))


def known_channels(shift_known: Tensor, code: Tensor) -> Tensor:
    """(B, channels, 1, 1) for a structure code: 0 on the channels of the shift where it is not known, else 1."""
    weight = torch.ones(len(code), code.shape[1], 1, 1, device=code.device)
    weight[~shift_known, -SHIFT_CHANNELS:] = 0
    return weight


def latent_weight(lesion: Tensor, clean: Tensor, config: PostOpConfig, training: TrainingConfig) -> Tensor:
    """What each latent pixel of ``clean`` weighs: 1 near the lesion (B, 1, y, x), ``outside_weight`` elsewhere."""
    if config.noised == "full":
        weight = torch.full_like(clean[:, :1], training.outside_weight)
        quadrant(weight)[:] = _latent_weight_of(lesion, quadrant(weight).shape[-2:], training)
        return weight
    return _latent_weight_of(lesion, clean.shape[-2:], training)


def _latent_weight_of(lesion: Tensor, size: tuple[int, ...], training: TrainingConfig) -> Tensor:
    near = adaptive_max_pool2d(lesion, (size[0], size[1]))
    return near + (1 - near) * training.outside_weight
