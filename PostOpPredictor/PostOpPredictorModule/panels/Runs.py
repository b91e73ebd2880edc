"""What the panel starts: a prediction, a demonstration library, an examination of the computer; and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _

from ..Errors import PredictionError
from ..PredictionRun import RunCallbacks
from ..Settings import PredictionSettings
from .DevicePanel import DevicePanel, troubleText
from .InputsPanel import InputsPanel
from .MessagePanel import MessagePanel, Offer
from .OptionsPanel import OptionsPanel
from .RunPanel import RunPanel

_NO_FAILURE = frozenset({"cancelled", "scene_closed"})
_SECTION_BY_CODE = {
    "missing_package": "setUpCollapsibleButton",
    "no_backend": "setUpCollapsibleButton",
    "no_weights": "modelCollapsibleButton",
    "bad_weights": "modelCollapsibleButton",
    "bad_library": "modelCollapsibleButton",
}


class Runs:
    """One run at a time; the examination gives way to it. ``reason()``: why nothing can be predicted now, or empty.

    ``handChoice()``: the cases that the user chose by hand. ``changed()``: something began or ended;
    ``predicted(nodes)`` and ``libraryMade()`` are called after that.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        messages: MessagePanel,
        inputs: InputsPanel,
        options: OptionsPanel,
        *,
        reason: Callable[[], str],
        handChoice: Callable[[], Any],
        changed: Callable[[], None],
        predicted: Callable[[Any], None],
        libraryMade: Callable[[], None],
    ) -> None:
        self._ui, self._logic, self._messages, self._inputs, self._options = ui, logic, messages, inputs, options
        self._reason, self._handChoice, self._changed = reason, handChoice, changed
        self._predicted, self._libraryMade = predicted, libraryMade
        self._run: Any = None
        self._examination: Any = None
        self.runPanel = RunPanel(ui, self.predict, self._cancel)
        self.devicePanel = DevicePanel(ui, self.examine)

    @property
    def isRunning(self) -> bool:
        """Whether a prediction or a library is being made."""
        return self._run is not None

    @property
    def isExamining(self) -> bool:
        """Whether the computer is being examined."""
        return self._examination is not None

    def predict(self) -> None:
        """Predict with what the panel says."""
        self.start(self._options.settings())

    def predictAgain(self) -> None:
        """The user changed something about the prediction that is shown, and wants to see it."""
        if self._run is None and not self._reason():
            self.predict()

    def start(self, settings: PredictionSettings) -> None:
        """Predict with ``settings``."""
        inputs = self._inputs.inputs()
        callbacks = self._callbacks(self._onPredicted)
        self._begin(lambda: self._logic.startPrediction(inputs, settings, callbacks))

    def makeDemonstrationLibrary(self) -> None:
        """Simulate the patients of the demonstration library now."""
        callbacks = self._callbacks(self._onLibraryMade)
        self._begin(lambda: self._logic.makeDemonstrationLibrary(callbacks))

    def examine(self) -> None:
        """Examine the computer, unless something runs."""
        if self._run is not None or self._examination is not None:
            return
        callbacks = RunCallbacks(finished=self._onExamined, failed=self._onExaminationFailed)
        try:
            self._examination = self._logic.runDoctor(callbacks)
        except PredictionError as error:
            self.devicePanel.failed(error.message)
            return
        self.devicePanel.examining()
        self._changed()

    def stopExamination(self) -> None:
        """A prediction does not wait for the examination."""
        if self._examination is not None:
            self._examination.stop(PredictionError("cancelled", _("The examination was interrupted.")))

    def cleanup(self) -> None:
        """Let go of the panel; the logic stops what runs."""
        self.runPanel.cleanup()

    def _begin(self, start: Callable[[], Any]) -> None:
        self.stopExamination()
        self._messages.clear()
        self.runPanel.started()
        try:
            self._run = start()
        except PredictionError as error:
            self._onFailed(error)
        self._changed()

    def _callbacks(self, finished: Callable[[Any], None]) -> RunCallbacks:
        panel = self.runPanel
        return RunCallbacks(panel.stage, panel.progress, panel.log, finished, self._onFailed)

    def _cancel(self) -> None:
        if self._run is not None:
            self.runPanel.cancelling()
            self._run.cancel()

    def _onPredicted(self, nodes: Any) -> None:
        self._ended()
        self._predicted(nodes)

    def _onLibraryMade(self, _result: Mapping[str, Any]) -> None:
        self._ended()
        self._libraryMade()

    def _onFailed(self, error: PredictionError) -> None:
        self._ended()
        kind = "note" if error.code in _NO_FAILURE else "error"
        self._messages.show(kind, error.message, error.logTail, self._offers(error))

    def _ended(self) -> None:
        self._run = None
        self.runPanel.ended()
        self._changed()

    def _offers(self, error: PredictionError) -> list[Offer]:
        """What the user may agree to; nothing of it happens without a click."""
        offers: list[Offer] = []
        for proposal in error.proposals:
            text = _("Try again: {proposal}").format(proposal=proposal.label)
            offers.append((text, lambda settings=proposal.settings: self._retry(settings)))
        if self._handChoice().isMade():
            offers.append((_("Back to automatic choice of the case"), self._predictAutomatically))
        section = getattr(self._ui, _SECTION_BY_CODE.get(error.code, ""), None)
        if section is not None:
            text = _("Open '{section}'").format(section=section.text)
            offers.append((text, lambda: setattr(section, "collapsed", False)))
        return offers

    def _retry(self, settings: PredictionSettings) -> None:
        reason = self._reason()
        if reason:
            self._messages.show("error", reason)
        elif self._run is None:
            self._options.adopt(settings)
            self.start(settings)

    def _predictAutomatically(self) -> None:
        self._handChoice().takeBack()
        self.predictAgain()

    def _onExamined(self, result: Mapping[str, Any]) -> None:
        self._examination = None
        self.devicePanel.show(result)
        troubles = [troubleText(one) for one in result.get("findings", []) if one["state"] == "problem"]
        if troubles:
            self._messages.show("error", "\n".join(troubles))
        self._changed()

    def _onExaminationFailed(self, error: PredictionError) -> None:
        self._examination = None
        self.devicePanel.failed(error.message)
        self._changed()
