"""The section Results: figures, precedents, comparison, space, removal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def show(panel: Any, logic: Any) -> Callable[..., Any]:
    """``show(...)``: a prediction with this summary has just been made."""

    def make(run_id: str = "run-1", precedents: int = 3, **summary: Any) -> Any:
        from panel_fakes import fake_result

        panel.ui.predictButton.click()
        result = fake_result(run_id, precedents, **summary)
        logic.inScene.insert(0, result)
        logic.runs[-1].finish(result)
        return result

    return make


def test_headline_figures(panel: Any, show: Callable[..., Any]) -> None:
    show()
    ui = panel.ui
    shown = [ui.cavityValue.text, ui.residualValue.text, ui.resectionValue.text, ui.similarityValue.text]
    assert shown == ["36.2 ml", "1.8 ml", "94 %", "0.43"]
    assert not ui.noSimilarCaseLabel.visible
    assert ui.syntheticLabel.text == "Synthetic image - research use, not for clinical decisions"


def test_unknown_figures_are_dashes(panel: Any, show: Callable[..., Any]) -> None:
    show(cavity_ml=None, residual_ml=float("nan"))
    assert (panel.ui.cavityValue.text, panel.ui.residualValue.text) == ("-", "-")


def test_no_similar_case_is_said_first_and_large(panel: Any, show: Callable[..., Any]) -> None:
    show(precedents=0, no_similar_case=True, precedent_iou=None)
    ui = panel.ui
    assert ui.noSimilarCaseLabel.visible
    assert ui.noSimilarCaseLabel.font.pointSize() > ui.syntheticLabel.font.pointSize()
    assert ui.noSimilarCaseLabel.y < ui.cavityValue.y
    assert ui.similarityValue.text == "none"
    assert not ui.precedentsTable.visible


def test_precedents_are_listed_and_the_first_is_selected(panel: Any, show: Callable[..., Any]) -> None:
    show()
    table = panel.ui.precedentsTable
    rows = [[table.item(row, column).text() for column in (0, 1, 2, 4)] for row in range(table.rowCount)]
    assert rows[0] == ["1 (followed)", "0.43", "94 %", "phantom site 4"]
    assert len(rows) == 3
    assert table.isColumnHidden(3), "no influence was computed"
    assert panel.whyPanel.ranks() == [1]


def test_compare_follows_the_selected_precedent(panel: Any, show: Callable[..., Any], compare_view: Any) -> None:
    result = show()
    panel.ui.precedentsTable.selectRow(1)
    assert compare_view.calls == [], "nothing is shown before the user asks for it"
    panel.ui.compareButton.click()
    panel.ui.precedentsTable.selectRow(2)
    assert compare_view.calls == [("show", result, [2]), ("setOrientation", "Axial"), ("setPrecedents", [3])]


def test_several_precedents_can_be_compared(panel: Any, show: Callable[..., Any], compare_view: Any) -> None:
    result = show()
    panel.ui.precedentsTable.selectAll()
    panel.ui.compareButton.click()
    assert compare_view.calls[0] == ("show", result, [1, 2, 3])


def test_all_views_turn_to_the_chosen_plane(panel: Any, show: Callable[..., Any], compare_view: Any) -> None:
    show()
    panel.ui.compareButton.click()
    panel.ui.orientationComboBox.currentIndex = 1
    assert compare_view.calls[-1] == ("setOrientation", "Coronal")
    panel.ui.compareButton.click()
    assert compare_view.calls[-1] == ("setOrientation", "Coronal"), "the plane stays"
    panel.ui.resetViewButton.click()
    assert panel.ui.orientationComboBox.currentIndex == 0
    assert compare_view.calls[-1] == ("reset",), "nothing is turned when nothing is shown"


def test_a_comparison_that_ends_by_itself_is_noticed(panel: Any, show: Callable[..., Any], compare_view: Any) -> None:
    """The user chose another layout from Slicer's own menu."""
    show()
    panel.ui.compareButton.click()
    compare_view.isShown = False
    compare_view.whenChanged()
    assert not panel.ui.resetViewButton.enabled
    assert not panel.ui.revealWidget.visible


