"""``postop calibrate`` and ``postop evaluate --calibration``: patients in, the model's file and a report out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prediction_bench import FollowsThePrecedent
from synthetic_cases import blob, made_up_case
from test_calibration import a_patient
from tiny_models import a_pipeline
from typer.testing import CliRunner

from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.cli.app import app
from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.evaluation import calibration_cohort
from PostOpPredictorLib.evaluation.calibrate import CalibrationRequest, calibrate
from PostOpPredictorLib.evaluation.calibration_check import CheckRequest, check_calibration
from PostOpPredictorLib.evaluation.calibration_patient import Trial, measure_patient
from PostOpPredictorLib.model.calibration_file import read_calibration, write_calibration
from PostOpPredictorLib.model.weights import CALIBRATION, verify
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.retrieval.slice_index import SliceIndex
from PostOpPredictorLib.retrieval.strategies import TumourGuided


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> CaseLibrary:
    """Six patients each of the splits val and test, and two of train, whose tumours overlap."""
    library = CaseLibrary.create(tmp_path_factory.mktemp("cases") / "library")
    rng = np.random.default_rng(0)
    for number, split in enumerate(["val"] * 6 + ["test"] * 6 + ["train"] * 2):
        library.add(made_up_case(f"{number:04d}", blob(rng, 16.0), split=split, seed=number))
    SliceIndex.open(library)
    return library


@pytest.fixture
def model(tmp_path: Path) -> Path:
    a_pipeline().save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Measuring takes no time; the cases that were measured."""
    cases: list[str] = []

    def measure(case: Any, sequence: str, followed: Any, tried: Any, trial: Trial, progress: Any) -> Any:
        progress.step(0, 1)
        assert all(other.patient_id != case.patient_id for _, other in [*followed, *tried])
        cases.append(f"{case.case_id} {sequence}")
        return a_patient(int(case.case_id))

    monkeypatch.setattr(calibration_cohort, "measure_patient", measure)
    return cases


def test_a_patient_is_measured_as_predicted(library: CaseLibrary) -> None:
    case, other = library.case("0000"), library.case("0001")
    pipe = FollowsThePrecedent(noise=0.4)
    trial = Trial(pipe, 2, 2, 3, 5)
    measures = measure_patient(case, "T1w", [(0.5, case), (0.2, other)], [(0.1, other)], trial, SilentProgress())
    assert measures.error.shape == measures.noise.shape == measures.precedents.shape
    assert measures.error.size > 100 and measures.noise.any() and measures.precedents.any()
    assert [round(float(iou), 2) for iou in measures.trials[:, 0]] == [0.5, 0.2, 0.1]
    assert measures.trials[0, 1] > 0.5 > measures.trials[1, 1], "whoever follows the case itself finds its cavity"
    assert measures.trials[1, 1] == pytest.approx(measures.trials[2, 1], abs=1e-6)
    assert 0.2 < measures.alone < 0.9, "without a precedent this model takes the whole core; half of it is cavity"
    sampled = [call for call in pipe.calls if call["mode"] == "sample"]
    assert {call["seed"] for call in sampled} == {5, 6} and {call["steps"] for call in sampled} == {3}


