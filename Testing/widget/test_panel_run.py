"""Predict, progress, log, cancel; and what a click means at each moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def run(panel: Any, logic: Any) -> Any:
    """A prediction that was started by a click."""
    panel.ui.predictButton.click()
    return logic.runs[-1]


def test_click_predicts_with_what_was_chosen(panel: Any, logic: Any, patient: Any) -> None:
    from PostOpPredictorModule.ParameterNode import Device, Mode
    from PostOpPredictorModule.Settings import PredictionSettings

    parameters = panel.logic.getParameterNode()
    parameters.mode, parameters.samples, parameters.device, parameters.seed = Mode.AVERAGE, 4, Device.CPU, 3
    panel.ui.predictButton.click()
    ((inputs, settings),) = logic.starts
    assert inputs.volume is patient.volume
    assert settings == PredictionSettings(device="cpu", mode="average", samples=4, seed=3)


def test_button_becomes_cancel_and_back(panel: Any, run: Any) -> None:
    from PostOpPredictorModule.Errors import errorFromBackend

    ui = panel.ui
    assert (ui.predictButton.text, ui.predictButton.enabled) == ("Cancel", True)
    assert ui.progressFrame.visible
    ui.predictButton.click()
    assert run.cancels == 1
    assert (ui.predictButton.text, ui.predictButton.enabled) == ("Cancelling...", False)
    run.fail(errorFromBackend("cancelled", "", []))
    assert (ui.predictButton.text, ui.predictButton.enabled) == ("Predict post-op", True)
    assert not ui.progressFrame.visible
    assert ui.messageLabel.text == "The prediction was cancelled. Nothing was added to the scene."


def test_second_click_never_starts_a_second_run(panel: Any, logic: Any, run: Any) -> None:
    panel.ui.predictButton.click()
    panel.ui.predictButton.click()
    panel.runs.runPanel._onClicked()
    assert len(logic.runs) == 1
    assert run.cancels == 1


def test_stage_step_and_time_left_are_shown(panel: Any, run: Any) -> None:
    ui = panel.ui
    run.callbacks.stage("Aligning to MNI space")
    assert (ui.progressBar.minimum, ui.progressBar.maximum) == (0, 0), "the length of a stage is not known at first"
    run.callbacks.progress(3, 12, 42.4)
    assert ui.stageLabel.text == "Aligning to MNI space\nstep 3 of 12, about 42 s left"
    assert ui.progressBar.value / ui.progressBar.maximum == pytest.approx(0.25)
    run.callbacks.progress(6, 12, 150.0)
    assert ui.stageLabel.text.endswith("about 2 min left") or ui.stageLabel.text.endswith("about 3 min left")
    run.callbacks.progress(12, 12, 0.0)
    assert ui.stageLabel.text == "Aligning to MNI space\nstep 12 of 12"


def test_strange_progress_is_survived(panel: Any, run: Any) -> None:
    for step, of in ((0, 0), (5, 0), (-1, 3), (9, 3)):
        run.callbacks.progress(step, of, None)
        assert 0 <= panel.ui.progressBar.value <= panel.ui.progressBar.maximum


def test_log_is_shown_and_copied_whole(panel: Any, run: Any, host: Any) -> None:
    from PostOpPredictorModule.Errors import errorFromBackend

    run.callbacks.log("first\nsecond")
    run.callbacks.stage("Looking for similar cases")
    run.fail(errorFromBackend("cancelled", "", []))
    panel.ui.copyLogButton.click()
    assert host.clipboard().text() == "first\nsecond\nLooking for similar cases"


def test_log_starts_anew_with_each_run(panel: Any, logic: Any, run: Any) -> None:
    from PostOpPredictorModule.Errors import errorFromBackend

    run.callbacks.log("of the first run")
    run.fail(errorFromBackend("cancelled", "", []))
    panel.ui.predictButton.click()
    logic.runs[-1].callbacks.log("of the second run")
    assert panel.runs.runPanel.logText() == "of the second run"


def test_endless_output_keeps_the_log_small(panel: Any, run: Any) -> None:
    for number in range(200):
        run.callbacks.log("\n".join(f"line {number}-{line}" for line in range(100)))
    text = panel.runs.runPanel.logText()
    assert text.endswith("line 199-99")
    assert len(text.splitlines()) <= 5000


def test_result_is_shown_when_it_is_there(panel: Any, logic: Any, run: Any) -> None:
    from panel_fakes import fake_result

    assert not panel.ui.resultsCollapsibleButton.visible
    result = fake_result()
    logic.inScene.append(result)
    run.finish(result)
    assert panel.ui.resultsCollapsibleButton.visible
    assert panel.ui.cavityValue.text == "36.2 ml"
    assert panel.ui.predictButton.text == "Predict post-op"


def test_warnings_of_the_result_are_said(panel: Any, logic: Any, run: Any) -> None:
    from panel_fakes import fake_result

    result = fake_result()
    result.warnings = ("The segmentation was edited while the prediction ran.",)
    logic.inScene.append(result)
    run.finish(result)
    assert panel.ui.messageLabel.text == result.warnings[0]


def test_refused_start_is_said_and_the_button_is_ready_again(panel: Any, logic: Any) -> None:
    from PostOpPredictorModule.Errors import PredictionError

    logic.refusal = PredictionError("bad_input", "The scan is 2-D. Choose a whole scan.")
    panel.ui.predictButton.click()
    assert panel.ui.messageLabel.text == "The scan is 2-D. Choose a whole scan."
    assert panel.ui.predictButton.text == "Predict post-op"
    assert panel.ui.modelDeleteButton.toolTip != "Something is running."


def test_prediction_does_not_wait_for_the_examination(panel: Any, logic: Any) -> None:
    panel.ui.examineButton.click()
    examination = logic.runs[-1]
    assert not panel.ui.examineButton.enabled
    panel.ui.predictButton.click()
    assert not examination.isRunning
    assert len(logic.starts) == 1
    assert panel.ui.messageFrame.visible is False, "the interrupted examination is no error of the prediction"


def test_examination_says_which_device_and_why(panel: Any, logic: Any) -> None:
    panel.ui.examineButton.click()
    findings = [
        {
            "name": "Device",
            "state": "ok",
            "found": "cpu with 4 threads (no NVIDIA driver or GPU answers)",
            "advice": "",
        },
        {"name": "Memory", "state": "warning", "found": "2.1 GiB available", "advice": "Close other programs."},
    ]
    logic.runs[-1].finish({"well": True, "findings": findings})
    assert panel.ui.deviceFoundLabel.text == (
        "Found: cpu with 4 threads (no NVIDIA driver or GPU answers)\nMemory: 2.1 GiB available. Close other programs."
    )
    assert panel.ui.examineButton.enabled
    assert not panel.ui.messageFrame.visible


def test_examination_that_finds_a_problem_says_so(panel: Any, logic: Any) -> None:
    panel.ui.examineButton.click()
    finding = {"name": "diffusers", "state": "problem", "found": "cannot be imported", "advice": "Install it again."}
    logic.runs[-1].finish({"well": False, "findings": [finding]})
    assert panel.ui.messageLabel.text == "diffusers: cannot be imported. Install it again."


def test_nothing_is_deleted_or_examined_while_running(panel: Any, run: Any) -> None:
    ui = panel.ui
    for button in (ui.modelDeleteButton, ui.libraryDeleteButton, ui.demonstrationButton, ui.examineButton):
        assert not button.enabled, button.name


def test_panel_can_be_left_and_entered_while_running(panel: Any, logic: Any, run: Any) -> None:
    from panel_fakes import fake_result

    panel.exit()
    run.callbacks.progress(1, 2, None)
    panel.enter()
    assert panel.ui.predictButton.text == "Cancel"
    result = fake_result()
    logic.inScene.append(result)
    run.finish(result)
    assert panel.ui.resultsCollapsibleButton.visible


def test_inputs_that_change_while_running_do_not_touch_the_cancel_button(
    panel: Any, run: Any, patient: Any, scene: Any, host: Callable[..., Any]
) -> None:
    scene.RemoveNode(patient.volume)
    assert (panel.ui.predictButton.text, panel.ui.predictButton.enabled) == ("Cancel", True)
    assert not panel.ui.reasonLabel.visible
