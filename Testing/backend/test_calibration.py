"""Interval widths from validation patients, and the file that keeps them with the model."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import a_pipeline

from PostOpPredictorLib.errors import InputError, ModelTampered
from PostOpPredictorLib.evaluation.calibration_check import check_groups
from PostOpPredictorLib.evaluation.calibration_cohort import Measured
from PostOpPredictorLib.evaluation.calibration_fit import fit_intervals, fit_similarity, scale_for
from PostOpPredictorLib.evaluation.calibration_patient import PatientMeasures, load_measures, save_measures
from PostOpPredictorLib.evaluation.calibration_report import table
from PostOpPredictorLib.model.calibration_file import (
    LEVELS,
    Calibration,
    SimilarityThresholds,
    calibration_or_reason,
    read_calibration,
    write_calibration,
)
from PostOpPredictorLib.model.weights import CALIBRATION, verify
from PostOpPredictorLib.prediction.request import PredictionRequest
from PostOpPredictorLib.prediction.uncertainty.intervals import half_width, intervals_for, settings_of


def a_patient(seed: int, factor: float = 1.0, voxels: int = 1000) -> PatientMeasures:
    """Errors that are ``factor`` times as wide as the spread says."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.005, 0.1, voxels)
    error = np.abs(rng.normal(0, 1, voxels)) * (spread + 0.01) * factor
    return PatientMeasures(error, spread, np.zeros(voxels), np.zeros((0, 2)), 0.0, 0.1)


def a_cohort(count: int, first: int = 0) -> list[PatientMeasures]:
    """Patients of different sizes, and differently well predicted."""
    rng = np.random.default_rng(first)
    return [a_patient(first + n, float(rng.lognormal(0, 0.3)), int(rng.integers(200, 4000))) for n in range(count)]


def a_calibration(**changes: Any) -> Calibration:
    request = PredictionRequest(Path(), Path(), Path())
    made = Calibration(
        model_checksum="a" * 64,
        floor=0.01,
        scales=dict(zip(LEVELS, (0.7, 1.3, 1.6, 2.0), strict=True)),
        patients=12,
        data="12 phantom patients",
        settings={**settings_of(request), "sequences": ["T1w"]},
        similarity=SimilarityThresholds(0.1, 0.3, True, "rule"),
        record={"split": "val"},
    )
    return dataclasses.replace(made, **changes)


def test_intervals_hold_on_patients_that_were_not_calibrated_on() -> None:
    floor, scales = fit_intervals(a_cohort(60))
    assert list(scales.values()) == sorted(scales.values())
    unseen = [Measured("phantom", "T1w", one) for one in a_cohort(60, first=1000)]
    (group,) = check_groups(unseen, a_calibration(floor=floor, scales=scales), resamples=200)
    for checked in group.levels:
        assert checked.coverage.mean == pytest.approx(checked.level, abs=0.03), checked.level
    widths = [checked.width.mean for checked in group.levels]
    assert widths == sorted(widths) and widths[0] > 1
    assert group.correlation is not None and group.correlation.mean > 0.3
    assert group.error_by_spread[-1][1] > 2 * group.error_by_spread[0][1], "where it is unsure, it is further off"


def test_a_large_patient_counts_no_more_than_a_small_one() -> None:
    small, large = a_patient(0, factor=3.0, voxels=100), a_patient(1, factor=1.0, voxels=10_000)
    both = scale_for([small, large], 0.01, 0.5)
    assert scale_for([large], 0.01, 0.5) * 1.2 < both < scale_for([small], 0.01, 0.5)
    assert scale_for([small, large, large], 0.01, 0.5) < both


def test_the_scale_is_the_smallest_that_covers() -> None:
    patients = a_cohort(7)
    for level in LEVELS:
        scale = scale_for(patients, 0.02, level)
        covered = [float((p.error <= scale * (p.spread + 0.02) * (1 + 1e-9)).mean()) for p in patients]
        less = [float((p.error <= 0.99 * scale * (p.spread + 0.02)).mean()) for p in patients]
        assert np.mean(less) < level <= np.mean(covered) + 1e-9


def test_kinds_of_patients_are_checked_apart() -> None:
    patients = [Measured("phantom", "T1w", a_patient(n)) for n in range(4)]
    patients += [Measured("semi-real", "T1w", a_patient(n, factor=4.0)) for n in range(3)]
    everyone, phantom, real = check_groups(patients, a_calibration(), resamples=100)
    assert (everyone.patients, phantom.patients, real.patients) == (7, 4, 3)
    assert phantom.levels[2].coverage.mean > real.levels[2].coverage.mean + 0.2
    assert len(table((everyone, phantom, real)).splitlines()) == 2 + 3 * len(LEVELS)


def with_trials(seed: int, gain: Any) -> PatientMeasures:
    iou = np.linspace(0.02, 0.6, 8)
    noise = np.random.default_rng(seed).normal(0, 0.01, 8)
    return dataclasses.replace(a_patient(seed), trials=np.stack([iou, 0.4 + gain(iou) + noise], axis=1), alone=0.4)


def test_similarity_thresholds_follow_the_gain() -> None:
    patients = [with_trials(n, lambda iou: np.where(iou < 0.25, -0.1, 0.5 * (iou - 0.25))) for n in range(12)]
    found = fit_similarity(patients)
    assert found is not None and found.by_gain and 0.2 < found.weak < 0.4 and found.weak < found.good <= 0.6
    assert "96 precedents of 12 patients" in found.rule


