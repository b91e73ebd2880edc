"""``postop batch`` with a real model: one process, two workers and two launched processes predict the same."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from launching import launched
from prediction_bench import HAND_GRID, small_library, template_patient
from tiny_models import a_pipeline

from PostOpPredictorLib.cli.app import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients that can be predicted and one whose mask is missing, with a model and a library beside them."""
    folder = tmp_path_factory.mktemp("batch")
    for name, radius in (("one", 14.0), ("two", 11.0)):
        scan, labels = template_patient(HAND_GRID, radius)
        sitk.WriteImage(scan, str(folder / f"{name}.nii.gz"))
        sitk.WriteImage(labels, str(folder / f"{name}_seg.nii.gz"))
    small_library(folder / "library")
    a_pipeline(panel=128).save(folder / "model")
    rows = ["id,pre,tumour,sequence", "one,one.nii.gz,one_seg.nii.gz,T1w", "lost,one.nii.gz,DOE.nii.gz,T1w"]
    (folder / "cases.csv").write_text("\n".join([*rows, "two,two.nii.gz,two_seg.nii.gz,T1w"]) + "\n")
    return folder / "cases.csv"


def arguments(table: Path, out: str) -> list[str]:
    folder = table.parent
    places = ["--out", str(folder / out), "--library", str(folder / "library"), "--model", str(folder / "model")]
    return ["batch", str(table), *places, "--device", "cpu", "--no-report"]


@pytest.fixture(scope="module")
def alone(table: Path) -> Path:
    """What one process makes of it."""
    assert run(arguments(table, "alone")) == 1
    return table.parent / "alone"


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "batch.csv").open(newline="") as file:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def assert_the_same(alone: Path, other: Path) -> None:
    assert rows(other) == rows(alone)
    for name in ("one", "two"):
        assert {path.name for path in (other / name).iterdir()} == {path.name for path in (alone / name).iterdir()}
        for path in (alone / name).glob("postop*.nii.gz"):
            first, second = (
                sitk.GetArrayFromImage(sitk.ReadImage(str(one / name / path.name))) for one in (alone, other)
            )
            assert np.abs(first - second).max() < 1e-3 * np.ptp(first), path.name


def test_every_case_has_its_folder_and_its_row(alone: Path) -> None:
    one, lost, two = rows(alone)
    assert [row["status"] for row in (one, lost, two)] == ["done", "failed", "done"]
    assert (
        lost["sentence"].startswith("the tumour mask does not exist") and "DOE" not in (alone / "batch.csv").read_text()
    )
    assert float(one["tumour_ml"]) > float(two["tumour_ml"]) > 1
    assert (alone / "two" / "prediction.png").is_file() and not (alone / "lost").exists()


def test_two_workers_predict_what_one_process_predicts(table: Path, alone: Path) -> None:
    assert run([*arguments(table, "workers"), "--workers", "2"]) == 1
    assert_the_same(alone, table.parent / "workers")


def test_two_launched_processes_predict_what_one_process_predicts(table: Path, alone: Path, project_root: Path) -> None:
    pytest.importorskip("accelerate")
    told = launched(project_root, arguments(table, "launched"))
    assert "of process 1 of 2" in told.stdout and "of process 2 of 2" in told.stdout
    assert_the_same(alone, table.parent / "launched")


def test_what_is_done_is_not_touched_again(table: Path, alone: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (alone / "one").iterdir()}
    assert run(arguments(table, "alone")) == 1, "the lost one is tried again"
    assert {path: path.stat().st_mtime_ns for path in (alone / "one").iterdir()} == before