def test_reveal_fades_and_reset_brings_the_view_back(panel: Any, show: Callable[..., Any], compare_view: Any) -> None:
    show()
    ui = panel.ui
    assert not ui.revealWidget.visible
    assert not ui.resetViewButton.enabled
    ui.compareButton.click()
    assert ui.revealWidget.visible
    ui.revealSlider.value = 40
    ui.resetViewButton.click()
    assert compare_view.calls[2:] == [("setReveal", 0.4), ("reset",)]
    assert not ui.revealWidget.visible
    assert ui.revealSlider.value == 0


def test_compare_without_a_precedent(panel: Any, show: Callable[..., Any], compare_view: Any) -> None:
    result = show(precedents=0, no_similar_case=True)
    panel.ui.compareButton.click()
    assert compare_view.calls[0] == ("show", result, [])


def test_compare_that_is_not_possible_is_said(panel: Any, show: Callable[..., Any], compare_view: Any) -> None:
    show()
    compare_view.problem = RuntimeError("The compare view needs Slicer's main window.")
    panel.ui.compareButton.click()
    assert panel.ui.messageLabel.text == "The compare view needs Slicer's main window."


def test_space_is_chosen_and_told_once(panel: Any, show: Callable[..., Any], logic: Any) -> None:
    result = show()
    panel.ui.resultSpaceComboBox.currentIndex = 1
    panel.ui.seedSpinBox.value = 9
    assert logic.spaces == [(result, "patient")]


def test_a_new_result_goes_where_the_results_are_shown(panel: Any, show: Callable[..., Any], logic: Any) -> None:
    show("run-1")
    panel.ui.resultSpaceComboBox.currentIndex = 1
    second = show("run-2")
    assert logic.spaces[1:] == [(second, "patient")]
    assert panel.ui.resultSpaceComboBox.currentIndex == 1


def test_opening_the_module_tells_where_the_result_is_and_moves_nothing(
    patient: Any, scene: Any, logic: Any, open_panel: Callable[[], Any]
) -> None:
    from panel_fakes import fake_result

    result = fake_result()
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    result.postop.SetAndObserveTransformNodeID(transform.GetID())
    logic.inScene.append(result)
    panel = open_panel()
    panel.ui.seedSpinBox.value = 9
    assert panel.ui.resultSpaceComboBox.currentIndex == 1
    assert logic.spaces == []
    assert result.postop.GetTransformNodeID() == transform.GetID()


def test_space_that_is_not_possible_is_said_and_not_shown_as_chosen(
    panel: Any, show: Callable[..., Any], logic: Any
) -> None:
    result = show()
    logic.immovable = ValueError("The transform from MNI to the patient was removed from the scene.")
    panel.ui.resultSpaceComboBox.currentIndex = 1
    assert panel.ui.messageLabel.text == str(logic.immovable)
    assert panel.ui.resultSpaceComboBox.currentIndex == 0
    logic.immovable = None
    panel.ui.resultSpaceComboBox.currentIndex = 1
    assert logic.spaces == [(result, "patient")], "the next choice is tried again"


@pytest.fixture
def views(patient: Any, scene: Any) -> dict[str, Any]:
    """Slice views by name: one of the user's that shows another scan over the patient's, an empty one, one of ours."""
    made = {}
    for name in ("Red", "Green", "PostOpComparePreOp"):
        made[name] = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
        made[name].SetLayoutName(name)
    made["Red"].SetBackgroundVolumeID(patient.volume.GetID())
    made["Red"].SetForegroundVolumeID(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "FLAIR").GetID())
    made["Red"].SetForegroundOpacity(0.25)
    return made


def shown_in(view: Any) -> tuple[str | None, str | None, float]:
    return view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetForegroundOpacity()


