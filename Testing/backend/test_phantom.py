"""The phantom cohort: exact by seed, plausible labels, institutions that matter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from PostOpPredictorLib.cases.case import SimulatedCase
from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.cases.phantom import cohort
from PostOpPredictorLib.cases.phantom.anatomy import coarse_tissue, random_person, tissue_of, ventricle_weight
from PostOpPredictorLib.cases.phantom.atlas import eloquence, template_anatomy, template_maps, voxel_axes
from PostOpPredictorLib.cases.phantom.attributes import lobe, resection_class
from PostOpPredictorLib.cases.phantom.cohort import phantom_cohort_plan, simulate_case, write_cohort
from PostOpPredictorLib.cases.phantom.fields import pull, smooth_noise
from PostOpPredictorLib.cases.phantom.institutions import institutions
from PostOpPredictorLib.cases.phantom.patient import Patient
from PostOpPredictorLib.cases.phantom.surgery import MAX_SHIFT_MM, Operation, operate
from PostOpPredictorLib.cases.phantom.tumour import random_plan
from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.progress import SilentProgress

SEED = 11


@pytest.fixture(scope="module")
def plan() -> tuple[cohort.PlannedCase, ...]:
    return phantom_cohort_plan(96, SEED)


@pytest.fixture(scope="module")
def cases(plan: tuple[cohort.PlannedCase, ...]) -> list[SimulatedCase]:
    return [simulate_case(entry) for entry in plan[:4]]


@pytest.fixture
def a_patient_with_a_tumour_at():
    """A ball of tumour at MNI RAS mm in the template's brain."""

    def make(right: float, front: float, up: float, radius: float = 16.0) -> Patient:
        maps = template_maps()
        z, y, x = voxel_axes()
        distance = np.sqrt((x + right) ** 2 + (y + front) ** 2 + (z - up) ** 2)
        tumour = np.zeros(WORKING_GRID.shape, np.uint8)
        tumour[(distance < radius + 6) & (maps.wm > 0.5)] = 2
        tumour[(distance < radius) & maps.brain] = 4
        tumour[(distance < radius - 5) & maps.brain] = 1
        return Patient(tumour, maps.brain, maps.wm, maps.csf)

    return make


def _operated(patient: Patient, institution: int, seed: int = 1) -> Operation:
    return operate(patient, eloquence(), institutions(SEED)[institution], np.random.default_rng(seed))


def _same(a: SimulatedCase, b: SimulatedCase) -> bool:
    arrays = [(a.pre[s], b.pre[s]) for s in a.pre] + [(a.post[s], b.post[s]) for s in a.post]
    arrays += [(a.tumour, b.tumour), (a.outcome, b.outcome), (a.shift, b.shift)]
    return all(np.array_equal(x, y) for x, y in arrays) and a.attributes == b.attributes


def test_the_same_seed_gives_the_same_case_whatever_was_simulated_before(plan, cases):
    assert _same(cases[1], simulate_case(plan[1]))
    assert not np.array_equal(cases[1].tumour, simulate_case(replace(plan[1], seed=SEED + 1)).tumour)


@pytest.mark.parametrize("index", range(4))
def test_images_are_in_range_and_zero_outside_the_brain(cases, index):
    case = cases[index]
    assert set(case.pre) == set(case.post) == {"T1w", "T1wCE"}
    for images, brain in ((case.pre, case.brain_pre), (case.post, case.brain_post)):
        for image in images.values():
            assert image.shape == WORKING_GRID.shape and image.dtype == np.float32
            assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1
            assert not image[brain == 0].any()
            assert 0.1 < image[brain > 0].std() < 0.4


@pytest.mark.parametrize("index", range(4))
def test_labels_are_ours_and_lie_in_the_brain(cases, index):
    case = cases[index]
    assert set(np.unique(case.tumour)) <= {0, 1, 2, 4} and set(np.unique(case.outcome)) <= {0, 1, 2, 3, 4, 5}
    assert case.tumour.dtype == case.outcome.dtype == case.brain_pre.dtype == np.uint8
    assert not case.tumour[case.brain_pre == 0].any() and not case.outcome[case.brain_pre == 0].any()
    assert np.isin(case.outcome, (1, 3, 5)).sum() > 100
    assert np.isin(case.tumour, (1, 4)).sum() * 0.003375 > 0.8


@pytest.mark.parametrize("index", range(4))
def test_the_attributes_say_what_the_labels_say(cases, index):
    case = cases[index]
    core, residual = np.isin(case.tumour, (1, 4)).sum(), (case.outcome == 2).sum()
    assert case.attributes["eor_percent"] == pytest.approx(100 * (1 - residual / core), abs=0.02)
    assert case.attributes["tumour_ml"] == pytest.approx(core * 1.5**3 / 1000, abs=0.01)
    assert case.attributes["residual_ml"] == pytest.approx(residual * 1.5**3 / 1000, abs=0.01)
    assert case.attributes["resection_class"] == resection_class(float(case.attributes["eor_percent"]))
    x = voxel_axes()[2].ravel()[np.nonzero(np.isin(case.tumour, (1, 4)))[2]].mean()
    assert case.attributes["hemisphere"] == ("left" if x > 0 else "right")
    assert 18 <= case.attributes["age"] <= 90


