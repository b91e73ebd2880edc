"""The compare view on real slice logics: what each view holds, that views move together, and that no trace is left."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from offscreen_layout import OffscreenLayoutManager
from phantom_prediction import BRAIN_AT, BRAIN_AXES, TUMOUR_AT, ball, phantom_prediction
from PostOpPredictorModule.CompareLayout import (
    PREDICTED,
    PREOP,
    VIEW_GROUP,
    afterTag,
    beforeTag,
    layoutId,
    leaveSavedLayout,
)
from PostOpPredictorModule.CompareOutlines import KEPT_OUT, freeSavedDisplays
from PostOpPredictorModule.CompareView import CompareView
from PostOpPredictorModule.CompareWindowLevel import CompareWindowLevel
from PostOpPredictorModule.ResultNodes import PredictionNodes
from prediction_in_scene import outlined
from standins.mrml_scene import SceneWithLogics, place, write_scene

USUAL = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
OTHER = slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


@pytest.fixture
def layout_manager(scene_with_logics: SceneWithLogics) -> Iterator[OffscreenLayoutManager]:
    """Slicer's usual four-up layout, with its red, green and yellow slice views."""
    made = OffscreenLayoutManager(scene_with_logics.scene, scene_with_logics.application)
    made.setLayout(USUAL)
    yield made
    made.close()


@pytest.fixture
def prediction(layout_manager: OffscreenLayoutManager) -> PredictionNodes:
    return phantom_prediction()


@pytest.fixture
def compare_view(layout_manager: OffscreenLayoutManager) -> CompareView:
    return CompareView(layout_manager, afterLayout=lambda action: action())


@pytest.fixture
def shown(compare_view: CompareView, prediction: PredictionNodes) -> CompareView:
    compare_view.show(prediction)
    return compare_view


@pytest.fixture
def slice_logic(layout_manager: OffscreenLayoutManager) -> Callable[[str], Any]:
    return lambda name: layout_manager.sliceWidget(name).sliceLogic()


@pytest.fixture
def user_segmentation(prediction: PredictionNodes) -> Any:
    """A segmentation of the user's, shown in all views."""
    node = outlined(prediction.preop, ball(TUMOUR_AT, 30.0), "The user's", (0.0, 1.0, 0.0))
    node.GetDisplayNode().SetVisibility(True)
    return node


def views_with_outline(layout_manager: OffscreenLayoutManager, segmentation: Any) -> set[str]:
    """Names of the slice views in which a node with the segments of ``segmentation`` is visible."""
    nodes = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if node.GetSegmentation() is segmentation.GetSegmentation()
    ]
    displays = [node.GetNthDisplayNode(n) for node in nodes for n in range(node.GetNumberOfDisplayNodes())]
    return {
        name
        for name in layout_manager.sliceViewNames()
        for display in displays
        if display.GetVisibility(layout_manager.sliceWidget(name).sliceLogic().GetSliceNode().GetID())
    }


def snapshot(layout_manager: OffscreenLayoutManager) -> dict[str, Any]:
    """All of the scene that another part of Slicer could miss, as text by node."""
    scene = slicer.mrmlScene
    nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    state: dict[str, Any] = {node.GetID(): node.GetName() for node in nodes}
    for node in nodes:
        if node.IsA("vtkMRMLDisplayNode"):
            state[node.GetID()] = (node.GetName(), node.GetViewNodeIDs(), node.GetVisibility())
        if node.IsA("vtkMRMLScalarVolumeDisplayNode"):
            state[node.GetID()] += (node.GetWindow(), node.GetLevel(), node.GetAutoWindowLevel())
        if node.IsA("vtkMRMLDisplayableNode"):
            count = node.GetNumberOfDisplayNodes()
            state[node.GetID()] = (node.GetName(), [node.GetNthDisplayNodeID(n) for n in range(count)])
        if node.IsA("vtkMRMLSliceCompositeNode"):
            layers = (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID(), node.GetLabelVolumeID())
            flags = (node.GetLinkedControl(), node.GetHotLinkedControl(), node.GetDoPropagateVolumeSelection())
            state[node.GetID()] = (*layers, *flags, node.GetForegroundOpacity())
        if node.IsA("vtkMRMLSliceNode"):
            state[node.GetID()] = (slice_to_ras(node).tolist(), node.GetFieldOfView(), node.GetViewGroup())
    layout = layout_manager.layoutLogic().GetLayoutNode()
    state["layout"] = (layout.GetViewArrangement(), layout.GetSaveWithScene())
    return state


