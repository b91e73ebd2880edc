"""Later scans and further sequences: what heals only heals, and no option changes a case that is there already."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from PostOpPredictorLib.cases import semi_real
from PostOpPredictorLib.cases.case import SimulatedCase
from PostOpPredictorLib.cases.phantom import cohort
from PostOpPredictorLib.cases.phantom.atlas import eloquence, template_maps, voxel_axes
from PostOpPredictorLib.cases.phantom.cohort import later_scans_plan, phantom_cohort_plan, simulate_case, write_cohort
from PostOpPredictorLib.cases.phantom.healing import LaterScans, heal
from PostOpPredictorLib.cases.phantom.institutions import institutions
from PostOpPredictorLib.cases.phantom.patient import Patient
from PostOpPredictorLib.cases.phantom.surgery import Operation, operate
from PostOpPredictorLib.cases.semi_real import RealScan, operate_on_real, operations_plan, real_files
from PostOpPredictorLib.cli.app import run
from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.imaging.grid import WORKING_GRID

SEED = 11
ALL = ("T1w", "T1wCE", "T2w", "FLAIR")
KNOWN = [
    [0.69431, 0.59329, 0.21186],
    [0.5281, 0.52694, 0.21699],
    [0.65034, 0.62706, 0.19483],
    [0.50088, 0.50903, 0.13811],
]
"""Voxels (40, 60, 40 / 50 / 60) of the case below, T1w and T1wCE before and after, from the code before the change."""
DAYS = (1.0, 1.5, 4.0, 10.0, 25.0, 60.0, 365.0)


@pytest.fixture(scope="module")
def patient() -> Patient:
    """A ball of tumour in the template's brain."""
    maps = template_maps()
    z, y, x = voxel_axes()
    distance = np.sqrt((x + 34) ** 2 + (y + 40) ** 2 + (z - 14) ** 2)
    tumour = np.zeros(WORKING_GRID.shape, np.uint8)
    tumour[(distance < 21) & (maps.wm > 0.5)] = 2
    tumour[(distance < 15) & maps.brain] = 4
    return Patient(tumour, maps.brain, maps.wm, maps.csf)


@pytest.fixture(scope="module")
def operation(patient: Patient) -> Operation:
    """The operation, of three institutions', with the most blood and air."""
    made = [operate(patient, eloquence(), institutions(SEED)[k], np.random.default_rng(1)) for k in (3, 8, 14)]
    return max(made, key=lambda o: int((o.outcome == 5).sum() > 0) * 10**6 + int((o.outcome == 3).sum()))


@pytest.fixture(scope="module")
def healed(patient: Patient, operation: Operation) -> list[Operation]:
    return [heal(operation, patient, days, np.random.default_rng(4)) for days in DAYS]


@pytest.fixture(scope="module")
def early() -> SimulatedCase:
    return simulate_case(phantom_cohort_plan(5, SEED)[4], sequences=ALL)


@pytest.fixture(scope="module")
def late() -> SimulatedCase:
    return simulate_case(replace(phantom_cohort_plan(5, SEED)[4], days=120.0), sequences=ALL)


def test_the_first_day_is_the_operation_itself(operation: Operation, healed: list[Operation]):
    assert all(np.array_equal(getattr(healed[0], name), value) for name, value in vars(operation).items())
    moved = np.abs(healed[1].shift - operation.shift).max()
    assert 0 < moved < 1 and (healed[1].outcome != operation.outcome).sum() < 0.1 * (operation.outcome > 0).sum()


def test_blood_air_oedema_and_cavity_only_ever_become_less(healed: list[Operation]):
    for label in (3, 4, 5):
        volumes = [int((o.outcome == label).sum()) for o in healed]
        assert volumes == sorted(volumes, reverse=True) and volumes[-1] < 0.2 * max(volumes[0], 1)
    holes = [np.isin(o.outcome, (1, 3, 5)) for o in healed]
    assert all(not (b & ~a).any() for a, b in itertools.pairwise(holes)), "a later cavity lies in the earlier"
    assert 0.25 < holes[-1].sum() / holes[0].sum() < 0.8
    assert not (healed[-2].outcome == 5).any(), "air is gone after a month"


