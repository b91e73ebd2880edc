"""A cavity that flickers from slice to slice is told apart from one that does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from PostOpPredictorLib.benchmark.tables import CAVITY
from PostOpPredictorLib.evaluation.measures import measure
from PostOpPredictorLib.evaluation.metrics import METRIC
from PostOpPredictorLib.evaluation.regions import Regions
from PostOpPredictorLib.evaluation.systems import Answer
from PostOpPredictorLib.evaluation.through_plane import cavity_steadiness, neighbour_overlap

SLICES = list(range(20, 40))


def ball(radius: float = 9.0) -> np.ndarray:
    z, y, x = np.ogrid[-10:10, -16:16, -16:16]
    return z**2 + y**2 + x**2 < radius**2


def flickering() -> np.ndarray:
    """The same ball, every other slice of it moved aside by a few pixels."""
    moved = ball()
    moved[::2] = np.roll(moved[::2], 6, axis=2)
    return moved


def test_a_flickering_cavity_is_told_apart_though_its_volume_is_the_same() -> None:
    true = ball()
    assert flickering().sum() == true.sum()
    assert cavity_steadiness(true, true, SLICES) == pytest.approx(1.0)
    flickers = cavity_steadiness(flickering(), true, SLICES)
    assert flickers is not None and flickers < 0.8
    gone = true.copy()
    gone[::2] = False
    assert cavity_steadiness(gone, true, SLICES) == 0.0


def test_a_cavity_smoother_than_the_real_one_is_above_one() -> None:
    smoother = cavity_steadiness(np.repeat(ball()[10:11], 20, axis=0), ball(), SLICES)
    assert smoother is not None and smoother > 1.05


def test_only_direct_neighbours_count() -> None:
    assert neighbour_overlap(ball()[::2], SLICES[::2]) is None
    apart = ball()[[8, 9, 15]]
    assert neighbour_overlap(apart, [28, 29, 35]) == neighbour_overlap(apart[:2], [28, 29])
    assert cavity_steadiness(np.zeros_like(ball()), ball(), SLICES) is None
    assert cavity_steadiness(ball(), np.zeros_like(ball()), SLICES) is None


@pytest.fixture
def case() -> Any:
    rng = np.random.default_rng(0)
    volume, cavity = rng.random((60, 32, 32)).astype(np.float32), np.zeros((60, 32, 32), bool)
    cavity[SLICES] = ball()
    whole = np.ones((len(SLICES), 32, 32), bool)
    return SimpleNamespace(
        slices=SLICES,
        post=volume,
        regions=Regions(whole, whole, whole),
        true_cavity=cavity,
        true_residual=np.zeros_like(cavity),
        is_whole=True,
        counted=lambda mask: mask,
    )


def test_both_measures_stand_in_the_tables_of_evaluate_and_benchmark(case: Any) -> None:
    unsteady = case.true_cavity.copy()
    unsteady[SLICES] = flickering()
    for cavity, steady in ((case.true_cavity, True), (unsteady, False)):
        found = measure(Answer(case.post, cavity, None), case, seconds=0.0)
        assert found.value("through_plane") == pytest.approx(1.0)
        steadiness = found.value("cavity_steadiness")
        assert steadiness is not None and (steadiness > 0.99) == steady
    for key in ("through_plane", "cavity_steadiness"):
        assert key in METRIC and METRIC[key].better == 0 and key in CAVITY