def slice_to_ras(slice_node: Any) -> np.ndarray:
    return np.copy(slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS()))


def application_with(layout_manager: OffscreenLayoutManager | None) -> SimpleNamespace:
    """What of ``slicer.app`` the view and the translations ask for."""
    return SimpleNamespace(layoutManager=lambda: layout_manager, translate=lambda _context, text: text)


def scroll(logic: Any, offset: float) -> None:
    logic.StartSliceOffsetInteraction()
    logic.SetSliceOffset(offset)
    logic.EndSliceOffsetInteraction()


# What is where


def test_pre_op_stands_beside_the_prediction_and_precedents_before_over_after(
    shown: CompareView, layout_manager: OffscreenLayoutManager
) -> None:
    shown.setPrecedents([1, 2])
    boxes = layout_manager.boxes()
    names = [PREOP, PREDICTED, beforeTag(1), afterTag(1), beforeTag(2), afterTag(2)]
    assert list(boxes) == names
    assert boxes[PREOP][0] < boxes[PREDICTED][0] < boxes[beforeTag(1)][0] < boxes[beforeTag(2)][0]
    for column in (1, 2):
        before, after = boxes[beforeTag(column)], boxes[afterTag(column)]
        assert before[0] == after[0]
        assert before[1] < after[1]
    shapes = [width / height for _x, _y, width, height in boxes.values()]
    np.testing.assert_allclose(shapes, shapes[0], rtol=0.02)


def test_every_view_says_what_it_shows(shown: CompareView, slice_logic: Callable[[str], Any]) -> None:
    shown.setPrecedents([2, 1])
    labels = {name: slice_logic(name).GetSliceNode().GetLayoutLabel() for name in (PREOP, PREDICTED)}
    assert labels == {PREOP: "Pre-op", PREDICTED: "Predicted (synthetic)"}
    assert slice_logic(beforeTag(1)).GetSliceNode().GetLayoutLabel() == "Precedent 2 before"
    assert slice_logic(afterTag(2)).GetSliceNode().GetLayoutLabel() == "Precedent 1 after"
    colours = {
        slice_logic(name).GetSliceNode().GetLayoutColor() for name in (PREOP, PREDICTED, beforeTag(1), afterTag(1))
    }
    assert len(colours) == 4


def test_every_view_shows_its_own_volume(
    shown: CompareView, prediction: PredictionNodes, slice_logic: Callable[[str], Any]
) -> None:
    shown.setPrecedents([2])

    def background(name: str) -> Any:
        return slicer.mrmlScene.GetNodeByID(slice_logic(name).GetSliceCompositeNode().GetBackgroundVolumeID())

    assert background(PREOP) is prediction.preop
    assert background(PREDICTED) is prediction.postop
    assert background(beforeTag(1)) is prediction.precedents[1].pre
    assert background(afterTag(1)) is prediction.precedents[1].post


def test_the_best_precedent_is_shown_unless_others_are_asked_for(
    compare_view: CompareView, prediction: PredictionNodes
) -> None:
    compare_view.show(prediction)
    assert compare_view.precedents == (1,)
    compare_view.show(prediction, [2, 1])
    assert compare_view.precedents == (2, 1)


def test_a_prediction_without_similar_case_is_shown_alone(
    compare_view: CompareView, layout_manager: OffscreenLayoutManager
) -> None:
    compare_view.show(phantom_prediction(precedents=0))
    assert list(layout_manager.boxes()) == [PREOP, PREDICTED]


def test_choosing_fewer_precedents_takes_their_views_away(
    shown: CompareView, layout_manager: OffscreenLayoutManager
) -> None:
    shown.setPrecedents([1, 2])
    assert layout_manager.sliceWidget(afterTag(2)) is not None
    shown.setPrecedents([2])
    assert layout_manager.sliceWidget(afterTag(2)) is None
    assert list(layout_manager.boxes()) == [PREOP, PREDICTED, beforeTag(1), afterTag(1)]
    assert slicer.mrmlScene.GetFirstNodeByName(f"{afterTag(2)} Volume Slice") is None


