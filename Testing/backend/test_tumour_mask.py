"""Tumour masks of every convention become ours, on the grid of the scan, or are refused with the labels named."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_scans import GRID, ball, tiny_scan, tiny_tumour

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.imaging.grid import Grid
from PostOpPredictorLib.imaging.tumour_mask import PRESETS, on_grid_of, tumour_labels


def labelled(*values: int) -> sitk.Image:
    """One row of voxels per label."""
    array = np.zeros(GRID.shape, np.uint8)
    for number, value in enumerate(values):
        array[18, 18, 10 + number] = value
    return GRID.image(array)


def translated(image: sitk.Image, labels: str | list[int]) -> list[int]:
    count = int(np.count_nonzero(sitk.GetArrayFromImage(image)))
    return sitk.GetArrayFromImage(tumour_labels(image, labels))[18, 18, 10 : 10 + count].tolist()


@pytest.mark.parametrize(
    ("preset", "theirs", "ours"),
    [
        ("brats", (1, 2, 4), [1, 2, 4]),
        ("brats2023", (1, 2, 3), [1, 2, 4]),
        ("lumiere", (1, 2, 3), [4, 1, 2]),
        ("any", (1, 7, 255), [1, 1, 1]),
        ("1,4", (1, 2, 4), [1, 0, 1]),
        (" 3 ,1", (1, 2, 3), [1, 0, 1]),
    ],
)
def test_labels_are_translated(preset: str, theirs: tuple[int, ...], ours: list[int]):
    assert translated(labelled(*theirs), preset) == ours


def test_a_list_of_numbers_may_be_given():
    assert translated(labelled(5, 6), [6]) == [0, 1]


def test_every_preset_is_documented_by_its_labels():
    assert set(PRESETS) == {"brats", "brats2023", "lumiere", "any"}


@pytest.mark.parametrize(
    ("labels", "theirs", "said"),
    [
        ("brats", (1, 2, 3), ["1, 2, 3", "expects 1, 2, 4", "brats2023"]),
        ("brats2023", (1, 2, 4), ["1, 2, 4", "expects 1, 2, 3", "the preset brats, which fits"]),
        ("brats", (1, 255), ["255", "expects 1, 2, 4", "'any'"]),
        ("brats", (2,), ["no tumour core", "holds 2"]),
        ("7", (1, 2), ["no tumour core", "holds 1, 2"]),
        ("brat", (1,), ["'brat'", "brats, brats2023, lumiere, any"]),
        ("", (1,), ["neither a preset"]),
        ("1;4", (1,), ["'1;4'"]),
        ("0,1", (1,), ["above 0"]),
        ("brats", (), ["empty"]),
    ],
)
def test_labels_that_do_not_fit_are_named(labels: str, theirs: tuple[int, ...], said: list[str]):
    with pytest.raises(InputError) as refused:
        tumour_labels(labelled(*theirs), labels)
    for piece in said:
        assert piece in str(refused.value)


def test_a_mask_on_a_finer_and_turned_grid_lands_where_it_was_drawn():
    finer = Grid((60, 60, 60), (1.0, 1.0, 1.0), (-30.0, -34.0, 30.0), (1, 0, 0, 0, 1, 0, 0, 0, -1))
    drawn = finer.resample(tiny_tumour(), interpolator=sitk.sitkNearestNeighbor)
    back = on_grid_of(drawn, tiny_scan())
    assert GRID.holds(back)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(tiny_tumour() > 0, back > 0)
    assert overlap.GetDiceCoefficient() > 0.95


def test_a_mask_on_the_very_grid_is_unchanged():
    assert np.array_equal(
        sitk.GetArrayFromImage(on_grid_of(tiny_tumour(), tiny_scan())), sitk.GetArrayFromImage(tiny_tumour())
    )


def moved(image: sitk.Image, millimetres: float) -> sitk.Image:
    copy = sitk.Image(image)
    copy.SetOrigin([o + millimetres for o in image.GetOrigin()])
    return copy


def test_a_mask_wholly_outside_the_scan_is_refused():
    with pytest.raises(InputError, match="wholly outside"):
        on_grid_of(moved(tiny_tumour(), 500), tiny_scan())


def test_a_mask_mostly_outside_the_scan_is_refused_with_its_share():
    with pytest.raises(InputError, match=r"Only \d+% of the tumour mask lies inside the scan"):
        on_grid_of(moved(tiny_tumour(), -32), tiny_scan())


def test_another_patients_mask_that_misses_the_head_is_refused():
    corner = np.zeros(GRID.shape, np.uint8)
    corner[ball(3, (4, 4, 4))] = 1
    with pytest.raises(InputError, match="another patient's mask"):
        on_grid_of(GRID.image(corner), tiny_scan())


def test_a_dark_hole_in_the_head_still_is_inside_the_head():
    hollow = sitk.GetArrayFromImage(tiny_scan())
    hollow[ball(6, (18, 18, 14))] = 0
    assert np.array_equal(
        sitk.GetArrayFromImage(on_grid_of(tiny_tumour(), GRID.image(hollow))), sitk.GetArrayFromImage(tiny_tumour())
    )


def test_a_mask_smaller_than_a_voxel_of_the_scan_is_refused():
    finest = Grid((20, 20, 20), (0.2, 0.2, 0.2), (-8.9, -4.9, 5.1))
    speck = np.zeros(finest.shape, np.uint8)
    speck[0, 0, 0] = 1
    with pytest.raises(InputError, match="smaller than one voxel"):
        on_grid_of(finest.image(speck), tiny_scan())


def test_an_empty_mask_is_refused():
    with pytest.raises(InputError, match="empty"):
        on_grid_of(tiny_tumour() * 0, tiny_scan())
