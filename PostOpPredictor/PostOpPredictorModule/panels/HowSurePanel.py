"""The section How sure: similarity, spread, calibration, and maps of them over the prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _

from ..MapLooks import mapLooks
from ..MapOverlay import MapOverlay
from .Figures import figureText
from .Styles import WARNING, WARNING_TEXT

MAPS = ("spreadPrecedents", "spreadNoise", "uncertainty", "cavityAgreement")
"""In the order of the list."""


class HowSurePanel:
    """Shows what was computed of one prediction's uncertainty. ``predictAgain()``: with the parameters as they are."""

    def __init__(self, ui: Any, maps: MapOverlay, predictAgain: Callable[[], None]) -> None:
        self._ui, self._maps, self._predictAgain = ui, maps, predictAgain
        self._parameters: Any = None
        self._nodes: Any = None
        self._roles: list[str] = []
        self._filling = False
        self._reason = ""
        maps.whenChanged.append(self._showChoice)
        ui.mapComboBox.connect("currentIndexChanged(int)", self._onMap)
        ui.mapOpacitySlider.connect("valueChanged(int)", self._onOpacity)
        ui.computeMapsButton.connect("clicked(bool)", self._onCompute)

    def setParameterNode(self, parameters: Any) -> None:
        """The opacity is a parameter (None: there is no scene)."""
        self._parameters = parameters
        self.update()

    def update(self) -> None:
        """The parameter node changed."""
        if self._parameters is not None:
            self._ui.mapOpacitySlider.value = self._parameters.mapOpacity
            self._maps.setOpacity(self._parameters.mapOpacity / 100)
            self._ui.noiseSamplesSpinBox.enabled = self._parameters.uncertainty
            self._ui.noiseSamplesLabel.enabled = self._parameters.uncertainty
            self._ui.uncertaintyCheckBox.toolTip = costText(self._parameters.precedents, self._parameters.noiseSamples)

    def setReason(self, reason: str) -> None:
        """Why nothing can be predicted now; empty when it can."""
        self._reason = reason
        self._ui.computeMapsButton.enabled = not reason
        cost = "" if self._parameters is None else costText(self._parameters.precedents, self._parameters.noiseSamples)
        self._ui.computeMapsButton.toolTip = reason or cost

    def show(self, nodes: Any) -> None:
        """Show another prediction (None: none)."""
        self._nodes = nodes
        self._ui.howSureCollapsibleButton.visible = nodes is not None
        if nodes is None:
            return
        self._roles = [role for role in MAPS if getattr(nodes, role, None) is not None]
        self._showTexts(nodes.summary)
        self._filling = True
        self._ui.mapComboBox.clear()
        looks = mapLooks()
        for label in (_("Nothing"), *(looks[role].label for role in self._roles)):
            self._ui.mapComboBox.addItem(label)
        self._filling = False
        self._ui.mapWidget.visible = bool(self._roles)
        self._ui.computeMapsButton.visible = not self._roles
        self._showChoice()

    def _showTexts(self, summary: Mapping[str, Any]) -> None:
        ui, found = self._ui, summary.get("uncertainty") or {}
        similarity = summary.get("similarity") or {}
        ui.similarityLabel.text = str(similarity.get("sentence", ""))
        ui.similarityLabel.visible = bool(ui.similarityLabel.text)
        ui.similarityLabel.styleSheet = WARNING if similarity.get("level") in ("none", "weak") else "font-weight: bold;"
        ui.uncertaintyLabel.text = (
            spreadText(found) if found else _("Not computed yet: it takes four to five times as long.")
        )
        ui.calibrationLabel.text = str(found.get("calibration_sentence", ""))
        ui.calibrationLabel.visible = bool(ui.calibrationLabel.text)
        ui.calibrationLabel.styleSheet = "" if found.get("calibrated") else WARNING_TEXT

    def _showChoice(self) -> None:
        """The list says which map lies over the views, whoever put it there."""
        volume = self._maps.volume
        shown = next((role for role in self._roles if getattr(self._nodes, role) is volume), "") if volume else ""
        self._filling = True
        self._ui.mapComboBox.currentIndex = 1 + self._roles.index(shown) if shown else 0
        self._filling = False
        self._ui.mapOpacitySlider.enabled = volume is not None

    def _onMap(self, index: int, *_args: Any) -> None:
        if self._filling or self._nodes is None:
            return
        if index <= 0:
            self._maps.remove()
            return
        role = self._roles[index - 1]
        look = mapLooks()[role]
        self._maps.show(self._nodes, getattr(self._nodes, role), look.title, look.labelFormat)

    def _onOpacity(self, value: int, *_args: Any) -> None:
        if self._parameters is not None:
            self._parameters.mapOpacity = value

    def _onCompute(self, *_args: Any) -> None:
        if self._parameters is not None and not self._reason:
            self._parameters.uncertainty = True
            self._predictAgain()


def spreadText(found: Mapping[str, Any]) -> str:
    """What the maps say, in a few sentences."""
    parts, limits, percent = [], found.get("cavity_ml_range") or (), _("{value:.0f} %")
    count = found.get("precedents") or 0
    if len(limits) == 2 and count > 1:
        text = _("Whichever of the {count} precedents is followed, the cavity has {low:.1f} to {high:.1f} ml.")
        parts.append(text.format(count=count, low=limits[0], high=limits[1]))
    noise = figureText(found, "largest_noise", percent)
    if count > 1:
        text = _("The image differs by up to {precedents} between precedents, by up to {noise} by chance.")
        parts.append(text.format(precedents=figureText(found, "largest_precedents", percent), noise=noise))
    else:
        parts.append(_("The image differs by up to {noise} by chance.").format(noise=noise))
    # Why there is no spread over precedents, where there is none.
    parts.append(str(found.get("precedents_sentence") or ""))
    return " ".join(part for part in parts if part)


def costText(precedents: int, noiseSamples: int) -> str:
    """What computing the maps costs."""
    text = _(
        "Predicts the volume again for each of the {precedents} precedents and {samples} times with another seed. "
        "For 3 precedents and 8 seeds the whole takes four to five times as long; with more it takes longer."
    )
    return text.format(precedents=precedents, samples=noiseSamples)