def test_another_choice_of_precedents_keeps_the_plane_and_the_reveal(
    shown: CompareView, slice_logic: Callable[[str], Any]
) -> None:
    scroll(slice_logic(PREOP), -12.0)
    shown.setReveal(0.4)
    shown.setPrecedents([2, 1])
    assert [slice_logic(name).GetSliceOffset() for name in (PREOP, PREDICTED, afterTag(2))] == pytest.approx(
        [-12.0] * 3
    )
    assert shown.reveal == pytest.approx(0.4)


def test_an_unknown_precedent_is_refused_and_nothing_changes(
    compare_view: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager
) -> None:
    before = snapshot(layout_manager)
    with pytest.raises(ValueError, match="no precedent 7; it has 1, 2"):
        compare_view.show(prediction, [1, 7])
    assert snapshot(layout_manager) == before
    compare_view.show(prediction, [2])
    with pytest.raises(ValueError, match="no precedent 3"):
        compare_view.setPrecedents([3])
    assert compare_view.precedents == (2,)


def test_a_comparison_that_fails_half_way_leaves_the_scene_as_it_was(
    compare_view: CompareView,
    prediction: PredictionNodes,
    layout_manager: OffscreenLayoutManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = snapshot(layout_manager)
    monkeypatch.setattr(CompareWindowLevel, "_apply", lambda *_args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compare_view.show(prediction)
    assert not compare_view.isShown
    assert snapshot(layout_manager) == before


# Moving together


def test_scrolling_and_zooming_one_view_moves_all_of_ours_and_none_of_the_users(
    shown: CompareView, slice_logic: Callable[[str], Any]
) -> None:
    ours = (PREOP, PREDICTED, beforeTag(1), afterTag(1))
    red = slice_to_ras(slice_logic("Red").GetSliceNode()), slice_logic("Red").GetSliceNode().GetFieldOfView()
    scroll(slice_logic(PREDICTED), -20.0)
    assert [slice_logic(name).GetSliceOffset() for name in ours] == pytest.approx([-20.0] * 4)

    node = slice_logic(afterTag(1)).GetSliceNode()
    node_logic = slice_logic(afterTag(1))
    node_logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.FieldOfViewFlag)
    wide, high, deep = node.GetFieldOfView()
    node.SetFieldOfView(wide / 2, high / 2, deep)
    node_logic.EndSliceNodeInteraction()
    assert [slice_logic(name).GetSliceNode().GetFieldOfView()[0] for name in ours] == pytest.approx([wide / 2] * 4)

    np.testing.assert_array_equal(slice_to_ras(slice_logic("Red").GetSliceNode()), red[0])
    assert slice_logic("Red").GetSliceNode().GetFieldOfView() == red[1]


def test_the_users_views_do_not_move_ours(shown: CompareView, slice_logic: Callable[[str], Any]) -> None:
    slice_logic("Red").GetSliceCompositeNode().SetLinkedControl(True)
    before = slice_logic(PREOP).GetSliceOffset()
    scroll(slice_logic("Red"), before + 30.0)
    assert slice_logic(PREOP).GetSliceOffset() == before
    assert slice_logic(PREOP).GetSliceNode().GetViewGroup() == VIEW_GROUP


@pytest.mark.parametrize(("orientation", "normal"), [("Axial", 2), ("Coronal", 1), ("Sagittal", 0)])
def test_all_views_start_in_the_tumours_plane_with_the_whole_brain_in_view(
    shown: CompareView, slice_logic: Callable[[str], Any], orientation: str, normal: int
) -> None:
    shown.setOrientation(orientation)
    in_plane = [axis for axis in range(3) if axis != normal]
    widths = set()
    for name in (PREOP, PREDICTED, beforeTag(1), afterTag(1)):
        node = slice_logic(name).GetSliceNode()
        assert node.GetOrientation() == orientation
        assert slice_to_ras(node)[normal, 3] == pytest.approx(TUMOUR_AT[normal], abs=2.0)
        seen = np.abs(slice_to_ras(node)[:3, :2] @ np.array(node.GetFieldOfView()[:2])) / 2
        middle = slice_to_ras(node)[:3, 3]
        for axis in in_plane:
            low, high = middle[axis] - seen[axis], middle[axis] + seen[axis]
            assert low < BRAIN_AT[axis] - BRAIN_AXES[axis] + 3
            assert high > BRAIN_AT[axis] + BRAIN_AXES[axis] - 3
        assert min(seen[axis] / BRAIN_AXES[axis] for axis in in_plane) < 1.2, "the brain fills the view"
        widths.add(round(node.GetFieldOfView()[0], 6))
    assert len(widths) == 1


def test_an_unknown_orientation_is_refused(shown: CompareView) -> None:
    with pytest.raises(ValueError, match="'axial' is not one of Axial, Coronal, Sagittal"):
        shown.setOrientation("axial")


@pytest.mark.parametrize(("width", "height"), [(90, 300), (300, 90)])
def test_views_are_zoomed_again_when_they_have_their_final_size(
    layout_manager: OffscreenLayoutManager,
    prediction: PredictionNodes,
    slice_logic: Callable[[str], Any],
    width: int,
    height: int,
) -> None:
    later: list[Callable[[], None]] = []
    CompareView(layout_manager, afterLayout=later.append).show(prediction)
    for name in (PREOP, PREDICTED):
        slice_logic(name).ResizeSliceNode(width, height)
    for action in later:
        action()
    seen = [slice_logic(name).GetSliceNode().GetFieldOfView() for name in (PREOP, PREDICTED, beforeTag(1), afterTag(1))]
    assert seen[0][1] == pytest.approx(seen[0][0] * height / width)
    assert len({round(wide, 6) for wide, _high, _deep in seen}) == 1
    assert min(wide for wide, _high, _deep in seen) > 2 * BRAIN_AXES[0] - 6
    assert min(high for _wide, high, _deep in seen) > 2 * BRAIN_AXES[1] - 6


def test_the_plane_is_the_one_that_cuts_most_of_a_scattered_tumour(
    shown: CompareView, prediction: PredictionNodes, slice_logic: Callable[[str], Any]
) -> None:
    large, small = ball(np.array([30.0, -10.0, 40.0]), 14.0), ball(np.array([-30.0, -10.0, -30.0]), 7.0)
    scattered = outlined(prediction.preop, large | small, "Scattered", (1.0, 0.0, 0.0))
    shown.show(dataclasses.replace(prediction, tumour=scattered))
    assert slice_logic(PREOP).GetSliceOffset() == pytest.approx(40.0, abs=2.5)


def test_the_views_follow_the_nodes_to_patient_space_and_back(
    layout_manager: OffscreenLayoutManager, prediction: PredictionNodes, slice_logic: Callable[[str], Any]
) -> None:
    turn = vtk.vtkTransform()
    turn.Translate(15.0, 40.0, -60.0)
    turn.RotateX(12.0)
    matrix = slicer.util.arrayFromVTKMatrix(turn.GetMatrix())
    transform = place(prediction.preop, matrix)

    def move(transform_id: str | None) -> None:
        for node in prediction.displayed():
            node.SetAndObserveTransformNodeID(transform_id)

    move(transform.GetID())
    later: list[Callable[[], None]] = []
    view = CompareView(layout_manager, afterLayout=later.append)
    view.show(prediction)
    outline = slicer.mrmlScene.GetFirstNodeByName("Tumour outline")
    assert outline.GetTransformNodeID() == transform.GetID()
    tumour, brain = matrix @ [*TUMOUR_AT, 1.0], matrix @ [*BRAIN_AT, 1.0]
    for name in (PREOP, PREDICTED, beforeTag(1), afterTag(1)):
        middle = slice_to_ras(slice_logic(name).GetSliceNode())[:3, 3]
        assert middle[2] == pytest.approx(tumour[2], abs=2.5)
        np.testing.assert_allclose(middle[:2], brain[:2], atol=6.0)

    later.clear()
    move(None)
    for action in later:
        action()
    assert slice_logic(PREOP).GetSliceOffset() == pytest.approx(TUMOUR_AT[2], abs=2.5)
    assert outline.GetTransformNodeID() is None

    view.reset()
    later.clear()
    move(transform.GetID())
    assert later == [], "nothing listens any more"


# Brightness


def test_precedents_of_another_scanner_are_shown_as_bright_as_the_patient(
    shown: CompareView, prediction: PredictionNodes
) -> None:
    def shade(volume: Any, value: float) -> float:
        display = volume.GetDisplayNode()
        return (value - display.GetLevel()) / display.GetWindow()

    reference = [shade(prediction.preop, value) for value in (60.0, 100.0)]
    assert prediction.preop.GetDisplayNode().GetWindow() == 130.0, "the pre-op scan's own window rules"
    assert [shade(prediction.postop, value) for value in (60.0, 100.0)] == pytest.approx(reference)
    for volume in (prediction.precedents[0].pre, prediction.precedents[0].post):
        assert [shade(volume, value * 7 + 200) for value in (60.0, 100.0)] == pytest.approx(reference, abs=0.02)


def test_changing_the_window_in_one_view_changes_it_in_all(shown: CompareView, prediction: PredictionNodes) -> None:
    after = prediction.precedents[0].post.GetDisplayNode()
    after.SetWindowLevel(after.GetWindow() / 2, after.GetLevel())
    assert prediction.preop.GetDisplayNode().GetWindow() == pytest.approx(65.0)
    assert prediction.postop.GetDisplayNode().GetWindow() == pytest.approx(65.0)
    prediction.preop.GetDisplayNode().SetWindowLevel(200.0, 90.0)
    assert prediction.postop.GetDisplayNode().GetLevel() == pytest.approx(90.0)
    assert after.GetWindow() == pytest.approx(200.0 * 7, rel=0.02)


def test_windows_that_were_set_by_hand_come_back(compare_view: CompareView, prediction: PredictionNodes) -> None:
    before = prediction.precedents[0].post.GetDisplayNode()
    before.SetAutoWindowLevel(False)
    before.SetWindowLevel(777.0, 333.0)
    compare_view.show(prediction)
    prediction.postop.GetDisplayNode().SetWindowLevel(50.0, 40.0)
    compare_view.reset()
    assert (before.GetWindow(), before.GetLevel()) == (777.0, 333.0)
    own = prediction.preop.GetDisplayNode()
    assert (own.GetWindow(), own.GetLevel()) == (130.0, 60.0)


def test_the_reveal_fades_the_pre_op_scan_over_the_prediction(
    shown: CompareView, prediction: PredictionNodes, slice_logic: Callable[[str], Any]
) -> None:
    composite = slice_logic(PREDICTED).GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == prediction.preop.GetID()
    assert composite.GetForegroundOpacity() == 0.0
    shown.setReveal(0.25)
    assert composite.GetForegroundOpacity() == shown.reveal == 0.25
    shown.setReveal(3)
    assert shown.reveal == 1.0
    assert slice_logic(PREOP).GetSliceCompositeNode().GetForegroundOpacity() == 0.0


# Outlines


def test_outlines_are_only_where_they_belong(
    shown: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager
) -> None:
    shown.setPrecedents([1, 2])
    assert views_with_outline(layout_manager, prediction.tumour) == {PREOP}
    assert views_with_outline(layout_manager, prediction.cavity) == {PREDICTED}
    for place_of, precedent in enumerate(prediction.precedents, start=1):
        assert views_with_outline(layout_manager, precedent.tumour) == {beforeTag(place_of)}
        assert views_with_outline(layout_manager, precedent.cavity) == {afterTag(place_of)}


def test_a_prediction_without_tumour_segmentation_is_shown_around_its_cavity(
    compare_view: CompareView, prediction: PredictionNodes, slice_logic: Callable[[str], Any]
) -> None:
    slicer.mrmlScene.RemoveNode(prediction.tumour)
    compare_view.show(dataclasses.replace(prediction, tumour=None))
    assert slice_logic(PREOP).GetSliceOffset() == pytest.approx(TUMOUR_AT[2], abs=2.0)


def test_the_users_outlines_stay_in_the_users_views_and_out_of_ours(
    shown: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager, user_segmentation: Any
) -> None:
    assert views_with_outline(layout_manager, user_segmentation) == {"Red", "Green", "Yellow"}
    shown.setPrecedents([1, 2])
    assert views_with_outline(layout_manager, user_segmentation) == {"Red", "Green", "Yellow"}
    shown.reset()
    assert user_segmentation.GetDisplayNode().GetNumberOfViewNodeIDs() == 0


def test_a_view_made_while_comparing_shows_the_users_outlines_too(
    compare_view: CompareView,
    prediction: PredictionNodes,
    layout_manager: OffscreenLayoutManager,
    user_segmentation: Any,
) -> None:
    compare_view.show(prediction)
    node = slicer.vtkMRMLSliceNode()
    node.SetLayoutName("Another")
    node.SetName("Another")
    slicer.mrmlScene.AddNode(node)
    assert views_with_outline(layout_manager, user_segmentation) == {"Red", "Green", "Yellow", "Another"}


def test_outlines_are_hidden_from_every_list_of_nodes_and_from_3d(shown: CompareView) -> None:
    outline = slicer.mrmlScene.GetFirstNodeByName("Tumour outline")
    assert outline.GetHideFromEditors()
    assert not outline.GetDisplayNode().GetVisibility3D()


def test_ours_are_kept_free_of_other_outlines_where_the_scene_has_no_other_view(
    shown: CompareView, layout_manager: OffscreenLayoutManager, prediction: PredictionNodes
) -> None:
    for node in slicer.util.getNodesByClass("vtkMRMLAbstractViewNode"):
        if not node.GetLayoutName().startswith("PostOpCompare"):
            slicer.mrmlScene.RemoveNode(node)
    users = outlined(prediction.preop, ball(TUMOUR_AT, 30.0), "The user's", (0.0, 1.0, 0.0))
    users.GetDisplayNode().SetVisibility(True)
    assert views_with_outline(layout_manager, users) == set()


def test_views_that_the_user_chose_for_an_outline_meanwhile_are_kept(
    compare_view: CompareView,
    prediction: PredictionNodes,
    layout_manager: OffscreenLayoutManager,
    user_segmentation: Any,
) -> None:
    compare_view.show(prediction)
    display = user_segmentation.GetDisplayNode()
    display.RemoveAllViewNodeIDs()
    display.AddViewNodeID("vtkMRMLSliceNodeGreen")
    compare_view.reset()
    assert display.GetViewNodeIDs() == ("vtkMRMLSliceNodeGreen",)


# The rest of Slicer


def test_selecting_another_volume_leaves_ours_alone_and_ours_leaves_the_users(
    scene_with_logics: SceneWithLogics,
    compare_view: CompareView,
    prediction: PredictionNodes,
    slice_logic: Callable[[str], Any],
) -> None:
    other = phantom_prediction(precedents=0).postop
    red = slice_logic("Red").GetSliceCompositeNode()
    red.SetBackgroundVolumeID(other.GetID())
    compare_view.show(prediction)
    assert red.GetBackgroundVolumeID() == other.GetID()
    selection = scene_with_logics.application.GetSelectionNode()
    selection.SetActiveVolumeID(prediction.precedents[1].pre.GetID())
    scene_with_logics.application.PropagateVolumeSelection(0)
    assert red.GetBackgroundVolumeID() == prediction.precedents[1].pre.GetID(), "the selection itself works"
    assert slice_logic(PREOP).GetSliceCompositeNode().GetBackgroundVolumeID() == prediction.preop.GetID()
    assert (
        slice_logic(afterTag(1)).GetSliceCompositeNode().GetBackgroundVolumeID()
        == prediction.precedents[0].post.GetID()
    )


def test_reset_leaves_the_scene_as_it_was(
    compare_view: CompareView,
    prediction: PredictionNodes,
    layout_manager: OffscreenLayoutManager,
    user_segmentation: Any,
) -> None:
    before = snapshot(layout_manager)
    compare_view.show(prediction, [1, 2])
    compare_view.setPrecedents([2])
    compare_view.setReveal(0.7)
    compare_view.setOrientation("Sagittal")
    assert snapshot(layout_manager) != before
    compare_view.reset()
    assert snapshot(layout_manager) == before
    assert not any(layout_manager.layoutLogic().GetLayoutNode().IsLayoutDescription(layoutId(k)) for k in range(11))


def test_everything_but_show_does_nothing_while_nothing_is_shown(
    compare_view: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager
) -> None:
    before = snapshot(layout_manager)
    for again in range(2):
        compare_view.reset()
        compare_view.setPrecedents([1])
        compare_view.setReveal(0.5)
        compare_view.setOrientation("Axial")
        compare_view.fit()
        assert (compare_view.isShown, compare_view.precedents, compare_view.reveal) == (False, (), 0.0)
        assert snapshot(layout_manager) == before
        if again == 0:
            compare_view.show(prediction)
            compare_view.reset()


def test_showing_a_second_prediction_still_returns_to_the_first_layout(
    shown: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager, slice_logic: Any
) -> None:
    second = phantom_prediction()
    shown.show(second, [2, 1])
    assert slice_logic(PREOP).GetSliceCompositeNode().GetBackgroundVolumeID() == second.preop.GetID()
    assert views_with_outline(layout_manager, prediction.tumour) == set()
    shown.reset()
    assert layout_manager.layoutLogic().GetLayoutNode().GetViewArrangement() == USUAL
    assert slicer.mrmlScene.GetFirstNodeByName("Tumour outline") is None


def test_closing_the_scene_ends_the_comparison(shown: CompareView, layout_manager: OffscreenLayoutManager) -> None:
    scene, when_the_scans_went = slicer.mrmlScene, []

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def note(_scene: Any, _event: str, node: Any) -> None:
        if node.IsA("vtkMRMLVolumeNode"):
            when_the_scans_went.append(shown.isShown)

    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, note)
    scene.Clear(False)
    assert when_the_scans_went
    assert not any(when_the_scans_went), "it had ended before"
    assert layout_manager.layoutLogic().GetLayoutNode().GetViewArrangement() == USUAL
    assert layout_manager.sliceViewNames() == ["Red", "Green", "Yellow"]
    shown.reset()
    shown.show(phantom_prediction())
    assert shown.isShown


