"""What the strategies promise: the exact ranking, never the own patient, and nothing where nothing is similar."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from synthetic_cases import SHAPE, blob, box, made_up_case

from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.retrieval.image_embedding import embed
from PostOpPredictorLib.retrieval.packed_masks import PackedMasks
from PostOpPredictorLib.retrieval.query import Match, Query, best_per_slice
from PostOpPredictorLib.retrieval.slice_index import SliceIndex
from PostOpPredictorLib.retrieval.strategies import ImageEmbedding, Random, TumourGuided, strategy_named

NUMBER = 12
STRATEGIES = ("tumour", "image", "random")


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve random blobs; cases 2n and 2n+1 are of one patient, the first six of the institution "north"."""
    rng = np.random.default_rng(7)
    library = CaseLibrary.create(tmp_path_factory.mktemp("retrieval") / "library")
    for number in range(NUMBER):
        core = blob(rng, radius=14)
        place = "north" if number < NUMBER // 2 else "south"
        library.add(made_up_case(f"c{number:02d}", core, patient_id=f"p{number // 2}", institution=place, seed=number))
    return library.folder


@pytest.fixture
def library(blobs: Path) -> CaseLibrary:
    """The twelve blobs, opened; not to be changed."""
    return CaseLibrary.open(blobs)


@pytest.fixture
def a_copy(blobs: Path, tmp_path: Path) -> CaseLibrary:
    """A copy of the twelve blobs that the test may break."""
    shutil.copytree(blobs, tmp_path / "library")
    return CaseLibrary.open(tmp_path / "library")


@pytest.fixture
def query() -> Query:
    """A blob and a scan that are in no library."""
    core = blob(np.random.default_rng(8), radius=16)
    return Query(core, pre=made_up_case("query", core, seed=99).pre["T1w"])


