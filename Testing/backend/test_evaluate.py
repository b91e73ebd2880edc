"""The honest table: who may instruct whom, who wins and loses, what is kept apart, and what the files say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from prediction_bench import FollowsThePrecedent
from scipy.ndimage import gaussian_filter
from synthetic_cases import box, made_up_case

from PostOpPredictorLib.cases.case import SimulatedCase
from PostOpPredictorLib.cases.library import CaseLibrary, LibraryCase
from PostOpPredictorLib.cli.app import run
from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.evaluation import evaluate as evaluation
from PostOpPredictorLib.evaluation import plan_benchmark
from PostOpPredictorLib.evaluation.evaluate import EvaluationRequest, chosen_cases, evaluate, summarise
from PostOpPredictorLib.evaluation.measures import measure
from PostOpPredictorLib.evaluation.measuring import Bench
from PostOpPredictorLib.evaluation.metrics import not_available
from PostOpPredictorLib.evaluation.pools import (
    BestPrecedent,
    OperatedSlices,
    Pool,
    Precedent,
    Retrieval,
    WhereOperated,
    allowed_cases,
    operated_levels,
)
from PostOpPredictorLib.evaluation.query_case import QueryCase, measured_slices
from PostOpPredictorLib.evaluation.result_cache import ResultCache
from PostOpPredictorLib.evaluation.rows import CEILING, OURS, Row, model_rows, trivial_rows
from PostOpPredictorLib.evaluation.summary import CohortSummary, Difference, RowSummary
from PostOpPredictorLib.evaluation.systems import Answer, Composite, CopyOfPre, OurModel, RetrievedPost
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.model.autoencoder import PixelPatches
from PostOpPredictorLib.model.config import PostOpConfig
from PostOpPredictorLib.prediction.instruction import Instruction
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.retrieval.slice_index import SliceIndex
from PostOpPredictorLib.retrieval.strategies import Random, TumourGuided

SHAPE = WORKING_GRID.shape


def _ball(z: float, y: float, x: float, radius: float) -> np.ndarray:
    axes = np.ogrid[tuple(slice(size) for size in SHAPE)]
    return sum((axis - middle) ** 2 for axis, middle in zip(axes, (z, y, x), strict=True)) < radius**2


def _operated(
    number: int,
    *,
    institution: str,
    kind: str = "phantom",
    split: str = "test",
    patient: str | None = None,
    radius: float = 7,
) -> SimulatedCase:
    """A textured round brain with a bright tumour. The north leaves a dark cavity, the south fills it with blood."""
    rng = np.random.default_rng(number)
    brain = _ball(50, 64, 64, 44)
    texture = gaussian_filter(rng.random(SHAPE, np.float32), 1.2)
    texture = (0.35 + 2.0 * (texture - 0.5)).clip(0.1, 0.7) * brain
    y, x = (50, 45 + number % 7) if number % 2 else (78, 80 - number % 5)
    core, cavity = _ball(50, y, x, radius), _ball(50, y, x + 1, radius - 1)
    residual = core & ~cavity & (np.arange(SHAPE[2]) < x - 3)
    outcome = np.where(cavity, 1 if institution == "north" else 3, 0).astype(np.uint8)
    outcome[residual] = 2
    pre = np.where(core, np.float32(0.85), texture)
    post = np.where(cavity, np.float32(0.08 if institution == "north" else 0.95), np.where(residual, 0.85, texture))
    return SimulatedCase(
        case_id=f"secret-name-{number}",
        patient_id=patient or f"secret-patient-{number}",
        institution=institution,
        kind=kind,  # type: ignore[arg-type]
        split=split,  # type: ignore[arg-type]
        attributes={},
        pre={"T1wCE": pre.astype(np.float32)},
        post={"T1wCE": post.astype(np.float32)},
        brain_pre=brain.astype(np.uint8),
        brain_post=brain.astype(np.uint8),
        tumour=np.where(core, 4, 0).astype(np.uint8),
        outcome=outcome,
        shift=np.zeros((*SHAPE, 3), np.float32),
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> CaseLibrary:
    """Six phantom patients of two held-out institutions, a real patient operated twice, and one training patient."""
    library = CaseLibrary.create(tmp_path_factory.mktemp("evaluated") / "library")
    # The second is alone on its side of the brain in the north: nothing similar is found for it there.
    for number in range(6):
        library.add(_operated(number, institution="north" if number < 3 else "south"))
    for number in (6, 8):
        library.add(_operated(number, institution="north", kind="semi-real", patient="secret-real-patient"))
    library.add(_operated(7, institution="elsewhere", split="train"))
    SliceIndex.open(library)
    return library


@pytest.fixture
def bench(library: CaseLibrary, tmp_path: Path) -> Bench:
    """Real retrieval from the whole library, every fourth slice, an empty cache."""
    return _bench(library, tmp_path)


def _bench(library: CaseLibrary, folder: Path) -> Bench:
    finders = {
        Retrieval.GUIDED: BestPrecedent(library.cases, TumourGuided(library)),
        Retrieval.RANDOM: BestPrecedent(library.cases, Random(library, 0)),
    }
    return Bench(library.cases, finders, "T1wCE", 4, ResultCache(folder / "work", "settings"))


@pytest.fixture
def query(library: CaseLibrary) -> QueryCase:
    """The first patient."""
    return QueryCase.of(library.case("secret-name-0"), "T1wCE")


def test_a_tumour_is_laid_over_the_height_of_another_from_end_to_end() -> None:
    query, case = (np.zeros(SHAPE, bool) for _ in range(2))
    query[40:51, :9, :9] = True
    case[20:25, :9, :9] = True
    case[18:20, 0, 0] = True  # too little to count
    levels = operated_levels(query, case)
    assert levels[40:51].tolist() == [20, 20, 21, 21, 22, 22, 22, 23, 23, 24, 24]
    assert set(levels[:40]) == {20} and set(levels[51:]) == {24}
    case[20:25] = False
    assert set(operated_levels(query, case)) == {18, 19}, "where no slice holds enough, all with any core count"


def test_a_precedent_not_chosen_by_its_tumour_is_shown_where_it_was_operated(tmp_path: Path) -> None:
    cases = CaseLibrary.create(tmp_path / "library")
    for number, heights in enumerate(((30, 40), (70, 75))):
        case = made_up_case(f"secret-{number}", box(heights, (50, 60), (30, 40)), seed=number)
        rim = box((heights[0] - 6, heights[1] + 6), (48, 62), (28, 42)) & (case.tumour == 0)
        cases.add(replace(case, tumour=np.where(rim, 2, case.tumour).astype(np.uint8)))
    asked, other = (cases.case(f"secret-{number}") for number in range(2))
    finder = WhereOperated(lambda case, allowed: Precedent(other, 0.25))
    found = finder(QueryCase.of(asked, "T1wCE"), frozenset())
    assert isinstance(found, OperatedSlices) and (found.case, found.iou) == (other, 0.25)
    plain, shown = Instruction.of_case(other, "T1wCE"), found.instruction("T1wCE")
    for name in ("pre", "post", "tumour", "outcome"):
        was, now = getattr(plain, name), getattr(shown, name)
        np.testing.assert_array_equal(now[[30, 39]], was[[70, 74]])
        assert (now[:30] == was[70]).all() and (now[39:] == was[74]).all()
    assert WhereOperated(lambda case, allowed: None)(QueryCase.of(asked, "T1wCE"), frozenset()) is None


@dataclass
class Oracle:
    """Knows the truth."""

    name: str = "oracle"
    note: str = "it cheats"
    asked: list[str] = field(default_factory=list)

    def predict_case(self, case: QueryCase, precedent: Instruction | None) -> Answer:
        self.asked.append(case.case.case_id)
        return Answer(case.post, case.true_cavity, case.true_residual)


class Follower:
    """Fills the true cavity with the precedent's mean grey of its own cavity: uses its instruction and nothing else."""

    name = "follower"
    note = "a fake"

    def predict_case(self, case: QueryCase, precedent: Instruction | None) -> Answer:
        if precedent is None:
            return CopyOfPre().predict_case(case, None)
        grey = float(precedent.post[np.isin(precedent.outcome, (1, 3))].mean())
        return Answer(np.where(case.true_cavity, np.float32(grey), case.post), case.true_cavity, case.true_residual)


