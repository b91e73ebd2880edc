"""What a plan takes and leaves: RANO resect classes, distances in the patient's mm, eloquent areas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plan_bench import a_larger_patient, a_patient
from scipy import ndimage

from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.prediction.patient import Patient
from PostOpPredictorLib.prediction.plans.eloquent_areas import LABEL, eloquent_areas
from PostOpPredictorLib.prediction.plans.patient_space import PatientSpace
from PostOpPredictorLib.prediction.plans.rano_resect import resect_class


@pytest.fixture(scope="module")
def patient() -> Patient:
    return a_patient()


@pytest.fixture(scope="module")
def larger_patient() -> Patient:
    return a_larger_patient()


@pytest.mark.parametrize(
    ("before", "left", "other", "resected", "name"),
    [
        (10.0, 0.0, 5.0, 10.0, "1"),
        (10.0, 0.04, 5.1, 10.0, "2A"),
        (10.0, 0.0, None, 10.0, "2A"),
        (10.0, 0.05, 0.0, 9.95, "2B"),
        (10.0, 1.0, 0.0, 9.0, "2B"),
        (10.0, 1.01, 0.0, 9.0, "3A"),
        (10.0, 5.0, 0.0, 5.0, "3A"),
        (10.0, 5.01, 0.0, 4.9, "3B"),
        (10.0, 10.0, 9.0, 0.0, "4"),
        (10.0, 10.0, 9.0, 1e-9, "4"),
        (0.0, 0.0, 0.0, 10.0, None),
    ],
)
def test_rano_resect_classes(
    before: float, left: float, other: float | None, resected: float, name: str | None
) -> None:
    found = resect_class(before, left, other, resected)
    assert found.name == name and found.sentence.endswith(".")
    assert name is None or f"class {name}" in found.sentence


def test_distances_are_the_patients_and_touching_is_0(patient: Patient, larger_patient: Patient) -> None:
    one, two = np.zeros(WORKING_GRID.shape, bool), np.zeros(WORKING_GRID.shape, bool)
    one[50:55, 50:55, 50:55] = True
    two[50:55, 50:55, 65:70] = True
    here, there = (PatientSpace(p.registration.transform) for p in (patient, larger_patient))
    assert here.gap_mm(one, two) == pytest.approx(10 * 1.5) and there.gap_mm(one, two) == pytest.approx(10 * 1.8)
    assert here.gap_mm(one, np.roll(one, 5, axis=2)) == pytest.approx(0.0, abs=1e-6)
    assert here.gap_mm(one, np.roll(one, 2, axis=2)) == 0.0
    assert there.ml(one) == pytest.approx(125 * 1.8**3 / 1000)


def test_eloquent_areas_lie_where_their_names_say() -> None:
    areas = {area.name: area.mask for area in eloquent_areas()}
    assert len(areas) == 12 and "prediction of deficit" in LABEL
    for name, mask in areas.items():
        at = np.argwhere(mask).mean(axis=0)[::-1] * 1.5 + WORKING_GRID.origin
        assert (at[0] > 0) == name.startswith("left"), name
        assert 2.0 < mask.sum() * 1.5**3 / 1000 < 15.0, name
    assert areas["left hand sensorimotor"].sum() < np.prod(WORKING_GRID.shape)
    tract = areas["right corticospinal tract"]
    assert ndimage.label(tract, np.ones((3, 3, 3)))[1] == 1
    assert (tract & areas["right hand sensorimotor"]).any() and (tract & areas["right leg sensorimotor"]).any()


def test_functional_regions_are_those_that_nilearn_ships() -> None:
    import nilearn

    from PostOpPredictorLib.prediction.plans import eloquent_areas as module

    file = Path(nilearn.__file__).parent / "datasets" / "data" / "seitzman_2018_ROIs_300inVol_MNI_allInfo.txt"
    rows = np.array([line.split()[:3] for line in file.read_text().splitlines()[1:]], float)
    for cortex in (module._LEFT_CORTEX, module._RIGHT_CORTEX):
        for name, (_, points) in cortex.items():
            if name.startswith("Broca"):
                continue
            for point in points:
                assert np.abs(rows - point).max(axis=1).min() < 0.06, (name, point)
