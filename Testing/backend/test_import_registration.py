"""An import with the real registration: brains of real size, laid askew, come to MNI space and onto each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from published_folders import lumiere_ratings, write

from PostOpPredictorLib.cases.importers import lumiere as lumiere_importer
from PostOpPredictorLib.cases.importers.pair_reading import read_pair
from PostOpPredictorLib.imaging import template
from PostOpPredictorLib.imaging.grid import WORKING_GRID, Grid

LUMIERE_2MM = Grid((91, 109, 91), (2.0,) * 3, (-90.0, 126.0, -72.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))
TUMOUR_MM = (-32.0, 10.0, 30.0)
ENHANCING, CORE, OEDEMA = 1, 2, 3

pytestmark = pytest.mark.slow


def _ball(grid: Grid, radius: float, transform: sitk.Transform) -> np.ndarray:
    """Where ``transform`` (grid -> MNI) leads within ``radius`` of the tumour's centre."""
    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, grid.size, grid.origin, grid.spacing, grid.direction
    )
    k, j, i = np.indices(grid.shape)
    own = np.stack([i, j, k], axis=-1) * np.asarray(grid.spacing) @ np.reshape(grid.direction, (3, 3)).T + grid.origin
    mni = own + sitk.GetArrayFromImage(field)
    return np.linalg.norm(mni - np.asarray(TUMOUR_MM), axis=-1) <= radius


def _askew(degrees: float, shift_mm: tuple[float, float, float], scale: float) -> sitk.Transform:
    """A patient (LPS mm) -> MNI transform."""
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.6 * np.radians(degrees), 0.0, np.radians(degrees))
    found = sitk.AffineTransform(3)
    found.SetMatrix((np.reshape(turn.GetMatrix(), (3, 3)) * scale).ravel().tolist())
    found.SetTranslation(shift_mm)
    return found


def _study(folder: Path, to_mni: sitk.Transform, after: bool) -> None:
    """One LUMIERE study of the template's brain, seen through ``to_mni``."""
    grid = LUMIERE_2MM
    brain = sitk.GetArrayFromImage(grid.resample(template.brain_mask(), to_mni, sitk.sitkNearestNeighbor)) > 0
    scan = sitk.GetArrayFromImage(grid.resample(template.t1(), to_mni)) * brain
    inner, core, around = (_ball(grid, radius, to_mni) & brain for radius in (9, 16, 24))
    labels = np.where(around, OEDEMA, 0).astype(np.int8)
    if after:
        labels[inner] = CORE
        scan = np.where(inner, np.float32(0.25), scan) * 0.6
    else:
        labels[core], labels[inner] = ENHANCING, CORE
        scan = np.where(core & ~inner, np.float32(1.0), scan)
    noise = np.random.default_rng(int(after)).normal(0, 0.02, scan.shape)
    atlas = folder / "DeepBraTumIA-segmentation" / "atlas"
    write(labels, atlas / "segmentation" / "seg_mask.nii.gz", grid)
    names = {"Enhancing_Core": ENHANCING, "Necrotic_NonEnhancing": CORE, "Edema_Compartment": OEDEMA}
    volumes = {name: int((labels == label).sum()) * 8 for name, label in names.items()}
    (atlas / "segmentation" / "measured_volumes_in_mm3.json").write_text(json.dumps(volumes))
    write(((scan + noise * brain) * 900 * brain).astype(np.float32), atlas / "skull_strip/t1_skull_strip.nii.gz", grid)
    write(brain.astype(np.uint8), atlas / "skull_strip" / "brain_mask.nii.gz", grid)


def _patient(root: Path, before: sitk.Transform, after: sitk.Transform) -> Path:
    patient = root / "Imaging" / "Patient-001"
    _study(patient / "week-000-1", before, after=False)
    _study(patient / "week-000-2", after, after=True)
    lumiere_ratings(root, [("Patient-001", "week-000-1", "Pre-Op", ""), ("Patient-001", "week-000-2", "Post-Op", "")])
    return root


def _centre_mm(mask: np.ndarray) -> np.ndarray:
    z, y, x = np.argwhere(mask).mean(axis=0)
    return np.asarray(WORKING_GRID.origin) + 1.5 * np.array([x, y, z])


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(_askew(4.0, (3.0, -4.0, 2.0), 1.06), "that of the scan before", id="nearly-as-the-first"),
        pytest.param(_askew(16.0, (14.0, -12.0, 10.0), 1.06), "its own", id="elsewhere"),
    ],
)
def test_two_sessions_askew_come_to_mni_space_and_onto_each_other(
    tmp_path: Path, after: sitk.Transform, expected: str
) -> None:
    root = _patient(tmp_path, _askew(5.0, (4.0, -3.0, 2.0), 1.06), after)
    case = read_pair(lumiere_importer.plan(root).pairs[0])
    assert case.attributes["post_transform"] == expected
    assert float(case.attributes["session_agreement"]) > 0.9
    assert float(case.attributes["mni_overlap_pre"]) > 0.93
    assert np.linalg.norm(_centre_mm(np.isin(case.tumour, (1, 4))) - TUMOUR_MM) < 2.5
    assert np.linalg.norm(_centre_mm(case.outcome == 1) - TUMOUR_MM) < 2.5
    both = (case.brain_pre > 0) & (case.brain_post > 0) & (case.tumour == 0) & (case.outcome == 0)
    assert np.corrcoef(case.pre["T1w"][both], case.post["T1w"][both])[0, 1] > 0.93
    mean = [float(image["T1w"][both].mean()) for image in (case.pre, case.post)]
    assert abs(mean[0] - mean[1]) < 0.03, "the second scan counts 0.6 of the first one's units"
