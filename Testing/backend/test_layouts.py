"""How instruction and query reach the U-Net: the paper's 2 x 2 grid, and everything stacked on channels."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import TINY_KL, some_triplets, tiny_config
from torch import Tensor

from PostOpPredictorLib.model.autoencoder import PixelPatches, build_autoencoder
from PostOpPredictorLib.model.composite import composite
from PostOpPredictorLib.model.config import PostOpConfig
from PostOpPredictorLib.model.denoiser import Denoiser, build_unet
from PostOpPredictorLib.model.layouts import (
    days_code,
    grid_canvas,
    join_quadrants,
    quadrant,
    stacked_channels,
    stacked_condition,
)
from PostOpPredictorLib.model.triplet import TripletBatch


class RecordingUNet:
    """Answers with what ``answer`` makes of the input, and keeps the input."""

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def __call__(self, sample: Tensor, time: Tensor, encoder_hidden_states: Tensor) -> SimpleNamespace:
        self.seen = sample
        return SimpleNamespace(sample=sample[:, : self.channels] * 10)


class NoTokens:
    def __call__(self, tumour: Tensor, comp: Tensor, drop: Tensor | None) -> Tensor:
        return torch.zeros(len(tumour), 2, 16)


def a_denoiser(**changes: Any) -> tuple[Denoiser, RecordingUNet]:
    config: PostOpConfig = tiny_config(target="image", layout="grid", **changes)
    autoencoder = build_autoencoder(config.autoencoder).requires_grad_(False)
    unet = RecordingUNet(autoencoder.latent_channels)
    return Denoiser(config, unet, autoencoder, NoTokens()), unet  # type: ignore[arg-type]


@pytest.fixture
def triplets() -> TripletBatch:
    return some_triplets()


def test_the_grid_is_instruction_above_query_and_blank_below_right(triplets: TripletBatch) -> None:
    patches = PixelPatches(4)
    canvas, mask = grid_canvas(triplets, patches)
    picture = patches.to_image(canvas)
    assert picture.shape == (2, 1, 64, 64)
    places = {
        "instruction_pre": picture[..., :32, :32],
        "instruction_post": picture[..., :32, 32:],
        "query_pre": picture[..., 32:, :32],
    }
    for name, panel in places.items():
        assert torch.allclose(panel, getattr(triplets, name), atol=1e-6), name
    assert torch.allclose(picture[..., 32:, 32:], torch.zeros(2, 1, 32, 32), atol=1e-6)
    assert mask.sum() == 2 * 8 * 8 and mask[..., 8:, 8:].eq(1).all()


def test_the_answers_quadrant_is_a_view_of_the_canvas() -> None:
    panels = [torch.full((1, 1, 2, 3), float(value)) for value in range(4)]
    canvas = join_quadrants(*panels)
    assert quadrant(canvas).eq(3).all()
    quadrant(canvas)[:] = 9
    assert canvas.eq(9).sum() == 6 and canvas[0, 0, 2, 3] == 9


def test_with_a_noised_target_the_unet_sees_clean_panels_beside_the_noisy_quadrant(triplets: TripletBatch) -> None:
    denoiser, unet = a_denoiser(autoencoder=TINY_KL, noised="target")
    noisy = torch.randn(2, *denoiser.noise_shape(triplets), generator=torch.Generator().manual_seed(0))
    answer = denoiser(noisy, torch.tensor(5), denoiser.condition(triplets))
    canvas, mask = grid_canvas(triplets, denoiser.autoencoder)
    assert unet.seen.shape == (2, 9, 16, 16), "the paper's 4 noisy + 4 clean masked grid + 1 mask"
    clean = (1 - mask).bool().expand(-1, 4, -1, -1)
    assert torch.equal(unet.seen[:, :4][clean], canvas[clean])
    assert torch.equal(quadrant(unet.seen[:, :4]), noisy)
    assert torch.equal(unet.seen[:, 4:8], canvas * (1 - mask)), "the blank quadrant of the condition is empty"
    assert torch.equal(unet.seen[:, 8:], mask)
    assert torch.equal(answer, noisy * 10), "the answer is read from the blank quadrant"


def test_with_all_four_noised_the_whole_canvas_is_noise_and_answer(triplets: TripletBatch) -> None:
    denoiser, unet = a_denoiser(autoencoder=TINY_KL, noised="full")
    noisy = torch.randn(2, *denoiser.noise_shape(triplets), generator=torch.Generator().manual_seed(0))
    assert noisy.shape == (2, 4, 16, 16)
    answer = denoiser(noisy, torch.tensor(5), denoiser.condition(triplets))
    assert torch.equal(unet.seen[:, :4], noisy)
    assert torch.equal(answer, noisy * 10)


@pytest.mark.parametrize("noised", ["target", "full"])
def test_the_image_of_the_true_latents_is_the_true_image(triplets: TripletBatch, noised: str) -> None:
    denoiser, _ = a_denoiser(noised=noised)
    latents = denoiser.target_latents(triplets, triplets.instruction_post, triplets.instruction_outcome, torch.zeros(0))
    assert tuple(latents.shape[1:]) == denoiser.noise_shape(triplets)
    assert torch.allclose(denoiser.to_image(latents), triplets.instruction_post, atol=1e-6)


def test_the_stack_holds_the_four_images_in_order(triplets: TripletBatch) -> None:
    patches = PixelPatches(4)
    stack = stacked_condition(triplets, patches, 4, tiny_config())
    assert stack.shape == (2, stacked_channels(16, tiny_config()), 8, 8)
    pasted = composite(triplets.query_pre, triplets.instruction_post, triplets.instruction_outcome)
    expected = (triplets.query_pre, pasted, triplets.instruction_pre, triplets.instruction_post)
    for found, image in zip(stack[:, :64].chunk(4, dim=1), expected, strict=True):
        assert torch.allclose(patches.to_image(found), image, atol=1e-6)


@pytest.mark.parametrize("autoencoder", ["patches", "kl"])
def test_the_unet_is_built_for_the_channels_that_it_gets(triplets: TripletBatch, autoencoder: str) -> None:
    config = tiny_config(target="image", autoencoder=TINY_KL) if autoencoder == "kl" else tiny_config(target="image")
    images = build_autoencoder(config.autoencoder).requires_grad_(False)
    stack = stacked_condition(triplets, images, images.factor, config)
    unet = build_unet(config, images.latent_channels)
    assert unet.config.in_channels == images.latent_channels + stack.shape[1]


def test_a_plan_reaches_the_unet_only_where_the_model_knows_plans(triplets: TripletBatch) -> None:
    planned = dataclasses.replace(
        triplets, query_plan=(triplets.query_tumour == 4).to(torch.uint8), has_plan=torch.tensor([True, False])
    )
    patches, without = PixelPatches(4), stacked_condition(triplets, PixelPatches(4), 4, tiny_config())
    assert torch.equal(stacked_condition(planned, patches, 4, tiny_config()), without)
    stack = stacked_condition(planned, patches, 4, tiny_config(plan=True))
    assert stack.shape[1] == stacked_channels(16, tiny_config(plan=True)) == without.shape[1] + 8
    masks = torch.nn.functional.pixel_shuffle(stack[:, 64:-4], 2)[:, -2:]
    assert torch.equal(masks[0, 0], torch.nn.functional.avg_pool2d(planned.query_plan[:1].float(), 2)[0])
    assert masks[0, 1].eq(1).all() and masks[1, 1].eq(0).all()
    assert build_unet(tiny_config(plan=True), 16).config.in_channels == 32 + stack.shape[1]


def test_a_dropped_plan_is_as_if_there_were_none(triplets: TripletBatch) -> None:
    planned = dataclasses.replace(
        triplets, query_plan=torch.ones_like(triplets.query_tumour), has_plan=torch.tensor([True, True])
    )
    one = planned.without_plan(torch.tensor([False, True]))
    assert one.has_plan.tolist() == [True, False] and one.query_plan[0].all() and not one.query_plan[1].any()  # type: ignore[union-attr,index]
    assert torch.equal(
        stacked_condition(planned.without_plan(), PixelPatches(4), 4, tiny_config(plan=True)),
        stacked_condition(triplets, PixelPatches(4), 4, tiny_config(plan=True)),
    )


def test_time_and_institution_come_last_and_only_where_the_model_knows_them(triplets: TripletBatch) -> None:
    told = dataclasses.replace(
        triplets,
        days=torch.tensor([0.0, 365.0]),
        has_days=torch.tensor([False, True]),
        shown_days=torch.tensor([365.0, 1.0]),
        own_institution=torch.tensor([True, True]),
        has_instruction=torch.tensor([True, False]),
    )
    patches, without = PixelPatches(4), stacked_condition(triplets, PixelPatches(4), 4, tiny_config())
    assert torch.equal(stacked_condition(told, patches, 4, tiny_config()), without)
    config = tiny_config(time=True, institution=True)
    stack = stacked_condition(told, patches, 4, config)
    assert stack.shape[1] == stacked_channels(16, config) == without.shape[1] + 4
    assert torch.equal(stack[:, :-4], without), "weights that were trained without them can be carried over"
    assert stack[:, -4:].amin(dim=(2, 3)).equal(stack[:, -4:].amax(dim=(2, 3))), "the same everywhere in a slice"
    assert stack[:, -4:, 0, 0].tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]], "known, days, instruction's days, own place"
    dropped = stacked_condition(told.without_time(torch.tensor([False, True])), patches, 4, config)
    assert dropped[1, -4:-2, 0, 0].tolist() == [0, 0]
    assert build_unet(config, 16).config.in_channels == 32 + stack.shape[1]


def test_early_days_count_more_than_late_ones() -> None:
    code = days_code(torch.tensor([0.0, 1.0, 14.0, 28.0, 180.0, 365.0, 999.0]))
    assert code[0] == 0 and code[5] == 1 == code[6]
    assert (code.diff()[:-1] > 0).all() and code[2] - code[1] > code[5] - code[4]


def test_a_crop_knows_where_it_lies_in_the_panel(triplets: TripletBatch) -> None:
    """The coordinates of a crop are the same as the whole panel's at the same pixels."""
    rows, columns = slice(8, 24), slice(16, 32)
    cut = {
        item.name: getattr(triplets, item.name)[..., rows, columns]
        for item in dataclasses.fields(triplets)
        if item.name.startswith(("query", "instruction"))
    }
    crop = dataclasses.replace(triplets, **cut, corner=torch.tensor([[8, 16]] * 2))
    whole_coordinates = stacked_condition(triplets, PixelPatches(4), 4, tiny_config())[:, -4:]
    crop_coordinates = stacked_condition(crop, PixelPatches(4), 4, tiny_config())[:, -4:]
    assert torch.equal(crop_coordinates, whole_coordinates[..., 2:6, 4:8])