@pytest.mark.parametrize("removed", ["preop", "postop"])
def test_removing_the_prediction_ends_the_comparison(
    shown: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager, removed: str
) -> None:
    slicer.mrmlScene.RemoveNode(getattr(prediction, removed))
    assert not shown.isShown
    assert layout_manager.layoutLogic().GetLayoutNode().GetViewArrangement() == USUAL
    with pytest.raises(ValueError, match="no longer in the scene"):
        shown.show(prediction)
    assert layout_manager.layoutLogic().GetLayoutNode().GetViewArrangement() == USUAL


def test_removing_anything_else_leaves_an_empty_view_and_a_clean_end(
    shown: CompareView, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager, slice_logic: Any
) -> None:
    removed = [prediction.cavity, prediction.tumour, prediction.precedents[0].post, prediction.precedents[0].tumour]
    for node in removed:
        display = node.GetDisplayNode()
        slicer.mrmlScene.RemoveNode(node)
        slicer.mrmlScene.RemoveNode(display)
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    assert names.count("Tumour outline") == names.count("Predicted cavity outline") == 0
    assert slice_logic(afterTag(1)).GetSliceCompositeNode().GetBackgroundVolumeID() is None
    shown.fit()
    shown.setPrecedents([2, 1])
    assert slice_logic(afterTag(2)).GetSliceCompositeNode().GetBackgroundVolumeID() is None
    shown.reset()
    assert layout_manager.sliceViewNames() == ["Red", "Green", "Yellow"]


