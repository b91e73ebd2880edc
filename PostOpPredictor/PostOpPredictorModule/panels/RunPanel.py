"""The button that predicts and cancels, progress, and the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

IDLE, RUNNING, CANCELLING = "idle", "running", "cancelling"
MILLISECONDS_BETWEEN_LOG_UPDATES = 100
MOST_LOG_LINES = 5_000
MOST_LINES_AT_ONCE = 200
_SCALE = 1000


class RunPanel:
    """``predict()`` and ``cancel()`` are what a click means when nothing runs, and while something does."""

    def __init__(self, ui: Any, predict: Callable[[], None], cancel: Callable[[], None]) -> None:
        self._ui, self._predict, self._cancel = ui, predict, cancel
        self.state = IDLE
        self._reason = ""
        self._stage = ""
        self._waiting: list[str] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(MILLISECONDS_BETWEEN_LOG_UPDATES)
        self._timer.connect("timeout()", self._flushLog)
        ui.logText.setMaximumBlockCount(MOST_LOG_LINES)
        ui.predictButton.connect("clicked(bool)", self._onClicked)
        ui.copyLogButton.connect("clicked(bool)", self._copyLog)
        self._show()

    def setReason(self, reason: str) -> None:
        """Say why a prediction cannot be started; an empty text allows it."""
        self._reason = reason
        self._show()

    def started(self) -> None:
        """A run has begun."""
        self.state, self._stage = RUNNING, _("Starting")
        self._waiting.clear()
        self._ui.logText.clear()
        self._busy()
        self._show()

    def cancelling(self) -> None:
        """The run was asked to stop and has not ended yet."""
        self.state = CANCELLING
        self._show()

    def ended(self) -> None:
        """Nothing runs any more."""
        self.state = IDLE
        self._show()

    def stage(self, name: str) -> None:
        """A stage begins; how long it takes is not known yet."""
        self._stage = name
        self._busy()
        self.log(name)

    def progress(self, step: int, of: int, secondsLeft: float | None) -> None:
        """So much of the stage is done."""
        bar = self._ui.progressBar
        bar.setRange(0, _SCALE)
        bar.setValue(round(_SCALE * min(max(step / of, 0.0), 1.0)) if of > 0 else 0)
        parts = [_("step {step} of {of}").format(step=step, of=of)] if of > 1 else []
        if secondsLeft is not None and step < of:
            parts.append(_("{time} left").format(time=durationText(secondsLeft)))
        self._say(", ".join(parts))

    def log(self, text: str) -> None:
        """Add lines to the log; they appear with the next update, so that many of them cost little."""
        self._waiting.extend(text.splitlines())
        if not self._timer.active:
            self._timer.start()

    def logText(self) -> str:
        """The whole log."""
        if self._waiting:
            self._ui.logText.appendPlainText("\n".join(self._waiting))
            self._waiting.clear()
        return str(self._ui.logText.toPlainText())

    def cleanup(self) -> None:
        """Stop the timer."""
        self._timer.stop()

    def _onClicked(self, *_args: Any) -> None:
        if self.state == RUNNING:
            self._cancel()
        elif self.state == IDLE and not self._reason:
            self._predict()

    def _show(self) -> None:
        button, isIdle = self._ui.predictButton, self.state == IDLE
        button.text = {IDLE: _("Predict post-op"), RUNNING: _("Cancel"), CANCELLING: _("Cancelling...")}[self.state]
        button.enabled = self.state == RUNNING or (isIdle and not self._reason)
        if isIdle:
            button.toolTip = self._reason or _("Predict the scan after surgery from the chosen scan and tumour.")
        else:
            button.toolTip = _("Stop the prediction. Nothing is added to the scene.")
        self._ui.reasonLabel.text = self._reason
        self._ui.reasonLabel.visible = isIdle and bool(self._reason)
        self._ui.progressFrame.visible = not isIdle

    def _busy(self) -> None:
        self._ui.progressBar.setRange(0, 0)
        self._say("")

    def _say(self, detail: str) -> None:
        # Always two lines, so that the panel below does not jump.
        self._ui.stageLabel.text = f"{self._stage}\n{detail}"

    def _flushLog(self, *_args: Any) -> None:
        # What would scroll out of the log at once need not be drawn first.
        del self._waiting[:-MOST_LOG_LINES]
        lines = self._waiting[:MOST_LINES_AT_ONCE]
        del self._waiting[:MOST_LINES_AT_ONCE]
        if lines:
            self._ui.logText.appendPlainText("\n".join(lines))
        if not self._waiting:
            self._timer.stop()

    def _copyLog(self, *_args: Any) -> None:
        slicer.app.clipboard().setText(self.logText())


def durationText(seconds: float) -> str:
    """A time that is left, as a person says it."""
    if seconds < 90:
        return _("about {count} s").format(count=max(1, round(seconds)))
    return _("about {count} min").format(count=round(seconds / 60))
