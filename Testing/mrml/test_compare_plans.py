"""Plans side by side and the live preview in the compare view: what each view holds, and that no trace is left."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from finished_prediction import node_ids
from offscreen_layout import OffscreenLayoutManager
from phantom_prediction import ORIGIN, SPACING, TUMOUR_AT, ball, phantom_prediction
from PostOpPredictorModule.CompareLayout import LIVE, PREDICTED, PREOP, planTag
from PostOpPredictorModule.CompareScreens import planScreen
from PostOpPredictorModule.CompareView import CompareView
from PostOpPredictorModule.ImageFiles import ImageData
from PostOpPredictorModule.LiveNodes import LiveNodes
from PostOpPredictorModule.PredictionNodes import PlanNodes, PredictionNodes
from prediction_in_scene import outlined
from standins.mrml_scene import SceneWithLogics

USUAL = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
PLAN_COLOUR, RESIDUAL_COLOUR = (0.9, 0.3, 0.6), (0.9, 0.5, 0.1)


@pytest.fixture
def layout_manager(scene_with_logics: SceneWithLogics) -> Iterator[OffscreenLayoutManager]:
    made = OffscreenLayoutManager(scene_with_logics.scene, scene_with_logics.application)
    made.setLayout(USUAL)
    yield made
    made.close()


@pytest.fixture
def prediction(layout_manager: OffscreenLayoutManager) -> PredictionNodes:
    """Three plans, of 8, 11 and 14 mm."""
    nodes = phantom_prediction(precedents=1)
    plans = tuple(_plan(nodes, number, radius) for number, radius in enumerate((8.0, 11.0, 14.0), start=1))
    told = [{"number": 1, "name": "Careful", "read_out": {"residual_ml": 6.25, "eor_percent": 61.0}}]
    told += [{"number": number, "name": f"Plan {number}", "read_out": {}} for number in (2, 3)]
    return dataclasses.replace(nodes, plans=plans, summary={"residual_ml": 1.5, "eor_percent": 95.0, "plans": told})


def _plan(nodes: PredictionNodes, number: int, radius: float) -> PlanNodes:
    voxels = slicer.util.arrayFromVolume(nodes.preop).copy()
    voxels[ball(TUMOUR_AT, radius)] = 10.0
    matrix = np.diag([SPACING, SPACING, SPACING, 1.0])
    matrix[:3, 3] = ORIGIN
    postop = slicer.util.addVolumeFromArray(voxels, ijkToRAS=matrix, name=f"Plan {number} (synthetic)")
    postop.CreateDefaultDisplayNodes()
    return PlanNodes(
        number,
        f"Plan {number}",
        postop,
        outlined(nodes.preop, ball(TUMOUR_AT, radius), f"Plan {number}", PLAN_COLOUR),
        outlined(nodes.preop, ball(TUMOUR_AT, radius - 1), f"Cavity {number}", (0.2, 0.5, 1.0)),
        outlined(nodes.preop, ball(TUMOUR_AT, 14.0) & ~ball(TUMOUR_AT, radius), f"Left {number}", RESIDUAL_COLOUR),
    )


@pytest.fixture
def view(layout_manager: OffscreenLayoutManager) -> CompareView:
    return CompareView(layout_manager, afterLayout=lambda action: action())


def background(layout_manager: OffscreenLayoutManager, name: str) -> Any:
    composite = layout_manager.sliceWidget(name).sliceLogic().GetSliceCompositeNode()
    return slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID())


def outlines_in(layout_manager: OffscreenLayoutManager, name: str) -> set[str]:
    viewId = layout_manager.sliceWidget(name).sliceLogic().GetSliceNode().GetID()
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    displays = [(node, node.GetNthDisplayNode(n)) for node in nodes for n in range(node.GetNumberOfDisplayNodes())]
    return {node.GetName() for node, display in displays if display.GetVisibility(viewId)}


def captions(layout_manager: OffscreenLayoutManager, name: str) -> list[str]:
    renderer = layout_manager.sliceWidget(name).sliceView().renderWindow().GetRenderers().GetFirstRenderer()
    props = renderer.GetViewProps()
    actors = [props.GetItemAsObject(number) for number in range(props.GetNumberOfItems())]
    return [actor.GetInput() for actor in actors if actor.IsA("vtkTextActor") and actor.GetTextProperty().GetBold()]


def state(layout_manager: OffscreenLayoutManager) -> tuple[Any, ...]:
    layout = layout_manager.layoutLogic().GetLayoutNode().GetViewArrangement()
    windows = [
        (node.GetID(), node.GetWindow(), node.GetLevel())
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeDisplayNode")
    ]
    return layout, sorted(windows), sorted(layout_manager.sliceViewNames())


def test_scan_no_plan_and_two_plans_stand_side_by_side(
    view: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager
) -> None:
    view.showPlans(prediction)
    names = [PREOP, PREDICTED, planTag(1), planTag(2)]
    assert list(layout_manager.boxes()) == names
    assert view.columns == ("before", 0, 1, 2)
    boxes = list(layout_manager.boxes().values())
    assert len({box[2] for box in boxes}) == 1, "columns of one width"
    volumes = [prediction.preop, prediction.postop, prediction.plans[0].postop, prediction.plans[1].postop]
    assert [background(layout_manager, name) for name in names] == volumes


def test_every_column_says_its_key_figure_and_that_it_is_synthetic(
    view: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager
) -> None:
    view.showPlans(prediction, ["before", 0, 1])
    synthetic = "SYNTHETIC - not for clinical decisions"
    assert captions(layout_manager, PREOP) == []
    assert captions(layout_manager, PREDICTED) == ["Residual 1.5 ml, EOR 95 %", synthetic]
    assert captions(layout_manager, planTag(1)) == ["Residual 6.2 ml, EOR 61 %", synthetic]
    renderer = layout_manager.sliceWidget(planTag(1)).sliceView().renderWindow().GetRenderers().GetFirstRenderer()
    props = renderer.GetViewProps()
    heights = [
        actor.GetPositionCoordinate().GetValue()[1]
        for actor in (props.GetItemAsObject(number) for number in range(props.GetNumberOfItems()))
        if actor.IsA("vtkTextActor") and actor.GetTextProperty().GetBold()
    ]
    assert heights[0] - heights[1] > 15, "one below the other"
    label = layout_manager.sliceWidget(planTag(1)).sliceLogic().GetSliceNode().GetLayoutLabel()
    assert label == "Plan 1 (synthetic)"


def test_plan_cavity_and_residual_are_outlined_in_their_own_view_only(
    view: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager
) -> None:
    view.showPlans(prediction, ["before", 0, 1, 3])
    assert outlines_in(layout_manager, PREOP) == {"Tumour outline"}
    assert outlines_in(layout_manager, PREDICTED) == {"Predicted cavity outline"}
    assert outlines_in(layout_manager, planTag(3)) == {"Plan 3 outline", "Cavity 3 outline", "Left 3 outline"}


def test_all_columns_move_together_and_fade_together(
    view: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager
) -> None:
    view.showPlans(prediction)
    logics = [layout_manager.sliceWidget(name).sliceLogic() for name in layout_manager.boxes()]
    assert [logic.GetSliceOffset() for logic in logics] == pytest.approx([TUMOUR_AT[2]] * 4, abs=2.5)
    logics[2].StartSliceOffsetInteraction()
    logics[2].SetSliceOffset(-12.0)
    logics[2].EndSliceOffsetInteraction()
    assert [logic.GetSliceOffset() for logic in logics] == pytest.approx([-12.0] * 4)
    assert view.sliceOffsetMm() == pytest.approx(-12.0)
    view.setReveal(0.5)
    opacities = [logic.GetSliceCompositeNode().GetForegroundOpacity() for logic in logics]
    assert opacities == [0.0, 0.5, 0.5, 0.5]


def test_other_columns_keep_plane_and_reveal(
    view: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager
) -> None:
    view.showPlans(prediction, ["before", 1])
    layout_manager.sliceWidget(PREOP).sliceLogic().SetSliceOffset(8.0)
    view.setReveal(0.3)
    view.showPlans(prediction, [1, 3])
    assert list(layout_manager.boxes()) == [planTag(1), planTag(3)]
    assert layout_manager.sliceWidget(planTag(3)).sliceLogic().GetSliceOffset() == pytest.approx(8.0)
    assert view.reveal == pytest.approx(0.3)
    assert layout_manager.sliceWidget(PREOP) is None


@pytest.mark.parametrize(
    ("columns", "says"),
    [(["before", 7], "no plan 7"), (["before", 0, 1, 2, 3], "At most 4"), ([], "at least one")],
)
def test_columns_that_cannot_be_shown_are_refused_and_nothing_changes(
    view: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager, columns: Any, says: str
) -> None:
    before = state(layout_manager)
    with pytest.raises(ValueError, match=says):
        view.showPlans(prediction, columns)
    assert state(layout_manager) == before
    assert not view.isShown


def test_plans_and_precedents_take_turns(
    view: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager
) -> None:
    before = state(layout_manager)
    ids = node_ids()
    view.showPlans(prediction)
    view.setPrecedents([1])
    assert view.columns, "the choice of a precedent does not end the comparison of plans"
    view.show(prediction, [1])
    assert (view.columns, view.precedents) == ((), (1,))
    view.showPlans(prediction, ["before", 2])
    assert view.precedents == ()
    view.reset()
    assert state(layout_manager) == before
    assert node_ids() == ids


def test_the_comparison_ends_when_a_plan_is_removed(
    view: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager
) -> None:
    before = layout_manager.layoutLogic().GetLayoutNode().GetViewArrangement()
    view.showPlans(prediction, ["before", 1])
    slicer.mrmlScene.RemoveNode(prediction.plans[1].postop)
    assert view.isShown, "that plan is not shown"
    slicer.mrmlScene.RemoveNode(prediction.plans[0].postop)
    assert not view.isShown
    assert layout_manager.layoutLogic().GetLayoutNode().GetViewArrangement() == before
    view.showPlans(prediction)
    assert view.columns == ("before", 0, 3)


def test_no_two_screens_share_a_layout(prediction: PredictionNodes) -> None:
    """Slicer switches views only when the number of the layout changes or its description does."""
    numbers = [planScreen(prediction, columns).number for columns in (["before"], ["before", 0], [0, 1, 2])]
    assert len(set(numbers)) == 3
    assert min(numbers) > 10, "those of the precedents end there"


# Live


@pytest.fixture
def live(layout_manager: OffscreenLayoutManager) -> LiveNodes:
    place = np.diag([SPACING, SPACING, SPACING, 1.0])
    place[:3, 3] = ORIGIN
    nodes = phantom_prediction(precedents=0)
    images = {
        "preop": ImageData(slicer.util.arrayFromVolume(nodes.preop).copy(), place),
        "postop": ImageData(slicer.util.arrayFromVolume(nodes.postop).copy(), place),
        "tumour": ImageData(ball(TUMOUR_AT, 14.0).astype(np.uint8), place),
        "cavity": ImageData(ball(TUMOUR_AT, 11.0).astype(np.uint8), place),
    }
    return LiveNodes(slicer.mrmlScene, images)


def test_the_live_preview_stands_beside_the_scan(
    view: CompareView, live: LiveNodes, layout_manager: OffscreenLayoutManager
) -> None:
    view.showLive(live)
    assert list(layout_manager.boxes()) == [PREOP, LIVE]
    assert background(layout_manager, LIVE) is live.postop
    assert captions(layout_manager, LIVE) == ["SYNTHETIC - not for clinical decisions"]
    assert outlines_in(layout_manager, LIVE) == {"Live preview: cavity (synthetic) outline"}
    assert view.sliceOffsetMm() == pytest.approx(TUMOUR_AT[2], abs=2.5)
    view.setOrientation("Coronal")
    assert view.sliceOffsetMm() is None


def test_a_slice_of_the_preview_is_drawn_where_it_lies(
    view: CompareView, live: LiveNodes, layout_manager: OffscreenLayoutManager
) -> None:
    """The slice is one voxel thick, and the view hardly ever lies exactly in its middle."""
    view.showLive(live)
    logic = layout_manager.sliceWidget(LIVE).sliceLogic()
    voxels = slicer.util.arrayFromVolume(live.preop)
    place = np.diag([SPACING, SPACING, SPACING, 1.0])
    place[:3, 3] = ORIGIN
    place[2, 3] = z = ORIGIN[2] + 27 * SPACING
    cavity = ball(TUMOUR_AT, 11.0)[27:28].astype(np.uint8)
    live.show(ImageData(np.ones_like(voxels[27:28]) * 70.0, place), ImageData(cavity, place))
    seen = []
    for offset in (z, z + 0.4 * SPACING, z - 0.4 * SPACING, z + SPACING):
        logic.SetSliceOffset(offset)
        picture = layout_manager.sliceWidget(LIVE).sliceView().picture()
        width, height, _ = picture.GetDimensions()
        pixels = np.array([picture.GetScalarComponentAsDouble(x, height // 3, 0, 0) for x in range(0, width, 7)])
        seen.append(float(np.median(pixels)))
    assert min(seen[:3]) > 30
    assert seen[3] < 5


def test_the_comparison_ends_with_the_preview(
    view: CompareView, live: LiveNodes, layout_manager: OffscreenLayoutManager
) -> None:
    told: list[SimpleNamespace] = []
    view._whenChanged = lambda: told.append(SimpleNamespace(shown=view.isShown))
    view.showLive(live)
    live.remove()
    assert not view.isShown
    assert [one.shown for one in told] == [True, False]