def test_a_layout_that_the_user_chooses_meanwhile_stays(
    shown: CompareView, layout_manager: OffscreenLayoutManager
) -> None:
    layout_manager.setLayout(OTHER)
    assert not shown.isShown
    assert layout_manager.layoutLogic().GetLayoutNode().GetViewArrangement() == OTHER
    assert layout_manager.sliceViewNames() == ["Red", "Green", "Yellow"]


def test_whoever_asked_is_told_of_every_change(
    layout_manager: OffscreenLayoutManager, prediction: PredictionNodes
) -> None:
    told: list[tuple[bool, tuple[int, ...]]] = []
    view = CompareView(
        layout_manager, lambda action: action(), whenChanged=lambda: told.append((view.isShown, view.precedents))
    )
    view.show(prediction)
    view.setPrecedents([2])
    slicer.mrmlScene.RemoveNode(prediction.preop)
    assert told == [(True, (1,)), (True, (2,)), (False, ())]


def test_a_scene_saved_meanwhile_holds_nothing_of_the_comparison(
    shown: CompareView, layout_manager: OffscreenLayoutManager, tmp_path: Path
) -> None:
    write_scene(tmp_path / "saved.mrb")
    slicer.mrmlScene.Clear(False)
    layout_manager.setLayout(OTHER)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "saved.mrb"))
    assert slicer.mrmlScene.GetFirstNodeByName("Pre-op") is not None
    assert layout_manager.layoutLogic().GetLayoutNode().GetViewArrangement() == OTHER
    assert layout_manager.sliceViewNames() == ["Red", "Green", "Yellow"]
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLNode")]
    assert "Tumour" in names
    assert "Tumour outline" not in names
    singletons = [node.GetSingletonTag() or "" for node in slicer.util.getNodesByClass("vtkMRMLNode")]
    assert not any(tag.startswith("PostOpCompare") for tag in singletons)


