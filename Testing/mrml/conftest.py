"""Fixtures of the second ring: real MRML by ``slicer-core``, without Qt and without the application."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Never a folder that holds a package called slicer: slicer-core imports what lies in one.
for folder in (ROOT, ROOT / "Testing", ROOT / "PostOpPredictor"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import standins  # noqa: E402

standins.install()

import slicer  # noqa: E402
from standins.mrml_scene import SceneWithLogics  # noqa: E402

PATIENT_INDEX = 1000
"""A patient of the demonstration's institutions who is in no library."""
LIBRARY_SEED = 7
LIBRARY_CASES = 4
"""The fourth one has a tumour where the phantom patient has one (IoU 0.2), the others have not."""


@dataclass(frozen=True)
class PhantomPatient:
    """Files of a simulated patient as a scanner would give them (1 mm, turned, LPS files).

    ``labels``: 1 necrotic core, 2 oedema, 4 enhancing tumour, on the grid of ``volume``.
    """

    volume: Path
    labels: Path
    true_post: Path


@pytest.fixture(autouse=True)
def no_qt_in_this_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third ring may have run in this process before: hide its Qt, and forget what pip was asked for."""
    for name in ("qt", "ctk"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr(slicer, "app", raising=False)
    standins.install()
    standins.pip_requests.clear()


@pytest.fixture
def scene_with_logics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SceneWithLogics]:
    """An empty scene with everything around it: ``.scene``, ``.application``, ``.logics["Volumes"]`` ..."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slicer, "mrmlScene", None, raising=False)
        patch.setattr(slicer, "modules", None, raising=False)
        made = SceneWithLogics(tmp_path_factory.mktemp("scene-cache"))
        yield made
        made.close()


@pytest.fixture
def scene(scene_with_logics: SceneWithLogics) -> Any:
    """An empty ``slicer.mrmlScene``; ``slicer.modules.volumes.logic()`` and others work, and so do ``.mrb`` files."""
    return scene_with_logics.scene


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """``made_once(name, make)``: a folder that ``make(folder)`` fills once for all test processes of this session."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / name
        folder.mkdir(exist_ok=True)
        with _one_at_a_time(folder):
            if not (folder / ".made").exists():
                make(folder)
                (folder / ".made").touch()
        return folder

    return get


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    from PostOpPredictorLib.cases.folder_lock import only_writer

    # Beside the folder, because a library locks itself while a case is added.
    lock = folder.with_name(f"{folder.name}-lock")
    lock.mkdir(exist_ok=True)
    with only_writer(lock):
        yield


@pytest.fixture(scope="session")
def a_phantom_patient(made_once: Callable[[str, Callable[[Path], object]], Path]) -> PhantomPatient:
    """Files of a simulated patient: the scan before surgery (T1wCE, 1 mm), tumour labels, the truth after it."""

    def make(folder: Path) -> None:
        from PostOpPredictorLib.cases.phantom.cohort import simulate_case
        from PostOpPredictorLib.evaluation.demo_patient import demo_patient
        from PostOpPredictorLib.imaging.volumes import write_volume
        from PostOpPredictorLib.prediction.demonstration_library import demonstration_patient

        demo = demo_patient(simulate_case(demonstration_patient(PATIENT_INDEX)), "T1wCE")
        for name, image in (("T1wCE", demo.scan), ("tumour", demo.labels), ("true_post", demo.true_post)):
            write_volume(image, folder / f"{name}.nii.gz")

    folder = made_once("phantom-patient", make)
    return PhantomPatient(folder / "T1wCE.nii.gz", folder / "tumour.nii.gz", folder / "true_post.nii.gz")


@pytest.fixture(scope="session")
def a_small_library(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Folder of a library of a few simulated patients with its slice index; give it as the library of a prediction."""

    def make(folder: Path) -> None:
        from PostOpPredictorLib.cases.phantom.cohort import write_cohort
        from PostOpPredictorLib.retrieval.slice_index import SliceIndex

        SliceIndex.open(write_cohort(folder / "library", LIBRARY_CASES, LIBRARY_SEED))

    return made_once("small-library", make) / "library"
