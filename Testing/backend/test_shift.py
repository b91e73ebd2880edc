"""The shift in figures: tried where the true movement is known, because the test made it."""

from __future__ import annotations

import dataclasses
import functools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from prediction_bench import HAND_GRID, in_mni, template_patient
from scipy import ndimage

from PostOpPredictorLib.imaging import template
from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID, WORKING_GRID
from PostOpPredictorLib.prediction.displacement import displacement_of
from PostOpPredictorLib.prediction.fusion import warp_tissue
from PostOpPredictorLib.prediction.midline import midline_of, septum_moves_mm, septum_slices
from PostOpPredictorLib.prediction.outcome_volume import change_weight
from PostOpPredictorLib.prediction.patient import Patient, align
from PostOpPredictorLib.prediction.shift_answer import how_it_moves, midline_sentence
from PostOpPredictorLib.prediction.volume_prediction import CasePrediction
from PostOpPredictorLib.progress import SilentProgress

SAME = sitk.AffineTransform(3)
SEPTUM_MM = (0.0, -10.0, 11.0)


def points_mm() -> np.ndarray:
    """The place of every voxel of WORKING_GRID, (z, y, x, 3) LPS mm."""
    axes = [WORKING_GRID.origin[a] + WORKING_GRID.spacing[a] * np.arange(WORKING_GRID.size[a]) for a in range(3)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return np.stack([x, y, z], axis=-1)


def bump(centre: tuple[float, float, float], sideways_mm: float, width_mm: float) -> np.ndarray:
    """A pull-back that moves the tissue at ``centre`` about ``sideways_mm`` to the left, and none far from it."""
    away = np.linalg.norm(points_mm() - np.asarray(centre), axis=-1)
    shift = np.zeros((*WORKING_GRID.shape, 3), np.float32)
    shift[..., 0] = -sideways_mm * np.exp(-0.5 * (away / width_mm) ** 2)
    return shift


@functools.cache
def template_scan() -> tuple[np.ndarray, np.ndarray]:
    """The template and its brain, (z, y, x) on WORKING_GRID."""
    scan = sitk.GetArrayFromImage(WORKING_GRID.resample(template.t1())).astype(np.float32)
    brain = sitk.GetArrayFromImage(WORKING_GRID.resample(template.brain_mask(), interpolator=sitk.sitkNearestNeighbor))
    return scan, brain


def case_with(shift: np.ndarray, cavity: np.ndarray | None = None, slices: tuple[int, ...] | None = None) -> Any:
    """A prediction that is nothing but ``shift`` and a ``cavity`` (bool)."""
    cavity = np.zeros(WORKING_GRID.shape, bool) if cavity is None else cavity
    chance = np.zeros((6, *WORKING_GRID.shape), np.float32)
    chance[1], chance[0] = cavity, ~cavity
    scan, brain = template_scan()
    weight = change_weight(cavity, brain > 0)
    slices = tuple(range(WORKING_GRID.shape[0])) if slices is None else slices
    return CasePrediction(scan, cavity.astype(np.uint8), chance, shift, weight, scan, slices)


@pytest.mark.parametrize("true_mm", [-8.0, -3.0, 0.0, 6.0, 11.0])
@pytest.mark.parametrize("sequence", ["T1w", "T2w"])
def test_the_midline_of_a_pushed_brain_is_found(true_mm: float, sequence: str) -> None:
    scan, brain = template_scan()
    push = bump(SEPTUM_MM, true_mm, 18.0)
    pushed = warp_tissue(scan, push, brain)
    pushed = (pushed + np.random.default_rng(0).normal(0.0, 0.03, pushed.shape)).astype(np.float32)
    found = midline_of((1.0 - pushed) * brain if sequence == "T2w" else pushed * brain, sequence, SAME)
    assert found is not None and found.by_fissure
    mean_over_the_septum = septum_moves_mm(push, 0.0, SAME)
    assert 0.7 * abs(true_mm) <= abs(mean_over_the_septum) <= abs(true_mm)
    assert found.before_mm == pytest.approx(mean_over_the_septum, abs=1.0)


def test_a_head_that_lies_askew_has_no_midline_shift() -> None:
    scan = template_scan()[0]
    turned = sitk.AffineTransform(3)
    turned.Rotate(0, 1, 0.05)
    turned.Translate((3.0, 0.0, 0.0))
    askew = sitk.GetArrayFromImage(WORKING_GRID.resample(WORKING_GRID.image(scan), turned))
    found = midline_of(askew.astype(np.float32), "T1w", SAME)
    assert found is not None and found.by_fissure
    assert abs(found.septum_x) > 2.0 and abs(found.before_mm) < 0.7


@pytest.mark.parametrize("seed", range(5))
def test_a_midline_that_cannot_be_seen_is_not_told(seed: int) -> None:
    brain = template_scan()[1]
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).random(brain.shape), 2.0)
    noise = (texture - texture.min()) / np.ptp(texture) * brain
    assert midline_of(noise.astype(np.float32), "T1w", SAME) is None
    assert "cannot be read in this scan" in midline_sentence(None, 1.0)


def test_where_the_fissure_is_hidden_the_middle_plane_takes_its_place() -> None:
    scan = template_scan()[0]
    hidden = scan.copy()
    hidden[:, points_mm()[0, :, 0, 1] > 40.0] = 0.5
    found = midline_of(hidden, "T1w", SAME)
    assert found is not None and not found.by_fissure
    assert "less exact" in midline_sentence(found, 0.0)