def test_coordinates_are_zero_in_the_middle_and_tell_the_sides_apart() -> None:
    triplets = some_triplets()
    big = dataclasses.replace(
        triplets,
        **{
            item.name: getattr(triplets, item.name).repeat_interleave(4, -1).repeat_interleave(4, -2)
            for item in dataclasses.fields(triplets)
            if item.name.startswith(("query", "instruction"))
        },
    )
    x, side, y, z = stacked_condition(big, PixelPatches(4), 4, tiny_config())[0, -4:]
    assert x[0].sum() == pytest.approx(0, abs=1e-4) and x[0, 0] < 0 < x[0, -1], "x grows with the column"
    assert torch.equal(side, x.abs())
    assert y[0, 0] < 0 < y[-1, 0], "y grows with the row"
    assert z.eq(triplets.z_mm[0] / 80).all()


def test_pixel_patches_lose_nothing_and_scale_to_plus_minus_one(triplets: TripletBatch) -> None:
    latents = PixelPatches(4).to_latents(triplets.query_pre)
    assert latents.shape == (2, 16, 8, 8) and latents.min() == -1
    assert torch.allclose(PixelPatches(4).to_image(latents), triplets.query_pre, atol=1e-6)


def test_a_colour_autoencoder_gets_the_grey_value_thrice_and_answers_grey(triplets: TripletBatch) -> None:
    autoencoder = build_autoencoder(TINY_KL, image_channels=3).requires_grad_(False)
    latents = autoencoder.to_latents(triplets.query_pre)
    assert latents.shape == (2, 4, 8, 8)
    assert autoencoder.to_image(latents).shape == (2, 1, 32, 32)
