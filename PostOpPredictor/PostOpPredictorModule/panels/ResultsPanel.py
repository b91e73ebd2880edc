"""The section Results: figures, compare view, space, report, removal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import qt
from slicer.i18n import tr as _

from ..CompareLayout import ORIENTATIONS
from ..MapOverlay import MapOverlay
from ..ParameterNode import ResultSpace
from ..ReportFile import ReportFile
from ..ResultNodes import spaceOf
from ..ScanOverlay import ScanOverlay
from .Figures import figureText
from .MessagePanel import MessagePanel
from .Styles import WARNING

_SIMILARITY_TO_DOUBT = frozenset({"none", "weak"})


class Follower(Protocol):
    """A section that shows the same prediction."""

    def show(self, nodes: Any) -> None:
        """Show another prediction (None: none)."""


class ResultsPanel:
    """Shows one of the scene's predictions. ``changed()``: a prediction was removed. ``maps``: what lies over views.

    ``followers``: sections that are told which prediction is shown. ``ranks()``: the precedents to compare with.
    ``placed()``: called after the prediction may have got another place in space.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        compareView: Any,
        messages: MessagePanel,
        changed: Callable[[], None],
        maps: MapOverlay,
        followers: tuple[Follower, ...],
        ranks: Callable[[], list[int]],
        placed: Callable[[], None],
    ) -> None:
        self._ui, self._logic, self._compare, self._messages, self._changed = ui, logic, compareView, messages, changed
        self._maps, self._followers, self._ranks, self._placed = maps, followers, ranks, placed
        self._report = ReportFile()
        self._parameters: Any = None
        self._results: list[Any] = []
        self._filling = False
        self._space = "mni"  # the chosen space as it was when the panel looked last
        self._overlay = ScanOverlay()
        self._mapsOf: str | None = None
        self.nodes: Any = None
        ui.noSimilarCaseLabel.styleSheet = WARNING
        ui.syntheticLabel.styleSheet = "font-weight: bold; color: #d98200;"
        maps.whenChanged.append(self._onMapChanged)
        ui.resultComboBox.connect("currentIndexChanged(int)", self._onResult)
        ui.compareButton.connect("clicked(bool)", self._onCompare)
        ui.resetViewButton.connect("clicked(bool)", lambda *_args: self.resetView())
        ui.revealSlider.connect("valueChanged(int)", self._onReveal)
        ui.orientationComboBox.connect("currentIndexChanged(int)", self._onOrientation)
        ui.removeResultsButton.connect("clicked(bool)", self._onRemove)
        ui.reportButton.connect("clicked(bool)", self._onReport)

    def setParameterNode(self, parameters: Any) -> None:
        """The space of the results is a parameter (None: there is no scene)."""
        self._parameters = parameters
        self.refresh()

    def refresh(self, prefer: Any = None) -> None:
        """Look which predictions the scene holds, and show ``prefer``, else the one shown before, else the newest."""
        wanted = prefer.runId if prefer is not None else getattr(self.nodes, "runId", None)
        self._results = self._logic.results() if self._parameters is not None else []
        self.nodes = next((one for one in self._results if one.runId == wanted), next(iter(self._results), None))
        if self._compare.isShown and self.nodes is None:
            self.resetView()
        if getattr(self.nodes, "runId", None) != self._mapsOf:
            self._maps.remove()
        self._mapsOf = getattr(self.nodes, "runId", None)
        if self.nodes is None:
            self._overlay.remove()
        elif prefer is not None and self._parameters is not None:
            # What the user chose for the results goes for a new one too.
            self._place(self._parameters.resultSpace.value)
        self._show()

    def update(self) -> None:
        """The parameter node changed: move the result if the user chose another space for it."""
        if self.nodes is None or self._parameters is None:
            return
        wanted = self._parameters.resultSpace.value
        if wanted != self._space:
            self._place(wanted)
            self._showSpace()

    def _place(self, space: str) -> None:
        """Move the result, in patient space over the scan; where that is not possible it stays, and it is said why."""
        try:
            if spaceOf(self.nodes) != space:
                self._logic.showInSpace(self.nodes, space)
        except ValueError as error:
            self._messages.show("error", str(error))
            return
        with self._maps.lifted():
            if space == "patient":
                self._overlay.show(self.nodes)
            else:
                self._overlay.remove()

    def _showSpace(self) -> None:
        """The list says where the result lies, whoever put it there; nothing moves by that."""
        self._space = spaceOf(self.nodes)
        self._placed()
        if self._parameters is not None:
            self._parameters.resultSpace = ResultSpace(self._space)

    def resetView(self) -> None:
        """Bring the layout back that there was before the comparison."""
        self._compare.reset()
        self.compareChanged()

    def _show(self) -> None:
        ui, nodes = self._ui, self.nodes
        ui.resultsCollapsibleButton.visible = nodes is not None
        for follower in self._followers:
            follower.show(nodes)
        if nodes is None:
            return
        summary = nodes.summary
        noCase = bool(summary.get("no_similar_case")) or not nodes.precedents
        ui.noSimilarCaseLabel.text = doubtText(summary, noCase)
        ui.noSimilarCaseLabel.visible = bool(ui.noSimilarCaseLabel.text)
        ui.cavityValue.text = figureText(summary, "cavity_ml", _("{value:.1f} ml"))
        ui.residualValue.text = figureText(summary, "residual_ml", _("{value:.1f} ml"))
        ui.resectionValue.text = figureText(summary, "eor_percent", _("{value:.0f} %"))
        ui.similarityValue.text = _("none") if noCase else figureText(summary, "precedent_iou", "{value:.2f}")
        self._filling = True
        try:
            self._fillResults()
        finally:
            self._filling = False
        report = getattr(nodes, "report", None)
        ui.reportButton.enabled = report is not None
        text = _("Opens a page with pictures, figures, precedents and limits in the web browser.")
        ui.reportButton.toolTip = text if report is not None else _("This prediction has no report.")
        self._showSpace()
        self.compareChanged()

    def _fillResults(self) -> None:
        box = self._ui.resultComboBox
        box.clear()
        for one in self._results:
            box.addItem(one.postop.GetName())
        box.currentIndex = self._results.index(self.nodes)
        others = len(self._results) - 1
        box.visible = others > 0
        text = _("Removes '{name}' and everything that belongs to it from the scene.")
        if others:
            text = _("Removes only '{name}' and what belongs to it; {count} other prediction(s) stay in the scene.")
        self._ui.removeResultsButton.toolTip = text.format(name=self.nodes.postop.GetName(), count=others)
        self._ui.removeResultsButton.text = _("Remove this prediction") if others else _("Remove results")

    def compareChanged(self) -> None:
        """The compare view was shown or ended, also by itself: when the user chose another layout, for example."""
        shown = bool(self._compare.isShown)
        self._ui.resetViewButton.enabled = shown
        self._ui.revealWidget.visible = shown
        if not shown:
            self._filling = True
            self._ui.revealSlider.value = 0
            self._ui.orientationComboBox.currentIndex = 0
            self._filling = False
        self._maps.refresh()
        self._ui.revealSlider.enabled = self._maps.volume is None

    def _onMapChanged(self) -> None:
        """Map and pre-op scan cannot both lie over the prediction."""
        isFree = self._maps.volume is None
        self._ui.revealSlider.enabled = isFree
        self._ui.revealSlider.toolTip = (
            _("Fades the pre-op scan over the prediction.") if isFree else _("A map lies over the prediction now.")
        )
        if isFree and self._compare.isShown:
            self._onReveal(self._ui.revealSlider.value)

    def _onResult(self, index: int, *_args: Any) -> None:
        if self._filling or not 0 <= index < len(self._results):
            return
        self._maps.remove()
        self._overlay.remove()
        self.nodes = self._results[index]
        self._mapsOf = self.nodes.runId
        self._show()
        if self._compare.isShown:
            self._onCompare()

    def _onCompare(self, *_args: Any) -> None:
        if self.nodes is None:
            return
        try:
            self._compare.show(self.nodes, self._ranks())
            self._onOrientation(self._ui.orientationComboBox.currentIndex)
        except (RuntimeError, ValueError) as error:
            self._messages.show("error", str(error))
        self.compareChanged()

    def precedentsSelected(self) -> None:
        """The user selected other precedents."""
        ranks = self._ranks()
        if not self._filling and ranks and self._compare.isShown:
            self._compare.setPrecedents(ranks)

    def _onOrientation(self, index: int, *_args: Any) -> None:
        if not self._filling and self._compare.isShown:
            self._compare.setOrientation(ORIENTATIONS[index])

    def _onReveal(self, value: int, *_args: Any) -> None:
        if not self._filling:
            self._compare.setReveal(value / self._ui.revealSlider.maximum)

    def cleanup(self) -> None:
        """The panel goes: take what was laid over the views away, and the reports that were opened."""
        self._maps.remove()
        self._report.cleanup()

    def _onReport(self, *_args: Any) -> None:
        if self.nodes is None or self.nodes.report is None:
            return
        try:
            path = self._report.written(self.nodes.report, self.nodes.runId)
        except OSError as error:
            text = _("The report could not be written to the temporary folder ({reason}). Free some space on the disk.")
            self._messages.show("error", text.format(reason=error))
            return
        if qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path))) is not True:
            text = _("No program opened the report. It lies in {path}: open it in a web browser.")
            self._messages.show("warning", text.format(path=path))

    def _onRemove(self, *_args: Any) -> None:
        if self.nodes is None:
            return
        self.resetView()
        self._maps.remove()
        self._overlay.remove()
        self._logic.removeResults(self.nodes)
        self.nodes = None
        self.refresh()
        self._changed()


def doubtText(summary: Mapping[str, Any], noCase: bool) -> str:
    """What the user sees first where no case, or hardly one, is like this one; else empty."""
    similarity = summary.get("similarity") or {}
    if similarity.get("level") in _SIMILARITY_TO_DOUBT and similarity.get("sentence"):
        return str(similarity["sentence"])
    if noCase:
        return _("No similar case in the library. The prediction follows no example: read it with doubt.")
    return ""
