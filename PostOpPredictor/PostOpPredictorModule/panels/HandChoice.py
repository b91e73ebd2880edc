"""Cases that the user chose by hand: one to follow, others to leave out; each choice predicts again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _


class HandChoice:
    """The buttons under the selected precedent. ``predictAgain()``: predict with the parameters as they are now.

    A choice belongs to one patient: another scan or tumour under Inputs takes it back.
    """

    def __init__(self, ui: Any, predictAgain: Callable[[], None]) -> None:
        self._ui, self._predictAgain = ui, predictAgain
        self._parameters: Any = None
        self._nodes: Any = None
        self._case: Any = None
        self._patient: tuple[Any, Any] | None = None
        self._reason = ""
        ui.followButton.connect("clicked(bool)", self._onFollow)
        ui.excludeButton.connect("clicked(bool)", self._onExclude)
        ui.automaticButton.connect("clicked(bool)", self._onAutomatic)

    def setParameterNode(self, parameters: Any) -> None:
        """Follow another parameter node (None: none)."""
        self._parameters = parameters
        self._patient = self._patientNow()
        self._show()

    def update(self) -> None:
        """The parameter node changed."""
        patient = self._patientNow()
        if patient != self._patient:
            self._patient = patient
            self.takeBack()
        self._show()

    def setReason(self, reason: str) -> None:
        """Why nothing can be predicted now; empty when it can."""
        self._reason = reason
        self._show()

    def show(self, nodes: Any, case: Any) -> None:
        """``case``: the selected precedent of ``nodes``, or None."""
        self._nodes, self._case = nodes, case
        self._show()

    def isMade(self) -> bool:
        """Whether the user chose any case."""
        return self._parameters is not None and bool(self._parameters.followedCase or self._parameters.excludedCases)

    def takeBack(self) -> None:
        """Let the most similar case be followed again."""
        self._choose("", ())

    def _patientNow(self) -> tuple[Any, Any] | None:
        parameters = self._parameters
        return None if parameters is None else (parameters.inputVolume, parameters.tumour)

    def _show(self) -> None:
        ui, caseId, refusal = self._ui, self._caseId(), self._refusal()
        follows = bool(self._case is not None and self._case.attributes.get("followed"))
        for button, text in (
            (ui.followButton, _("Predict again after this case instead of the most similar one.")),
            (ui.excludeButton, _("Predict again as if the library did not hold this case.")),
        ):
            button.enabled = not refusal and bool(caseId)
            button.toolTip = refusal or text
        ui.automaticButton.enabled = not self._reason
        ui.automaticButton.toolTip = self._reason or _("Predict again after the most similar case of the library.")
        if follows and not refusal:
            ui.followButton.enabled = False
            ui.followButton.toolTip = _("The prediction follows this case already.")
        hasCase = self._case is not None
        ui.followButton.visible = ui.excludeButton.visible = hasCase
        ui.handChoiceLabel.text = self._choiceText()
        ui.handChoiceWidget.visible = bool(ui.handChoiceLabel.text)

    def _refusal(self) -> str:
        if self._parameters is None or self._nodes is None:
            return _("There is no prediction.")
        if self._nodes.source is not None and self._nodes.source is not self._parameters.inputVolume:
            return _("This prediction was made from another scan than the one under Inputs.")
        return self._reason

    def _choiceText(self) -> str:
        parameters = self._parameters
        if parameters is None:
            return ""
        parts = []
        if parameters.followedCase:
            parts.append(_("You chose {case} to be followed.").format(case=parameters.followedCase))
        if parameters.excludedCases:
            parts.append(_("You excluded {cases}.").format(cases=", ".join(parameters.excludedCases)))
        return " ".join(parts)

    def _caseId(self) -> str:
        return "" if self._case is None else str(self._case.attributes.get("case_id", ""))

    def _choose(self, followed: str, excluded: tuple[str, ...]) -> None:
        parameters = self._parameters
        if parameters is None:
            return
        if parameters.followedCase != followed:
            parameters.followedCase = followed
        if tuple(parameters.excludedCases) != excluded:
            parameters.excludedCases = list(excluded)

    def _onFollow(self, *_args: Any) -> None:
        caseId = self._caseId()
        if caseId and not self._refusal():
            self._choose(caseId, tuple(one for one in self._parameters.excludedCases if one != caseId))
            self._predictAgain()

    def _onExclude(self, *_args: Any) -> None:
        caseId = self._caseId()
        if caseId and not self._refusal():
            followed = self._parameters.followedCase
            excluded = dict.fromkeys((*self._parameters.excludedCases, caseId))
            self._choose("" if followed == caseId else followed, tuple(excluded))
            self._predictAgain()

    def _onAutomatic(self, *_args: Any) -> None:
        if not self._reason:
            self.takeBack()
            self._predictAgain()
