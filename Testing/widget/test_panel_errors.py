"""Each error is a sentence in the panel that says what to do; offers are only taken up by a click."""

from __future__ import annotations

import builtins
import errno
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

OF_THE_MODULE = ("busy", "crashed", "no_backend", "input_removed", "scene_closed", "bad_result")


def _bad_weights(folder: Path) -> None:
    from PostOpPredictorLib.model.weights import verify

    (folder / "model_index.json").write_text("{}", encoding="utf-8")
    verify(folder)


def _no_weights(folder: Path) -> None:
    from PostOpPredictorLib.model.weights import verify

    verify(folder)


def _raising(error: str, *arguments: Any) -> Callable[[Path], None]:
    def work(_folder: Path) -> None:
        from PostOpPredictorLib import errors

        raise (getattr(errors, error, None) or getattr(builtins, error))(*arguments)

    return work


# What goes wrong in the backend -> the code that the panel is told.
IN_THE_BACKEND: dict[str, Callable[[Path], None]] = {
    "bad_input": _raising("FileNotFoundError", errno.ENOENT, "No such file", "scan.nrrd"),
    "registration_failed": _raising("RegistrationFailed", "The scan does not fit. Give a brain mask with --brain."),
    "bad_library": _raising("LibraryError", "There is no case in it. Name another one with --library."),
    "no_weights": _no_weights,
    "bad_weights": _bad_weights,
    "storage": _raising("OSError", errno.ENOSPC, "No space left on device"),
    "oom": _raising("MemoryError"),
    "cancelled": _raising("KeyboardInterrupt"),
    "internal": _raising("ZeroDivisionError", "division by zero"),
    "missing_package": _raising("ModuleNotFoundError", "No module named 'diffusers'"),
}
CODES = (*IN_THE_BACKEND, *OF_THE_MODULE)


@dataclass
class _Request:
    """What the job asks for: nothing."""


@pytest.fixture
def backend_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """``backend_line(code)``: the line with which the real job protocol tells of a command that went wrong so."""
    from PostOpPredictorLib import failures, jobs

    def make(code: str) -> dict[str, Any]:
        def command(request: _Request, progress: Any) -> dict[str, Any]:
            IN_THE_BACKEND[code](tmp_path)
            return {}

        module = ModuleType("command_that_fails")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(jobs.COMMANDS, "predict", f"{module.__name__}:command")
        monkeypatch.setattr(failures, "user_cache", lambda: tmp_path)
        job = tmp_path / "job.json"
        job.write_text(json.dumps({"schema": jobs.SCHEMA, "command": "predict", "options": {}}), encoding="utf-8")
        stream = io.StringIO()
        assert jobs.run_job(job, stream) != 0
        return json.loads(stream.getvalue().splitlines()[-1])

    return make


@pytest.fixture
def fail(panel: Any, logic: Any, backend_line: Callable[[str], dict[str, Any]]) -> Callable[..., Any]:
    """``fail(code)``: a prediction that ends with this error; returns it."""

    def make(code: str) -> Any:
        from PostOpPredictorModule.Errors import PredictionError, errorFromBackend

        panel.ui.predictButton.click()
        log = [f"line {number}" for number in range(20)]
        if code in OF_THE_MODULE:
            error = PredictionError(code, "What was wrong. What to do.", log)
        else:
            line = backend_line(code)
            assert line["type"] == "error"
            error = errorFromBackend(line["code"], line["message"], log, logic.starts[-1][1])
        logic.runs[-1].fail(error)
        return error

    return make


def test_every_error_of_the_backend_is_tried_here() -> None:
    from PostOpPredictorLib import errors

    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.PostOpError)]
    assert {one.code for one in kinds} == set(IN_THE_BACKEND) - {"missing_package"}


def offers(panel: Any) -> list[str]:
    buttons = (panel.ui.proposalButton1, panel.ui.proposalButton2, panel.ui.proposalButton3)
    return [button.text for button in buttons if button.visible]


@pytest.mark.parametrize("code", CODES)
def test_error_is_a_sentence_in_the_panel_and_the_panel_is_ready_again(
    panel: Any, fail: Callable[..., Any], host: Any, code: str
) -> None:
    error = fail(code)
    ui = panel.ui
    assert error.code == code
    assert error.message.endswith(".")
    assert "--" not in error.message, "an option of the command line, which the panel has not"
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
