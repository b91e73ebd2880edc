"""What the alignment of the two sessions promises: the scan after surgery lies on the one before it."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic_cases import SHAPE, box

from PostOpPredictorLib.cases.session_alignment import follow
from PostOpPredictorLib.imaging import template
from PostOpPredictorLib.imaging.grid import WORKING_GRID

LESION = box((50, 66), (50, 70), (30, 50)).astype(np.uint8)
POINTS = np.random.default_rng(0).uniform((-50, -50, -30), (50, 70, 50), (50, 3)).tolist()


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    mask = WORKING_GRID.resample(template.brain_mask(), interpolator=sitk.sitkNearestNeighbor)
    return (sitk.GetArrayFromImage(mask) > 0).astype(np.uint8)


@pytest.fixture(scope="module")
def before(brain: np.ndarray) -> np.ndarray:
    return (sitk.GetArrayFromImage(WORKING_GRID.resample(template.t1())) * brain).astype(np.float32)


def test_a_misaligned_second_session_is_brought_back(before: np.ndarray, brain: np.ndarray) -> None:
    moved = sitk.AffineTransform(3)
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.04, -0.03, 0.05)
    moved.SetMatrix((np.reshape(turn.GetMatrix(), (3, 3)) * 1.01).ravel().tolist())
    moved.SetTranslation([1.5, -2.0, 1.0])
    noise = np.random.default_rng(1).normal(0, 0.02, SHAPE).astype(np.float32)
    operated = np.where(LESION > 0, np.float32(0.1), before)
    after = sitk.GetArrayFromImage(WORKING_GRID.resample(WORKING_GRID.image(operated), moved)) ** 1.3 + noise
    correction = follow(before, after, brain, LESION)
    distances = [np.linalg.norm(np.subtract(moved.TransformPoint(correction.TransformPoint(p)), p)) for p in POINTS]
    untouched = [np.linalg.norm(np.subtract(moved.TransformPoint(p), p)) for p in POINTS]
    assert np.mean(untouched) > 3
    assert np.mean(distances) < 0.5


def test_where_nothing_can_be_matched_the_session_stays(brain: np.ndarray) -> None:
    empty = np.zeros(SHAPE, np.float32)
    correction = follow(empty, empty, brain, LESION)
    assert all(np.allclose(correction.TransformPoint(point), point, atol=0.01) for point in POINTS)
