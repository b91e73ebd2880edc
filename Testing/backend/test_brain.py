"""Where the head and the brain are is found on stripped and on full-head scans, and in MNI space."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from tiny_scans import GRID, ball, tiny_scan

from PostOpPredictorLib.evaluation.registration_benchmark import misaligned_case
from PostOpPredictorLib.imaging import brain, template
from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID, Grid
from PostOpPredictorLib.imaging.moving_scan import prepare


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))


@pytest.fixture(scope="module")
def head():
    """A made-up full head and the brain inside it (bool array)."""
    case = misaligned_case(1, full_head=True, tumour=False)
    grid = Grid.of(case.image)
    inside = grid.resample(template.brain_mask(), case.truth.GetInverse(), sitk.sitkNearestNeighbor)
    return case.image, sitk.GetArrayFromImage(inside) > 0


def test_the_foreground_of_a_stripped_scan_is_its_brain_with_its_dark_holes():
    hollow = sitk.GetArrayFromImage(tiny_scan())
    hollow[ball(4)] = 0
    assert np.array_equal(sitk.GetArrayFromImage(brain.foreground(GRID.image(hollow))) > 0, ball())


def test_the_background_may_be_any_constant():
    z_scored = (sitk.GetArrayFromImage(tiny_scan()) - 100) / 15
    assert np.array_equal(sitk.GetArrayFromImage(brain.foreground(GRID.image(z_scored))) > 0, ball())


def test_the_foreground_of_a_noisy_scan_is_the_head_not_the_noise():
    noisy = sitk.GetArrayFromImage(tiny_scan()) + np.abs(np.random.default_rng(0).normal(0, 3, GRID.shape))
    found = sitk.GetArrayFromImage(brain.foreground(GRID.image(noisy.astype(np.float32)))) > 0
    assert dice(found, ball()) > 0.93


def test_a_noisy_scan_that_was_padded_with_zeros_still_shows_the_head():
    noisy = sitk.GetArrayFromImage(tiny_scan()) + np.abs(np.random.default_rng(0).normal(0, 3, GRID.shape))
    noisy[:4] = noisy[:, :4] = 0
    found = sitk.GetArrayFromImage(brain.foreground(GRID.image(noisy.astype(np.float32)))) > 0
    assert dice(found, ball()) > 0.93


def test_specks_beside_the_head_are_not_foreground():
    speckled = sitk.GetArrayFromImage(tiny_scan())
    speckled[1:3, 1:3, 1:3] = 500
    assert np.array_equal(sitk.GetArrayFromImage(brain.foreground(GRID.image(speckled))) > 0, ball())


def test_a_head_is_told_from_a_stripped_brain(head):
    assert not brain.is_skull_stripped(head[0])
    assert brain.is_skull_stripped(template.t1())


def test_the_brain_of_a_full_head_is_found_without_skull_and_scalp(head):
    image, inside = head
    scan = prepare(image, None, None)
    assert not scan.exact
    found = sitk.GetArrayFromImage(Grid.of(image).resample(scan.region, interpolator=sitk.sitkNearestNeighbor)) > 0
    assert dice(found, inside) > 0.93


def test_a_given_brain_mask_always_wins(head):
    image, inside = head
    small = ndimage.binary_erosion(inside, iterations=12)
    scan = prepare(image, None, Grid.of(image).image(small.astype(np.uint8)))
    assert scan.exact
    assert np.array_equal(sitk.GetArrayFromImage(scan.region) > 0, small)
    assert np.count_nonzero(sitk.GetArrayFromImage(scan.image)) * 8 / 1000 < small.sum() * 1.1 * 1.1 * 1.5 / 1000 * 1.05


def test_an_exact_brain_mask_is_only_carried_over():
    identity = sitk.Transform(3, sitk.sitkIdentity)
    half = sitk.GetArrayFromImage(template.brain_mask())
    half[:, :, :98] = 0
    mask = brain.mask_in_mni(TEMPLATE_GRID.image(half), identity, exact=True)
    assert TEMPLATE_GRID.holds(mask)
    assert np.array_equal(sitk.GetArrayFromImage(mask), half)


def test_a_rough_brain_mask_is_limited_by_the_atlas_from_outside_and_inside():
    identity = sitk.Transform(3, sitk.sitkIdentity)
    atlas = sitk.GetArrayFromImage(template.brain_mask()) > 0
    far = TEMPLATE_GRID.image(np.ones(TEMPLATE_GRID.shape, np.uint8))
    widest = sitk.GetArrayFromImage(brain.mask_in_mni(far, identity, exact=False)) > 0
    narrowest = sitk.GetArrayFromImage(brain.mask_in_mni(far * 0, identity, exact=False)) > 0
    assert 0.85 < dice(widest, atlas) < 0.95
    assert 0.75 < dice(narrowest, atlas) < 0.95
    assert (widest | ~narrowest).all()
