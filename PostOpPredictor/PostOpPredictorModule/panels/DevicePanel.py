"""The device row: which device was found, and why, by the backend's own examination in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _


class DevicePanel:
    """``examine()`` starts the examination; PyTorch is never imported into the application to find out."""

    def __init__(self, ui: Any, examine: Callable[[], None]) -> None:
        self._ui = ui
        self.found = ""
        ui.examineButton.connect("clicked(bool)", lambda *_args: examine())
        ui.deviceFoundLabel.text = _("Not looked at yet. Automatic takes an NVIDIA graphics card where there is one.")

    def setLocked(self, locked: bool) -> None:
        """While something runs the examination has to wait."""
        self._ui.examineButton.enabled = not locked

    def examining(self) -> None:
        """The examination has begun."""
        self._ui.deviceFoundLabel.text = _("Examining this computer ...")

    def show(self, result: Mapping[str, Any]) -> None:
        """Show what the examination found of the device, and what is not well."""
        findings = result.get("findings", [])
        self.found = next((str(one["found"]) for one in findings if one["name"] == "Device"), _("unknown"))
        lines = [_("Found: {device}").format(device=self.found)]
        lines += [troubleText(one) for one in findings if one["state"] != "ok" and one["name"] != "Device"]
        self._ui.deviceFoundLabel.text = "\n".join(lines)

    def failed(self, message: str) -> None:
        """The examination did not come to its end."""
        self._ui.deviceFoundLabel.text = message


def troubleText(finding: Mapping[str, Any]) -> str:
    """One finding that is not well, with what to do."""
    text = _("{name}: {found}. {advice}")
    return text.format(name=finding["name"], found=finding["found"], advice=finding["advice"]).strip()