def test_the_walls_carry_the_tissue_along_and_the_residual_stays(patient: Patient, healed: list[Operation]):
    first, last = healed[0], healed[-1]
    closed = np.isin(first.outcome, (1, 3, 5)) & ~np.isin(last.outcome, (1, 3, 5))
    from_where = ndimage.map_coordinates(
        first.resection.astype(np.float32),
        np.stack([np.argwhere(closed)[:, a] + last.shift[closed][:, 2 - a] / 1.5 for a in range(3)]),
        order=1,
    )
    assert closed.sum() > 500 and (from_where > 0.5).mean() < 0.05, "what fills the closed part was never taken"
    assert (last.outcome == 2).sum() == pytest.approx((first.outcome == 2).sum(), abs=30)
    for axis, component in ((2, 0), (1, 1), (0, 2)):
        assert (np.diff(last.shift[..., component], axis=axis) / 1.5).min() > -0.95, "the pull-back folds space"


@pytest.mark.parametrize("days", [0.0, 366.0, float("nan")])
def test_other_days_are_refused(patient: Patient, operation: Operation, days: float):
    with pytest.raises(InputError, match="1 to 365"):
        heal(operation, patient, days, np.random.default_rng(1))
    with pytest.raises(InputError, match="between 1 and 365"):
        LaterScans(3, days, 365.0)


def test_further_sequences_leave_the_t1_cases_as_they_were(early: SimulatedCase):
    """The figures are from the code before there were other sequences and later scans."""
    expected = {"cavity_ml": 14.897, "eor_percent": 57.42, "residual_ml": 10.611, "tumour_ml": 24.921, "age": 59}
    assert {key: early.attributes[key] for key in expected} == expected
    assert "days_since_surgery" not in early.attributes
    voxels = [[float(i[s][40, 60, k]) for k in (40, 50, 60)] for i in (early.pre, early.post) for s in ALL[:2]]
    assert np.allclose(voxels, KNOWN, atol=1e-4)


def test_a_later_scan_is_of_the_same_patient_and_the_same_first_scan(early: SimulatedCase, late: SimulatedCase):
    for sequence in ALL:
        assert np.array_equal(early.pre[sequence], late.pre[sequence])
        assert not np.array_equal(early.post[sequence], late.post[sequence])
    assert np.array_equal(early.tumour, late.tumour) and np.array_equal(early.resection, late.resection)
    assert late.attributes["days_since_surgery"] == 120.0
    assert late.attributes["eor_percent"] == early.attributes["eor_percent"]
    assert late.attributes["cavity_ml"] < 0.9 * early.attributes["cavity_ml"]
    still = (late.brain_post > 0) & (early.outcome == 0) & (np.abs(late.shift).max(-1) < 0.02)
    assert not np.array_equal(early.post["T1w"][still], late.post["T1w"][still]), "another visit has its own noise"


def test_one_further_sequence_does_not_depend_on_the_other(early: SimulatedCase):
    alone = simulate_case(phantom_cohort_plan(5, SEED)[4], sequences=("FLAIR",))
    assert set(alone.pre) == set(alone.post) == {"FLAIR"}
    assert np.array_equal(alone.pre["FLAIR"], early.pre["FLAIR"])
    assert np.array_equal(alone.post["FLAIR"], early.post["FLAIR"])


def test_water_is_bright_on_t2_and_dark_on_flair(early: SimulatedCase, late: SimulatedCase):
    image = {s: (early.pre[s], late.post[s]) for s in ALL}
    brain = ndimage.binary_erosion(early.brain_pre > 0, iterations=3) & (early.tumour == 0)
    t1 = image["T1w"][0]
    white, water = brain & (t1 > np.percentile(t1[brain], 75)), brain & (t1 < np.percentile(t1[brain], 4))
    oedema = early.tumour == 2
    cavity = ndimage.binary_erosion(late.outcome == 1)
    assert cavity.sum() > 50 and oedema.sum() > 200
    t2, flair = image["T2w"], image["FLAIR"]
    assert np.percentile(t2[0][water], 85) > np.median(t2[0][oedema]) > np.median(t2[0][white]) + 0.1
    assert np.median(flair[0][oedema]) > np.median(flair[0][white]) + 0.15
    assert np.median(flair[0][water]) < np.median(flair[0][white]) - 0.15
    assert np.median(t2[1][cavity]) > np.median(t2[0][white]) + 0.3
    assert np.median(flair[1][cavity]) < np.median(flair[0][white]) - 0.1
    for images, mask in ((early.pre, early.brain_pre), (late.post, late.brain_post)):
        for scan in images.values():
            assert scan.min() >= 0 and scan.max() <= 1 and not scan[mask == 0].any()