class FakePipe:
    """A pipeline whose every prediction is the pre-operative scan with a cavity where the tumour was."""

    has_renderer = False
    config_tree = PostOpConfig()
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.autoencoder = PixelPatches(factor=4)
        self.settings: list[dict[str, object]] = []

    def __call__(self, triplets: object, **settings: object) -> SimpleNamespace:
        self.settings.append(settings)
        core = (triplets.query_tumour > 0).float()  # type: ignore[attr-defined]
        probability = torch.zeros(len(core), 6, *core.shape[1:])
        probability[:, 1], probability[:, 0] = core, 1 - core
        image = triplets.query_pre * (1 - core[:, None]) + 0.08 * core[:, None]  # type: ignore[attr-defined]
        return SimpleNamespace(image=image, outcome_probability=probability, shift_mm=None)


class FakePipeThatDraws(FakePipe):
    """The same with a renderer that paints fluid dark and blood bright."""

    has_renderer = True

    def render(self, triplets: object, outcome: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        fluid, blood = outcome[:, 1:2], outcome[:, 3:4]
        return triplets.query_pre * (1 - fluid - blood) + 0.08 * fluid + 0.95 * blood  # type: ignore[attr-defined]


def _table(bench: Bench, rows: list[Row], library: CaseLibrary, limit: int | None = None) -> dict[str, CohortSummary]:
    queries = chosen_cases(library.cases, "test", limit)
    results = bench.measure_all(rows, queries, SilentProgress())
    return {cohort.source: cohort for cohort in summarise(rows, results, queries, resamples=300)}


def _row(cohort: CohortSummary, title: str) -> RowSummary:
    return next(summary for summary in cohort.rows if summary.row.title == title)


def _difference(cohort: CohortSummary, question: str, metric: str, first: str) -> Difference:
    found = [
        item
        for item in cohort.differences
        if item.question == question and item.metric.key == metric and item.first == first
    ]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def oracle_bench(library: CaseLibrary, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The bench of ``oracle_table``."""
    return _bench(library, tmp_path_factory.mktemp("oracle"))


@pytest.fixture(scope="module")
def oracle_table(oracle_bench: Bench, library: CaseLibrary) -> dict[str, CohortSummary]:
    """All trivial rows and an oracle in our place."""
    rows = [*trivial_rows([Pool.OWN, Pool.WHOLE]), Row(OURS, Oracle(), Retrieval.GUIDED, Pool.OWN)]
    return _table(oracle_bench, rows, library)


def test_an_oracle_wins_and_the_copy_loses(oracle_table: dict[str, CohortSummary]) -> None:
    cohort = oracle_table["phantom"]
    oracle, copy = _row(cohort, "oracle, guided, own institution"), _row(cohort, "copy of pre-op")
    for metric, perfect in {
        "ssim_peri": 1,
        "ms_ssim_full": 1,
        "psnr_peri": 100,
        "cavity_dice": 1,
        "wall_agreement": 1,
    }.items():
        assert oracle.over_patients[metric].mean == pytest.approx(perfect), metric
        assert copy.over_patients[metric].mean < 0.98 * perfect, metric
    assert copy.over_patients["cavity_dice"].mean == 0.0
    assert copy.over_patients["cavity_volume_error"].mean == 1.0
    assert "cavity_hd95_mm" not in oracle.over_patients, "only every fourth slice is measured"
    for metric in ("ssim_peri", "psnr_brain", "cavity_dice", "wall_sharpness"):
        assert _difference(cohort, "ours - best trivial", metric, oracle.row.title).verdict == "better", metric


def test_the_best_trivial_row_is_chosen_metric_by_metric_from_the_same_pool(
    oracle_table: dict[str, CohortSummary],
) -> None:
    cohort = oracle_table["phantom"]
    trivial = [row for row in cohort.rows if row.row.pool is not Pool.WHOLE and row.row.kind == "trivial"]
    for metric in ("ssim_full", "cavity_dice"):
        difference = _difference(cohort, "ours - best trivial", metric, "oracle, guided, own institution")
        assert difference.second == max(trivial, key=lambda row: row.over_patients[metric].mean).row.title
        assert "whole library" not in difference.second


def test_guided_and_random_are_compared_within_one_pool(bench: Bench, library: CaseLibrary) -> None:
    rows = [
        Row(OURS, Follower(), retrieval, pool)
        for pool in (Pool.OWN, Pool.WHOLE)
        for retrieval in (Retrieval.GUIDED, Retrieval.RANDOM)
    ]
    cohort = _table(bench, rows, library)["phantom"]
    questions = {(item.question, item.first, item.second) for item in cohort.differences}
    assert questions == {
        ("guided - random", "follower, guided, own institution", "follower, random, own institution"),
        ("guided - random", "follower, guided, whole library", "follower, random, whole library"),
        ("own institution - whole library", "follower, guided, own institution", "follower, guided, whole library"),
    }
    own, whole = (_row(cohort, f"follower, random, {pool}").over_patients["psnr_peri"].mean for pool in Pool)
    assert own > whole, "a precedent of the own institution shows how its cavities are filled"


def test_phantom_and_semi_real_patients_are_kept_apart(oracle_table: dict[str, CohortSummary]) -> None:
    assert set(oracle_table) == {"phantom", "semi-real"}
    phantom, real = oracle_table["phantom"], oracle_table["semi-real"]
    assert (phantom.patients, phantom.cases, phantom.institutions) == (6, 6, 2)
    assert (real.patients, real.cases, real.institutions) == (1, 2, 1)
    assert _row(real, "copy of pre-op").over_patients["ssim_peri"].low is None, "one patient has no interval"
    assert _row(phantom, "copy of pre-op").over_patients["ssim_peri"].low is not None


def test_two_cases_of_one_patient_count_as_one_patient(
    oracle_table: dict[str, CohortSummary], oracle_bench: Bench
) -> None:
    copy = _row(oracle_table["semi-real"], "copy of pre-op")
    of_cases = [oracle_bench.cache.read(copy.row, f"secret-name-{number}").value("psnr_peri") for number in (6, 8)]
    assert copy.patients["secret-real-patient"]["psnr_peri"] == pytest.approx(np.mean(of_cases))


@pytest.mark.parametrize("pool", list(Pool))
def test_no_case_of_the_own_patient_is_in_any_pool(library: CaseLibrary, pool: Pool) -> None:
    for query in library.cases:
        allowed = allowed_cases(library.cases, query, pool)
        assert query.case_id not in allowed
        assert query.patient_id not in {library.case(case_id).patient_id for case_id in allowed}
        if pool is Pool.OWN:
            assert {library.case(case_id).institution for case_id in allowed} <= {query.institution}
        else:
            assert len(allowed) == len(library.cases) - sum(
                case.patient_id == query.patient_id for case in library.cases
            )


def test_a_case_of_unknown_institution_has_no_pool_of_its_own(library: CaseLibrary) -> None:
    nobodys = [replace(case, attributes={**case.attributes, "institution": ""}) for case in library.cases]
    assert allowed_cases(nobodys, nobodys[0], Pool.OWN) == frozenset()


@pytest.mark.usefixtures("oracle_table")
def test_precedents_that_were_used_are_never_of_the_own_patient(oracle_bench: Bench, library: CaseLibrary) -> None:
    rows = trivial_rows(list(Pool))
    results = oracle_bench.measure_all(rows, chosen_cases(library.cases, "test"), SilentProgress())
    used = 0
    for row in rows[1:]:
        for case_id, measures in results[row.key].items():
            if measures.precedent is not None:
                used += 1
                assert library.case(measures.precedent).patient_id != library.case(case_id).patient_id
                if row.pool is Pool.OWN:
                    assert library.case(measures.precedent).institution == library.case(case_id).institution
    assert used > 20


def test_with_a_stride_the_measured_slices_are_all_that_counts(library: CaseLibrary) -> None:
    case = library.case("secret-name-0")
    some, whole = QueryCase.of(case, "T1wCE", stride=4), QueryCase.of(case, "T1wCE")
    cavity = some.true_cavity.copy()
    cavity[list(some.slices)] = False
    nothing, all_but = np.zeros_like(cavity), Answer(some.post, cavity, None)
    assert measure(all_but, some, 0.0).value("cavity_dice") == 0.0 < measure(all_but, whole, 0.0).value("cavity_dice")
    assert measure(Answer(some.post, some.true_cavity, None), some, 0.0).value("cavity_hd95_mm") is None
    assert measure(Answer(some.post, some.true_cavity, None), whole, 0.0).value("cavity_hd95_mm") == 0.0
    assert measure(Answer(some.post, nothing, nothing), some, 0.0).value("cavity_volume_error") == 1.0
    assert "whole cavities" in not_available(stride=4)["cavity_hd95_mm"]


@pytest.mark.parametrize("images", [True, False])
def test_an_image_model_draws_only_what_is_measured(library: CaseLibrary, images: bool) -> None:
    pipe = FollowsThePrecedent(has_renderer=not images, has_structure=not images)
    query = QueryCase.of(library.case("secret-name-0"), "T1wCE", stride=4)
    OurModel(pipe, "mean").predict_case(query, None)
    drawn = sum(len(batch) for batch in pipe.batches)
    assert drawn == len(query.slices) if images else drawn > len(query.slices)


def test_plans_are_tried_on_patients_not_on_operations(tmp_path: Path) -> None:
    several = CaseLibrary.create(tmp_path / "library")
    for name, patient, days in (("a1", "a", 90.0), ("a2", "a", 1.0), ("a3", "a", 1.0), ("b1", "b", 1.0)):
        case = made_up_case(name, patient_id=patient, split="test", days_since_surgery=days)
        several.add(replace(case, resection=(case.tumour > 0).astype(np.uint8)))
    chosen = plan_benchmark.chosen_cases(several, phantom=2, semi_real=0)
    assert [query.case.case_id for query in chosen] == ["a2", "b1"], "one early case of each patient"


@pytest.mark.parametrize(
    ("stride", "measured"), [(1, range(10, 17)), (2, range(10, 17, 2)), (4, (11, 15)), (5, (10, 15)), (8, (13,))]
)
def test_a_stride_leaves_out_as_much_below_the_tumour_as_above(stride: int, measured: Sequence[int]) -> None:
    tumour = np.zeros((20, 12, 12), np.uint8)
    tumour[10:17, 2:8, 2:8] = 1
    tumour[17, 2:4, 2:4] = 1  # too little to be measured
    assert measured_slices(SimpleNamespace(tumour=lambda: tumour), stride) == tuple(measured)  # type: ignore[arg-type]


def test_the_trivial_answers_are_what_the_notes_say(query: QueryCase, library: CaseLibrary) -> None:
    precedent = Instruction.of_case(library.case("secret-name-2"), "T1wCE")
    copy = CopyOfPre().predict_case(query, precedent)
    assert np.array_equal(copy.image, query.pre) and not copy.cavity.any() and np.array_equal(copy.residual, query.core)
    retrieved = RetrievedPost().predict_case(query, precedent)
    assert np.array_equal(retrieved.image, precedent.post) and np.array_equal(retrieved.cavity, precedent.outcome == 1)
    pasted = Composite().predict_case(query, precedent)
    z = 50
    rows = np.flatnonzero((precedent.outcome[z] == 1).any(axis=1))
    columns = np.flatnonzero((precedent.outcome[z] == 1).any(axis=0))
    box = np.zeros(SHAPE[1:], bool)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    assert np.array_equal(pasted.image[z], np.where(box, precedent.post[z], query.pre[z]))
    assert np.array_equal(pasted.residual[z], np.where(box, precedent.outcome[z] == 2, query.core[z]))
    assert np.array_equal(pasted.image[0], query.pre[0]), "no cavity in a slice, nothing pasted"


def test_without_a_precedent_the_trivial_systems_copy(query: QueryCase) -> None:
    for system in (RetrievedPost(), Composite()):
        assert np.array_equal(system.predict_case(query, None).image, query.pre)


def test_our_model_answers_through_the_function_that_predict_uses(query: QueryCase) -> None:
    pipe = FakePipe()
    answer = OurModel(pipe, "sample", seed=5, steps=3).predict_case(query, None)
    assert {key: pipe.settings[0][key] for key in ("mode", "seed", "steps")} == {
        "mode": "sample",
        "seed": 5,
        "steps": 3,
    }
    overlap = (answer.cavity & query.core).sum() / query.core.sum()
    assert overlap > 0.8 and answer.image[50][query.core[50]].mean() < 0.3
    assert not answer.residual.any()


def test_the_rows_of_a_model_hold_every_mode_and_both_retrievals() -> None:
    titles = [row.title for row in model_rows(FakePipe(), "checksum", ("mean", "sample", "average"), list(Pool))]
    assert titles == [
        "autoencoder ceiling (sees the truth)",
        "ours, mean, guided, own institution",
        "ours, sample, guided, own institution",
        "ours, average, guided, own institution",
        "ours, mean, random, own institution",
        "ours, mean, guided, whole library",
        "ours, mean, random, whole library",
    ]
    drawing = model_rows(FakePipeThatDraws(), "checksum", ("mean",), [Pool.OWN])
    assert [row.kind for row in drawing] == [CEILING, CEILING, OURS, OURS]


def test_another_model_or_seed_has_other_cached_results() -> None:
    def keys(checksum: str, seed: int) -> set[str]:
        return {
            row.key for row in model_rows(FakePipe(), checksum, ("mean",), [Pool.OWN], seed=seed) if row.kind == OURS
        }

    assert len(keys("a", 0) | keys("b", 0) | keys("a", 1)) == 6
    assert keys("a", 0) == keys("a", 0)
    assert trivial_rows([Pool.OWN])[0].key == trivial_rows([Pool.OWN], seed=1)[0].key, "the copy has no seed"


def test_the_ceilings_see_the_truth(bench: Bench, library: CaseLibrary) -> None:
    rows = [Row(OURS, CopyOfPre()), *model_rows(FakePipeThatDraws(), "checksum", ("mean",), [Pool.OWN])[:2]]
    cohort = _table(bench, rows, library, limit=1)["phantom"]
    lossless = _row(cohort, "autoencoder ceiling (sees the truth)")
    assert lossless.over_patients["psnr_brain"].mean > 60, "an exact rearrangement of pixels loses nothing but rounding"
    assert "cavity_dice" not in lossless.over_patients
    appearance = _row(cohort, "appearance ceiling (sees the true structure), guided, own institution")
    copy = _row(cohort, "copy of pre-op")
    assert appearance.over_patients["ssim_peri"].mean > copy.over_patients["ssim_peri"].mean


def test_a_stopped_evaluation_goes_on_where_it_was(bench: Bench, library: CaseLibrary) -> None:
    class StopAtTheFourth(SilentProgress):
        def step(self, done: int, total: int) -> None:
            if done == 3:
                raise Cancelled("The evaluation was cancelled.")

    oracle = Oracle()
    rows = [Row(OURS, oracle, Retrieval.GUIDED, Pool.OWN)]
    queries = chosen_cases(library.cases, "test")
    with pytest.raises(Cancelled):
        bench.measure_all(rows, queries, StopAtTheFourth())
    assert len(oracle.asked) == 3
    first = bench.measure_all(rows, queries, SilentProgress())
    assert sorted(oracle.asked) == sorted(query.case_id for query in queries), "each case once, none twice"
    assert bench.measure_all(rows, queries, SilentProgress()) == first and len(oracle.asked) == len(queries)


def test_a_damaged_cached_result_is_measured_again(bench: Bench, library: CaseLibrary) -> None:
    oracle = Oracle()
    rows, queries = [Row(OURS, oracle)], chosen_cases(library.cases, "test")[:1]
    first = bench.measure_all(rows, queries, SilentProgress())
    for path in bench.cache.folder.rglob("*.json"):
        path.write_text(path.read_text()[:20])
    again = bench.measure_all(rows, queries, SilentProgress())
    assert again[rows[0].key]["secret-name-0"].per_slice == first[rows[0].key]["secret-name-0"].per_slice
    assert len(oracle.asked) == 2


@pytest.fixture
def request_for(library: CaseLibrary, tmp_path: Path) -> EvaluationRequest:
    """Everything but a model, coarse and quick."""
    return EvaluationRequest(
        library=library.folder,
        out=tmp_path / "out",
        work=tmp_path / "work",
        with_model=False,
        stride=4,
        resamples=200,
        figure_patients=1,
        command="postop evaluate --something",
    )


def test_the_files_say_simulated_and_hold_everything_needed_to_repeat_them(
    request_for: EvaluationRequest, library: CaseLibrary, tmp_path: Path
) -> None:
    result = evaluate(request_for, SilentProgress())
    _assert_honest_page(result["markdown"].read_text(encoding="utf-8"))
    _assert_complete_report(json.loads(result["json"].read_text(encoding="utf-8")), library)
    assert result["figure"].read_bytes().startswith(b"\x89PNG")
    outputs = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in outputs] == ["evaluation.json", "evaluation.md", "evaluation.png"]
    assert not any(b"secret" in path.read_bytes() for path in outputs), "no name of a patient is written"
    assert not any("secret" in str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))


def test_real_pairs_are_not_called_simulated(request_for: EvaluationRequest, tmp_path: Path) -> None:
    mixed = CaseLibrary.create(tmp_path / "mixed")
    for number in range(4):
        mixed.add(_operated(number, institution="north", kind="real" if number % 2 else "phantom"))
    result = evaluate(replace(request_for, library=mixed.folder), SilentProgress())
    page = result["markdown"].read_text(encoding="utf-8")
    report = json.loads(result["json"].read_text(encoding="utf-8"))
    assert result["simulated"] is report["simulated"] is False
    assert {cohort["source"]: cohort["simulated"] for cohort in report["cohorts"]} == {"phantom": True, "real": False}
    assert "Every operation in this table is simulated" not in page
    assert "(simulated, phantom)" in page and "(real)" in page and "(simulated, real)" not in page


def _assert_honest_page(page: str) -> None:
    titles = [line for line in page.splitlines() if line.startswith("#")]
    assert all("imulated" in line for line in titles if line not in ("## How to read it", "## How it was made"))
    assert "copy of pre-op" in page and "composite, random, whole library" in page
    assert "lpips_full: not available: no weights were given" in page
    assert "its cavity is empty" in page and "the precedent's own masks" in page
    assert "composite, guided, own institution (phantom): 2 of 6 cases found no similar case" in page


def _assert_complete_report(report: dict, library: CaseLibrary) -> None:
    assert report["simulated"] and report["command"] == "postop evaluate --something"
    assert report["library_checksum"] == library.checksum() and report["model_checksum"] is None
    assert {"torch", "numpy", "python", "PostOpPredictorLib"} <= set(report["versions"])
    assert "161 px" in report["not_available"]["ms_ssim_peri"]
    phantom = next(cohort for cohort in report["cohorts"] if cohort["source"] == "phantom")
    assert phantom["patients"] == 6 and phantom["slices"] > 6
    copy = phantom["rows"][0]
    assert copy["seconds_per_case"] >= 0 and len(copy["patients"]["ssim_peri"]) == 6
    interval = copy["mean_over_patients"]["ssim_peri"]
    assert interval["low"] <= interval["mean"] <= interval["high"]
    assert "ssim_peri" in copy["mean_over_slices"]


def test_a_cancelled_evaluation_writes_no_table(request_for: EvaluationRequest) -> None:
    class StopSoon(SilentProgress):
        def step(self, done: int, total: int) -> None:
            if done == 5:
                raise Cancelled("The evaluation was cancelled.")

    with pytest.raises(Cancelled):
        evaluate(request_for, StopSoon())
    assert not request_for.out.exists()


def test_early_and_later_scans_are_measured_apart() -> None:
    def case(name: str, **attributes: float) -> LibraryCase:
        return LibraryCase(name, Path(name), {"split": "test", "source": "phantom", **attributes})

    cases = [case("unknown"), case("day 3", days_since_surgery=3.0), case("day 90", days_since_surgery=90.0)]
    assert [one.case_id for one in chosen_cases(cases, "test")] == ["unknown", "day 3"]
    assert [one.case_id for one in chosen_cases(cases, "test", scans="later")] == ["day 90"]


def test_a_model_is_told_time_and_own_institution_only_where_it_knows_them() -> None:
    class Knowing(FakePipe):
        config_tree = PostOpConfig(time=True, institution=True)

    pools = (Pool.OWN, Pool.WHOLE)
    told = {row.pool: row.system for row in model_rows(Knowing(), "x", ("mean",), pools) if row.kind == OURS}
    assert told[Pool.OWN].own_institution and not told[Pool.WHOLE].own_institution  # type: ignore[attr-defined]
    assert all(system.timed for system in told.values())  # type: ignore[attr-defined]
    plain = [row.system for row in model_rows(FakePipe(), "x", ("mean",), pools) if row.kind == OURS]
    assert not any(system.timed or system.own_institution for system in plain)  # type: ignore[attr-defined]


def test_the_limit_is_of_patients_of_each_kind_and_always_the_same(library: CaseLibrary) -> None:
    chosen = chosen_cases(library.cases, "test", 2)
    assert {case.source for case in chosen} == {"phantom", "semi-real"}
    assert len({case.patient_id for case in chosen if case.source == "phantom"}) == 2
    assert sum(case.source == "semi-real" for case in chosen) == 2, "both cases of the one real patient"
    assert chosen == chosen_cases(library.cases, "test", 2)


def test_cases_that_cannot_be_measured_are_left_out_and_counted(tmp_path: Path) -> None:
    small = CaseLibrary.create(tmp_path / "library")
    small.add(_operated(0, institution="north"))
    small.add(_operated(2, institution="north"))
    small.add(_operated(4, institution="north", radius=2.2))
    request = EvaluationRequest(
        small.folder, out=tmp_path / "out", work=tmp_path / "work", with_model=False, stride=8, resamples=100
    )
    result = evaluate(request, SilentProgress())
    assert result["phantom_patients"] == 2
    assert "1 test cases were left out" in result["markdown"].read_text(encoding="utf-8")
    with pytest.raises(InputError, match="T1w scan"):
        evaluate(replace(request, sequence="T1w"), SilentProgress())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"limit": 0}, "--limit is 0"),
        ({"stride": 0}, "--stride is 0"),
        ({"resamples": 3}, "--resamples is 3"),
        ({"modes": ("best",)}, "--modes is best"),
        ({"pools": ()}, "--pools is empty"),
        ({"split": "exam"}, "no case of the split 'exam' with a scan that is early"),
        ({"lpips_weights": (Path("nowhere.pth"),)}, "no LPIPS weights file"),
    ],
)
def test_impossible_requests_are_refused(request_for: EvaluationRequest, change: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        evaluate(replace(request_for, **change), SilentProgress())
    assert not request_for.out.exists()


@pytest.fixture
def with_a_fake_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A model in every evaluation, without weights."""
    original = evaluation._rows

    def rows(request: EvaluationRequest) -> tuple[list[Row], str | None]:
        trivial, _ = original(replace(request, with_model=False))
        return trivial + model_rows(FakePipe(), "checksum", request.modes, request.pools), "checksum"

    monkeypatch.setattr(evaluation, "_rows", rows)
    yield


@pytest.mark.usefixtures("with_a_fake_model")
def test_the_command_prints_the_table_and_writes_it(
    library: CaseLibrary, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--limit", "1", "--pools", "own", "--modes", "mean", "--stride", "8", "--resamples", "200"]
    folders = ["--library", str(library.folder), "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    assert run(["evaluate", *folders, *options]) == 0
    printed = capfd.readouterr().out
    assert "Simulated phantom patients" in printed and "Simulated semi-real patients" in printed
    assert "ours, mean" in printed and "evaluation.md" in printed

    assert run(["evaluate", *folders, *options, "--json"]) == 0
    last = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert last["type"] == "result" and last["simulated"] is True
    report = json.loads(Path(last["json"]).read_text(encoding="utf-8"))
    assert report["model_checksum"] == "checksum"
    assert "ours - best trivial" in {item["question"] for item in report["cohorts"][0]["differences"]}


def test_the_command_names_a_missing_library_and_a_missing_model(
    library: CaseLibrary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "--library", str(tmp_path / "none")]) == 2
    assert "no case library" in capsys.readouterr().err
    assert run(["evaluate", "--library", str(library.folder), "--model", str(tmp_path / "none")]) == 2
    assert "no model in" in capsys.readouterr().err
