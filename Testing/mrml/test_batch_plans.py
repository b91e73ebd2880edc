"""A batch with plans, days and uncertainty: what is asked for each case, and the tables of what came out."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import slicer
from fake_backend import BEGINNING
from PostOpPredictorModule import BackendProcess
from PostOpPredictorModule.BatchCases import plansByMargin, readCases
from PostOpPredictorModule.BatchFigures import FiguresTable
from PostOpPredictorModule.ResultNodes import findResults
from standins.mrml_scene import read_scene
from written_result import DAYS, WrittenResult, written_result

SCRIPT = Path(__file__).resolve().parents[2] / "Resources" / "Batch" / "predict_cases.py"


@pytest.fixture
def result(tmp_path: Path) -> WrittenResult:
    """Two plans and two days, as files."""
    return written_result(tmp_path / "result")


@pytest.fixture
def predict_cases(scene: Any) -> Any:
    spec = importlib.util.spec_from_file_location("predict_cases", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def jobs(result: WrittenResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backend that gives the result at once; every job it got is a line of the file."""
    seen, script, line = tmp_path / "jobs", tmp_path / "quick.py", tmp_path / "line"
    line.write_text(json.dumps({"type": "result", **result.message}), encoding="utf-8")
    program = f"""
options = json.loads(job.read_text(encoding="utf-8"))["options"]
with open({str(seen)!r}, "a") as file:
    file.write(json.dumps(options) + "\\n")
print(Path({str(line)!r}).read_text(encoding="utf-8"))
"""
    script.write_text(BEGINNING + program, encoding="utf-8")
    monkeypatch.setattr(BackendProcess, "backendCommand", lambda job: [sys.executable, str(script), str(job)])
    return seen


@pytest.fixture
def table(result: WrittenResult, tmp_path: Path) -> Path:
    """Two patients; the second has margins and days of its own."""
    folder = tmp_path / "cases"
    folder.mkdir()
    for name in ("preop_mni", "tumour_mni"):
        shutil.copy(result.message["files"][name], folder / f"{name}.nii.gz")
    path = folder / "cases.csv"
    path.write_text(
        "id,pre,tumour,margins,days\n"
        "one,preop_mni.nii.gz,tumour_mni.nii.gz,,\n"
        "two,preop_mni.nii.gz,tumour_mni.nii.gz,-1.5; 3,7\n"
    )
    return path


def sent(jobs: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in jobs.read_text(encoding="utf-8").splitlines()]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_case_has_the_plans_of_the_batch_or_its_own(
    predict_cases: Any, table: Path, jobs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict_cases.main([str(table), str(out), "--margins=-2,0,5", "--days", "1,14"]) == 0
    first, second = sent(jobs)
    assert [(one["name"], one["margin_mm"]) for one in first["plans"]] == [
        ("Margin -2 mm", -2.0),
        ("Margin +0 mm", 0.0),
        ("Margin +5 mm", 5.0),
    ]
    assert first["series"] == [1.0, 14.0]
    assert [one["margin_mm"] for one in second["plans"]] == [-1.5, 3.0]
    assert second["series"] == [7.0]


def test_uncertainty_and_the_choice_of_cases_reach_the_backend(
    predict_cases: Any, table: Path, jobs: Path, tmp_path: Path
) -> None:
    options = ["--uncertainty", "--noise-samples", "5", "--follow", "0007", "--exclude", "0001, 0002", "--no-report"]
    assert predict_cases.main([str(table), str(tmp_path / "out"), *options]) == 0
    first = sent(jobs)[0]
    assert (first["uncertainty"], first["noise_samples"], first["follow"]) == (True, 5, "0007")
    assert (first["exclude"], first["report"], "plans" in first) == (["0001", "0002"], False, False)


def test_plans_and_days_have_tables_of_their_own(predict_cases: Any, table: Path, jobs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert predict_cases.main([str(table), str(out)]) == 0
    plans, days, figures = rows(out / "plans.csv"), rows(out / "days.csv"), rows(out / "figures.csv")
    assert [(row["id"], row["plan"], row["name"], row["residual_ml"], row["eor_percent"]) for row in plans[:2]] == [
        ("one", "1", "careful", "4.0", "83.0"),
        ("one", "2", "Plan 2", "0.0", "83.0"),
    ]
    assert [row["id"] for row in plans] == ["one", "one", "two", "two"]
    assert plans[1]["warnings"] == "Large."
    assert [float(row["days"]) for row in days[:2]] == list(DAYS)
    assert days[0]["cavity_ml"] == "44.5"
    assert [row["similarity"] for row in figures] == ["good", "good"]
    assert (figures[0]["midline_mm"], figures[0]["cavity_ml_low"], figures[0]["cavity_ml_high"]) == (
        "-1.5",
        "38.0",
        "44.6",
    )
    assert figures[0]["largest_spread_precedents"] == "17.0"
    read_scene(out / "one.mrb")
    (nodes,) = findResults(slicer.mrmlScene)
    assert [plan.name for plan in nodes.plans] == ["careful", ""]
    assert nodes.series.days == DAYS


def test_a_case_that_is_done_again_has_its_rows_once(tmp_path: Path, result: WrittenResult) -> None:
    path = tmp_path / "figures.csv"
    for _ in range(2):
        FiguresTable(path).addResult("one", result.message, (), 1.0)
    assert len(rows(tmp_path / "plans.csv")) == 2
    FiguresTable(path).addFailure("one", "oom", "Too little memory.", 1.0)
    assert rows(tmp_path / "plans.csv") == rows(tmp_path / "days.csv") == []


def test_a_batch_without_plans_writes_no_empty_tables(tmp_path: Path) -> None:
    FiguresTable(tmp_path / "figures.csv").addResult("one", {"cavity_ml": 3.0, "similarity": None}, (), 1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["figures.csv"]


@pytest.mark.parametrize(
    ("margins", "days", "says"),
    [("12", "", "from -5 to 10"), ("wide", "", "'wide' is no number"), ("", "400", "from 0 to 365")],
)
def test_numbers_that_cannot_be_are_told_for_their_case(tmp_path: Path, margins: str, days: str, says: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(f"id,pre,tumour,margins,days\na,b,c,{margins},{days}\nd,e,f,,\n")
    broken, other = readCases(path)
    assert says in broken.problem
    assert (other.problem, other.margins, other.days) == ("", None, None)


@pytest.mark.parametrize(("option", "says"), [("--margins=11", "from -5 to 10"), ("--days=x", "no number")])
def test_options_that_cannot_be_are_refused_before_anything_is_begun(
    predict_cases: Any, table: Path, tmp_path: Path, option: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        predict_cases.main([str(table), str(tmp_path / "out"), option])
    assert end.value.code == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_margins_make_plans_of_that_name() -> None:
    assert [(one.name, one.marginMm, one.problem()) for one in plansByMargin((-2.0, 3.5))] == [
        ("Margin -2 mm", -2.0, ""),
        ("Margin +3.5 mm", 3.5, ""),
    ]