def test_a_cohort_grows_by_later_scans_and_keeps_what_it_has(tmp_path: Path, monkeypatch, early: SimulatedCase):
    made = []

    def quick(entry, *, sequences, **_):
        made.append(entry)
        kept = {s: early.pre[s] for s in sequences}
        return replace(early, case_id=entry.case_id, patient_id=entry.patient_id, pre=kept, post=kept)

    monkeypatch.setattr(cohort, "simulate_case", quick)
    first = write_cohort(tmp_path / "library", 2, SEED).case("sub-P0001")
    stamp = first.files.checksums.read_bytes()
    for _ in range(2):
        library = write_cohort(tmp_path / "library", 2, SEED, sequences=ALL, later=LaterScans(2, 10, 20))
    assert [entry.case_id for entry in made] == ["sub-P0001", "sub-P0002", "sub-P0001later", "sub-P0002later"]
    assert all(10 <= entry.days <= 20 and entry.days == round(entry.days, 1) for entry in made[2:])
    for a, b in zip(made[:2], made[2:], strict=True):
        assert replace(b, case_id=a.case_id, days=None) == a
    assert first.files.checksums.read_bytes() == stamp and library.check() == []
    assert library.case("sub-P0001later").sequences == tuple(sorted(ALL))
    with pytest.raises(InputError, match="at most one each"):
        later_scans_plan(phantom_cohort_plan(2, SEED), LaterScans(3))


def test_the_command_refuses_days_that_cannot_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    arguments = ["library", "phantom", str(tmp_path / "l"), "-n", "1", "--later", "1"]
    assert run([*arguments, "--first-day", "30", "--last-day", "2"]) == 2
    assert "between 1 and 365" in capfd.readouterr().err and not (tmp_path / "l").exists()


def test_an_operation_on_a_real_scan_heals_too(early: SimulatedCase):
    scan = RealScan(
        "real-01",
        "train",
        {s: image * np.float32(900) for s, image in early.pre.items()},
        early.tumour,
        early.brain_pre,
    )
    t1_only = replace(scan, pre={s: scan.pre[s] for s in ("T1w", "T1wCE")})

    def operated(real: RealScan, days: float | None = None) -> SimulatedCase:
        return operate_on_real(real, institutions(SEED)[0], np.random.default_rng(5), "sub-R001", None, days)

    before, plain, after = operated(scan), operated(t1_only), operated(scan, 90.0)
    assert all(np.array_equal(before.post[s], plain.post[s]) for s in plain.post)
    assert all(np.array_equal(before.pre[s], after.pre[s]) for s in ALL)
    assert after.attributes["days_since_surgery"] == 90.0 and "days_since_surgery" not in before.attributes
    assert np.isin(after.outcome, (1, 3, 5)).sum() < 0.9 * np.isin(before.outcome, (1, 3, 5)).sum()
    cavity = ndimage.binary_erosion(after.outcome == 1)
    assert np.median(after.post["T2w"][cavity]) > np.median(after.post["FLAIR"][cavity]) + 0.3


@pytest.mark.parametrize("ends", [("_t1", "_t1ce", "_t2", "_flair"), ("-t1n", "-t1c", "-t2w", "-t2f")])
def test_t2_and_flair_are_found_under_both_namings(tmp_path: Path, ends: tuple[str, ...]):
    folder = tmp_path / "Somebody"
    folder.mkdir()
    for end in (*ends, "_seg"):
        (folder / f"Somebody{end}.nii.gz").touch()
    files = real_files(folder)
    assert files is not None
    assert {s: p.name for s, p in files.scans.items()} == {
        s: f"Somebody{end}.nii.gz" for s, end in zip(ALL, ends, strict=True)
    }
    (entry,) = operations_plan(tmp_path, SEED, later=LaterScans(5, 30, 40))
    assert len(entry.later) == semi_real.LATER_PER_PATIENT and all(30 <= day <= 40 for day in entry.later)
    assert entry.case_ids[10:] == tuple(f"sub-R{k:03d}later" for k in range(1, 5))
    assert operations_plan(tmp_path, SEED)[0].case_ids == entry.case_ids[:10]