def test_calibrate_then_check_on_unseen_patients(
    library: CaseLibrary, model: Path, measured: list[str], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    done = calibrate(CalibrationRequest(library.folder, model, work=work), SilentProgress())
    assert done["file"] == model / CALIBRATION and done["patients"] == 6
    calibration = read_calibration(model, verify(model))
    assert calibration.data == "6 phantom patients" and calibration.settings["sequences"] == ["T1wCE", "T1w"]
    assert calibration.record["expected_coverage_at_least"]["90"] == pytest.approx(0.9 * 6 / 7, abs=1e-4)
    assert sorted(measured) == [f"{n:04d} {'T1w' if n % 2 else 'T1wCE'}" for n in range(6)], "sequences in turn"
    checked = check_calibration(
        CheckRequest(library.folder, model, tmp_path / "out", work, resamples=100), SilentProgress()
    )
    assert len(measured) == 12 and checked["patients"] == 6 and checked["simulated"]
    assert checked["coverage"]["90%"] == pytest.approx(0.9, abs=0.05)
    report = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert report["groups"][0]["levels"][2]["coverage"]["mean"] == pytest.approx(checked["coverage"]["90%"], abs=1e-3)
    text = (tmp_path / "out" / "calibration.md").read_text()
    assert "Every operation here is simulated" in text and "| all (6) | 90% |" in text
    assert (tmp_path / "out" / "calibration.png").read_bytes().startswith(b"\x89PNG")
    assert not any(f"{n:04d}" in text or f'"{n:04d}"' in json.dumps(report) for n in range(12)), "no case is named"


def test_a_patient_without_a_similar_case_makes_no_interval(
    library: CaseLibrary, model: Path, measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rank = TumourGuided.rank
    monkeypatch.setattr(
        TumourGuided, "rank", lambda self, query, *rest: [] if query.own_case_id == "0002" else rank(self, query, *rest)
    )
    done = calibrate(CalibrationRequest(library.folder, model, work=tmp_path / "work"), SilentProgress())
    assert done["patients"] == 5 and not any(one.startswith("0002") for one in measured)


def test_what_was_measured_is_not_measured_again(
    library: CaseLibrary, model: Path, measured: list[str], tmp_path: Path
) -> None:
    class StopsAfter(SilentProgress):
        def __init__(self, count: int) -> None:
            self.count = count

        def step(self, done: int, total: int) -> None:
            if done >= self.count:
                raise Cancelled("Cancelled; nothing was written.")

    request = CalibrationRequest(library.folder, model, work=tmp_path / "work")
    with pytest.raises(Cancelled):
        calibrate(request, StopsAfter(3))
    assert not (model / CALIBRATION).exists() and len(measured) == 3
    calibrate(request, SilentProgress())
    assert len(measured) == len(set(measured)) == 6
    calibrate(CalibrationRequest(library.folder, model, work=tmp_path / "work", noise_samples=4), SilentProgress())
    assert len(measured) == 12, "other settings are other measures"


def test_the_check_refuses_what_would_flatter_or_mislead(
    library: CaseLibrary, model: Path, measured: list[str], tmp_path: Path
) -> None:
    check = CheckRequest(library.folder, model, tmp_path / "out", tmp_path / "work")
    with pytest.raises(InputError, match="not been calibrated"):
        check_calibration(check, SilentProgress())
    calibrate(CalibrationRequest(library.folder, model, split="test", work=tmp_path / "work"), SilentProgress())
    with pytest.raises(InputError, match="not unseen"):
        check_calibration(check, SilentProgress())
    foreign = read_calibration(model, verify(model))
    object.__setattr__(foreign, "model_checksum", "0" * 64)
    write_calibration(foreign, model / CALIBRATION)
    with pytest.raises(InputError, match="other weights"):
        check_calibration(check, SilentProgress())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "nobody"}, "no case of the split 'nobody'"),
        ({"split": "train"}, "Only 2 patients"),
        ({"limit": 0}, "--limit is 0"),
        ({"sequences": ("FLAIR",)}, "No patient has a scan of FLAIR"),
    ],
)
def test_bad_cohorts_are_sentences(
    library: CaseLibrary, model: Path, measured: list[str], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        calibrate(CalibrationRequest(library.folder, model, work=tmp_path / "work", **changes), SilentProgress())
    assert not (model / CALIBRATION).exists()


def test_the_shipped_models_calibration_is_not_replaced_unasked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--model"):
        calibrate(CalibrationRequest(tmp_path), SilentProgress())


def test_both_commands_run_from_the_shell(
    library: CaseLibrary, model: Path, measured: list[str], tmp_path: Path
) -> None:
    shared = ["--library", str(library.folder), "--model", str(model), "--work", str(tmp_path / "work")]
    made = CliRunner().invoke(app, ["calibrate", *shared], catch_exceptions=False)
    assert made.exit_code == 0 and "patients: 6" in made.stdout
    arguments = ["evaluate", "--calibration", *shared, "--out", str(tmp_path / "out"), "--limit", "5"]
    checked = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert checked.exit_code == 0 and "| all (5) | 90% |" in checked.stdout
