"""What the model may be shown beside the plain slice: the precedent laid onto the query, the slices below and above."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import a_batch, a_pipeline, some_triplets, tiny_config, write_prepared

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.model.alignment import with_aligned_instruction
from PostOpPredictorLib.model.layouts import stacked_channels, stacked_condition
from PostOpPredictorLib.model.triplet import TripletBatch
from PostOpPredictorLib.prediction.triplet_slices import triplet_batch
from PostOpPredictorLib.training.slices import PreparedSlices


def disc(row: float, column: float, radius: float, side: int = 64) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return ((y - row) ** 2 + (x - column) ** 2 <= radius**2).to(torch.uint8)


def pair(query: torch.Tensor, shown: torch.Tensor) -> TripletBatch:
    """One slice with the tumour ``query``; the precedent's cavity and its dark image are where its tumour was."""
    image = 0.8 - 0.6 * shown.float()[None, None]
    return TripletBatch(
        query_pre=torch.full_like(image, 0.5),
        query_tumour=query[None],
        query_brain=torch.ones_like(image),
        instruction_pre=image,
        instruction_post=image,
        instruction_tumour=shown[None] * 4,
        instruction_outcome=shown[None],
        z_mm=torch.zeros(1),
    )


def overlap(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(2 * (one & two).sum() / (one.sum() + two.sum()))


def test_the_precedents_tumour_comes_to_lie_on_the_querys() -> None:
    query, shown = disc(20, 40, 12), disc(44, 22, 8)
    moved = with_aligned_instruction(pair(query, shown))
    assert overlap(query > 0, shown > 0) == 0
    for labels in (moved.instruction_tumour[0] == 4, moved.instruction_outcome[0] == 1):
        assert overlap(query > 0, labels) > 0.95
    # What came from beyond the slice is dark, too: a rim of half-dark pixels counts.
    dark = (moved.instruction_post[0, 0] < 0.5) & (moved.instruction_post[0, 0] > 0.1)
    assert overlap(query > 0, dark) > 0.85
    assert torch.equal(moved.query_tumour, query[None]), "the query stays where it is"


def test_a_slice_without_a_tumour_to_lay_it_on_is_left_alone() -> None:
    for query, shown in ((disc(20, 40, 1), disc(44, 22, 8)), (disc(20, 40, 8), disc(44, 22, 1))):
        before = pair(query, shown)
        after = with_aligned_instruction(before)
        assert torch.equal(after.instruction_outcome, before.instruction_outcome)
        assert torch.allclose(after.instruction_post, before.instruction_post, atol=1e-5)


def test_nothing_is_scaled_beyond_two() -> None:
    moved = with_aligned_instruction(pair(disc(32, 32, 24), disc(32, 32, 4)))
    area = float((moved.instruction_outcome == 1).sum() / disc(32, 32, 4).sum())
    assert area == pytest.approx(4, rel=0.15), "36 would be needed"


def test_a_model_that_aligns_sees_another_precedent_and_the_same_query() -> None:
    plain, aligning = a_pipeline(target="image"), a_pipeline(target="image", align_instruction=True)
    aligning.unet.load_state_dict(plain.unet.state_dict())
    aligning.prompt_adapter.load_state_dict(plain.prompt_adapter.state_dict())
    triplets = some_triplets(3)
    shifted = dataclasses.replace(
        triplets,
        **{
            name: torch.roll(getattr(triplets, name), 6, -1)
            for name in ("instruction_pre", "instruction_post", "instruction_tumour", "instruction_outcome")
        },
    )
    assert not torch.allclose(plain(triplets).image, aligning(triplets).image)
    drift = (aligning(triplets).image - aligning(shifted).image).abs().mean()
    assert drift < (plain(triplets).image - plain(shifted).image).abs().mean() / 2, "where the precedent lay is undone"


def test_training_aligns_before_it_crops(tmp_path: Path) -> None:
    prepared = PreparedSlices(write_prepared(tmp_path / "slices.safetensors"))
    aligned = a_batch(prepared.shown_to(tiny_config(align_instruction=True)))
    whole = with_aligned_instruction(a_batch(prepared, crop=0).triplets)
    for number, (row, column) in enumerate(aligned.triplets.corner.tolist()):
        cut = whole.instruction_post[number, 0, row : row + 16, column : column + 16]
        assert torch.allclose(aligned.triplets.instruction_post[number, 0], cut)
    assert torch.equal(a_batch(prepared).whole.instruction_post, a_batch(prepared, crop=0).triplets.instruction_post)


def test_a_model_without_tissue_shift_is_taught_that_nothing_moves(tmp_path: Path) -> None:
    prepared = PreparedSlices(write_prepared(tmp_path / "slices.safetensors"))
    still = a_batch(prepared.shown_to(tiny_config(tissue_shift=False)), crop=0)
    moving = a_batch(prepared.shown_to(tiny_config()), crop=0)
    assert not still.query_shift.any() and moving.query_shift.any()
    assert torch.equal(still.query_outcome, moving.query_outcome)


def test_the_slices_beside_are_of_the_same_case(tmp_path: Path) -> None:
    prepared = PreparedSlices(write_prepared(tmp_path / "slices.safetensors"))
    seen = prepared.shown_to(tiny_config(neighbour_slices=True))
    rows = torch.tensor([0, 1, 2])  # two slices a case
    batch = seen.batch(rows, rows, "T1w", 0, torch.Generator()).triplets
    scan = prepared.arrays["pre_T1w"].float() / 255
    core = torch.isin(prepared.arrays["tumour"], torch.tensor([1, 4], dtype=torch.uint8)).float()
    for number, (below, above) in enumerate([(0, 1), (0, 1), (2, 3)]):
        expected = torch.stack([scan[below], scan[above], core[below], core[above]])
        assert torch.equal(batch.query_beside[number], expected)


def test_a_prediction_shows_the_slices_below_and_above() -> None:
    rng = np.random.default_rng(0)
    pre = rng.random(WORKING_GRID.shape, np.float32)
    tumour = rng.integers(0, 5, WORKING_GRID.shape).astype(np.uint8)
    last = len(pre) - 1
    batch = triplet_batch(pre, tumour, np.ones_like(tumour), None, [0, 50, last])
    for number, (below, above) in enumerate([(0, 1), (49, 51), (last - 1, last)]):
        cores = [np.isin(tumour[z], (1, 4)) for z in (below, above)]
        assert np.array_equal(batch.query_beside[number], np.stack([pre[below], pre[above], *cores]))


def test_alignment_is_exact_in_half_precision_too() -> None:
    triplets = pair(disc(20, 40, 12), disc(44, 22, 8))
    exact = with_aligned_instruction(triplets)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(with_aligned_instruction(triplets).instruction_post, exact.instruction_post)


def test_what_is_rendered_follows_the_aligned_precedent() -> None:
    model = a_pipeline(align_instruction=True)
    triplets = some_triplets(2)
    shown = with_aligned_instruction(triplets)
    structure = model(triplets)
    assert structure.outcome_probability is not None and structure.shift_mm is not None
    args = (structure.outcome_probability, structure.shift_mm)
    plain = a_pipeline()
    plain.renderer.load_state_dict(model.renderer.state_dict())
    assert torch.equal(model.render(triplets, *args), plain.render(shown, *args))
    assert torch.allclose(model.render(triplets, *args), structure.image), "as when it is drawn at once"


def test_neighbours_of_slices_that_were_not_all_prepared_are_refused(tmp_path: Path) -> None:
    prepared = PreparedSlices(write_prepared(tmp_path / "slices.safetensors"))
    prepared.metadata["version"] = {"slice_step": 2}
    with pytest.raises(InputError, match="not every slice was prepared"):
        prepared.shown_to(tiny_config(neighbour_slices=True))
    assert prepared.shown_to(tiny_config()).beside is False


def test_the_neighbours_stand_on_channels_of_their_own_before_the_conditions_that_models_grow_by() -> None:
    triplets = some_triplets(2)
    autoencoder = a_pipeline().autoencoder
    plain, more = tiny_config(), tiny_config(neighbour_slices=True)
    without = stacked_condition(triplets, autoencoder, 4, plain)
    with_them = stacked_condition(triplets, autoencoder, 4, more)
    assert with_them.shape[1] == stacked_channels(autoencoder.latent_channels, more)
    assert torch.equal(with_them[:, : without.shape[1]], without)
    changed = dataclasses.replace(triplets, query_beside=triplets.query_beside.flip(1))
    again = stacked_condition(changed, autoencoder, 4, more)
    assert torch.equal(again[:, : without.shape[1]], without) and not torch.equal(again, with_them)
    timed = stacked_condition(triplets, autoencoder, 4, tiny_config(neighbour_slices=True, time=True))
    assert torch.equal(timed[:, : with_them.shape[1]], with_them)
    assert a_pipeline(neighbour_slices=True)(triplets).image.isfinite().all()


def test_the_grid_has_no_place_for_neighbours() -> None:
    with pytest.raises(InputError, match="neighbour_slices"):
        tiny_config(target="image", layout="grid", neighbour_slices=True)
