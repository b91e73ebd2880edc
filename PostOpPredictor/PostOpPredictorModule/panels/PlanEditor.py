"""The list of plans, and the fields of the one that is chosen; everything is written into the scene at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..PlanList import PlanList, ResectionPlan, SegmentReference
from ..PlansInScene import keepPlans, plansOf
from ..TumourSegments import segmentsOf
from .StructuresTable import LEFT, StructuresTable
from .Styles import WARNING_TEXT

MARGIN_STEPS_PER_MM = 2
ROW_HEIGHT, LEAST_ROWS, MOST_ROWS = 20, 2, 5


class PlanEditor(slicer.util.VTKObservationMixin):
    """``changed()``: the plans, the structures or the choice of a plan changed. ``say(sentence)``: what was refused."""

    def __init__(self, ui: Any, changed: Callable[[], None], say: Callable[[str], None]) -> None:
        super().__init__()
        self._ui, self._changed, self._say = ui, changed, say
        self._watched: tuple[Any, list[tuple[str, str]]] = (None, [])
        self._parameters: Any = None
        self._filling = False
        self.plans = PlanList()
        self._structures = StructuresTable(ui.structuresTable, self._onStructure)
        ui.addPlanButton.connect("clicked(bool)", lambda *_args: self._add())
        ui.duplicatePlanButton.connect("clicked(bool)", lambda *_args: self._duplicate())
        ui.removePlanButton.connect("clicked(bool)", lambda *_args: self._remove())
        ui.plansList.connect("currentRowChanged(int)", self._onRow)
        ui.plansList.connect("itemChanged(QListWidgetItem*)", self._onRenamed)
        ui.planTakesComboBox.connect("currentIndexChanged(int)", self._onTakes)
        ui.marginSlider.connect("valueChanged(int)", self._onMargin)
        ui.sparedSpinBox.connect("valueChanged(double)", self._onDistance)
        ui.structuresSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda *_args: self._onSegmentation())

    @property
    def chosen(self) -> ResectionPlan | None:
        """The plan that is chosen in the list."""
        row = self._row()
        return self.plans.plans[row] if row is not None else None

    def setParameterNode(self, parameters: Any) -> None:
        """Show the plans of another parameter node (None: none)."""
        self._parameters = parameters
        self.plans = PlanList()
        if parameters is not None:
            self.plans = plansOf(parameters.parameterNode)
            self._chooseSegmentation()
        self._show()

    def update(self) -> None:
        """The parameter node changed."""
        if self._parameters is None or self._filling:
            return
        self._chooseSegmentation()
        plans = plansOf(self._parameters.parameterNode)
        if plans != self.plans:
            self.plans = plans
            self._show()
            self._changed()

    def cleanup(self) -> None:
        """Let go of the scene."""
        self.removeObservers()

    def write(self, plans: PlanList, row: int | None = None) -> None:
        """Keep ``plans`` in the scene, choose the plan ``row`` if one is given, and tell of it."""
        self.plans = plans
        if self._parameters is not None:
            self._filling = True
            try:
                keepPlans(self._parameters.parameterNode, plans)
            finally:
                self._filling = False
        self._show(row)
        self._changed()

    def _chooseSegmentation(self) -> None:
        """Without a choice: that of the tumour, which is where most people draw the rest too."""
        selector, tumour = self._ui.structuresSelector, self._parameters.tumour
        if selector.currentNode() is None and tumour is not None and tumour.IsA("vtkMRMLSegmentationNode"):
            selector.setCurrentNode(tumour)

    def _onSegmentation(self) -> None:
        """Another segmentation is chosen: its segments may come, go and get other names."""
        self.removeObservers()
        node = self._ui.structuresSelector.currentNode()
        self._watched = (node, segmentsOf(node) if node is not None else [])
        if node is not None:
            kinds = slicer.vtkSegmentation
            for event in (kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified):
                self.addObserver(node, event, self._onSegments)
        self._show()

    def _onSegments(self, *_args: Any) -> None:
        node, before = self._watched
        now = segmentsOf(node)
        if now != before:
            self._watched = (node, now)
            self._show()
            self._changed()

    def _row(self) -> int | None:
        row = self._ui.plansList.currentRow
        return row if 0 <= row < len(self.plans.plans) else None

    def _show(self, row: int | None = None) -> None:
        ui, was = self._ui, self._filling
        self._filling = True
        try:
            self._fillList(row)
            plan = self.chosen
            ui.planWidget.enabled = plan is not None
            for button in (ui.duplicatePlanButton, ui.removePlanButton):
                button.enabled = plan is not None
            ui.addPlanButton.enabled = self._parameters is not None
            self._fillFields(plan)
            self._structures.show(ui.structuresSelector.currentNode(), self.plans, plan)
        finally:
            self._filling = was
        problem = self.plans.problem()
        text = problem or (plan.description() if plan is not None else "")
        ui.planSentenceLabel.text = text[:1].upper() + text[1:]
        ui.planSentenceLabel.styleSheet = WARNING_TEXT if problem else ""
        ui.planSentenceLabel.visible = bool(text)

    def _fillList(self, row: int | None) -> None:
        listed, names = self._ui.plansList, [plan.name for plan in self.plans.plans]
        current = listed.currentRow if row is None else row
        if [listed.item(index).text() for index in range(listed.count)] != names:
            listed.clear()
            for name in names:
                item = qt.QListWidgetItem(name)
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEditable)
                listed.addItem(item)
        for index, plan in enumerate(self.plans.plans):
            listed.item(index).setToolTip(plan.problem() or plan.description())
        listed.currentRow = min(max(current, 0), len(names) - 1)
        rows = min(max(len(names), LEAST_ROWS), MOST_ROWS)
        listed.setFixedHeight(rows * ROW_HEIGHT + 2 * listed.frameWidth)

    def _fillFields(self, plan: ResectionPlan | None) -> None:
        ui, node = self._ui, self._ui.structuresSelector.currentNode()
        self._takes = [SegmentReference(node, one) for one, _name in segmentsOf(node)] if node is not None else []
        if plan is not None and plan.segment is not None and plan.segment not in self._takes:
            self._takes.append(plan.segment)
        texts = [_("The tumour with a margin"), *(_("'{segment}'").format(segment=one.name) for one in self._takes)]
        box = ui.planTakesComboBox
        if [box.itemText(index) for index in range(box.count)] != texts:
            box.clear()
            for text in texts:
                box.addItem(text)
        taken = plan.segment if plan is not None else None
        box.currentIndex = 0 if taken is None else 1 + self._takes.index(taken)
        byMargin = plan is not None and taken is None
        margin = (plan.marginMm or 0.0) if byMargin else 0.0
        for widget in (ui.marginLabel, ui.marginSlider, ui.marginValueLabel):
            widget.enabled = byMargin
        ui.marginSlider.value = round(margin * MARGIN_STEPS_PER_MM)
        ui.marginValueLabel.text = _("{margin:+.1f} mm").format(margin=margin)
        if plan is not None and plan.spared:
            ui.sparedSpinBox.value = plan.spared[-1].distanceMm

    def _add(self) -> None:
        self._try(lambda: self.write(self.plans.added(), len(self.plans.plans)))

    def _duplicate(self) -> None:
        row = self._row()
        if row is not None:
            self._try(lambda: self.write(self.plans.duplicated(row), row + 1))

    def _remove(self) -> None:
        row = self._row()
        if row is not None:
            self.write(self.plans.removed(row), row)

    def _onRow(self, _row: int, *_args: Any) -> None:
        if not self._filling:
            self._show()
            self._changed()

    def _onRenamed(self, item: Any, *_args: Any) -> None:
        row = self._ui.plansList.row(item)
        if not self._filling and 0 <= row < len(self.plans.plans):
            self._try(lambda: self.write(self.plans.renamed(row, item.text())))

    def _onTakes(self, index: int, *_args: Any) -> None:
        if index == 0:
            self._change(lambda plan: plan.withMargin(plan.marginMm or 0.0))
        elif 0 < index <= len(self._takes):
            self._change(lambda plan: plan.withSegment(self._takes[index - 1]))

    def _onMargin(self, value: int, *_args: Any) -> None:
        self._change(lambda plan: plan.withMargin(value / MARGIN_STEPS_PER_MM))

    def _onDistance(self, value: float, *_args: Any) -> None:
        def spared(plan: ResectionPlan) -> ResectionPlan:
            for one in plan.spared:
                plan = plan.sparing(one.segment, value)
            return plan

        self._change(spared)

    def _onStructure(self, segment: SegmentReference, column: int, ticked: bool) -> None:
        if column == LEFT:
            distance = float(self._ui.sparedSpinBox.value)
            self._change(lambda plan: plan.sparing(segment, distance) if ticked else plan.notSparing(segment))
        else:
            self._try(lambda: self.write(self.plans.measuring(segment, ticked)))

    def _change(self, change: Callable[[ResectionPlan], ResectionPlan]) -> None:
        row = self._row()
        if not self._filling and row is not None:
            self.write(self.plans.changed(row, change(self.plans.plans[row])))

    def _try(self, action: Callable[[], None]) -> None:
        """Do what may be refused with a sentence; the fields then show again what holds."""
        try:
            action()
        except ValueError as error:
            self._say(str(error))
            self._show()