def test_outlines_of_a_scene_saved_meanwhile_show_in_all_views_again(
    shown: CompareView, user_segmentation: Any, layout_manager: OffscreenLayoutManager, tmp_path: Path
) -> None:
    assert user_segmentation.GetDisplayNode().GetViewNodeIDs()
    write_scene(tmp_path / "saved.mrb")
    shown.reset()
    assert user_segmentation.GetDisplayNode().GetAttribute(KEPT_OUT) is None
    slicer.mrmlScene.Clear(False)
    layout_manager.setLayout(OTHER)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "saved.mrb"))
    display = slicer.mrmlScene.GetFirstNodeByName("The user's").GetDisplayNode()
    chosen = slicer.mrmlScene.GetFirstNodeByName("Tumour").GetDisplayNode()
    chosen.RemoveAttribute(KEPT_OUT)
    chosen.RemoveAllViewNodeIDs()
    chosen.AddViewNodeID("vtkMRMLSliceNodeRed")
    freeSavedDisplays(slicer.mrmlScene)
    assert display.GetViewNodeIDs() == ()
    assert chosen.GetViewNodeIDs() == ("vtkMRMLSliceNodeRed",), "the user's own choice stays"


def test_outlines_that_come_from_such_a_scene_are_ours_again_afterwards(
    compare_view: CompareView, prediction: PredictionNodes, user_segmentation: Any
) -> None:
    display = user_segmentation.GetDisplayNode()
    display.SetAttribute(KEPT_OUT, "1")
    display.AddViewNodeID("vtkMRMLSliceNodeYellow")
    compare_view.show(prediction)
    compare_view.reset()
    assert display.GetViewNodeIDs() == ()


