"""What the slice index promises: exactly what counting every pixel gives, in a fixed order, and never an old answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from synthetic_cases import box, made_up_case

from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.errors import InputError, StorageError
from PostOpPredictorLib.evaluation.retrieval_benchmark import benchmark, random_shapes
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.retrieval import packed_masks, slice_index
from PostOpPredictorLib.retrieval.packed_masks import PackedMasks, pack, unpack
from PostOpPredictorLib.retrieval.slice_index import SliceIndex


def naive_top(masks, mask, k, eligible=None, minimum=0.0, group=None):
    """The definition: boolean IoU with every mask, sorted by (-IoU, row)."""
    shared = (masks & mask).sum(axis=(1, 2))
    iou = shared / (masks.sum(axis=(1, 2)) + mask.sum() - shared)
    rows, seen = [], set()
    for row in sorted(range(len(masks)), key=lambda row: (-iou[row], row)):
        wanted = iou[row] > 0 and iou[row] >= minimum and (eligible is None or eligible[row])
        if wanted and (group is None or group[row] not in seen):
            rows.append(row)
            seen.add(None if group is None else group[row])
    return rows[:k], iou[rows[:k]]


def random_masks(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Families of masks that are hard in different ways for the bound: (count, 128, 128) bool."""
    if kind == "lobed":
        return random_shapes(count, rng)
    if kind == "noise":
        return rng.random((count, 128, 128)) < rng.uniform(0.0005, 0.7, (count, 1, 1))
    if kind == "big boxes":
        masks = np.zeros((count, 128, 128), bool)
        for mask in masks:
            (top, left), (height, width) = rng.integers(0, 64, 2), rng.integers(16, 65, 2)
            mask[top : top + height, left : left + width] = True
        return masks
    if kind == "few pixels":
        masks = np.zeros((count, 128, 128), bool)
        for mask in masks:
            mask[rng.integers(60, 64, 3), rng.integers(60, 64, 3)] = True
        return masks
    near = np.repeat(random_shapes(1, rng), count, axis=0)
    flip = rng.random((count, 128, 128)) < 0.002
    return near ^ flip


KINDS = ("lobed", "noise", "big boxes", "few pixels", "nearly equal")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_the_top_k_are_exactly_those_of_the_definition(kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_masks, "_CHUNK", 150)  # several chunks, and a batch that is not the whole
    monkeypatch.setattr(packed_masks, "_FIRST_BATCH", 8)
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    masks = random_masks(kind, 400, rng)
    masks = masks[masks.any(axis=(1, 2))]
    packed = PackedMasks.of(masks)
    eligible = rng.random(len(masks)) < 0.6
    group = np.sort(rng.integers(0, 20, len(masks)))
    for mask in random_masks(kind, 4, rng):
        if not mask.any():
            continue
        for k in (1, 15, 1000):
            for options in ({}, {"eligible": eligible}, {"minimum": 0.3}, {"group": group, "eligible": eligible}):
                rows, iou = naive_top(masks, mask, k, **options)
                named = {{"minimum": "minimum_iou"}.get(key, key): value for key, value in options.items()}
                found, values = packed.top(mask, k, **named)
                assert found.tolist() == rows
                assert np.array_equal(values, iou)


def test_full_blocks_are_not_underestimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_masks, "_CHUNK", 1)  # the second mask must beat the first one by its bound
    masks = np.zeros((2, 128, 128), bool)
    masks[:, :96] = True
    masks[0, 40, :30] = False
    rows, iou = PackedMasks.of(masks).top(masks[1], 1)
    assert rows.tolist() == [1] and iou.tolist() == [1.0]


def test_equal_iou_is_ordered_by_row() -> None:
    mask = random_shapes(1, np.random.default_rng(0))
    packed = PackedMasks.of(np.repeat(mask, 300, axis=0))
    assert packed.top(mask[0], 15)[0].tolist() == list(range(15))


def test_packing_is_reversible_and_odd_sizes_are_refused() -> None:
    masks = np.random.default_rng(0).random((5, 128, 128)) < 0.3
    assert np.array_equal(unpack(pack(masks), (128, 128)), masks)
    with pytest.raises(ValueError, match="multiples of 16"):
        pack(np.zeros((1, 100, 128), bool))


def test_the_tables_take_one_bit_a_pixel_and_at_most_five_percent_more() -> None:
    result = benchmark(masks=500, queries=5)
    assert result.exact
    case_and_slice = 4 + 2
    assert result.extra_memory + case_and_slice / 2048 <= 0.05


