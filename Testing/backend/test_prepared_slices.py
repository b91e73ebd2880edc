"""Batches from prepared slices: aligned crops, units, instructions, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import SIZE, a_batch, prepared_arrays, write_prepared

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.training.slices import PreparedSlices


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared") / "slices.safetensors", train=9, val=3, semi_real=3)


@pytest.fixture(scope="module")
def slices(prepared: Path) -> PreparedSlices:
    return PreparedSlices(prepared)


def test_crops_hold_the_tumour_and_are_cut_alike_everywhere(slices: PreparedSlices) -> None:
    for seed in range(8):
        batch = a_batch(slices, crop=16, seed=seed)
        crop, whole = batch.triplets, batch.whole
        assert crop.corner is not None
        assert (crop.query_tumour > 0).flatten(1).any(dim=1).all(), "the tumour is in the crop"
        for index, (y, x) in enumerate(crop.corner.tolist()):
            assert y % 8 == x % 8 == 0 and min(y, x) >= 0 and max(y, x) + 16 <= SIZE
            for name in ("query_pre", "query_tumour", "query_brain", "query_plan", "instruction_post"):
                cut = getattr(whole, name)[index, ..., y : y + 16, x : x + 16]
                assert torch.equal(getattr(crop, name)[index], cut), name
        full = a_batch(slices, crop=0, seed=seed)
        corners = crop.corner.tolist()
        for index, (y, x) in enumerate(corners):
            assert torch.equal(batch.query_post[index], full.query_post[index, :, y : y + 16, x : x + 16])
            assert torch.equal(batch.query_outcome[index], full.query_outcome[index, y : y + 16, x : x + 16])
            assert torch.equal(batch.lesion[index], full.lesion[index, :, y : y + 16, x : x + 16])
            half = full.query_shift[index, :, y // 2 : y // 2 + 8, x // 2 : x // 2 + 8]
            assert torch.equal(batch.query_shift[index], half)


def test_the_plan_of_a_simulated_operation_is_what_was_taken(prepared: Path, tmp_path: Path) -> None:
    slices = PreparedSlices(prepared)
    slices.arrays["resection_known"][1] = 0
    batch = a_batch(slices, crop=0)
    assert torch.equal(batch.triplets.query_plan, slices.arrays["resection"][:4])  # type: ignore[arg-type]
    assert batch.triplets.has_plan.tolist() == [True, False, True, True]  # type: ignore[union-attr]


def test_rows_may_be_of_several_kinds(tmp_path: Path) -> None:
    arrays = prepared_arrays(semi_real=3)
    arrays["kind"][0] = 2
    save_file(arrays, tmp_path / "some.safetensors")
    some = PreparedSlices(tmp_path / "some.safetensors")
    assert some.rows("train", 0, 2).tolist() == list(range(6)), "real pairs train beside phantoms"
    assert some.rows("train", 1).tolist() == [6, 7, 8]
    assert some.rows("train", 2).tolist() == [0]


def test_crops_are_moved_about_at_random(slices: PreparedSlices) -> None:
    corners = {tuple(a_batch(slices, seed=seed).triplets.corner.flatten().tolist()) for seed in range(10)}  # type: ignore[union-attr]
    assert len(corners) > 3


def test_intensities_and_shift_come_in_their_units(slices: PreparedSlices) -> None:
    arrays, batch = slices.arrays, a_batch(slices, crop=0)
    assert torch.equal(batch.query_post[:, 0] * 255, arrays["post_T1w"][:4].float())
    assert torch.allclose(batch.query_shift * 10, arrays["shift"][:4].float(), atol=1e-4), "stored in 0.1 mm"
    assert batch.triplets.query_pre.max() <= 1


def test_both_sequences_of_a_triplet_are_the_same(slices: PreparedSlices) -> None:
    rows, generator = slices.rows("train")[:3], torch.Generator().manual_seed(0)
    batch = slices.batch(rows, rows.flip(0), "T1wCE", 0, generator)
    for image, name in (
        (batch.triplets.query_pre, "pre_T1wCE"),
        (batch.triplets.instruction_post.flip(0), "post_T1wCE"),
        (batch.query_post, "post_T1wCE"),
    ):
        assert torch.equal(image[:, 0] * 255, slices.arrays[name][:3].float())


def test_the_instruction_is_drawn_from_the_given_number_of_neighbours(slices: PreparedSlices) -> None:
    generator, rows = torch.Generator().manual_seed(0), slices.rows("train")
    neighbours = slices.arrays["neighbours"][rows].long()
    best = [slices.draw_instruction(rows, 1, generator) for _ in range(5)]
    assert all(torch.equal(drawn, neighbours[:, 0]) for drawn in best)
    drawn = torch.stack([slices.draw_instruction(rows, 2, generator) for _ in range(40)])
    for column, allowed in enumerate(neighbours):
        assert set(drawn[:, column].tolist()) == set(allowed.tolist())


def test_some_instructions_come_from_elsewhere(slices: PreparedSlices) -> None:
    generator, rows = torch.Generator().manual_seed(0), slices.rows("train")
    own = slices.arrays["neighbours"][rows][:, 0]
    other = slices.arrays["neighbours_elsewhere"][rows][:, 0]
    assert (own != other).all()
    drawn = torch.stack([slices.draw_instruction(rows, 1, generator, elsewhere=0.25) for _ in range(60)])
    assert ((drawn == own) | (drawn == other)).all()
    assert 0.15 < (drawn == other).float().mean() < 0.35


def test_where_there_is_nothing_elsewhere_the_own_institution_instructs(tmp_path: Path) -> None:
    arrays = prepared_arrays()
    arrays["neighbours_elsewhere"][:] = -1
    save_file(arrays, tmp_path / "one.safetensors")
    one, generator = PreparedSlices(tmp_path / "one.safetensors"), torch.Generator().manual_seed(0)
    rows = one.rows("train")
    drawn = one.draw_instruction(rows, 1, generator, elsewhere=1.0)
    assert torch.equal(drawn, one.arrays["neighbours"][rows][:, 0].long())


def test_only_slices_of_the_sequence_instruct_and_none_is_no_similar_case(tmp_path: Path) -> None:
    arrays = prepared_arrays()
    arrays["has_T1wCE"][arrays["neighbours"][0, 0]] = 0
    arrays["has_T1wCE"][arrays["neighbours"][8].long()] = 0
    save_file(arrays, tmp_path / "some.safetensors")
    some, generator = PreparedSlices(tmp_path / "some.safetensors"), torch.Generator().manual_seed(0)
    rows = torch.tensor([0, 8])
    drawn = torch.stack([some.draw_instruction(rows, 2, generator, sequence="T1wCE") for _ in range(20)])
    kept = int(arrays["neighbours"][0, 1])
    if arrays["has_T1wCE"][kept]:
        assert set(drawn[:, 0].tolist()) == {kept}
    assert set(drawn[:, 1].tolist()) == {-1}
    batch = some.batch(rows, torch.tensor([3, -1]), "T1w", 0, generator).triplets
    assert batch.has_instruction.tolist() == [True, False]  # type: ignore[union-attr]
    assert batch.instruction_post[0].any() and not batch.instruction_post[1].any()
    assert len(some.rows("train", sequence="T1wCE")) < len(some.rows("train"))


def test_times_and_places_come_with_the_triplets(slices: PreparedSlices) -> None:
    rows, instruction = torch.tensor([0, 1]), torch.tensor([2, 2])
    triplets = slices.batch(rows, instruction, "T1w", 16, torch.Generator().manual_seed(0)).triplets
    days = slices.arrays["days"]
    assert torch.equal(triplets.days, days[:2]) and triplets.has_days.all()  # type: ignore[arg-type,union-attr]
    assert torch.equal(triplets.shown_days, days[[2, 2]])  # type: ignore[arg-type]
    assert triplets.own_institution.tolist() == [True, False], "institutions alternate"  # type: ignore[union-attr]


def test_slices_without_neighbours_are_not_trained_on(tmp_path: Path) -> None:
    arrays = prepared_arrays()
    arrays["neighbours"][:2] = -1
    arrays["neighbours"][3, 1] = -1
    save_file(arrays, tmp_path / "some.safetensors")
    some = PreparedSlices(tmp_path / "some.safetensors")
    assert some.rows("train").tolist() == list(range(2, 9))
    generator = torch.Generator().manual_seed(0)
    drawn = {int(some.draw_instruction(torch.tensor([3]), 2, generator)) for _ in range(20)}
    assert drawn == {int(arrays["neighbours"][3, 0])}


@pytest.mark.parametrize("content", ["missing", "folder", "text", "truncated", "others", "no images", "metadata"])
def test_what_are_no_prepared_slices_is_a_sentence(tmp_path: Path, prepared: Path, content: str) -> None:
    path = tmp_path / "slices.safetensors"
    if content == "folder":
        path.mkdir()
    elif content == "text":
        path.write_text("not slices")
    elif content == "truncated":
        path.write_bytes(prepared.read_bytes()[:-100])
    elif content == "others":
        save_file({"weight": torch.zeros(3)}, path)
    elif content == "no images":
        save_file({k: v for k, v in prepared_arrays().items() if not k.startswith("post")}, path)
    elif content == "metadata":
        save_file(prepared_arrays(), path, metadata={"cases": "[1, 2"})
    with pytest.raises(InputError, match=r"slices\.safetensors .*Make it with 'postop library prepare'"):
        PreparedSlices(path)
