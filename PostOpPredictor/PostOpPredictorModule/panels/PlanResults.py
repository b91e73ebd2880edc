"""What came out for the plans of the prediction that is shown: figures, read-out, and views side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ..CompareScreens import BEFORE, MOST_COLUMNS
from ..PlansTable import PlanFigures, planFigures, planSentences
from ..Terminology import cavityTerms, planTerms, residualTerms, tumourTerms
from .Styles import WARNING_TEXT

ROW_HEIGHT, MOST_ROWS = 24, 7
COLUMNS = (
    ("residual_ml", "{value:.1f} ml"),
    ("eor_percent", "{value:.0f} %"),
    ("rano_class", ""),
    ("cavity_ml", "{value:.1f} ml"),
)


class PlanResults:
    """``say(sentence)``: what cannot be compared."""

    def __init__(self, ui: Any, compareView: Any, say: Callable[[str], None]) -> None:
        self._ui, self._compare, self._say = ui, compareView, say
        self._nodes: Any = None
        self._rows: list[PlanFigures] = []
        self._filling = False
        ui.outlinesLabel.text = outlinesText()
        table = ui.plansTable
        table.setColumnCount(1 + len(COLUMNS))
        table.setHorizontalHeaderLabels([_("Plan"), _("Residual"), _("Resected"), _("RANO"), _("Cavity")])
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        table.horizontalHeader().setFixedHeight(ROW_HEIGHT)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.connect("itemSelectionChanged()", self._showDetails)
        table.connect("cellChanged(int,int)", self._onCell)
        ui.comparePlansButton.connect("clicked(bool)", lambda *_args: self._onCompare())

    def show(self, nodes: Any) -> None:
        """Show the plans of another prediction (None: none)."""
        self._nodes = nodes
        self._rows = planFigures(nodes.summary) if nodes is not None else []
        self._ui.planResultsWidget.visible = bool(self._rows)
        self._filling = True
        try:
            self._fill()
        finally:
            self._filling = False
        self._showDetails()

    def ticked(self) -> list[int]:
        """Numbers of the ticked plans, 0 for the prediction without one."""
        cells = [(row, self._ui.plansTable.item(place, 0)) for place, row in enumerate(self._rows)]
        return [row.number for row, item in cells if item is not None and item.checkState() == qt.Qt.Checked]

    def _fill(self) -> None:
        table = self._ui.plansTable
        table.setRowCount(len(self._rows))
        for place, row in enumerate(self._rows):
            name = qt.QTableWidgetItem(row.name)
            name.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
            name.setCheckState(qt.Qt.Checked if place < MOST_COLUMNS - 1 else qt.Qt.Unchecked)
            table.setItem(place, 0, name)
            for column, (field, text) in enumerate(COLUMNS, start=1):
                item = qt.QTableWidgetItem(_cell(row, field, text))
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(place, column, item)
        for column in range(1, 1 + len(COLUMNS)):
            table.resizeColumnToContents(column)
        rows = 1 + min(max(len(self._rows), 1), MOST_ROWS)
        table.setFixedHeight(rows * ROW_HEIGHT + 2 * table.frameWidth)
        if self._rows:
            table.selectRow(min(1, len(self._rows) - 1))

    def _showDetails(self, *_args: Any) -> None:
        if self._filling:
            return
        places = [index.row() for index in self._ui.plansTable.selectionModel().selectedRows()]
        row = self._rows[places[0]] if places and places[0] < len(self._rows) else None
        label = self._ui.planDetailsLabel
        label.visible = row is not None
        if row is None:
            return
        lines = [_escaped(line) for line in planSentences(row)]
        lines += [f'<span style="{WARNING_TEXT}">{_escaped(one)}</span>' for one in row.warnings]
        label.text = "<br>".join(lines)

    def _onCell(self, _row: int, column: int, *_args: Any) -> None:
        if not self._filling and column == 0 and self._compare.columns:
            self._onCompare()

    def _onCompare(self) -> None:
        if self._nodes is None:
            return
        try:
            self._compare.showPlans(self._nodes, [BEFORE, *self.ticked()])
        except (RuntimeError, ValueError) as error:
            self._say(str(error))


def outlinesText() -> str:
    """The legend of the outlines in the views, each word with a mark in its colour."""
    terms = (
        (_("tumour"), tumourTerms()[1]),
        (_("plan"), planTerms()[1]),
        (_("predicted cavity"), cavityTerms()[1]),
        (_("residual tumour"), residualTerms()[1]),
    )
    marks = []
    for name, term in terms:
        colour = "#" + "".join(f"{round(255 * one):02x}" for one in term.colour)
        marks.append(f'<span style="color:{colour};">&#9632;</span>&nbsp;{_escaped(name).replace(" ", "&nbsp;")}')
    return " &nbsp; ".join(marks)


def _cell(row: PlanFigures, field: str, text: str) -> str:
    if not text:
        return row.text(field) or "-"
    value = row.value(field)
    return "-" if math.isnan(value) else text.format(value=value)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
