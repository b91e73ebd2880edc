"""The compare view on the nodes that a prediction of the real backend leaves in the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from finished_prediction import FinishedPrediction, add_result, finished_prediction, load_patient, node_ids
from offscreen_layout import OffscreenLayoutManager
from PostOpPredictorModule.CompareFraming import voxelsOf
from PostOpPredictorModule.CompareLayout import PREDICTED, PREOP, afterTag, beforeTag
from PostOpPredictorModule.CompareView import CompareView
from PostOpPredictorModule.ResultNodes import PredictionNodes, removeRun, showInSpace
from standins.mrml_scene import SceneWithLogics

pytestmark = pytest.mark.timeout(900)
"""The real backend shares this machine with other work."""


@pytest.fixture
def layout_manager(scene_with_logics: SceneWithLogics) -> Iterator[OffscreenLayoutManager]:
    made = OffscreenLayoutManager(scene_with_logics.scene, scene_with_logics.application)
    made.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield made
    made.close()


@pytest.fixture
def result(layout_manager: OffscreenLayoutManager, made_once: Any) -> PredictionNodes:
    prediction: FinishedPrediction = finished_prediction(made_once)
    return add_result(prediction, load_patient(prediction)[0])


def test_a_real_result_is_compared_in_both_spaces(
    layout_manager: OffscreenLayoutManager, result: PredictionNodes
) -> None:
    later: list[Callable[[], None]] = []
    view = CompareView(layout_manager, later.append)
    view.show(result)
    assert list(layout_manager.boxes()) == [PREOP, PREDICTED, beforeTag(1), afterTag(1)]
    planes = []
    for space in ("mni", "patient", "mni"):
        showInSpace(result, space)
        for action in later:
            action()
        node = layout_manager.sliceWidget(PREOP).sliceLogic().GetSliceNode()
        plane = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[2, 3]
        heights = voxelsOf(result.tumour)[:, 2]
        assert heights.min() < plane < heights.max()
        planes.append(float(plane))
    assert planes[0] == planes[2]
    assert abs(planes[1] - planes[0]) > 3.0, "the patient lies elsewhere"
    view.reset()


def test_removing_a_real_result_while_it_is_compared_leaves_the_scene_as_it_was(
    layout_manager: OffscreenLayoutManager, made_once: Any
) -> None:
    prediction = finished_prediction(made_once)
    volume, _tumour = load_patient(prediction)
    before = node_ids()
    result = add_result(prediction, volume)
    view = CompareView(layout_manager, lambda action: action())
    view.show(result)
    removeRun(slicer.mrmlScene, result.runId)
    assert not view.isShown
    assert node_ids() == before
    assert layout_manager.layoutLogic().GetLayoutNode().GetViewArrangement() == (
        slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    )


def test_voxels_are_found_where_the_segmentation_is(result: PredictionNodes) -> None:
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(
        result.cavity, result.cavity.GetSegmentation().GetNthSegmentID(0), result.postop
    )
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    result.postop.GetIJKToRASMatrix(matrix)
    indices = np.argwhere(mask > 0)[:, ::-1]
    wanted = np.c_[indices, np.ones(len(indices))] @ slicer.util.arrayFromVTKMatrix(matrix).T
    found = voxelsOf(result.cavity)
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(wanted[:, :3], axis=0), atol=1e-4)
