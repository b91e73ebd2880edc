"""The intensity window maps a scan to [0, 1] and back, whatever its own units are."""

from __future__ import annotations

import numpy as np
import pytest

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.imaging.intensity import IntensityWindow


@pytest.fixture
def brain() -> np.ndarray:
    inside = np.zeros((20, 20, 20), np.uint8)
    inside[4:16, 4:16, 4:16] = 1
    return inside


@pytest.fixture
def scan(brain: np.ndarray) -> np.ndarray:
    """Normal tissue in the brain, something far brighter outside it."""
    values = np.random.default_rng(1).normal(1000, 100, brain.shape)
    return np.where(brain > 0, values, 9000.0)


def test_the_window_is_that_of_the_brain_not_of_its_surroundings(scan: np.ndarray, brain: np.ndarray):
    window = IntensityWindow.of(scan, brain)
    assert (window.low, window.high) == pytest.approx(np.percentile(scan[brain > 0], (0.5, 99.5)))
    assert window.high < 2000


def test_normalised_values_lie_between_0_and_1(scan: np.ndarray, brain: np.ndarray):
    normal = IntensityWindow.of(scan, brain).normalise(scan)
    assert normal.dtype == np.float32
    assert normal.min() >= 0
    assert normal.max() == 1


def test_restoring_gives_the_scanners_own_units(scan: np.ndarray, brain: np.ndarray):
    window = IntensityWindow.of(scan, brain)
    inside = (scan > window.low) & (scan < window.high)
    assert np.allclose(window.restore(window.normalise(scan))[inside], scan[inside], rtol=1e-5)


def test_z_scored_scans_with_negative_values_work(scan: np.ndarray, brain: np.ndarray):
    z_scored = (scan - 1000) / 100
    assert np.allclose(
        IntensityWindow.of(z_scored, brain).normalise(z_scored),
        IntensityWindow.of(scan, brain).normalise(scan),
        atol=1e-5,
    )


def test_non_finite_voxels_neither_move_the_window_nor_survive(scan: np.ndarray, brain: np.ndarray):
    expected = IntensityWindow.of(scan, brain)
    holed = scan.copy()
    holed[5, 5, 5:8] = np.nan, np.inf, -np.inf
    window = IntensityWindow.of(holed, brain)
    assert window.high == pytest.approx(expected.high, rel=0.01)
    assert (window.normalise(holed)[5, 5, 5:8] == 0).all()


def test_a_brain_of_one_value_is_refused(brain: np.ndarray):
    with pytest.raises(InputError, match="same value \\(7\\)"):
        IntensityWindow.of(np.full(brain.shape, 7.0), brain)


def test_an_empty_brain_is_refused(scan: np.ndarray, brain: np.ndarray):
    with pytest.raises(InputError, match="empty"):
        IntensityWindow.of(scan, brain * 0)