def test_without_a_main_window_a_sentence_says_why_there_is_no_comparison(
    monkeypatch: pytest.MonkeyPatch, prediction: PredictionNodes
) -> None:
    monkeypatch.setattr(slicer, "app", application_with(None), raising=False)
    view = CompareView(afterLayout=lambda action: action())
    with pytest.raises(RuntimeError, match="needs Slicer's main window"):
        view.show(prediction)
    assert not view.isShown
    view.reset()


def test_slicers_own_layout_manager_is_used_when_none_is_given(
    monkeypatch: pytest.MonkeyPatch, prediction: PredictionNodes, layout_manager: OffscreenLayoutManager
) -> None:
    monkeypatch.setattr(slicer, "app", application_with(layout_manager), raising=False)
    view = CompareView(afterLayout=lambda action: action())
    view.show(prediction)
    assert list(layout_manager.boxes()) == [PREOP, PREDICTED, beforeTag(1), afterTag(1)]


@pytest.mark.parametrize(("saved", "expected"), [(layoutId(1), "InitialView"), (OTHER, "OneUpRedSliceView")])
def test_slicer_left_in_our_layout_starts_with_views(
    monkeypatch: pytest.MonkeyPatch, layout_manager: OffscreenLayoutManager, saved: int, expected: str
) -> None:
    """As the main window does it: by number, before our layout has a description."""
    layout_manager.setLayout(saved)
    monkeypatch.setattr(slicer, "app", application_with(layout_manager), raising=False)
    leaveSavedLayout()
    arrangement = layout_manager.layoutLogic().GetLayoutNode().GetViewArrangement()
    assert arrangement == getattr(slicer.vtkMRMLLayoutNode, f"SlicerLayout{expected}")
    assert "Red" in layout_manager.boxes()


def test_there_is_no_layout_to_leave_without_a_main_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicer, "app", application_with(None), raising=False)
    leaveSavedLayout()
