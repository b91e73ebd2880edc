"""Intervals over patients cover the truth about as often as they say, and missing values are left out."""

from __future__ import annotations

import numpy as np
import pytest

from PostOpPredictorLib.evaluation.bootstrap import mean_interval, paired_interval


def test_intervals_cover_the_true_mean_about_as_often_as_promised() -> None:
    rng = np.random.default_rng(2026)
    covered = 0
    for trial in range(400):
        interval = mean_interval(rng.normal(3.0, 1.0, 40).tolist(), resamples=500, seed=trial)
        covered += interval.low <= 3.0 <= interval.high
    assert 0.92 < covered / 400 < 0.98


def test_the_interval_is_about_two_standard_errors_to_each_side() -> None:
    values = np.random.default_rng(1).normal(0, 2, 100)
    interval = mean_interval(values.tolist(), resamples=20_000)
    error = values.std() / 10
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.mean == pytest.approx(1.96 * error, rel=0.06)
    assert interval.mean - interval.low == pytest.approx(1.96 * error, rel=0.06)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [0.1, 0.4, 0.2, 0.9, 0.5]
    assert mean_interval(values, seed=7) == mean_interval(values, seed=7)
    assert mean_interval(values, seed=7) != mean_interval(values, seed=8)


def test_pairing_removes_what_both_systems_share() -> None:
    difficulty = np.random.default_rng(3).normal(0, 10, 30)
    ours, other = difficulty + 0.5 + np.random.default_rng(4).normal(0, 0.1, 30), difficulty
    paired = paired_interval(ours.tolist(), other.tolist())
    assert paired.mean == pytest.approx(0.5, abs=0.1) and paired.excludes_zero
    assert paired.high - paired.low < 0.2
    assert not mean_interval(ours.tolist()).excludes_zero


def test_missing_values_are_left_out_in_pairs() -> None:
    assert mean_interval([None, 1.0, 3.0]).mean == 2.0
    assert mean_interval([None, 1.0, 3.0]).patients == 2
    paired = paired_interval([1.0, None, 5.0], [0.0, 1.0, None])
    assert (paired.mean, paired.patients) == (1.0, 1)
    assert paired_interval([None], [1.0]) is None and mean_interval([]) is None


def test_one_patient_has_no_interval() -> None:
    interval = mean_interval([0.7])
    assert interval.mean == 0.7 and interval.low is None and interval.high is None
    assert not interval.excludes_zero
