"""The module's life: scene closed, module reloaded, left and entered, Slicer ended."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import panel_host


def test_closing_the_scene_empties_the_panel_and_leaves_the_run_to_the_logic(
    panel: Any, logic: Any, scene: Any, compare_view: Any
) -> None:
    from PostOpPredictorModule.Errors import PredictionError

    panel.ui.predictButton.click()
    run = logic.runs[-1]
    compare_view.isShown = True
    scene.Clear(False)
    assert run.cancels == 0, "a library that is being made has nothing to do with the scene"
    assert not compare_view.isShown
    run.fail(PredictionError("scene_closed", "The scene was closed, so the prediction was stopped."))
    assert panel.ui.predictButton.text == "Predict post-op"
    assert panel.ui.predictButton.toolTip == "Choose the scan before surgery under Inputs."
    assert panel.ui.messageLabel.text.startswith("The scene was closed")
    assert panel.ui.segmentList.count == 0


def test_views_that_a_saved_comparison_left_out_are_given_back(
    patient: Any, scene: Any, compare_view: Any, open_panel: Callable[[], Any]
) -> None:
    from PostOpPredictorModule.CompareOutlines import KEPT_OUT

    def leave_out() -> None:
        display.SetAttribute(KEPT_OUT, "1")
        display.AddViewNodeID("vtkMRMLSliceNodeRed")

    display = patient.tumour.GetDisplayNode()
    leave_out()
    open_panel()
    assert display.GetViewNodeIDs() == (), "of a scene that was there before the module"
    leave_out()
    scene.InvokeEvent(scene.EndImportEvent)
    assert display.GetViewNodeIDs() == ()
    compare_view.isShown = True
    leave_out()
    scene.InvokeEvent(scene.EndImportEvent)
    assert display.GetViewNodeIDs(), "the comparison that is shown still needs it"


def test_next_patient_works_after_the_scene_was_closed(panel: Any, logic: Any, scene: Any) -> None:
    scene.Clear(False)
    other = panel_host.add_patient("T1 of another", "Tumour of another")
    panel.ui.volumeSelector.setCurrentNode(other.volume)
    panel.ui.tumourSelector.setCurrentNode(other.tumour)
    panel.ui.predictButton.click()
    assert logic.starts[-1][0].volume is other.volume


def test_closing_the_scene_behind_another_module_makes_no_parameter_node(panel: Any, scene: Any) -> None:
    panel.exit()
    panel.parent._entered = False
    scene.Clear(True)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == 0
    panel.parent._entered = True
    panel.enter()
    assert scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == 1


def test_left_panel_does_not_follow_the_parameters(panel: Any) -> None:
    panel.exit()
    panel.logic.getParameterNode().seed = 7
    assert panel.ui.seedSpinBox.value == 0
    panel.enter()
    assert panel.ui.seedSpinBox.value == 7


def test_entering_twice_connects_once(panel: Any, scene: Any) -> None:
    panel.enter()
    panel.enter()
    node = scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode")
    followers = [one for one in panel.Observations if one[0] is node]
    assert len(followers) == 1


def test_reload_stops_the_run_and_lets_go_of_everything(panel: Any, logic: Any, compare_view: Any, scene: Any) -> None:
    panel.ui.examineButton.click()
    panel.ui.predictButton.click()
    panel.cleanup()
    assert logic.cleanups == 1
    assert compare_view.calls[-1] == ("reset",)
    assert panel.Observations == []
    scene.Clear(False)
    panel_host.add_patient()
    assert panel.ui.segmentList.count == 0, "the old panel still follows the scene"


def test_real_logic_ends_its_process_on_reload(patient: Any, compare_view: Any, installer: Any) -> None:
    from PostOpPredictorModule.Logic import PostOpPredictorLogic

    logic = PostOpPredictorLogic()
    widget = panel_host.new_panel(logic, compare_view, installer)
    widget.ui.predictButton.click()
    run = logic.currentRun
    assert run is not None, widget.ui.messageLabel.text
    widget.cleanup()
    assert not run.isRunning
    assert logic.currentRun is None


def test_reloaded_module_shows_the_same_choices(
    patient: Any, logic: Any, open_panel: Callable[[], Any], installer: Any
) -> None:
    first = open_panel()
    first.ui.precedentsSpinBox.value = 7
    first.cleanup()
    assert open_panel().ui.precedentsSpinBox.value == 7


def test_announced_unloading_cleans_up(panel: Any, logic: Any, host: Any) -> None:
    host.moduleManager().moduleAboutToBeUnloaded.emit("PostOpPredictor")
    assert logic.cleanups == 1


def test_widget_without_a_parent_sets_itself_up(patient: Any, logic: Any, compare_view: Any, installer: Any) -> None:
    from PostOpPredictorModule.Widget import PostOpPredictorWidget

    widget = PostOpPredictorWidget(
        logicFactory=lambda: logic, compareViewFactory=compare_view.made, installer=installer
    )
    assert widget.ui.predictButton.enabled
    assert widget.Observations, "the scene is not followed"
    widget.cleanup()
    widget.parent.close()


def test_old_panel_can_be_forgotten(patient: Any, logic: Any, compare_view: Any, installer: Any) -> None:
    widget = panel_host.new_panel(logic, compare_view, installer)
    widget.cleanup()
    inputs = weakref.ref(widget.inputsPanel._segments)
    observed = inputs().Observations
    assert observed == []
    del widget
    gc.collect()
