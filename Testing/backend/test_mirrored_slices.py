"""Slices turned left for right in training: everything of a slice turns, and means the same afterwards."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_config, write_prepared

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.model.structure import warp_in_plane
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.slices import PreparedSlices, TrainingBatch
from PostOpPredictorLib.training.trainer import Trainer

IMAGES = ("query_pre", "query_tumour", "query_brain", "query_plan", "query_beside")
SHOWN = ("instruction_pre", "instruction_post", "instruction_tumour", "instruction_outcome")


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> PreparedSlices:
    return PreparedSlices(write_prepared(tmp_path_factory.mktemp("mirrored") / "slices.safetensors"))


def drawn(slices: PreparedSlices, mirrored: list[bool] | None, crop: int = 0) -> TrainingBatch:
    rows = slices.rows("train")[:3]
    turn = None if mirrored is None else torch.tensor(mirrored)
    return slices.batch(rows, rows.flip(0), "T1w", crop, torch.Generator().manual_seed(0), mirrored=turn)


def test_the_chosen_slices_turn_whole_with_their_precedents_and_the_others_stay(slices: PreparedSlices) -> None:
    plain, turned = drawn(slices, None), drawn(slices, [True, False, True])
    pairs = [(getattr(plain.triplets, name), getattr(turned.triplets, name)) for name in IMAGES + SHOWN]
    pairs += [(getattr(plain, name), getattr(turned, name)) for name in ("query_post", "query_outcome", "lesion")]
    for before, after in pairs:
        for number, flipped in enumerate((True, False, True)):
            assert torch.equal(after[number], before[number].flip(-1) if flipped else before[number])
    assert torch.equal(turned.triplets.query_pre, turned.whole.query_pre), "the prompt sees the same"


def test_tissue_moves_the_other_way_in_a_turned_slice(slices: PreparedSlices) -> None:
    plain, turned = drawn(slices, None), drawn(slices, [True, True, True])

    def moved(batch: TrainingBatch) -> torch.Tensor:
        shift = batch.query_shift.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return warp_in_plane(batch.triplets.query_pre, shift)

    assert not torch.allclose(moved(plain), plain.triplets.query_pre, atol=1e-2), "something moves"
    assert torch.allclose(moved(turned), moved(plain).flip(-1), atol=1e-4)
    assert torch.equal(turned.query_shift[:, 1:], plain.query_shift[:, 1:].flip(-1))


def test_a_crop_follows_the_tumour_to_the_other_side(slices: PreparedSlices) -> None:
    turned = drawn(slices, [True, True, True], crop=16)
    assert turned.triplets.corner is not None
    for number, (y, x) in enumerate(turned.triplets.corner.tolist()):
        assert torch.equal(turned.triplets.query_pre[number], turned.whole.query_pre[number, :, y : y + 16, x : x + 16])
        assert (turned.triplets.query_tumour[number] > 0).any()


def test_the_middle_of_the_grid_is_that_of_mni_space() -> None:
    last = WORKING_GRID.origin[0] + (WORKING_GRID.size[0] - 1) * WORKING_GRID.spacing[0]
    assert WORKING_GRID.origin[0] == -last, "else a turned slice would not lie where its coordinates say"


def test_the_trainer_turns_the_share_that_was_asked_and_none_by_default(tmp_path: Path, slices: PreparedSlices) -> None:
    training = TrainingConfig(batch_size=24, crop=0, semi_real_share=0.0)

    def batch(share: float) -> TrainingBatch:
        asked = dataclasses.replace(training, mirrored_share=share)
        return Trainer(tiny_config(), asked, slices, tmp_path / str(share))._draw(torch.Generator().manual_seed(1))

    plain, half, whole = batch(0.0), batch(0.5), batch(1.0)
    assert torch.equal(whole.query_post, plain.query_post.flip(-1))
    turned = [not torch.equal(a, b) for a, b in zip(half.query_post, plain.query_post, strict=True)]
    assert 5 < sum(turned) < 19
    for number, flipped in enumerate(turned):
        assert torch.equal(half.query_post[number], (whole if flipped else plain).query_post[number])


def test_an_impossible_share_is_a_sentence() -> None:
    with pytest.raises(InputError, match=r"'mirrored_share' is 1\.5; give 0 to 1"):
        TrainingConfig(mirrored_share=1.5)