@pytest.fixture(scope="module")
def three_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three boxes, "a" and "b" overlapping, the third case of the same patient as "a"; not to be changed."""
    library = CaseLibrary.create(tmp_path_factory.mktemp("index") / "library")
    library.add(made_up_case("a", box((40, 60), (50, 70), (30, 50)), patient_id="p1"))
    library.add(made_up_case("b", box((50, 70), (50, 70), (30, 50)), patient_id="p2", split="test"))
    library.add(made_up_case("c", box((40, 60), (50, 70), (35, 55)), patient_id="p1", institution="south"))
    SliceIndex.open(library)
    return library.folder


@pytest.fixture
def a_library(three_cases: Path, tmp_path: Path) -> CaseLibrary:
    """A copy of the three cases that the test may change."""
    shutil.copytree(three_cases, tmp_path / "library")
    return CaseLibrary.open(tmp_path / "library")


SQUARE = box((0, 1), (50, 70), (30, 50))[0]


def test_slices_are_found_with_case_and_height(a_library: CaseLibrary) -> None:
    matches = SliceIndex.open(a_library).search(SQUARE, 50)
    assert [(match.case_id, match.z) for match in matches[:3]] == [("a", 40), ("a", 41), ("a", 42)]
    assert [match.iou for match in matches] == [1.0] * 40 + [0.6] * 10


def test_all_cases_of_the_own_patient_are_left_out(a_library: CaseLibrary) -> None:
    matches = SliceIndex.open(a_library).search(SQUARE, 100, exclude_case="a")
    assert {match.case_id for match in matches} == {"b"}


def test_only_allowed_cases_are_returned(a_library: CaseLibrary) -> None:
    index = SliceIndex.open(a_library)
    allowed = a_library.select(institution="south")
    assert {match.case_id for match in index.search(SQUARE, 100, allowed=allowed)} == {"c"}
    assert index.search(SQUARE, 100, allowed=[]) == []


def test_slices_beyond_the_height_limit_are_left_out(a_library: CaseLibrary) -> None:
    matches = SliceIndex.open(a_library).search(SQUARE, 100, z=66, max_dz_mm=3.0)
    assert {(match.case_id, match.z) for match in matches} == {("b", z) for z in (64, 65, 66, 67, 68)}


def test_one_slice_per_case_on_request(a_library: CaseLibrary) -> None:
    matches = SliceIndex.open(a_library).search(SQUARE, 10, one_per_case=True)
    assert [(match.case_id, match.z, match.iou) for match in matches] == [
        ("a", 40, 1.0),
        ("b", 50, 1.0),
        ("c", 40, 0.6),
    ]


def test_an_empty_mask_is_refused_and_nothing_similar_is_an_empty_list(a_library: CaseLibrary) -> None:
    index = SliceIndex.open(a_library)
    with pytest.raises(InputError, match="empty"):
        index.search(np.zeros((128, 128), bool), 5)
    with pytest.raises(InputError, match="128"):
        index.search(np.ones((64, 64), bool), 5)
    assert index.search(box((0, 1), (100, 110), (100, 110))[0], 5) == []
    assert index.search(SQUARE, 100, minimum_iou=0.7) == index.search(SQUARE, 40)


def test_volume_iou_is_that_of_the_definition(a_library: CaseLibrary) -> None:
    query = box((45, 65), (52, 71), (33, 57))
    expected = []
    for case in a_library.cases:
        core = case.tumour_core().astype(bool)
        expected.append((core & query).sum() / (core | query).sum())
    assert SliceIndex.open(a_library).volume_iou(query).tolist() == expected


class _Reads(SilentProgress):
    """Counts how often an index is built."""

    builds = 0

    def stage(self, name: str) -> None:
        self.builds += "Indexing" in name


def test_the_index_is_built_once_and_memory_mapped(a_library: CaseLibrary) -> None:
    shutil.rmtree(a_library.folder / "index")
    progress = _Reads()
    first = SliceIndex.open(a_library, progress)
    again = SliceIndex.open(CaseLibrary.open(a_library.folder), progress)
    assert progress.builds == 1
    assert isinstance(again.masks.bits.base, np.memmap)
    assert np.array_equal(first.masks.bits, again.masks.bits) and again.case_ids == first.case_ids


def test_an_index_of_other_cases_is_built_anew(a_library: CaseLibrary) -> None:
    progress = _Reads()
    a_library.add(made_up_case("d", box((80, 90), (20, 40), (60, 90))))
    found = SliceIndex.open(a_library, progress).search(box((0, 1), (20, 40), (60, 90))[0], 1)
    assert progress.builds == 1 and found[0].case_id == "d"
    shutil.rmtree(a_library.folder / "sub-a")
    found = SliceIndex.open(CaseLibrary.open(a_library.folder), progress).search(SQUARE, 1)
    assert progress.builds == 2 and found[0].case_id == "b"


@pytest.mark.parametrize("damaged", ["bits.npy", "blocks.npy", "index.json"])
def test_a_damaged_index_is_built_anew(a_library: CaseLibrary, damaged: str) -> None:
    progress = _Reads()
    (a_library.folder / "index" / "slices" / damaged).write_bytes(b"{}")
    assert SliceIndex.open(a_library, progress).search(SQUARE, 1)[0].case_id == "a"
    assert progress.builds == 1


def test_a_broken_case_is_left_out_told_of_and_taken_in_once_mended(
    a_library: CaseLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    path = a_library.case("a").files.tumour_core
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    index = SliceIndex.open(a_library)
    assert index.skipped == ("a",) and "Case a is left out" in caplog.text
    assert {match.case_id for match in index.search(SQUARE, 100)} == {"b", "c"}
    caplog.clear()
    SliceIndex.open(a_library)
    assert "Case a is left out" in caplog.text
    path.write_bytes(whole)
    assert SliceIndex.open(a_library).search(SQUARE, 1)[0].case_id == "a"


def test_where_nothing_can_be_written_the_index_is_kept_in_memory(
    a_library: CaseLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(a_library.folder / "index")

    def refuse(target: Path, **_: object) -> None:
        raise StorageError(f"No permission to write {target}.")

    monkeypatch.setattr(slice_index, "whole_folder", refuse)
    assert SliceIndex.open(a_library).search(SQUARE, 1)[0].case_id == "a"
    assert not (a_library.folder / "index").exists()