def iou_of(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("seed", range(4))
def test_per_volume_the_ranking_is_that_of_the_3d_iou(library: CaseLibrary, seed: int) -> None:
    core = blob(np.random.default_rng([3, seed]), radius=16)
    expected = sorted(
        ((-iou_of(case.tumour_core() > 0, core), case.case_id) for case in library.cases),
    )
    found = TumourGuided(library, minimum_iou=0.0).rank(Query(core), NUMBER)
    assert [(-match.iou, match.case_id) for match in found] == [pair for pair in expected if pair[0] < 0]
    limited = TumourGuided(library, minimum_iou=0.1).rank(Query(core), 3)
    assert [(-match.iou, match.case_id) for match in limited] == [pair for pair in expected if pair[0] <= -0.1][:3]


def test_slices_lead_to_the_same_height_or_the_nearest_tumour(library: CaseLibrary, query: Query) -> None:
    for match in TumourGuided(library).rank(query, 5):
        core = library.case(match.case_id).tumour_core() > 0
        levels = np.flatnonzero(core.any(axis=(1, 2)))
        assert list(match.slices) == query.slices
        for z, (case_z, iou) in match.slices.items():
            assert case_z == z if z in levels else abs(case_z - z) == abs(levels - z).min()
            assert iou == iou_of(core[case_z], query.tumour[z])


@pytest.mark.parametrize("max_dz_mm", [None, 6.0])
def test_per_slice_every_slice_has_its_own_best(library: CaseLibrary, query: Query, max_dz_mm: float | None) -> None:
    cores = {case.case_id: case.tumour_core() > 0 for case in library.cases}
    matches = TumourGuided(library, "slice", max_dz_mm=max_dz_mm).rank(query, 1)
    found = best_per_slice(matches)
    assert sum(len(match.slices) for match in matches) == len(found)
    for z in query.slices:
        candidates = [
            (-iou_of(core[level], query.tumour[z]), name, level)
            for name, core in cores.items()
            for level in np.flatnonzero(core.any(axis=(1, 2)))
            if max_dz_mm is None or abs(level - z) * 1.5 <= max_dz_mm
        ]
        best = min(candidates)
        assert found.get(z) == ((best[1], best[2], -best[0]) if -best[0] >= 0.05 else None)


def test_per_slice_with_several_precedents_each_case_counts_once(library: CaseLibrary, query: Query) -> None:
    matches = TumourGuided(library, "slice").rank(query, 3)
    for z in query.slices:
        assert sum(z in match.slices for match in matches) <= 3
    assert [match.score for match in matches] == sorted((match.score for match in matches), reverse=True)


def test_equal_tumours_are_ordered_by_participant(tmp_path: Path) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    for name in ("z", "m", "a"):
        library.add(made_up_case(name))
    found = TumourGuided(library).rank(Query(made_up_case().tumour > 0), 2)
    assert [(match.case_id, match.iou) for match in found] == [("a", 1.0), ("m", 1.0)]


def test_many_equal_tumours_are_ordered_too(library: CaseLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    core = box((50, 51), (50, 70), (30, 50))
    wider = box((50, 51), (50, 70), (30, 60))
    names = tuple(f"{number:03d}" for number in range(100))
    masks = PackedMasks.of(np.repeat([wider[50], core[50]], 50, axis=0))
    strategy = TumourGuided(library)
    numbers, heights = np.arange(100, dtype=np.int32), np.full(100, 50, np.int16)
    monkeypatch.setitem(vars(strategy), "index", SliceIndex(masks, numbers, heights, names, names))
    monkeypatch.setattr(strategy, "_is_sound", lambda case_id: True)
    assert [match.case_id for match in strategy.rank(Query(core), 60)] == [*names[50:], *names[:10]]


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_case_of_the_own_patient_is_returned(library: CaseLibrary, name: str) -> None:
    own = library.case("c04")
    known = Query(own.tumour_core() > 0, own.pre("T1w"), own_case_id="c04")
    assert {match.case_id for match in strategy_named(name, library).rank(known, NUMBER)}.isdisjoint({"c04", "c05"})
    outside = Query(own.tumour_core() > 0, own.pre("T1w"), own_patient_id="p2")
    assert {match.case_id for match in strategy_named(name, library).rank(outside, NUMBER)}.isdisjoint({"c04", "c05"})
    free = Query(own.tumour_core() > 0, own.pre("T1w"))
    assert "c04" in {match.case_id for match in strategy_named(name, library).rank(free, NUMBER)}


@pytest.mark.parametrize("name", STRATEGIES)
def test_retrieval_can_be_limited_to_an_institution(library: CaseLibrary, query: Query, name: str) -> None:
    north = library.select(institution="north")
    found = {match.case_id for match in strategy_named(name, library).rank(query, NUMBER, allowed=north)}
    assert found and found <= north
    assert strategy_named(name, library).rank(query, NUMBER, allowed=frozenset()) == []


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("per", ["volume", "slice"])
def test_the_same_query_gets_the_same_answer(library: CaseLibrary, query: Query, name: str, per) -> None:
    first = strategy_named(name, library, per=per, seed=3).rank(query, 4)
    assert strategy_named(name, CaseLibrary.open(library.folder), per=per, seed=3).rank(query, 4) == first


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match="no tumour core"):
        Query(np.zeros(SHAPE, bool))
    with pytest.raises(InputError, match="shape"):
        Query(np.ones((3, 3, 3), bool))


@pytest.mark.parametrize("per", ["volume", "slice"])
def test_nothing_similar_is_an_empty_list(library: CaseLibrary, per) -> None:
    far = Query(box((0, 4), (0, 8), (0, 8)))
    assert TumourGuided(library, per).rank(far, 5) == []
    touching = Query(library.case("c00").tumour_core() > 0, own_patient_id="p0")
    assert TumourGuided(library, per, minimum_iou=1.0).rank(touching, 5) == []


def test_bad_options_are_sentences(library: CaseLibrary, query: Query) -> None:
    with pytest.raises(InputError, match="0 precedents"):
        TumourGuided(library).rank(query, 0)
    with pytest.raises(InputError, match="no retrieval strategy 'nearest'"):
        strategy_named("nearest", library)
    with pytest.raises(InputError, match="per volume or per slice"):
        TumourGuided(library, "voxel")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs the pre-operative scan"):
        ImageEmbedding(library).rank(Query(query.tumour), 1)


def test_image_retrieval_ranks_by_correlation(library: CaseLibrary, query: Query) -> None:
    assert query.pre is not None
    found = ImageEmbedding(library).rank(query, NUMBER)
    expected = {case.case_id: float(embed(case.pre("T1w")) @ embed(query.pre)) for case in library.cases}
    assert [match.case_id for match in found] == sorted(expected, key=lambda name: -expected[name])
    for match in found:
        assert match.score == pytest.approx(expected[match.case_id], abs=2e-3)
    own = library.case("c03")
    assert ImageEmbedding(library).rank(Query(query.tumour, own.pre("T1w")), 1)[0].case_id == "c03"


def test_the_embedding_ignores_brightness_and_contrast() -> None:
    scan = made_up_case().pre["T1w"]
    brighter = np.where(scan > 0, 0.2 + 0.5 * scan, 0).astype(np.float32)
    assert np.linalg.norm(embed(scan)) == pytest.approx(1, abs=1e-5)
    assert float(embed(scan) @ embed(brighter)) > 0.97
    assert not embed(np.zeros(SHAPE, np.float32)).any()


def test_random_retrieval_depends_on_seed_and_query(library: CaseLibrary, query: Query) -> None:
    orders = {tuple(match.case_id for match in Random(library, seed).rank(query, NUMBER)) for seed in range(4)}
    assert len(orders) == 4 and all(len(set(order)) == NUMBER for order in orders)
    other = Query(blob(np.random.default_rng(11)))
    assert Random(library, 0).rank(other, NUMBER) != Random(library, 0).rank(query, NUMBER)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("per", ["volume", "slice"])
def test_a_broken_case_is_skipped_and_told_of(
    a_copy: CaseLibrary, name: str, per, caplog: pytest.LogCaptureFixture
) -> None:
    own = a_copy.case("c03")
    query = Query(own.tumour_core() > 0, own.pre("T1w"))
    path = own.files.image("postop", "T1wCE")
    path.write_bytes(path.read_bytes()[:1000])
    found = {match.case_id for match in strategy_named(name, a_copy, per=per).rank(query, NUMBER)}
    assert found and "c03" not in found
    assert "Case c03 is left out of retrieval" in caplog.text and path.name in caplog.text


def test_the_best_of_several_matches_is_taken_slice_by_slice() -> None:
    matches = [Match("a", 0.5, {3: (3, 0.4), 4: (4, 0.6)}), Match("b", 0.4, {3: (2, 0.5), 4: (5, 0.6), 7: (7, 0.1)})]
    assert best_per_slice(matches) == {3: ("b", 2, 0.5), 4: ("a", 4, 0.6), 7: ("b", 7, 0.1)}