def test_without_a_clear_gain_similar_is_what_patients_usually_had() -> None:
    for gain in (lambda iou: -0.1 + 0 * iou, lambda iou: 0 * iou):
        patients = [with_trials(n, gain) for n in range(11)]
        patients = [
            dataclasses.replace(one, trials=one.trials[::-1] * [1 - 0.05 * n, 1]) for n, one in enumerate(patients)
        ]
        found = fit_similarity(patients)
        assert found is not None and not found.by_gain and "no clear gain" in found.rule
        assert (found.weak, found.good) == pytest.approx((0.6 * 0.55, 0.6 * 0.75), abs=0.001)


def test_one_patient_gives_no_gain_and_no_precedent_no_threshold() -> None:
    found = fit_similarity([with_trials(0, lambda iou: iou)])
    assert found is not None and not found.by_gain, "one patient is too few"
    assert fit_similarity([a_patient(0)]) is None


def test_measures_are_read_back_and_a_damaged_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "measures.npz"
    assert load_measures(path) is None
    one = with_trials(3, lambda iou: iou)
    save_measures(one, path)
    back = load_measures(path)
    assert back is not None and np.array_equal(back.error, one.error) and np.array_equal(back.trials, one.trials)
    assert (back.alone, back.missed) == (one.alone, one.missed)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:100] + bytes(100) + whole[200:]):
        path.write_bytes(damaged)
        assert load_measures(path) is None


def test_the_file_is_read_back_equal(tmp_path: Path) -> None:
    write_calibration(a_calibration(), tmp_path / CALIBRATION)
    assert read_calibration(tmp_path, "a" * 64) == a_calibration()
    write_calibration(a_calibration(similarity=None), tmp_path / CALIBRATION)
    assert read_calibration(tmp_path, "a" * 64).similarity is None


def test_a_missing_or_foreign_calibration_is_a_sentence(tmp_path: Path) -> None:
    found, reason = calibration_or_reason(tmp_path, "a" * 64)
    assert found is None and "not been calibrated" in reason
    write_calibration(a_calibration(), tmp_path / CALIBRATION)
    found, reason = calibration_or_reason(tmp_path, "b" * 64)
    assert found is None and "other weights" in reason
    intervals = intervals_for(PredictionRequest(Path(), Path(), Path()), "T1w", 3, found, reason)
    assert (
        intervals.calibration is None
        and intervals.sentence.startswith("Not calibrated")
        and reason in intervals.sentence
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.update(schema=2),
        lambda content: content.pop("scales"),
        lambda content: content["scales"].update({"90": -1}),
        lambda content: content["scales"].update({"90": 99}),
        lambda content: content.update(floor="wide"),
        lambda content: content.update(similarity={"weak": 0.5, "good": 0.2, "by_gain": True, "rule": ""}),
        lambda content: content.clear(),
    ],
)
def test_a_spoilt_calibration_is_a_sentence(tmp_path: Path, spoil: Any) -> None:
    write_calibration(a_calibration(), tmp_path / CALIBRATION)
    content = json.loads((tmp_path / CALIBRATION).read_text())
    spoil(content)
    (tmp_path / CALIBRATION).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"cannot be used .*postop calibrate"):
        read_calibration(tmp_path, "a" * 64)


def test_no_json_at_all_is_a_sentence(tmp_path: Path) -> None:
    for text in ("{", "[]", "null"):
        (tmp_path / CALIBRATION).write_text(text)
        with pytest.raises(InputError, match="cannot be used"):
            read_calibration(tmp_path, "a" * 64)


def test_a_calibration_beside_the_weights_is_no_tampering_but_elsewhere_it_is(tmp_path: Path) -> None:
    a_pipeline().save(tmp_path / "model")
    checksum = verify(tmp_path / "model")
    write_calibration(a_calibration(model_checksum=checksum), tmp_path / "model" / CALIBRATION)
    assert verify(tmp_path / "model") == checksum
    assert read_calibration(tmp_path / "model", checksum).patients == 12
    shutil.copy(tmp_path / "model" / CALIBRATION, tmp_path / "model" / "unet" / CALIBRATION)
    with pytest.raises(ModelTampered, match=r"unet/calibration\.json"):
        verify(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "sequence", "precedents", "words"),
    [
        ({"mode": "sample"}, "T1w", 3, "mode"),
        ({"steps": 20}, "T1w", 3, "steps"),
        ({"k": 2}, "T1w", 2, "k 3, not 2"),
        ({"noise_samples": 4}, "T1w", 3, "noise_samples 8, not 4"),
        ({"per": "slice"}, "T1w", 3, "per"),
        ({"follow": "0001"}, "T1w", 3, "by hand"),
        ({"days": 90.0}, "T1w", 3, "time after surgery"),
        ({}, "T2w", 3, "no T2w scans"),
        ({}, "T1w", 0, "without a similar case"),
    ],
)
def test_another_kind_of_prediction_is_not_called_calibrated(
    changes: dict[str, Any], sequence: str, precedents: int, words: str
) -> None:
    request = PredictionRequest(Path(), Path(), Path(), **changes)
    intervals = intervals_for(request, sequence, precedents, a_calibration(), "")
    assert intervals.calibration is None and words in intervals.sentence


def test_a_prediction_like_the_calibrated_ones_is() -> None:
    for changes in ({}, {"k": 5}, {"noise_samples": 16}, {"seed": 3}, {"institution": "north"}):
        request = PredictionRequest(Path(), Path(), Path(), **changes)
        intervals = intervals_for(request, "T1w", 3, a_calibration(), "")
        assert intervals.calibration is not None and "12 patients (12 phantom patients)" in intervals.sentence


def test_an_interval_is_never_wider_than_the_whole_range() -> None:
    np.testing.assert_allclose(half_width(np.array([0.0, 0.1, 5.0]), 0.01, 2.0), [0.02, 0.22, 1.0])
