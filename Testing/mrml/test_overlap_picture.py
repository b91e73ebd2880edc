"""The small picture of two tumours over each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from PIL import Image
from PostOpPredictorModule.OverlapPicture import OWN_COLOUR, PRECEDENT_COLOUR, overlapOf, overlapPixels
from PostOpPredictorModule.ResultNodes import findResults, showInSpace
from standins.mrml_scene import add_segmentation
from written_result import written_result


@pytest.fixture
def result(scene: Any, tmp_path: Path) -> Any:
    return written_result(tmp_path / "prediction").added()


def write_picture(path: Path, nodes: Any, case: Any) -> bool:
    overlap = overlapOf(nodes, case)
    picture = overlap.picture() if overlap is not None else None
    if picture is not None:
        assert 0 not in picture, "a C string would end there"
        path.write_bytes(picture)
    return picture is not None


def pixels_of(path: Path, colour: tuple[int, int, int]) -> np.ndarray:
    """(n, 2): row and column."""
    return np.argwhere((np.asarray(Image.open(path)) == colour).all(axis=-1))


def test_both_tumours_are_outlined_where_they_lie(result: Any, tmp_path: Path) -> None:
    assert write_picture(tmp_path / "picture.ppm", result, result.precedents[0])
    picture = Image.open(tmp_path / "picture.ppm")
    own = pixels_of(tmp_path / "picture.ppm", OWN_COLOUR)
    other = pixels_of(tmp_path / "picture.ppm", PRECEDENT_COLOUR)
    assert len(own) > 20 and len(other) > 0
    width, height = picture.size
    assert height >= 150
    rows, columns = own.mean(axis=0)
    assert columns > 0.55 * width, "the patient's left is at the right"
    assert abs(rows / height - 0.5) < 0.15


def test_it_is_the_same_in_patient_space(result: Any, tmp_path: Path) -> None:
    assert write_picture(tmp_path / "mni.ppm", result, result.precedents[0])
    showInSpace(result, "patient")
    assert write_picture(tmp_path / "patient.ppm", result, result.precedents[0])
    assert (np.asarray(Image.open(tmp_path / "mni.ppm")) == np.asarray(Image.open(tmp_path / "patient.ppm"))).all()


def test_a_precedent_on_a_coarser_grid_has_a_whole_outline(result: Any, tmp_path: Path) -> None:
    """Cases of a library have voxels of 1.5 mm, the scan has finer ones."""
    fine = slicer.util.addVolumeFromArray(np.ones((60, 60, 60), np.float32), ijkToRAS=np.diag([1.0, 1, 1, 1]))
    coarse = slicer.util.addVolumeFromArray(np.ones((20, 20, 20), np.float32), ijkToRAS=np.diag([3.0, 3, 3, 1]))
    own, other = np.zeros((60, 60, 60), np.uint8), np.zeros((20, 20, 20), np.uint8)
    own[20:40, 20:40, 20:40], other[6:12, 6:12, 6:12] = 1, 1
    case = dataclasses.replace(result.precedents[0], tumour=add_segmentation(other, coarse, {1: "core"}))
    nodes = dataclasses.replace(result, preop=fine, tumour=add_segmentation(own, fine, {1: "core"}))
    assert write_picture(tmp_path / "fine.ppm", nodes, case)
    factor = np.asarray(Image.open(tmp_path / "fine.ppm")).shape[0] // 60
    # The rim of 18 x 18 voxels that the other's outline does not cover, and nothing within.
    drawn = pixels_of(tmp_path / "fine.ppm", PRECEDENT_COLOUR)
    side = 18 * factor
    assert 2 * side < len(drawn) <= 4 * side


def test_outlines_touch_the_rim_and_not_the_middle() -> None:
    own, other = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    own[10:20, 10:20], other[14:30, 14:30] = True, True
    picture = overlapPixels(np.full((40, 40), 7.0), own, other)
    factor = picture.shape[0] // 40
    at = {name: tuple(picture[row * factor, column * factor]) for name, (row, column) in PLACES.items()}
    assert at == {"own": OWN_COLOUR, "other": PRECEDENT_COLOUR, "inside": (255, 255, 255), "outside": (255, 255, 255)}


PLACES = {"own": (10, 12), "other": (14, 25), "inside": (12, 12), "outside": (35, 2)}


def test_without_a_tumour_there_is_no_picture(result: Any, tmp_path: Path) -> None:
    slicer.mrmlScene.RemoveNode(result.precedents[0].tumour)
    (found,) = findResults(slicer.mrmlScene)
    assert not write_picture(tmp_path / "none.ppm", found, found.precedents[0])
    assert not write_picture(tmp_path / "none.ppm", result, result.precedents[0]), "removed under our hands"
    assert not (tmp_path / "none.ppm").exists()
