"""``postop evaluate`` over several processes: the numbers of one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from launching import launched
from prediction_bench import Recorder
from synthetic_cases import box, made_up_case
from tiny_models import a_pipeline

from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.cli.app import run
from PostOpPredictorLib.errors import Cancelled
from PostOpPredictorLib.evaluation import evaluate as evaluation
from PostOpPredictorLib.evaluation.evaluate import EvaluationRequest, fit_for, prepare, summarise
from PostOpPredictorLib.evaluation.markdown import markdown_report, proxy_note
from PostOpPredictorLib.evaluation.measures import CaseMeasures
from PostOpPredictorLib.evaluation.pools import Pool
from PostOpPredictorLib.evaluation.rows import Row, model_rows
from PostOpPredictorLib.evaluation.shared_work import measure_share, wait_for_others
from PostOpPredictorLib.evaluation.systems import CopyOfPre
from PostOpPredictorLib.launched import Share
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.retrieval.slice_index import SliceIndex

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights, and a library of three test patients of one institution."""
    folder = tmp_path_factory.mktemp("processes")
    library = CaseLibrary.create(folder / "library")
    for number in range(3):
        core = box((47, 51), (50 + number, 62 + number), (40, 52 + number))
        library.add(made_up_case(f"000{number}", core, split="test", seed=number))
    SliceIndex.open(library)
    a_pipeline(panel=128).save(folder / "model")
    return folder


def arguments(folder: Path, name: str) -> list[str]:
    places = ["--library", str(folder / "library"), "--model", str(folder / "model"), "--out", str(folder / name)]
    less = ["--modes", "mean", "--pools", "whole", "--stride", "4", "--resamples", "100", "--figure-patients", "1"]
    return ["evaluate", *places, "--work", str(folder / f"{name}-work"), "--sequence", "T1w", *less]


def told(folder: Path, name: str) -> Any:
    return without_times(json.loads((folder / name / "evaluation.json").read_text()))


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in ("seconds_per_case", "command")}
    return [without_times(one) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def alone(folder: Path) -> Any:
    assert run(arguments(folder, "alone")) == 0
    return told(folder, "alone")


def test_real_pairs_have_no_ceiling_of_the_appearance(tmp_path: Path) -> None:
    """Their shift is not known; the other rows are measured all the same."""
    library = CaseLibrary.create(tmp_path / "library")
    for number, with_shift in enumerate((True, False)):
        library.add(made_up_case(f"000{number}", split="test", with_shift=with_shift, seed=number))
    rows = model_rows(a_pipeline(panel=128), "m", ["mean"], [Pool.WHOLE])
    told = Recorder()
    assert fit_for(rows, library.cases[:1], told) == rows and told.texts == [""]
    left = fit_for(rows, library.cases, told)
    assert len(left) == len(rows) - 1 and not any("appearance" in row.title for row in left)
    assert "of 1 cases the tissue shift is not known" in told.texts[-1]


def test_a_table_that_rests_on_proxies_says_so(folder: Path) -> None:
    cases = [
        replace(case, attributes={**case.attributes, "source": "real", "cavity": kind})
        for case, kind in zip(CaseLibrary.open(folder / "library").cases, ("proxy", "labelled", "proxy"), strict=True)
    ]
    row = Row("trivial", CopyOfPre())
    measures = CaseMeasures(per_slice={"ssim_full": [0.5]}, per_volume={}, seconds=1.0)
    (cohort,) = summarise([row], {row.key: dict.fromkeys((case.case_id for case in cases), measures)}, cases, 100)
    assert cohort.proxy_cavities == 2 and not cohort.simulated
    page = markdown_report(
        [cohort],
        {"command": "", "versions": {}, "library_checksum": "", "model_checksum": "", "settings": {}},
        {},
        "a.png",
    )
    assert "The true cavity of 2 of 3 cases is a proxy" in page and "## Real:" in page
    assert proxy_note(replace(cohort, proxy_cavities=0)) == []


@pytest.mark.slow
def test_two_workers_give_the_numbers_of_one_process(folder: Path, alone: Any) -> None:
    assert len(alone["cohorts"][0]["rows"]) >= 7
    assert run([*arguments(folder, "workers"), "--workers", "2"]) == 0
    assert told(folder, "workers") == alone


@pytest.mark.slow
def test_two_launched_processes_give_the_numbers_of_one(folder: Path, alone: Any, project_root: Path) -> None:
    pytest.importorskip("accelerate")
    output = launched(project_root, arguments(folder, "launched")).stdout
    assert "Process 2 of 2 measured its 1 cases." in output and output.count("Written:") == 1
    assert told(folder, "launched") == alone


class FakeBench:
    """Results appear one by one, each time that somebody looks; ``stops_at``: so many are never there."""

    def __init__(self, cases: int, stops_at: int = 0) -> None:
        self.left, self.stops_at = cases, stops_at
        self.measured: list[str] = []

    def unmeasured(self, rows: Any, queries: Any) -> list[Any]:
        missing = list(queries)[: self.left]
        self.left = max(self.left - 1, self.stops_at)
        return missing

    def measure_all(self, rows: Any, queries: Any, progress: Any) -> None:
        self.measured += [query.case_id for query in queries]


def queries(count: int) -> list[Any]:
    return [SimpleNamespace(case_id=f"c{number}") for number in range(count)]


def test_the_first_process_waits_for_the_results_of_the_others() -> None:
    paused: list[float] = []
    bench = FakeBench(5)
    wait_for_others(bench, (), queries(5), SilentProgress(), patience=3.0, pause=paused.append)  # type: ignore[arg-type]
    assert len(paused) == 5 and bench.left == 0


def test_processes_that_bring_nothing_are_not_waited_for_for_ever() -> None:
    paused: list[float] = []
    bench = FakeBench(5, stops_at=2)
    wait_for_others(bench, (), queries(5), SilentProgress(), patience=7.0, pause=paused.append)  # type: ignore[arg-type]
    assert bench.left == 2 and 7 <= len(paused) <= 12


def test_waiting_can_be_cancelled() -> None:
    class Cancels(SilentProgress):
        def step(self, done: int, total: int) -> None:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        wait_for_others(FakeBench(5), (), queries(5), Cancels())  # type: ignore[arg-type]


def test_a_launched_process_measures_its_own_share_only() -> None:
    measured = []
    for rank in range(3):
        bench = FakeBench(100, stops_at=100)
        share = Share(rank, 3)
        own = measure_share(share, bench, (), queries(8), SilentProgress(), 1, lambda _: None)  # type: ignore[arg-type]
        assert own == len(bench.measured) == len(np.arange(8)[rank::3])
        measured += bench.measured
    assert sorted(measured) == sorted(query.case_id for query in queries(8))


def test_a_worker_too_takes_the_gpu_of_its_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``prepare`` is what every worker begins with."""
    taken: list[tuple[Share, str]] = []
    monkeypatch.setattr(evaluation, "use_own_gpu", lambda share, device: taken.append((share, device)))
    monkeypatch.setattr(evaluation, "own_share", lambda: Share(1, 2, 1))
    request = EvaluationRequest(folder / "library", with_model=False, sequence="T1w", device="cuda")
    prepare(request, SilentProgress())
    assert taken == [(Share(1, 2, 1), "cuda")]
