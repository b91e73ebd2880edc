"""A map over the prediction: in which views, with which legend, and that nothing is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import offscreen_layout
import pytest
import slicer
import slicer.util
from drawing import why_nothing_can_be_drawn
from finished_prediction import node_ids
from offscreen_layout import OffscreenLayoutManager
from PostOpPredictorModule.CompareLayout import PREDICTED, PREOP, afterTag, beforeTag
from PostOpPredictorModule.CompareView import CompareView
from PostOpPredictorModule.MapLooks import mapLooks
from PostOpPredictorModule.MapOverlay import MapOverlay
from PostOpPredictorModule.ResultNodes import removeRun, showInSpace
from PostOpPredictorModule.ScanOverlay import ScanOverlay
from PostOpPredictorModule.ShiftGlyphs import areGlyphsShown, showGlyphs
from slice_view_picture import view_pixels
from standins.mrml_scene import SceneWithLogics
from written_result import written_result

USERS = ("Red", "Green", "Yellow")
DRAWERS = ("vtkMRMLTransformsDisplayableManager2D", "vtkMRMLColorLegendDisplayableManager")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return written_result(tmp_path_factory.mktemp("written") / "prediction")


@pytest.fixture
def layout_manager(
    scene_with_logics: SceneWithLogics, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OffscreenLayoutManager]:
    monkeypatch.setattr(offscreen_layout, "DISPLAYABLE_MANAGERS", (*offscreen_layout.DISPLAYABLE_MANAGERS, *DRAWERS))
    made = OffscreenLayoutManager(scene_with_logics.scene, scene_with_logics.application, 900, 400)
    made.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield made
    made.close()


@pytest.fixture
def result(layout_manager: OffscreenLayoutManager, written: Any) -> Any:
    return written.added()


@pytest.fixture
def compare(layout_manager: OffscreenLayoutManager) -> CompareView:
    return CompareView(layout_manager, afterLayout=lambda action: action())


def show(maps: MapOverlay, result: Any, role: str) -> Any:
    look, volume = mapLooks()[role], getattr(result, role)
    maps.show(result, volume, look.title, look.labelFormat)
    return volume


def composite(layout_manager: OffscreenLayoutManager, name: str) -> Any:
    return layout_manager.sliceWidget(name).sliceLogic().GetSliceCompositeNode()


def layers(layout_manager: OffscreenLayoutManager, name: str) -> tuple[Any, Any, float]:
    view = composite(layout_manager, name)
    return view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetForegroundOpacity()


def legends() -> list[Any]:
    return slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")


def test_the_map_lies_over_the_prediction_in_the_users_views(layout_manager: Any, result: Any) -> None:
    maps = MapOverlay()
    spread = show(maps, result, "spreadPrecedents")
    for name in USERS:
        assert layers(layout_manager, name) == (result.postop.GetID(), spread.GetID(), 0.7)
    maps.setOpacity(0.25)
    assert layers(layout_manager, "Red")[2] == 0.25
    (legend,) = legends()
    assert legend.GetTitleText() == "Spread over precedents\n(% of the brightness range)"
    assert legend.GetVisibility() and legend.GetLabelFormat() == "%5.0f"
    assert legend.GetPrimaryDisplayNode() in (None, spread.GetDisplayNode())


def test_another_map_replaces_it_and_none_brings_back_what_was_shown(layout_manager: Any, result: Any) -> None:
    before = {}
    for name in USERS:
        view = composite(layout_manager, name)
        view.SetBackgroundVolumeID(result.precedents[0].pre.GetID())
        view.SetForegroundVolumeID(result.precedents[0].post.GetID())
        view.SetForegroundOpacity(0.33)
        before[name] = layers(layout_manager, name)
    nodes = node_ids()
    maps, told = MapOverlay(), []
    maps.whenChanged.append(lambda: told.append(maps.volume))
    first = show(maps, result, "spreadPrecedents")
    second = show(maps, result, "cavityAgreement")
    assert layers(layout_manager, "Green")[1] == second.GetID()
    assert len(legends()) == 1
    maps.remove()
    assert {name: layers(layout_manager, name) for name in USERS} == before
    assert node_ids() == nodes, "the legend is gone too"
    assert told == [first, second, None]


def test_what_the_user_chose_meanwhile_stays(layout_manager: Any, result: Any) -> None:
    maps = MapOverlay()
    show(maps, result, "spreadNoise")
    composite(layout_manager, "Red").SetForegroundVolumeID(result.preop.GetID())
    maps.setOpacity(0.1)
    assert composite(layout_manager, "Red").GetForegroundOpacity() == 0.7
    maps.remove()
    assert composite(layout_manager, "Red").GetForegroundVolumeID() == result.preop.GetID()


def test_views_go_to_the_map_when_the_first_is_shown_and_stay_then(layout_manager: Any, result: Any) -> None:
    maps = MapOverlay()
    show(maps, result, "spreadNoise")
    node = layout_manager.sliceWidget("Red").sliceLogic().GetSliceNode()
    bounds = [0.0] * 6
    result.spreadNoise.GetRASBounds(bounds)
    assert bounds[4] < node.GetSliceToRAS().GetElement(2, 3) < bounds[5]
    node.JumpSliceByCentering(0, 0, -40)
    show(maps, result, "spreadPrecedents")
    assert node.GetSliceToRAS().GetElement(2, 3) == pytest.approx(-40)


def test_in_the_compare_view_only_the_prediction_has_the_map(layout_manager: Any, result: Any, compare: Any) -> None:
    maps = MapOverlay()
    compare.show(result)
    compare.setReveal(0.4)
    spread = show(maps, result, "spreadPrecedents")
    assert layers(layout_manager, PREDICTED)[1] == spread.GetID()
    for name in (PREOP, beforeTag(1), afterTag(1)):
        assert composite(layout_manager, name).GetForegroundVolumeID() != spread.GetID(), name
    compare.setPrecedents([2])
    maps.refresh()
    assert layers(layout_manager, PREDICTED)[1] == spread.GetID(), "views that were filled anew have it again"
    maps.remove()
    assert composite(layout_manager, PREDICTED).GetForegroundVolumeID() == result.preop.GetID()
    compare.reset()


def test_leaving_the_compare_view_leaves_the_map_in_the_users_views(
    layout_manager: Any, result: Any, compare: Any
) -> None:
    maps = MapOverlay()
    compare.show(result)
    spread = show(maps, result, "spreadPrecedents")
    compare.reset()
    maps.refresh()
    assert layers(layout_manager, "Red")[1] == spread.GetID()
    maps.remove()
    assert composite(layout_manager, "Red").GetForegroundVolumeID() is None


def test_moving_the_result_under_a_map(layout_manager: Any, result: Any) -> None:
    maps, scan = MapOverlay(), ScanOverlay()
    spread = show(maps, result, "spreadPrecedents")
    with maps.lifted():
        showInSpace(result, "patient")
        scan.show(result)
    assert layers(layout_manager, "Red")[1] == spread.GetID()
    with maps.lifted():
        showInSpace(result, "mni")
        scan.remove()
    maps.remove()
    assert composite(layout_manager, "Red").GetForegroundVolumeID() is None, "nothing of either is left"


def test_a_map_whose_result_is_removed_does_no_harm(layout_manager: Any, result: Any) -> None:
    maps = MapOverlay()
    show(maps, result, "generated")
    removeRun(slicer.mrmlScene, result.runId)
    assert legends() == []
    maps.setOpacity(0.5)
    maps.refresh()
    maps.remove()
    assert maps.volume is None


def test_a_map_that_the_user_removed_leaves_no_legend_and_is_not_shown_again(layout_manager: Any, result: Any) -> None:
    maps, told = MapOverlay(), []
    maps.whenChanged.append(lambda: told.append(maps.volume))
    show(maps, result, "generated")
    slicer.mrmlScene.RemoveNode(result.generated)
    maps.remove()
    assert legends() == []
    show(maps, result, "generated")
    assert maps.volume is None and told[-1] is None and legends() == []
    slicer.mrmlScene.RemoveNode(result.shift)
    showGlyphs(result.shift, True)
    assert not areGlyphsShown(result.shift)


@pytest.fixture
def can_draw() -> None:
    reason = why_nothing_can_be_drawn()
    if reason:
        pytest.skip(reason)


def test_map_and_legend_are_drawn_and_the_scan_shows_where_the_map_tells_nothing(
    can_draw: None, layout_manager: Any, result: Any, compare: Any
) -> None:
    compare.show(result)
    maps = MapOverlay()
    plain = view_pixels(layout_manager, PREDICTED).astype(int)
    show(maps, result, "spreadPrecedents")
    maps.setOpacity(1.0)
    shown = view_pixels(layout_manager, PREDICTED).astype(int)
    changed = np.abs(shown - plain).sum(axis=-1) > 30
    height, width = changed.shape
    assert changed[height // 3 : 2 * height // 3].any(), "the map is there"
    assert changed[int(height * 0.6) :, int(width * 0.8) :].mean() > 0.02, "the legend is there, at the right below"
    colour = shown.max(axis=-1) - shown.min(axis=-1)
    assert (colour > 60).sum() > 200, "it has colours"
    left = shown[: height // 2, : width // 4]
    assert np.abs(left - plain[: height // 2, : width // 4]).max() < 3, "elsewhere the scan is as it was"
    maps.remove()
    assert np.abs(view_pixels(layout_manager, PREDICTED).astype(int) - plain).max() < 3
    compare.reset()


def arrows(layout_manager: Any, name: str, without: np.ndarray) -> int:
    """Number of pixels that are not as they were, and not grey."""
    pixels = view_pixels(layout_manager, name).astype(int)
    differs = np.abs(pixels - without).sum(axis=-1) > 30
    return int((differs & (pixels.max(axis=-1) - pixels.min(axis=-1) > 40)).sum())


def test_arrows_are_drawn_over_the_patient_and_over_no_precedent(
    can_draw: None, layout_manager: Any, result: Any, compare: Any
) -> None:
    compare.show(result)
    names = (PREOP, PREDICTED, beforeTag(1), afterTag(1))
    plain = {name: view_pixels(layout_manager, name).astype(int) for name in names}
    showGlyphs(result.shift, True)
    assert areGlyphsShown(result.shift)
    drawn = [arrows(layout_manager, name, plain[name]) for name in names]
    assert drawn[0] > 50 and drawn[1] > 50
    assert drawn[2:] == [0, 0]
    showGlyphs(result.shift, False)
    assert [arrows(layout_manager, name, plain[name]) for name in names] == [0, 0, 0, 0]
    compare.reset()


def test_arrows_that_were_on_before_the_comparison_stay_out_of_the_precedents(
    can_draw: None, layout_manager: Any, result: Any, compare: Any
) -> None:
    showGlyphs(result.shift, True)
    compare.show(result)
    showGlyphs(result.shift, False)
    plain = view_pixels(layout_manager, beforeTag(1)).astype(int)
    showGlyphs(result.shift, True)
    assert arrows(layout_manager, beforeTag(1), plain) == 0
    compare.reset()


def test_arrows_are_removed_with_the_prediction(layout_manager: Any, written: Any) -> None:
    nodes = node_ids()
    result = written.added()
    assert not areGlyphsShown(result.shift) and not areGlyphsShown(None)
    showGlyphs(result.shift, False)
    assert result.shift.GetDisplayNode() is None, "what nobody wants to see is not made"
    showGlyphs(result.shift, True)
    assert len(node_ids() - nodes) > 20
    removeRun(slicer.mrmlScene, result.runId)
    assert node_ids() == nodes
