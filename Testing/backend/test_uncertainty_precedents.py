"""Whom the prediction follows: the most similar case, one that a person chose, and never an excluded one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from prediction_bench import FollowsThePrecedent, Recorder, template_patient
from synthetic_cases import made_up_case

from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.errors import InputError, LibraryError
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.model.calibration_file import LEVELS, Calibration, SimilarityThresholds
from PostOpPredictorLib.prediction import patient_prediction
from PostOpPredictorLib.prediction.predictor import predict
from PostOpPredictorLib.prediction.request import PredictionRequest, PredictionResult
from PostOpPredictorLib.prediction.uncertainty.similarity import FEW, similarity_of

pytestmark = pytest.mark.usefixtures("already_in_mni")


def predicted(
    bench: dict[str, Any], out: Path, progress: Recorder | None = None, **changes: Any
) -> tuple[PredictionResult, list[dict[str, Any]]]:
    request = PredictionRequest(**{**bench, "out": out, **changes})
    result = predict(request, progress or Recorder(), load=lambda _: FollowsThePrecedent())
    return result, json.loads(result.files["precedents"].read_text())["precedents"]


def names(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["case_id"] for entry in entries]


def cavity(result: PredictionResult) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(result.files["cavity_mask_mni"])))


def test_a_case_chosen_by_hand_is_followed_and_comes_first(bench: dict[str, Any], tmp_path: Path) -> None:
    best, entries = predicted(bench, tmp_path / "best")
    assert names(entries) == ["0001", "0002"] and not entries[0]["chosen_by_hand"]
    chosen, entries = predicted(bench, tmp_path / "chosen", follow="0002")
    assert names(entries) == ["0002", "0001"]
    assert [(e["rank"], e["followed"], e["chosen_by_hand"]) for e in entries] == [(1, True, True), (2, False, False)]
    assert chosen.summary["precedent"] == "0002"
    assert chosen.summary["precedent_iou"] == entries[0]["iou"] < entries[1]["iou"]
    assert (cavity(best) != cavity(chosen)).sum() > 100, "another precedent, another cavity"


def test_a_case_that_is_not_similar_may_be_followed_by_hand(bench: dict[str, Any], tmp_path: Path) -> None:
    result, entries = predicted(bench, tmp_path / "out", follow="0003", k=2)
    assert names(entries) == ["0003", "0001"] and entries[0]["iou"] == 0.0
    assert not result.summary["no_similar_case"] and result.summary["similarity"]["iou"] == 0.0


def test_a_followed_case_is_followed_in_every_slice(bench: dict[str, Any], tmp_path: Path) -> None:
    _, entries = predicted(bench, tmp_path / "out", follow="0002", per="slice")
    assert [entry["followed"] for entry in entries] == [True, False]


def test_an_excluded_case_is_no_precedent(bench: dict[str, Any], tmp_path: Path) -> None:
    result, entries = predicted(bench, tmp_path / "out", exclude=("0001",))
    assert names(entries) == ["0002"] and entries[0]["followed"]
    assert json.loads(result.files["precedents"].read_text())["exclude"] == ["0001"]
    nobody, entries = predicted(bench, tmp_path / "none", exclude=("0001", "0002"))
    assert entries == [] and nobody.summary["no_similar_case"]
    assert nobody.summary["similarity"]["level"] == "none"
    assert nobody.summary["similarity"]["sentence"].startswith("NO SIMILAR CASE")
    assert FEW not in nobody.summary["similarity"]["sentence"], "they know their own library"


def test_who_finds_nothing_in_the_demonstration_library_is_told_that_it_is_small(
    bench: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = CaseLibrary.open(bench["library"])
    monkeypatch.setattr(patient_prediction, "demonstration_library", lambda _: library)
    nobody, _ = predicted({**bench, "library": None}, tmp_path / "none", exclude=("0001", "0002"))
    assert nobody.summary["similarity"]["sentence"].endswith(FEW)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"follow": "0009"}, LibraryError, "no case 0009"),
        ({"exclude": ("0001", "0009")}, LibraryError, "no case 0009"),
        ({"exclude": ("0001", "0002", "0003")}, LibraryError, "excluded"),
        ({"follow": "0001", "exclude": ("0001",)}, InputError, "followed and is excluded"),
        ({"follow": "0003", "institution": "north"}, LibraryError, "another institution"),
    ],
)
def test_contradictions_are_sentences_and_nothing_is_written(
    bench: dict[str, Any], tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        predicted(bench, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("changes", [{"follow": "0009"}, {"exclude": ("0009",)}, {"institution": "nowhere"}])
def test_what_the_library_does_not_have_is_told_before_the_patient_is_read(
    bench: dict[str, Any], tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(LibraryError, match=r"0009|nowhere"):
        predicted({**bench, "pre": tmp_path / "not-even-there.nii.gz"}, tmp_path / "out", **changes)


def test_a_followed_case_without_the_sequence_or_with_a_broken_file_is_refused(
    bench: dict[str, Any], tmp_path: Path
) -> None:
    library = CaseLibrary.open(shutil.copytree(bench["library"], tmp_path / "library"))
    core = np.isin(sitk.GetArrayFromImage(template_patient(WORKING_GRID)[1]), (1, 4))
    library.add(made_up_case("0004", core))
    case = library.case("0004")
    changed = {**bench, "library": library.folder}
    scan = case.files.image("postop", "T1w")
    whole = scan.read_bytes()
    scan.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LibraryError, match=r"0004.*cannot be used"):
        predicted(changed, tmp_path / "out", follow="0004", sequence="T1w")
    for session in ("preop", "postop"):
        case.files.image(session, "T1w").unlink()
    with pytest.raises(LibraryError, match=r"0004.*no T1w scans"):
        predicted(changed, tmp_path / "out", follow="0004", sequence="T1w")
    assert not (tmp_path / "out").exists()


def test_more_cases_than_there_are_is_told_in_the_log(bench: dict[str, Any], tmp_path: Path) -> None:
    progress = Recorder()
    _, entries = predicted(bench, tmp_path / "out", progress, k=50)
    assert len(entries) == 2
    assert any("50 similar cases were asked for and 2 found" in text for text in progress.texts)


def a_calibration(similarity: SimilarityThresholds | None) -> Calibration:
    scales = dict(zip(LEVELS, (1.0, 2.0, 3.0, 4.0), strict=True))
    return Calibration("0" * 64, 0.01, scales, 12, "simulated", {}, similarity, {})


@pytest.mark.parametrize(
    ("iou", "level"), [(None, "none"), (0.09, "none"), (0.1, "weak"), (0.29, "weak"), (0.3, "good")]
)
@pytest.mark.parametrize("by_gain", [True, False])
def test_similarity_is_rated_by_the_models_thresholds(iou: float | None, level: str, by_gain: bool) -> None:
    rated = similarity_of(iou, a_calibration(SimilarityThresholds(0.1, 0.3, by_gain, "rule")), "")
    assert (rated["level"], rated["threshold_weak"], rated["threshold_good"]) == (level, 0.1, 0.3)
    assert rated["sentence"].startswith("NO SIMILAR CASE") == (level == "none")


@pytest.mark.parametrize("calibration", [None, a_calibration(None)])
def test_without_thresholds_no_case_is_called_good(calibration: Calibration | None) -> None:
    rated = similarity_of(0.9, calibration, "Run postop calibrate.")
    assert rated["level"] == "weak" and "not rated" in rated["sentence"] and rated["threshold_good"] is None
