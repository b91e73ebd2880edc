"""Where the compare views look: the brain's box and the tumour's voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
from phantom_prediction import ORIGIN, SHAPE, SPACING, TUMOUR_AT, ball
from PostOpPredictorModule.CompareFraming import BRAIN_OF_MNI, brainCorners, voxelsOf
from standins.mrml_scene import place


def volume(voxels: np.ndarray, origin: tuple[float, float, float] = ORIGIN) -> Any:
    matrix = np.diag([SPACING, SPACING, SPACING, 1.0])
    matrix[:3, 3] = origin
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS=matrix, name="scan")


def box(corners: np.ndarray) -> np.ndarray:
    return np.stack([corners.min(axis=0), corners.max(axis=0)], axis=1)


def test_neck_and_scalp_do_not_count_as_brain(scene: Any) -> None:
    head = volume(np.full(SHAPE, 100.0, np.float32))
    np.testing.assert_allclose(box(brainCorners([head])), BRAIN_OF_MNI)


def test_a_small_brain_is_framed_as_small_as_it_is(scene: Any) -> None:
    small = volume(np.where(ball(np.array([0.0, 0.0, 0.0]), 40.0), 100.0, 1.0).astype(np.float32))
    np.testing.assert_allclose(box(brainCorners([small])), [[-40.0, 40.0]] * 3, atol=SPACING)


def test_a_scan_that_is_nowhere_near_mni_space_is_framed_whole(scene: Any) -> None:
    far = volume(np.full(SHAPE, 100.0, np.float32), (900.0, 900.0, 900.0))
    extent = np.array(SHAPE[::-1]) * SPACING
    np.testing.assert_allclose(np.ptp(box(brainCorners([far])), axis=1), extent)


def test_the_box_holds_every_brain_and_moves_with_a_transform(scene: Any) -> None:
    left = volume(np.where(ball(np.array([-30.0, 0.0, 0.0]), 20.0), 100.0, 0.0).astype(np.float32))
    right = volume(np.where(ball(np.array([30.0, 0.0, 0.0]), 20.0), 100.0, 0.0).astype(np.float32))
    np.testing.assert_allclose(box(brainCorners([left, right]))[0], [-50.0, 50.0], atol=SPACING)
    moved = np.eye(4)
    moved[:3, 3] = [0.0, 0.0, 500.0]
    place(left, moved)
    np.testing.assert_allclose(box(brainCorners([left]))[2], [480.0, 520.0], atol=SPACING)


def test_voxels_of_a_label_map_that_was_cropped_keep_their_place(scene: Any) -> None:
    labels = volume(ball(TUMOUR_AT, 14.0).astype(np.uint8))
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.vtkSlicerVolumesLogic().CreateLabelVolumeFromVolume(scene, labelmap, labels)
    slicer.util.updateVolumeFromArray(labelmap, slicer.util.arrayFromVolume(labels))
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.ImportLabelmapToSegmentationNode(labelmap, segmentation)
    image = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation(segmentation.GetSegmentation().GetNthSegmentID(0), image)
    assert image.GetExtent()[0] > 0, "it was cropped"
    found = voxelsOf(segmentation)
    np.testing.assert_allclose(found.mean(axis=0), TUMOUR_AT, atol=1.0)
    assert len(found) == ball(TUMOUR_AT, 14.0).sum()


def test_no_segmentation_has_no_voxel(scene: Any) -> None:
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert voxelsOf(empty).shape == voxelsOf(None).shape == (0, 3)
