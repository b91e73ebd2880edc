"""Where the panel says what went wrong and what can be done about it; never a dialog that a batch would wait for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

# Half-transparent, so that they suit Slicer's light and dark appearance.
_STYLES = {
    "error": "background-color: rgba(200, 40, 40, 38); border: 1px solid rgba(200, 40, 40, 150); border-radius: 4px;",
    "warning": "background-color: rgba(220, 150, 0, 45); border: 1px solid rgba(220, 150, 0, 170); border-radius: 4px;",
    "note": "background-color: rgba(90, 130, 180, 35); border: 1px solid rgba(90, 130, 180, 130); border-radius: 4px;",
}
LAST_LINES = 6
Offer = tuple[str, Callable[[], None]]
"""The text of a button and what a click on it does."""


class MessagePanel:
    """One message at a time: a sentence, the last lines of the log, and up to three offers."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._buttons = (ui.proposalButton1, ui.proposalButton2, ui.proposalButton3)
        self._offers: list[Offer] = []
        self._details: list[str] = []
        self.text = ""
        for index, button in enumerate(self._buttons):
            button.connect("clicked(bool)", lambda *_args, index=index: self._accept(index))
        ui.copyDetailsButton.connect("clicked(bool)", self._copy)
        ui.dismissButton.connect("clicked(bool)", lambda *_args: self.clear())
        self.clear()

    def show(self, kind: str, text: str, details: Sequence[str] = (), offers: Sequence[Offer] = ()) -> None:
        """Show ``text`` as an "error", a "warning" or a "note"; it replaces the message before."""
        self.text, self._details, self._offers = text, list(details), list(offers)[: len(self._buttons)]
        self._ui.messageFrame.styleSheet = f"QFrame#messageFrame {{ {_STYLES[kind]} }}"
        self._ui.messageLabel.text = text
        shown = self._details[-LAST_LINES:] if kind == "error" else []
        self._ui.messageDetailsLabel.text = "\n".join(shown)
        self._ui.messageDetailsLabel.visible = bool(shown)
        self._ui.copyDetailsButton.visible = bool(self._details)
        for index, button in enumerate(self._buttons):
            button.visible = index < len(self._offers)
            button.text = self._offers[index][0] if index < len(self._offers) else ""
        self._ui.messageFrame.visible = True

    def clear(self) -> None:
        """Show nothing."""
        self.text, self._details, self._offers = "", [], []
        self._ui.messageFrame.visible = False

    def details(self) -> str:
        """What the button copies."""
        return "\n".join([self.text, "", _("Last lines of the log:"), *self._details])

    def _accept(self, index: int) -> None:
        if index < len(self._offers):
            _text, accept = self._offers[index]
            self.clear()
            accept()

    def _copy(self, *_args: Any) -> None:
        slicer.app.clipboard().setText(self.details())
