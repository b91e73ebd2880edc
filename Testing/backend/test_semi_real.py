"""Semi-real cases: a real (here: stand-in) pre-operative scan operated by the phantom's surgeon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from PostOpPredictorLib.cases import semi_real
from PostOpPredictorLib.cases.case import SimulatedCase
from PostOpPredictorLib.cases.phantom.cohort import phantom_cohort_plan, simulate_case
from PostOpPredictorLib.cases.phantom.fields import pull
from PostOpPredictorLib.cases.phantom.institutions import institutions
from PostOpPredictorLib.cases.semi_real import (
    RealScan,
    operate_on_real,
    operations_plan,
    simulate_operations,
    split_of_real,
    tissue_estimate,
)
from PostOpPredictorLib.errors import InputError

SEED = 11
WINDOW = 1750.0


@pytest.fixture(scope="module")
def a_scan() -> RealScan:
    """A pre-operative scan in scanner units with expert labels."""
    case = simulate_case(phantom_cohort_plan(5, SEED)[4])
    images = {s: (image * WINDOW).astype(np.float32) for s, image in case.pre.items()}
    return RealScan("real-01", "train", images, case.tumour, case.brain_pre)


@pytest.fixture(scope="module")
def operated(a_scan: RealScan) -> SimulatedCase:
    return operate_on_real(a_scan, institutions(SEED)[0], np.random.default_rng(5), "sub-R001")


@pytest.fixture
def a_folder_of_real_cases(tmp_path: Path) -> Path:
    names = [*semi_real.TEST_PATIENTS, *semi_real.VALIDATION_PATIENTS, "Brats18_CBICA_ABM_1", "SomebodyElse"]
    for name in names:
        (tmp_path / name).mkdir()
        for part in ("t1", "t1ce", "seg"):
            (tmp_path / name / f"{name}_{part}.nii.gz").touch()
    (tmp_path / "unfinished").mkdir()
    return tmp_path


def test_the_pre_operative_scan_stays_as_it_was_but_for_the_window(a_scan: RealScan, operated: SimulatedCase):
    for sequence, image in operated.pre.items():
        inside = (operated.brain_pre > 0) & (image > 0) & (image < 1)
        assert np.percentile(image[operated.brain_pre > 0], [0.5, 99.5]) == pytest.approx([0, 1], abs=0.01)
        slope = np.polyfit(a_scan.pre[sequence][inside], image[inside], 1)
        assert np.abs(np.polyval(slope, a_scan.pre[sequence][inside]) - image[inside]).max() < 1e-4


def test_far_from_the_operation_the_post_scan_is_the_real_one_up_to_noise(operated: SimulatedCase):
    still = (np.sqrt((operated.shift**2).sum(-1)) < 0.02) & (operated.brain_pre > 0) & (operated.brain_post > 0)
    still = ndimage.binary_erosion(still, iterations=2) & (operated.outcome == 0) & (operated.tumour == 0)
    assert still.sum() > 2000
    for sequence in operated.pre:
        assert np.corrcoef(operated.pre[sequence][still], operated.post[sequence][still])[0, 1] > 0.85
        assert np.abs(operated.pre[sequence][still] - operated.post[sequence][still]).mean() < 0.06


def test_the_case_is_a_valid_case(operated: SimulatedCase):
    assert operated.kind == "semi-real" and operated.split == "train" and operated.patient_id == "real-01"
    assert set(np.unique(operated.outcome)) <= {0, 1, 2, 3, 4, 5}
    assert np.isin(operated.outcome, (1, 3, 5)).sum() > 300
    for images, brain in ((operated.pre, operated.brain_pre), (operated.post, operated.brain_post)):
        for image in images.values():
            assert image.min() >= 0 and image.max() <= 1 and not image[brain == 0].any()


def test_the_cavity_holds_fluid_and_brighter_blood_instead_of_tumour(operated: SimulatedCase):
    fluid, blood = (ndimage.binary_erosion(operated.outcome == label, iterations=1) for label in (1, 3))
    post, moved = operated.post["T1w"], pull(operated.pre["T1w"], operated.shift)
    assert fluid.sum() > 100 and blood.sum() > 20
    assert post[fluid].std() < 0.7 * moved[fluid].std()
    assert post[blood].mean() > post[fluid].mean() + 0.15


def test_the_same_seed_gives_the_same_operation(a_scan: RealScan, operated: SimulatedCase):
    again = operate_on_real(a_scan, institutions(SEED)[0], np.random.default_rng(5), "sub-R001")
    assert np.array_equal(again.outcome, operated.outcome)
    assert all(np.array_equal(again.post[s], operated.post[s]) for s in again.post)


def test_another_institution_leaves_another_outcome(a_scan: RealScan, operated: SimulatedCase):
    other = operate_on_real(a_scan, institutions(SEED)[9], np.random.default_rng(5), "sub-R002")
    changed = (other.outcome != operated.outcome).sum()
    assert changed > 0.2 * (operated.outcome > 0).sum()


def test_tissue_is_estimated_from_the_real_intensities(a_scan: RealScan):
    patient = tissue_estimate(a_scan)
    image = a_scan.pre["T1w"]
    healthy = patient.brain & (a_scan.tumour == 0)
    white, fluid = image[healthy & (patient.wm > 0.7)], image[healthy & (patient.csf > 0.8)]
    assert np.median(white) > 1.5 * np.median(fluid)


def test_real_patients_are_split_once_and_for_all():
    assert [split_of_real(p) for p in semi_real.TEST_PATIENTS] == ["test"] * 3
    assert split_of_real("Brats18_TCIA13_623_1") == "val"
    assert split_of_real("Brats18_TCIA01_425_1") == split_of_real("pyradiomics_brain2") == "train"


def test_a_patient_is_operated_by_institutions_of_its_own_split_only(a_folder_of_real_cases: Path):
    plan = operations_plan(a_folder_of_real_cases, SEED)
    assert len(plan) == 6
    for entry in plan:
        assert {p.split for p in entry.institutions} == {entry.split}
        assert len({p.name for p in entry.institutions}) == len(entry.case_ids)
    ids = [case_id for entry in plan for case_id in entry.case_ids]
    assert len(set(ids)) == len(ids)


def test_case_ids_do_not_tell_where_a_scan_came_from(a_folder_of_real_cases: Path):
    for entry in operations_plan(a_folder_of_real_cases, SEED):
        for text in (entry.patient_id, *entry.case_ids):
            assert not any(part.lower() in text.lower() for part in ("brats", "tcia", "cbica", "somebody"))


def test_a_folder_without_patients_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="BraTS-style"):
        operations_plan(tmp_path, SEED)


def test_a_patient_is_registered_once_and_finished_cases_are_skipped(
    a_folder_of_real_cases: Path, a_scan: RealScan, monkeypatch: pytest.MonkeyPatch
):
    loaded = []
    monkeypatch.setattr(semi_real, "load_real", lambda entry, _: loaded.append(entry) or a_scan)
    entry = operations_plan(a_folder_of_real_cases, SEED, per_patient=3)[0]
    done = frozenset(entry.case_ids[:1])
    made = [case.case_id for case in simulate_operations(entry, skip=done)]
    assert made == list(entry.case_ids[1:]) and len(loaded) == 1
