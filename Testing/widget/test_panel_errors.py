"""Each error is a sentence in the panel that says what to do; offers are only taken up by a click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

CODES = (
    "bad_input",
    "registration_failed",
    "bad_library",
    "no_weights",
    "bad_weights",
    "storage",
    "oom",
    "cancelled",
    "internal",
    "busy",
    "crashed",
    "no_backend",
    "missing_package",
    "input_removed",
    "scene_closed",
    "bad_result",
)


@pytest.fixture
def fail(panel: Any, logic: Any) -> Callable[..., Any]:
    """``fail(code)``: a prediction that ends with this error; returns it."""

    def make(code: str, sentence: str = "What was wrong. What to do.") -> Any:
        from PostOpPredictorModule.Errors import PredictionError, errorFromBackend

        panel.ui.predictButton.click()
        log = [f"line {number}" for number in range(20)]
        settings = logic.starts[-1][1]
        known = code in ("oom", "no_weights", "bad_weights", "bad_library", "registration_failed")
        error = errorFromBackend(code, sentence, log, settings) if known else PredictionError(code, sentence, log)
        logic.runs[-1].fail(error)
        return error

    return make


def offers(panel: Any) -> list[str]:
    buttons = (panel.ui.proposalButton1, panel.ui.proposalButton2, panel.ui.proposalButton3)
    return [button.text for button in buttons if button.visible]


@pytest.mark.parametrize("code", CODES)
def test_error_is_a_sentence_in_the_panel_and_the_panel_is_ready_again(
    panel: Any, fail: Callable[..., Any], host: Any, code: str
) -> None:
    error = fail(code)
    ui = panel.ui
    assert ui.messageFrame.visible
    assert ui.messageLabel.text == error.message
    assert (ui.predictButton.text, ui.predictButton.enabled) == ("Predict post-op", True)
    isTrouble = code not in ("cancelled", "scene_closed")
    assert ui.messageDetailsLabel.visible is isTrouble
    if isTrouble:
        assert ui.messageDetailsLabel.text.splitlines() == [f"line {number}" for number in range(14, 20)]
    ui.copyDetailsButton.click()
    assert host.clipboard().text().startswith(error.message)
    assert host.clipboard().text().endswith("line 19")
    ui.dismissButton.click()
    assert not ui.messageFrame.visible


def test_out_of_memory_offers_and_waits(panel: Any, logic: Any, fail: Callable[..., Any]) -> None:
    from PostOpPredictorModule.ParameterNode import Device, Mode

    parameters = panel.logic.getParameterNode()
    parameters.mode = Mode.AVERAGE
    fail("oom")
    assert offers(panel) == [
        "Try again: Only 2 samples",
        "Try again: The expected outcome in one step",
        "Try again: On the CPU (slower)",
    ]
    assert len(logic.starts) == 1, "nothing is tried before the user agrees"
    assert (parameters.mode, parameters.device) == (Mode.AVERAGE, Device.AUTO)
    panel.ui.proposalButton2.click()
    assert len(logic.starts) == 2
    assert logic.starts[-1][1].mode == "mean"
    assert parameters.mode == Mode.MEAN, "the panel shows what is used"
    assert not panel.ui.messageFrame.visible


def test_cpu_is_taken_on_a_click(panel: Any, logic: Any, fail: Callable[..., Any]) -> None:
    from PostOpPredictorModule.ParameterNode import Device

    fail("oom")
    assert offers(panel) == ["Try again: On the CPU (slower)"]
    panel.ui.proposalButton1.click()
    assert logic.starts[-1][1].device == "cpu"
    assert panel.logic.getParameterNode().device == Device.CPU


def test_out_of_memory_on_the_smallest_settings_offers_nothing(panel: Any, fail: Callable[..., Any]) -> None:
    from PostOpPredictorModule.ParameterNode import Device

    panel.logic.getParameterNode().device = Device.CPU
    fail("oom")
    assert offers(panel) == []


def test_offer_is_not_taken_up_when_the_inputs_are_gone(
    panel: Any, logic: Any, patient: Any, scene: Any, fail: Callable[..., Any]
) -> None:
    fail("oom")
    scene.RemoveNode(patient.volume)
    panel.ui.proposalButton1.click()
    assert len(logic.starts) == 1
    assert "Choose the scan" in panel.ui.messageLabel.text


@pytest.mark.parametrize(
    ("code", "section"),
    [
        ("no_weights", "modelCollapsibleButton"),
        ("bad_weights", "modelCollapsibleButton"),
        ("bad_library", "modelCollapsibleButton"),
        ("missing_package", "setUpCollapsibleButton"),
        ("no_backend", "setUpCollapsibleButton"),
    ],
)
def test_message_leads_to_the_section_where_it_is_mended(
    panel: Any, fail: Callable[..., Any], code: str, section: str
) -> None:
    error = fail(code)
    button = getattr(panel.ui, section)
    assert button.collapsed
    assert offers(panel) == [f"Open '{button.text}'"]
    panel.ui.proposalButton1.click()
    assert not button.collapsed
    if code in ("no_weights", "bad_weights", "bad_library"):
        assert button.text in error.message, "the sentence names the section that the panel has"


def test_next_run_takes_the_message_away(panel: Any, fail: Callable[..., Any]) -> None:
    fail("storage")
    panel.ui.predictButton.click()
    assert not panel.ui.messageFrame.visible
