"""InstructPix2Pix and Paint by Example against the published pipelines, number for number, on small random weights.

diffusers' InstructPix2Pix needs transformers at import (nothing of it is used): ``make published`` has it, elsewhere
this is skipped. Paint by Example was taken out of diffusers; what its last version did is written down here.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
from tiny_models import some_triplets, tiny_paper

from PostOpPredictorLib.benchmark.baselines.baseline import Baseline
from PostOpPredictorLib.benchmark.baselines.instruct_pix2pix import InstructPix2Pix
from PostOpPredictorLib.benchmark.baselines.paint_by_example import PaintByExample
from PostOpPredictorLib.model.composite import mask_box
from PostOpPredictorLib.model.panels import Placement
from PostOpPredictorLib.model.sampling import trajectory
from PostOpPredictorLib.model.triplet import CORE_LABELS, TripletBatch, label_mask

STEPS = 4


def a_model(kind: type[Baseline]) -> Baseline:
    torch.manual_seed(0)
    model = kind.fresh(tiny_paper()).eval()
    torch.nn.init.normal_(model.unet.conv_in.weight, std=0.2)
    return model


@pytest.fixture
def triplets() -> TripletBatch:
    batch = some_triplets(2)
    return Placement.of(tiny_paper().panel, batch.query_pre).pad_triplets(batch)


def noise_for(model: Baseline, triplets: TripletBatch) -> torch.Tensor:
    return torch.randn(len(triplets), *model.noise_shape(triplets), generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def our_latents(model: Baseline, triplets: TripletBatch) -> torch.Tensor:
    model.scheduler.set_timesteps(STEPS)
    predict = model.guided(triplets, model.config_tree.guidance)
    noise = noise_for(model, triplets)
    return trajectory(model.scheduler, predict, noise, model.scheduler.timesteps, lambda *_: None)


def test_instruct_pix2pix_is_diffusers_pipeline_number_for_number(triplets: TripletBatch) -> None:
    if not os.environ.get("POSTOP_PUBLISHED"):
        pytest.importorskip("transformers", reason="diffusers' pipeline needs transformers: make published")
    from diffusers import StableDiffusionInstructPix2PixPipeline

    model = a_model(InstructPix2Pix)
    pipe = StableDiffusionInstructPix2PixPipeline(
        vae=model.autoencoder,
        text_encoder=None,
        tokenizer=None,
        unet=model.unet,
        scheduler=model.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    every = torch.ones(len(triplets), dtype=torch.bool)
    theirs = pipe(
        image=triplets.query_pre.expand(-1, 3, -1, -1),
        prompt_embeds=model.tokens(triplets).detach(),
        negative_prompt_embeds=model.tokens(triplets, every).detach(),
        num_inference_steps=STEPS,
        guidance_scale=7.5,
        image_guidance_scale=1.5,
        latents=noise_for(model, triplets),
        output_type="latent",
        return_dict=False,
    )[0]
    ours = our_latents(model, triplets)
    assert ours.abs().max() > 0.1 and torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def published_paint_by_example(model: PaintByExample, triplets: TripletBatch) -> torch.Tensor:
    """The denoising loop of diffusers 0.30's ``PaintByExamplePipeline`` (guidance 5), from its inputs to its latents.

    Its ``prepare_mask_and_masked_image`` turns the mask round (1 = keep), scales the image to [-1, 1] and multiplies
    them; latents are the encoder's times the scaling factor; the U-Net gets noise, masked image, mask, twice.
    """
    vae, scheduler = model.autoencoder, model.scheduler
    keep = 1 - mask_box(label_mask(triplets.query_tumour, CORE_LABELS))
    masked = (triplets.query_pre.expand(-1, 3, -1, -1) * 2 - 1) * keep
    latents = noise_for(model, triplets)
    masked_latents = vae.encode(masked).latent_dist.mode() * vae.config.scaling_factor
    small = torch.nn.functional.interpolate(keep, size=latents.shape[-2:])
    embeddings = model.tokens(triplets)
    negative = model.condition_network.null.repeat(len(latents), embeddings.shape[1], 1)
    both = torch.cat([negative, embeddings])
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        stacked = torch.cat([torch.cat([latents] * 2), torch.cat([masked_latents] * 2), torch.cat([small] * 2)], dim=1)
        uncond, cond = model.unet(stacked, t, encoder_hidden_states=both).sample.chunk(2)
        latents = scheduler.step(uncond + 5.0 * (cond - uncond), t, latents, eta=0.0).prev_sample
    return latents


def test_paint_by_example_is_the_published_loop_number_for_number(triplets: TripletBatch) -> None:
    model = a_model(PaintByExample)
    assert isinstance(model, PaintByExample)
    ours = our_latents(model, triplets)
    assert torch.allclose(ours, published_paint_by_example(model, triplets), rtol=1e-4, atol=1e-4)


def test_the_mapper_of_paint_by_example_is_the_published_one() -> None:
    """``PaintByExampleMapper`` of CLIP with 24 layers: (24 + 1) // 5 blocks of one head, GELU, attention with bias."""
    from diffusers.models.attention import BasicTransformerBlock

    model = a_model(PaintByExample)
    config = SimpleNamespace(num_hidden_layers=24, hidden_size=model.condition_network.features.channels * 4)
    published = torch.nn.Sequential(
        *(
            BasicTransformerBlock(config.hidden_size, 1, config.hidden_size, activation_fn="gelu", attention_bias=True)
            for _ in range((config.num_hidden_layers + 1) // 5)
        )
    )
    published.load_state_dict(model.condition_network.mapper.state_dict())
    states = torch.randn(2, 1, config.hidden_size)
    assert torch.equal(published(states), model.condition_network.mapper(states))
