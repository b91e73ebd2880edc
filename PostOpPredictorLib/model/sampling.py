"""Denoising: one step to the expected outcome, several to a plausible one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from ..errors import InputError
from .config import PostOpConfig
from .denoiser import Condition, Denoiser
from .triplet import TripletBatch

COMPOSITE_STRENGTH = 0.7


def build_scheduler(config: PostOpConfig) -> DDIMScheduler:
    """DDIM; with v-prediction the last step holds no signal at all, so that the prediction from there is the mean."""
    return DDIMScheduler(
        num_train_timesteps=config.train_timesteps,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=config.prediction_type,
        rescale_betas_zero_snr=config.prediction_type == "v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


def shared_noise(shape: tuple[int, int, int], slices: int, seed: int, device: torch.device) -> Tensor:
    """The same noise for every slice of a volume, so that neighbouring slices agree: (slices, channels, y, x)."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(1, *shape, generator=generator).expand(slices, -1, -1, -1).to(device)


def expected_target(
    denoiser: Denoiser,
    scheduler: DDIMScheduler,
    triplets: TripletBatch,
    seed: int,
    guidance: float,
    tokens: Tensor | None = None,
) -> Tensor:
    """One network call at the last time step: the mean over all outcomes that the model deems possible (YODA).

    ``tokens`` (B, 2, width): the prompt's, where they were made before.
    """
    if scheduler.config.prediction_type != "v_prediction":
        raise InputError(
            "The mode 'mean' needs a model with v-prediction; this one predicts noise. "
            "Choose the mode 'sample' or 'average'."
        )
    last = scheduler.config.num_train_timesteps - 1
    noise = shared_noise(denoiser.noise_shape(triplets), len(triplets), seed, triplets.query_pre.device)
    velocity = guided(denoiser, triplets, guidance, tokens)(noise, torch.tensor(last))
    signal = scheduler.alphas_cumprod[last]
    return signal**0.5 * noise - (1 - signal) ** 0.5 * velocity


def sampled_target(
    denoiser: Denoiser,
    scheduler: DDIMScheduler,
    triplets: TripletBatch,
    *,
    steps: int,
    seed: int,
    guidance: float,
    start: Tensor | None,
    on_step: Callable[[int, int], None],
) -> Tensor:
    """A DDIM trajectory (eta 0).

    ``start``: latents to set out from, noised to ``COMPOSITE_STRENGTH`` of the way; pure noise when None.
    ``on_step`` is told the steps done and their number, and may raise to stop.
    """
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps
    latents = shared_noise(denoiser.noise_shape(triplets), len(triplets), seed, triplets.query_pre.device)
    if start is not None:
        times = times[round(len(times) * (1 - COMPOSITE_STRENGTH)) :]
        latents = scheduler.add_noise(start, latents, times[:1])
    return trajectory(scheduler, guided(denoiser, triplets, guidance), latents, times, on_step)


def trajectory(
    scheduler: DDIMScheduler,
    predict: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    times: Tensor,
    on_step: Callable[[int, int], None],
) -> Tensor:
    """``latents`` denoised over ``times`` of ``scheduler`` by what ``predict(latents, time)`` says, eta 0."""
    for index, time in enumerate(times):
        on_step(index, len(times))
        latents = scheduler.step(predict(latents, time), time, latents).prev_sample
    on_step(len(times), len(times))
    return latents


def guided(
    denoiser: Denoiser, triplets: TripletBatch, guidance: float, tokens: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """Classifier-free guidance: u + guidance * (c - u), where u sees neither instruction nor tokens; 1 leaves u out.

    ``tokens`` (B, 2, width): those of c, where they were made before.
    """
    ready = {} if tokens is None else {"tokens": tokens}
    conditions: list[Condition] = [denoiser.condition(triplets, **ready)]
    if guidance != 1:
        conditions.append(denoiser.condition(triplets.without_instruction()))

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        with_instruction, *rest = (denoiser(noisy, time.to(noisy.device), condition) for condition in conditions)
        return rest[0] + guidance * (with_instruction - rest[0]) if rest else with_instruction

    return predict