@pytest.mark.parametrize("true_mm", [-5.0, 4.0])
def test_the_septum_moves_as_the_image_does(true_mm: float) -> None:
    """The figure that is read from the field, and what the same field does to an image."""
    scan, brain = template_scan()
    shift = bump(SEPTUM_MM, true_mm, 18.0)
    before, after = (midline_of(image, "T1w", SAME) for image in (scan, warp_tissue(scan, shift, brain)))
    told = septum_moves_mm(shift, before.septum_x, SAME)
    assert told == pytest.approx(true_mm, rel=0.15)
    assert after.before_mm - before.before_mm == pytest.approx(told, abs=0.8)


def test_lengths_are_those_of_the_patients_own_head() -> None:
    larger = sitk.AffineTransform(3)
    larger.Scale((1.2, 1.0, 1.0))
    case = case_with(bump(SEPTUM_MM, 5.0, 30.0))
    brain = template_scan()[1]
    own, scaled = (displacement_of(case, brain, transform) for transform in (SAME, larger))
    assert own.largest_mm == pytest.approx(5.0, abs=0.1)
    assert scaled.largest_mm == pytest.approx(6.0, abs=0.1)
    assert septum_moves_mm(case.shift, 0.0, larger) == pytest.approx(1.2 * septum_moves_mm(case.shift, 0.0, SAME))


def test_the_mean_near_the_cavity_leaves_out_the_cavity_and_what_is_far() -> None:
    away = np.linalg.norm(points_mm() - np.array([30.0, 0.0, 30.0]), axis=-1)
    shift = np.zeros((*WORKING_GRID.shape, 3), np.float32)
    shift[away <= 10.0, 0] = 9.0
    shift[(away > 10.0) & (away <= 21.0), 1] = 2.0
    shift[away > 21.0, 2] = 4.0
    figures = displacement_of(case_with(shift, away <= 10.0), template_scan()[1], SAME)
    assert figures.mean_near_cavity_mm == pytest.approx(2.0)
    assert figures.largest_mm == pytest.approx(4.0)


@pytest.fixture(scope="module")
def patient() -> Patient:
    """The template with a tumour, in MNI space."""
    scan, labels = template_patient(HAND_GRID)
    return align(scan, labels, in_mni(scan))


def asked_with(patient: Patient, case: CasePrediction) -> Any:
    prediction = SimpleNamespace(patient=patient, case=case, sequence=SimpleNamespace(sequence="T1w"))
    return SimpleNamespace(prediction=prediction)


def test_the_answer_tells_before_movement_and_after(patient: Patient) -> None:
    answer = how_it_moves(asked_with(patient, case_with(bump(SEPTUM_MM, -4.0, 30.0))), SilentProgress())
    told = answer.summary
    assert answer.name == "shift"
    assert told["midline_mm"] == pytest.approx(-3.7, abs=0.4)
    assert told["midline_after_mm"] == pytest.approx(told["midline_before_mm"] + told["midline_mm"], abs=0.11)
    assert f"{-told['midline_mm']:.1f} mm to the patient's right" in told["midline_sentence"]


def test_no_movement_is_told_where_nothing_was_predicted(patient: Patient) -> None:
    first, _ = septum_slices()
    case = case_with(bump(SEPTUM_MM, -4.0, 30.0), slices=tuple(range(first)))
    told = how_it_moves(asked_with(patient, case), SilentProgress()).summary
    assert told["midline_mm"] is None and told["midline_after_mm"] is None
    assert told["midline_before_mm"] is not None
    assert "lie outside what was predicted" in told["midline_sentence"]


def test_the_map_says_what_is_generated_and_what_is_the_patients_own(patient: Patient, tmp_path: Any) -> None:
    cavity = np.linalg.norm(points_mm() - np.array([36.0, 20.0, 22.0]), axis=-1) < 12.0
    case = case_with(np.zeros((*WORKING_GRID.shape, 3), np.float32), cavity)
    (file,) = how_it_moves(asked_with(patient, case), SilentProgress()).files
    assert file.kind == "generated_mni"
    file.write(tmp_path / file.name)
    image = sitk.ReadImage(str(tmp_path / file.name))
    assert TEMPLATE_GRID.holds(image)
    weight = sitk.GetArrayFromImage(image)
    on_template = sitk.GetArrayFromImage(TEMPLATE_GRID.resample(WORKING_GRID.image(case.change)))
    inside = sitk.GetArrayFromImage(patient.brain_mni) > 0
    assert weight.min() == 0.0 and weight.max() == pytest.approx(1.0)
    assert not weight[~inside].any()
    np.testing.assert_allclose(weight[inside], on_template[inside], atol=1e-6)
    everywhere = dataclasses.replace(case, change=np.ones_like(case.change))
    how_it_moves(asked_with(patient, everywhere), SilentProgress()).files[0].write(tmp_path / "all.nii.gz")
    assert ((sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "all.nii.gz"))) > 0) == inside).mean() > 0.9999
    own = dataclasses.replace(case, change=np.zeros_like(case.change))
    how_it_moves(asked_with(patient, own), SilentProgress()).files[0].write(tmp_path / "own.nii.gz")
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "own.nii.gz"))).any()
