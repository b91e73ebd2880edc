"""The table of segments that a plan leaves and whose distance to the cavity is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ..PlanList import PlanList, ResectionPlan, SegmentReference
from ..TumourSegments import segmentsOf

NAME, LEFT, MEASURED = range(3)
ROW_HEIGHT, MOST_ROWS = 22, 6


class StructuresTable:
    """One row per segment. ``changed(row's segment, column, ticked)`` is called when the user ticks a cell."""

    def __init__(self, table: Any, changed: Callable[[SegmentReference, int, bool], None]) -> None:
        self._table, self._changed = table, changed
        self._rows: list[SegmentReference] = []
        self._filling = False
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([_("Segment"), _("Leave"), _("Distance")])
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        table.horizontalHeader().setFixedHeight(ROW_HEIGHT)
        table.horizontalHeader().setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        table.connect("cellChanged(int,int)", self._onCell)

    def show(self, segmentation: Any, plans: PlanList, plan: ResectionPlan | None) -> None:
        """The segments of ``segmentation``, then those ticked elsewhere or gone; ``plan``: the one that leaves them."""
        rows = [SegmentReference(segmentation, one) for one, _name in segmentsOf(segmentation)] if segmentation else []
        spared = [one.segment for one in plan.spared] if plan is not None else []
        rows += [one for one in dict.fromkeys([*spared, *plans.structures]) if one not in rows]
        self._filling = True
        try:
            if rows != self._rows or self._table.rowCount != len(rows):
                self._rows = rows
                self._table.setRowCount(len(rows))
            for row, segment in enumerate(rows):
                self._fill(row, segment, plan, segment in spared, segment in plans.structures)
        finally:
            self._filling = False
        self._table.visible = bool(rows)
        self._table.setFixedHeight((1 + min(max(len(rows), 1), MOST_ROWS)) * ROW_HEIGHT + 2 * self._table.frameWidth)

    def _fill(
        self, row: int, segment: SegmentReference, plan: ResectionPlan | None, left: bool, measured: bool
    ) -> None:
        name = segment.name if segment.isThere else _("{segment} (not in the scene)").format(segment=segment.name)
        self._set(row, NAME, name, None, True)
        # What is taken cannot be left; a tick that contradicts can still be taken back.
        self._set(row, LEFT, "", left, plan is not None and (left or plan.segment != segment))
        self._set(row, MEASURED, "", measured, True)

    def _set(self, row: int, column: int, text: str, ticked: bool | None, enabled: bool) -> None:
        item = self._table.item(row, column)
        if item is None:
            item = qt.QTableWidgetItem()
            self._table.setItem(row, column, item)
        if item.text() != text:
            item.setText(text)
        flags = qt.Qt.ItemIsEnabled if enabled else qt.Qt.NoItemFlags
        if ticked is not None:
            item.setFlags(flags | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
        else:
            item.setFlags(flags)

    def _onCell(self, row: int, column: int, *_args: Any) -> None:
        if self._filling or column == NAME or row >= len(self._rows):
            return
        ticked = self._table.item(row, column).checkState() == qt.Qt.Checked
        self._changed(self._rows[row], column, ticked)