def test_in_patient_space_the_result_lies_over_the_scan_until_it_is_taken_back(
    panel: Any, show: Callable[..., Any], patient: Any, views: dict[str, Any]
) -> None:
    before = {name: shown_in(view) for name, view in views.items()}
    assert None not in before["Red"]
    result = show()
    result.source = patient.volume
    assert {name: shown_in(view) for name, view in views.items()} == before, "nothing is shown unasked"
    panel.ui.resultSpaceComboBox.currentIndex = 1
    scan, predicted = patient.volume.GetID(), result.postop.GetID()
    assert shown_in(views["Red"]) == shown_in(views["Green"]) == (scan, predicted, 0.5)
    assert shown_in(views["PostOpComparePreOp"]) == before["PostOpComparePreOp"]
    panel.ui.resultSpaceComboBox.currentIndex = 0
    assert shown_in(views["Red"]) == before["Red"]
    assert shown_in(views["Green"])[1:] == before["Green"][1:]


def test_removed_result_lies_over_the_scan_no_more(panel: Any, show: Callable[..., Any], views: dict[str, Any]) -> None:
    before = shown_in(views["Red"])
    show()
    panel.ui.resultSpaceComboBox.currentIndex = 1
    panel.ui.removeResultsButton.click()
    assert shown_in(views["Red"]) == before


def test_another_result_or_scene_takes_the_prediction_off_the_scan(
    panel: Any, show: Callable[..., Any], views: dict[str, Any]
) -> None:
    before = shown_in(views["Red"])
    show("run-1")
    show("run-2")
    panel.ui.resultSpaceComboBox.currentIndex = 1
    panel.ui.resultComboBox.currentIndex = 1
    assert shown_in(views["Red"]) == before
    panel.ui.resultSpaceComboBox.currentIndex = 1
    assert shown_in(views["Red"]) != before
    panel.setParameterNode(None)
    assert shown_in(views["Red"]) == before


def test_foreground_that_the_user_chose_meanwhile_stays(
    panel: Any, show: Callable[..., Any], patient: Any, views: dict[str, Any]
) -> None:
    show()
    panel.ui.resultSpaceComboBox.currentIndex = 1
    views["Red"].SetForegroundVolumeID(patient.volume.GetID())
    panel.ui.resultSpaceComboBox.currentIndex = 0
    assert views["Red"].GetForegroundVolumeID() == patient.volume.GetID()


def test_newer_result_is_shown_and_the_older_can_be_chosen(panel: Any, show: Callable[..., Any]) -> None:
    show("run-1", cavity_ml=10.0)
    assert not panel.ui.resultComboBox.visible
    show("run-2", cavity_ml=20.0)
    box = panel.ui.resultComboBox
    assert box.visible
    assert panel.ui.cavityValue.text == "20.0 ml"
    box.currentIndex = 1
    assert panel.ui.cavityValue.text == "10.0 ml"


def test_remove_results_removes_this_one_and_resets_the_view(
    panel: Any, show: Callable[..., Any], logic: Any, compare_view: Any
) -> None:
    first = show("run-1")
    show("run-2")
    panel.ui.compareButton.click()
    panel.ui.removeResultsButton.click()
    assert compare_view.calls[-1] == ("reset",)
    assert logic.inScene == [first]
    assert panel.resultsPanel.nodes is first
    panel.ui.removeResultsButton.click()
    assert not panel.ui.resultsCollapsibleButton.visible


def test_remove_says_what_it_removes_and_what_stays(panel: Any, show: Callable[..., Any]) -> None:
    show("run-1")
    button = panel.ui.removeResultsButton
    assert button.text == "Remove results"
    show("run-2")
    assert button.text == "Remove this prediction"
    assert "only 'T1ce predicted post-op (run-2)'" in button.toolTip
    assert "1 other prediction(s) stay" in button.toolTip
    button.click()
    assert button.text == "Remove results"


def test_result_that_the_user_deletes_is_shown_no_more(
    panel: Any, show: Callable[..., Any], scene: Any, compare_view: Any
) -> None:
    result = show()
    panel.ui.compareButton.click()
    scene.RemoveNode(result.postop)
    assert not panel.ui.resultsCollapsibleButton.visible
    assert not compare_view.isShown


def test_results_of_a_scene_are_shown_when_the_module_is_opened(
    patient: Any, logic: Any, open_panel: Callable[[], Any]
) -> None:
    from panel_fakes import fake_result

    logic.inScene.append(fake_result())
    assert open_panel().ui.resultsCollapsibleButton.visible
