"""The section Results: figures, precedents, compare view, space, removal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ..CompareLayout import ORIENTATIONS
from ..ParameterNode import ResultSpace
from ..ResultNodes import spaceOf
from ..ScanOverlay import ScanOverlay
from .MessagePanel import MessagePanel

ROW_HEIGHT, MOST_ROWS = 24, 6
_WARNING = "background-color: rgba(220, 120, 0, 60); border: 1px solid rgba(220, 120, 0, 190); padding: 6px;"


class ResultsPanel:
    """Shows one of the scene's predictions. ``changed()``: a prediction was removed."""

    def __init__(
        self, ui: Any, logic: Any, compareView: Any, messages: MessagePanel, changed: Callable[[], None]
    ) -> None:
        self._ui, self._logic, self._compare, self._messages, self._changed = ui, logic, compareView, messages, changed
        self._parameters: Any = None
        self._results: list[Any] = []
        self._filling = False
        self._space = "mni"  # the chosen space as it was when the panel looked last
        self._overlay = ScanOverlay()
        self.nodes: Any = None
        ui.noSimilarCaseLabel.styleSheet = _WARNING
        ui.syntheticLabel.styleSheet = "font-weight: bold; color: #d98200;"
        table = ui.precedentsTable
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Rank"), _("IoU"), _("Resection"), _("Source")])
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        table.horizontalHeader().setFixedHeight(ROW_HEIGHT)
        table.horizontalHeader().setStretchLastSection(True)
        table.connect("itemSelectionChanged()", self._onPrecedent)
        ui.resultComboBox.connect("currentIndexChanged(int)", self._onResult)
        ui.compareButton.connect("clicked(bool)", self._onCompare)
        ui.resetViewButton.connect("clicked(bool)", lambda *_args: self.resetView())
        ui.revealSlider.connect("valueChanged(int)", self._onReveal)
        ui.orientationComboBox.connect("currentIndexChanged(int)", self._onOrientation)
        ui.removeResultsButton.connect("clicked(bool)", self._onRemove)

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
        if space == "patient":
            self._overlay.show(self.nodes)
        else:
            self._overlay.remove()

    def _showSpace(self) -> None:
        """The list says where the result lies, whoever put it there; nothing moves by that."""
        self._space = spaceOf(self.nodes)
        if self._parameters is not None:
            self._parameters.resultSpace = ResultSpace(self._space)

    def resetView(self) -> None:
        """Bring the layout back that there was before the comparison."""
        self._compare.reset()
        self.compareChanged()

    def ranks(self) -> list[int]:
        """Ranks of the selected precedents, the most similar first."""
        rows = sorted({index.row() for index in self._ui.precedentsTable.selectionModel().selectedRows()})
        precedents = self.nodes.precedents if self.nodes is not None else ()
        return [precedents[row].rank for row in rows if row < len(precedents)]

    def _show(self) -> None:
        ui, nodes = self._ui, self.nodes
        ui.resultsCollapsibleButton.visible = nodes is not None
        if nodes is None:
            return
        summary = nodes.summary
        noCase = bool(summary.get("no_similar_case")) or not nodes.precedents
        ui.noSimilarCaseLabel.visible = noCase
        ui.cavityValue.text = figureText(summary, "cavity_ml", _("{value:.1f} ml"))
        ui.residualValue.text = figureText(summary, "residual_ml", _("{value:.1f} ml"))
        ui.resectionValue.text = figureText(summary, "eor_percent", _("{value:.0f} %"))
        ui.similarityValue.text = _("none") if noCase else figureText(summary, "precedent_iou", "{value:.2f}")
        self._filling = True
        try:
            self._fillResults()
            self._fillPrecedents()
        finally:
            self._filling = False
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

    def _fillPrecedents(self) -> None:
        table, precedents = self._ui.precedentsTable, self.nodes.precedents
        table.setRowCount(len(precedents))
        for row, one in enumerate(precedents):
            texts = (
                str(one.rank),
                f"{one.iou:.2f}",
                figureText(one.attributes, "eor_percent", _("{value:.0f} %")),
                " ".join(str(one.attributes[name]) for name in ("source", "institution") if one.attributes.get(name)),
            )
            for column, text in enumerate(texts):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        table.visible = bool(precedents)
        table.resizeColumnsToContents()
        rows = 1 + min(len(precedents), MOST_ROWS)
        table.setFixedHeight(rows * ROW_HEIGHT + 2 * table.frameWidth)
        if precedents:
            table.selectRow(0)

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

    def _onResult(self, index: int, *_args: Any) -> None:
        if self._filling or not 0 <= index < len(self._results):
            return
        self._overlay.remove()
        self.nodes = self._results[index]
        self._show()
        if self._compare.isShown:
            self._onCompare()

    def _onCompare(self, *_args: Any) -> None:
        if self.nodes is None:
            return
        try:
            self._compare.show(self.nodes, self.ranks())
            self._onOrientation(self._ui.orientationComboBox.currentIndex)
        except (RuntimeError, ValueError) as error:
            self._messages.show("error", str(error))
        self.compareChanged()

    def _onPrecedent(self, *_args: Any) -> None:
        ranks = self.ranks()
        if not self._filling and ranks and self._compare.isShown:
            self._compare.setPrecedents(ranks)

    def _onOrientation(self, index: int, *_args: Any) -> None:
        if not self._filling and self._compare.isShown:
            self._compare.setOrientation(ORIENTATIONS[index])

    def _onReveal(self, value: int, *_args: Any) -> None:
        if not self._filling:
            self._compare.setReveal(value / self._ui.revealSlider.maximum)

    def _onRemove(self, *_args: Any) -> None:
        if self.nodes is None:
            return
        self.resetView()
        self._overlay.remove()
        self._logic.removeResults(self.nodes)
        self.nodes = None
        self.refresh()
        self._changed()


def figureText(values: Mapping[str, Any], name: str, text: str) -> str:
    """One figure for people; a dash where it is not known."""
    value = values.get(name)
    return text.format(value=value) if isinstance(value, (int, float)) and value == value else "-"
