"""The section What if: plans of the resection, their live preview, and what was predicted for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from slicer.i18n import tr as _

from ..Errors import PredictionError
from ..PlansTable import readOutSentence
from ..Settings import PredictionInputs, PredictionSettings
from .MessagePanel import MessagePanel
from .PlanEditor import PlanEditor
from .PlanResults import PlanResults


class WhatIfPanel:
    """``live``: the live preview. ``inputs()`` and ``settings()``: what the rest of the panel says; ``predict``: start
    a prediction with settings.
    """

    def __init__(
        self,
        ui: Any,
        compareView: Any,
        live: Any,
        messages: MessagePanel,
        inputs: Callable[[], PredictionInputs],
        settings: Callable[[], PredictionSettings],
        predict: Callable[[PredictionSettings], None],
    ) -> None:
        self._ui, self._compare, self._live, self._messages = ui, compareView, live, messages
        self._inputs, self._settings, self._predict = inputs, settings, predict
        self._parameters: Any = None
        self._reason = self._reasonLive = ""
        self._liveWasReady = False
        self.editor = PlanEditor(ui, self._onPlans, lambda sentence: messages.show("error", sentence))
        self._results = PlanResults(ui, compareView, lambda sentence: messages.show("error", sentence))
        ui.predictPlansButton.connect("clicked(bool)", lambda *_args: self._onPredict())
        ui.livePreviewButton.connect("clicked(bool)", lambda *_args: self._onLive())
        self._results.show(None)
        self.liveChanged()

    def setParameterNode(self, parameters: Any) -> None:
        """Show the plans of another parameter node (None: none)."""
        self._parameters = parameters
        self.editor.setParameterNode(parameters)
        self._onPlans()

    def update(self) -> None:
        """The parameter node changed."""
        self.editor.update()

    def show(self, nodes: Any) -> None:
        """Another prediction is shown (None: none)."""
        self._results.show(nodes)

    def setReason(self, reason: str, reasonLive: str) -> None:
        """Why no plan can be predicted now, and why no preview can be started; empty when it can."""
        self._reason, self._reasonLive = reason, reasonLive
        self._showButtons()

    def liveChanged(self) -> None:
        """Something about the live preview changed."""
        live, ui = self._live, self._ui
        text = live.sentence
        if live.isReady:
            text = "\n".join(line for line in (readOutSentence(live.readOut), text) if line)
        ui.liveLabel.text = text
        ui.liveLabel.visible = bool(text)
        self._showButtons()
        if live.isReady and not self._liveWasReady:
            self._showLive()
        self._liveWasReady = live.isReady

    def cleanup(self) -> None:
        """End the preview and let go of the scene."""
        self._live.cleanup()
        self.editor.cleanup()

    def _showLive(self) -> None:
        try:
            self._compare.showLive(self._live.nodes)
        except (RuntimeError, ValueError) as error:
            self._messages.show("error", str(error))

    def _showButtons(self) -> None:
        ui, plans = self._ui, self.editor.plans
        reason = self._reason or plans.problem()
        if not reason and not plans.plans:
            reason = _("Add a plan first.")
        ui.predictPlansButton.enabled = not reason
        ui.predictPlansButton.toolTip = reason or _("Predict every plan in full, with its read-out.")
        running = self._live.isRunning
        ui.livePreviewButton.text = _("Stop live preview") if running else _("Start live preview")
        ui.livePreviewButton.enabled = running or not self._reasonLive
        about = _(
            "Get the patient ready once; then every change of the plan is shown at once: first the slice you look at."
        )
        ui.livePreviewButton.toolTip = (
            _("Stop it and take it out of the views.") if running else self._reasonLive or about
        )

    def _onPlans(self) -> None:
        self._live.setPlan(self.editor.chosen)
        self._showButtons()

    def _onPredict(self) -> None:
        plans = self.editor.plans
        if not self._reason and plans.plans and not plans.problem():
            self._predict(replace(self._settings(), plans=plans.plans, structures=plans.structures))

    def _onLive(self) -> None:
        if self._live.isRunning:
            self._live.stop()
            return
        if self._reasonLive:
            return
        self._messages.clear()
        structures = [one for one in self.editor.plans.structures if one.isThere]
        try:
            self._live.start(self._inputs(), self._settings(), structures)
        except PredictionError as error:
            self._messages.show("error", error.message, error.logTail)
        self._live.setPlan(self.editor.chosen)