@pytest.mark.parametrize("index", range(4))
def test_the_cavity_is_one_hole_with_a_smooth_wall(cases, index):
    cavity = np.isin(cases[index].outcome, (1, 3, 5))
    parts, _ = ndimage.label(cavity, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    assert sizes.max() > 0.9 * cavity.sum()
    smoothed = ndimage.gaussian_filter(cavity.astype(np.float32), 1.0) > 0.5
    assert (smoothed != cavity).sum() < 0.12 * cavity.sum()


@pytest.mark.parametrize("index", range(4))
def test_the_resected_region_tells_what_is_left_and_where_the_hole_is(cases, index):
    case = cases[index]
    core, taken = np.isin(case.tumour, (1, 4)), case.resection > 0
    assert taken.sum() > 0 and not taken[case.brain_pre == 0].any()
    left = pull((core & ~taken).astype(np.float32), case.shift) > 0.5
    residual = case.outcome == 2
    assert (residual & ~ndimage.binary_dilation(left, iterations=2)).sum() <= 0.05 * max(residual.sum(), 20)
    moved = pull(taken.astype(np.float32), case.shift) > 0.5
    hole = np.isin(case.outcome, (1, 3, 5))  # and fluid under the craniotomy, where the surface sank
    assert (moved & hole).sum() > 0.95 * moved.sum()


def test_one_tumour_in_eight_is_small():
    """Small tumours are what a model that has never seen any leaves untouched."""
    volumes = np.array([random_plan(np.random.default_rng(k)).core_ml for k in range(400)])
    assert 0.05 < (volumes < 8).mean() < 0.25 and volumes.min() < 3 and volumes.max() > 60


@pytest.mark.parametrize("index", range(4))
def test_the_shift_is_smooth_and_bounded(cases, index):
    shift = cases[index].shift
    assert np.sqrt((shift**2).sum(-1)).max() <= MAX_SHIFT_MM + 1e-3
    for axis, component in ((2, 0), (1, 1), (0, 2)):
        slope = np.diff(shift[..., component], axis=axis) / 1.5
        assert slope.min() > -0.95, "the pull-back folds space"


def test_far_from_the_operation_only_noise_differs(cases):
    case = cases[0]
    still = (np.sqrt((case.shift**2).sum(-1)) < 0.02) & (case.brain_pre > 0) & (case.brain_post > 0)
    still = ndimage.binary_erosion(still, iterations=3) & (case.outcome == 0) & (case.tumour == 0)
    assert still.sum() > 5000
    pre, post = (ndimage.gaussian_filter(images["T1w"], 2.0)[still] for images in (case.pre, case.post))
    assert np.abs(pre - post).mean() < 0.05
    assert np.corrcoef(pre, post)[0, 1] > 0.9


def test_eloquent_tumours_are_resected_less_than_safe_ones(a_patient_with_a_tumour_at):
    safe, deep = a_patient_with_a_tumour_at(34, 48, 12), a_patient_with_a_tumour_at(24, -10, 12)
    gap = [_operated(safe, k).eor_percent - _operated(deep, k).eor_percent for k in range(0, 24, 6)]
    assert np.mean(gap) > 8


def test_institutions_operate_the_same_tumour_differently_and_each_in_its_own_way(a_patient_with_a_tumour_at):
    patient = a_patient_with_a_tumour_at(-36, -50, 36)
    first, again, *others = (_operated(patient, k, seed) for k, seed in ((0, 1), (0, 2), (7, 1), (14, 1), (20, 1)))

    def overlap(a: Operation, b: Operation) -> float:
        same = [((a.outcome == v) & (b.outcome == v)).sum() for v in range(1, 6)]
        either = [((a.outcome == v) | (b.outcome == v)).sum() for v in range(1, 6)]
        return float(sum(same) / sum(either))

    assert overlap(first, again) > max(overlap(first, other) for other in others) + 0.05


def test_warping_by_the_shift_moves_the_brain_as_the_operation_did(a_patient_with_a_tumour_at):
    patient = a_patient_with_a_tumour_at(30, 10, 22, radius=20)
    operation = max((_operated(patient, k) for k in (1, 5, 9, 13)), key=lambda o: float(np.abs(o.shift).max()))
    ring = ndimage.binary_dilation(patient.core, iterations=3) & ~patient.core & patient.brain
    centre = np.array(ndimage.center_of_mass(patient.core))
    moved = pull(ring.astype(np.float32), operation.shift) > 0.5
    reach = [np.linalg.norm(np.argwhere(m) - centre, axis=1).mean() for m in (ring, moved)]
    assert reach[1] < reach[0] - 0.3, "tissue beside the tumour must come nearer to its centre"


def test_supramarginal_institutions_leave_larger_cavities(a_patient_with_a_tumour_at):
    patient = a_patient_with_a_tumour_at(34, 48, 12)
    wide = max(institutions(SEED), key=lambda p: p.at("margin_mm", WORKING_GRID.shape, (56, 20, 41)))
    narrow = min(institutions(SEED), key=lambda p: p.at("margin_mm", WORKING_GRID.shape, (56, 20, 41)))
    taken = [operate(patient, eloquence(), p, np.random.default_rng(3)).eor_percent for p in (wide, narrow)]
    assert taken[0] >= taken[1]


def test_whole_institutions_are_held_out(plan):
    by_split = {split: {e.institution for e in plan if e.split == split} for split in ("train", "val", "test")}
    assert [len(by_split[s]) for s in ("train", "val", "test")] == [18, 2, 4]
    assert not by_split["train"] & by_split["test"] and not by_split["val"] & (by_split["train"] | by_split["test"])
    assert len({e.patient_id for e in plan}) == len(plan)


def test_a_small_cohort_has_patients_of_every_split():
    assert {e.split for e in phantom_cohort_plan(12, 3)} == {"train", "val", "test"}


def test_a_longer_cohort_begins_with_the_shorter_one(plan):
    assert phantom_cohort_plan(10, SEED) == plan[:10]


def test_the_mass_pushes_healthy_tissue_away():
    person = random_person(np.random.default_rng(1), template_anatomy())
    shape = tuple(n + 1 for n in coarse_tissue(person).brain.shape)
    still = tissue_of(person, np.random.default_rng(2), np.zeros((3, *shape), np.float32))
    push = np.zeros((3, *shape), np.float32)
    push[0] = -4.0
    moved = tissue_of(person, np.random.default_rng(2), push)
    x = [float((ventricle_weight(t) * voxel_axes()[2]).sum() / ventricle_weight(t).sum()) for t in (still, moved)]
    assert x[1] - x[0] == pytest.approx(4.0, abs=1.0)


def test_smooth_noise_has_unit_variance_and_its_scale():
    noise = smooth_noise(np.random.default_rng(0), (80, 80, 80), 9.0)
    assert noise.std() == pytest.approx(1.0, abs=0.15)
    assert np.abs(np.diff(noise, axis=0)).mean() < 0.5 * np.abs(noise).mean()


def test_the_terms_for_the_extent_of_resection():
    assert [resection_class(e) for e in (100, 97, 92, 60)] == ["gross total", "near total", "subtotal", "partial"]
    assert lobe(50, -20, -20) == "temporal" and lobe(30, 40, 30) == "frontal" and lobe(-10, -85, 5) == "occipital"


def test_the_number_of_workers_does_not_change_the_cohort(tmp_path: Path):
    alone = write_cohort(tmp_path / "alone", 2, SEED, workers=1)
    together = write_cohort(tmp_path / "together", 2, SEED, workers=2)
    assert alone.checksum() == together.checksum()
    assert [case.case_id for case in alone.cases] == ["sub-P0001", "sub-P0002"]


class _CancelsAt(SilentProgress):
    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, done: int, total: int) -> None:
        if done >= self.at:
            raise Cancelled("Cancelled.")


