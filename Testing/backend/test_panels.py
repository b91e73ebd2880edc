"""Slices on the model's panel: padded, never stretched, and drawn back as large as they came."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tiny_models import PAPER_PANEL, SIZE, TINY_KL, a_batch, some_triplets, tiny_config, tiny_paper, write_prepared

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.model.config import paper_config
from PostOpPredictorLib.model.denoiser import Denoiser
from PostOpPredictorLib.model.layouts import _coordinates
from PostOpPredictorLib.model.panels import Placement
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.losses import denoising_loss
from PostOpPredictorLib.training.memory import empty_batch
from PostOpPredictorLib.training.slices import PreparedSlices


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> PreparedSlices:
    return PreparedSlices(write_prepared(tmp_path_factory.mktemp("prepared") / "slices.safetensors"))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (30, 48), (48, 33), (48, 48), (1, 1)])
def test_what_is_padded_is_cut_out_again_pixel_for_pixel(height: int, width: int) -> None:
    image = torch.rand(2, 1, height, width)
    place = Placement.of(48, image)
    padded = place.pad(image)
    assert padded.shape == (2, 1, 48, 48)
    assert torch.equal(place.cut(padded), image)
    assert padded.count_nonzero() == image.count_nonzero(), "nothing around"
    assert all(offset % 4 == 0 for offset in place.corner)


def test_the_shift_at_half_resolution_stays_under_its_pixels() -> None:
    fine = torch.zeros(1, 1, 32, 32)
    fine[..., 10:12, 6:8] = 1
    place = Placement.of(48, fine)
    coarse = place.pad(fine[..., ::2, ::2], shrink=2)
    assert torch.equal(coarse, place.pad(fine)[..., ::2, ::2])


def test_a_pixel_keeps_its_place_in_mni_space() -> None:
    triplets = some_triplets(2)
    place = Placement.of(48, triplets.query_pre)
    padded = place.pad_triplets(triplets)
    row, column = (offset // 4 for offset in place.corner)
    inside = _coordinates(padded, 4)[..., row : row + SIZE // 4, column : column + SIZE // 4]
    assert torch.allclose(inside, _coordinates(triplets, 4))


def test_enlarged_slices_fill_the_panel_and_come_back() -> None:
    place = Placement.of(72, torch.zeros(1, 1, 32, 32), zoom=2)
    labels = torch.randint(0, 5, (2, 32, 32), dtype=torch.uint8)
    whole = place.pad(place.enlarge(labels))
    assert whole.shape == (2, 72, 72) and whole.dtype == torch.uint8
    top, left = place.corner
    assert torch.equal(whole[:, top : top + 64 : 2, left : left + 64 : 2], labels)
    smooth = torch.nn.functional.avg_pool2d(torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0)), 9, 1)
    again = place.cut(place.pad(place.enlarge_image(smooth)))
    assert again.shape == (2, 1, 32, 32) and torch.allclose(again, smooth, atol=0.01)
    assert place.enlarge_image(torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])).aminmax() == (0.0, 1.0), "in [0, 1]"


def test_enlarged_triplets_keep_their_places_and_their_kinds() -> None:
    triplets = some_triplets(2)
    place = Placement.of(72, triplets.query_pre, zoom=2)
    padded = place.pad_triplets(triplets)
    for name in ("query_tumour", "instruction_outcome", "query_brain", "query_plan"):
        assert torch.equal(getattr(padded, name), place.pad(place.enlarge(getattr(triplets, name)))), name
    for name in ("query_pre", "instruction_pre", "instruction_post"):
        assert torch.equal(getattr(padded, name), place.pad(place.enlarge_image(getattr(triplets, name)))), name
    assert torch.equal(padded.z_mm, triplets.z_mm)
    row, column = (offset // 4 for offset in place.corner)
    inside = _coordinates(padded, 4, 2)[..., row : row + SIZE // 2, column : column + SIZE // 2]
    fine = _coordinates(triplets, 2)
    assert torch.allclose(inside, fine), "4 pixels of the panel are 2 of the slice"


def test_training_and_sampling_enlarge_alike(slices: PreparedSlices) -> None:
    """The U-Net meets a panel that is filled, and draws slices of the size that came."""
    config = tiny_paper(panel=2 * SIZE, zoom=2)
    pipeline = PostOpPipeline.of(config)
    shapes = []
    pipeline.unet.register_forward_pre_hook(lambda _, arguments: shapes.append(arguments[0].shape))
    batch = a_batch(slices, crop=0)
    loss = denoising_loss(
        pipeline.denoiser, pipeline.scheduler, batch, TrainingConfig(crop=0), torch.Generator().manual_seed(0)
    )
    assert torch.isfinite(loss)
    drawn = pipeline(some_triplets(4), mode="sample", steps=1, guidance=1.0)
    assert shapes == [(4, 9, SIZE, SIZE)] * 2, "a grid of two panels of latents of 4 pixels"
    assert drawn.image.shape == (4, 1, SIZE, SIZE)
    assert batch.on_panel(2 * SIZE, 2).query_outcome.shape[-1] == 2 * SIZE


def test_crops_are_enlarged_too_and_stay_crops(slices: PreparedSlices) -> None:
    batch, plain = a_batch(slices, crop=16).on_panel(2 * SIZE, 2), a_batch(slices, crop=16)
    assert batch.triplets.query_pre.shape[-1] == batch.query_post.shape[-1] == 32
    assert batch.query_shift.shape[-1] == 16
    assert torch.equal(batch.triplets.query_tumour[:, ::2, ::2], plain.triplets.query_tumour)
    assert batch.whole.query_pre.shape[-1] == 2 * SIZE
    assert torch.allclose(_coordinates(batch.triplets, 4, 2), _coordinates(plain.triplets, 2))


def test_the_papers_panels_are_filled_by_the_librarys_slices() -> None:
    config = paper_config()
    assert config.panel == config.zoom * max(WORKING_GRID.shape[1:])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"zoom": 0, "target": "image"}, "'zoom' is 0; give 1"),
        ({"zoom": 2}, "Structure is drawn at the slices' own resolution"),
    ],
)
def test_an_impossible_zoom_is_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        tiny_config(**changes)


def test_slices_larger_than_the_panel_are_a_sentence() -> None:
    with pytest.raises(InputError, match="32 x 32 pixels, enlarged 2 times, do not fit on the model's panel of 48"):
        PostOpPipeline.of(tiny_config(target="image", autoencoder=TINY_KL, panel=48, zoom=2))(
            some_triplets(1), mode="sample"
        )
    with pytest.raises(InputError, match=r"32 x 32 pixels do not fit on the model's panel of 24. Set 'model: panel'"):
        PostOpPipeline.of(tiny_config(panel=24))(some_triplets(1))


def test_a_panel_of_broken_latent_pixels_is_a_sentence() -> None:
    with pytest.raises(InputError, match="'panel' is 50 pixels; give a multiple of the autoencoder's 4"):
        tiny_config(panel=50)


def test_the_papers_grid_is_512_pixels_on_64_latent_ones() -> None:
    """The shape on which Stable Diffusion was trained, from slices of 128 pixels; no weight is made for it."""
    config = paper_config()
    with torch.device("meta"):
        autoencoder = PostOpPipeline.of(config).autoencoder
    slices = empty_batch(1, 128).triplets
    triplets = Placement.of(config.panel, slices.query_pre, config.zoom).pad_triplets(slices)
    full = Denoiser(dataclasses.replace(config, noised="full"), None, autoencoder, None)  # type: ignore[arg-type]
    assert triplets.query_pre.shape[-2:] == (256, 256)
    assert full.noise_shape(triplets) == (4, 64, 64)


class SeesTheCanvas:
    """Stands for the U-Net: keeps what it was given."""

    def __init__(self) -> None:
        self.seen: list[torch.Size] = []

    def __call__(self, sample: torch.Tensor, time: torch.Tensor, encoder_hidden_states: torch.Tensor) -> Any:
        self.seen.append(sample.shape)
        return type("Output", (), {"sample": sample[:, :4]})


def test_training_and_sampling_meet_the_same_canvas(slices: PreparedSlices) -> None:
    pipeline = PostOpPipeline.of(tiny_paper())
    unet = SeesTheCanvas()
    denoiser = Denoiser(pipeline.config_tree, unet, pipeline.autoencoder, pipeline.prompt_adapter)  # type: ignore[arg-type]
    generator, training = torch.Generator().manual_seed(0), TrainingConfig(crop=0)
    denoising_loss(denoiser, pipeline.scheduler, a_batch(slices, crop=0), training, generator)
    side = 2 * PAPER_PANEL // 4
    assert unet.seen == [(4, 9, side, side)]
    pipeline(some_triplets(1), mode="sample")
    shapes = []
    pipeline.unet.register_forward_pre_hook(lambda _, arguments: shapes.append(arguments[0].shape))
    drawn = pipeline(some_triplets(1), mode="sample", steps=1)
    assert shapes == [(1, 9, side, side)] * 2, "guided: twice"
    assert drawn.image.shape == (1, 1, SIZE, SIZE)


def test_a_structure_model_draws_on_a_wider_panel_too(slices: PreparedSlices) -> None:
    pipeline = PostOpPipeline.of(tiny_config(panel=48))
    drawn = pipeline(some_triplets(2))
    assert drawn.image.shape == (2, 1, SIZE, SIZE)
    assert drawn.outcome_probability is not None and drawn.outcome_probability.shape == (2, 6, SIZE, SIZE)
    assert drawn.shift_mm is not None and drawn.shift_mm.shape == (2, 3, SIZE, SIZE)
    generator = torch.Generator().manual_seed(0)
    for crop in (0, 16):
        batch = a_batch(slices, crop=crop)
        assert batch.on_panel(48).triplets.query_pre.shape[-1] == (crop or 48), "crops stay crops"
        assert batch.on_panel(48).whole.query_pre.shape[-1] == 48, "tokens are of the whole panel"
        loss = denoising_loss(pipeline.denoiser, pipeline.scheduler, batch, TrainingConfig(crop=crop), generator)
        assert torch.isfinite(loss)


def test_where_slices_fill_the_panel_nothing_is_touched(slices: PreparedSlices) -> None:
    batch = a_batch(slices, crop=16)
    assert batch.on_panel(SIZE) is batch
    assert PostOpPipeline.of(tiny_config(target="image", autoencoder=TINY_KL)).config_tree.panel == SIZE