def test_a_cancelled_cohort_goes_on_where_it_stopped(tmp_path: Path, monkeypatch, cases):
    made = []

    def quick(entry, **_):
        made.append(entry.case_id)
        return replace(cases[0], case_id=entry.case_id, patient_id=entry.patient_id)

    monkeypatch.setattr(cohort, "simulate_case", quick)
    with pytest.raises(Cancelled):
        write_cohort(tmp_path / "library", 3, SEED, progress=_CancelsAt(1))
    assert len(CaseLibrary.open(tmp_path / "library").cases) == 1
    write_cohort(tmp_path / "library", 3, SEED)
    assert made == ["sub-P0001", "sub-P0002", "sub-P0003"]


def test_an_anatomy_folder_without_label_maps_is_refused(plan, tmp_path: Path):
    with pytest.raises(InputError, match="no label maps"):
        simulate_case(plan[0], anatomy_folder=tmp_path)


@pytest.mark.real_data
def test_other_peoples_brains_are_laid_over_mni(real_data: Path):
    from PostOpPredictorLib.cases.phantom.other_people import anatomy_of_label_map, label_maps

    source = anatomy_of_label_map(label_maps(real_data / "synthseg_labelmaps")[0])
    maps = template_maps()
    where = np.argwhere(np.ones((26, 32, 32), bool)) * 4
    z, y, x = (axis.ravel()[where[:, k]] for k, axis in enumerate(voxel_axes()))
    index = source.to_voxel @ np.stack([x, y, z, np.ones_like(x)])
    solid = ndimage.map_coordinates(source.wm.astype(np.float32) + source.gm, index, order=1) > 127
    theirs = (maps.wm + maps.gm)[tuple(where.T)] > 0.5
    assert 2 * (solid & theirs).sum() / (solid.sum() + theirs.sum()) > 0.82


@pytest.mark.real_data
def test_the_real_resection_map_raises_eloquence_where_surgeons_leave_tumour(real_data: Path):
    path = real_data / "resection_maps" / "Resection_probability_map_global_mni.nii.gz"
    real = eloquence(path)
    assert real.min() >= 0 and real.max() <= 1
    assert np.abs(real - eloquence()).mean() > 0.005
