"""The section Why: the precedents and what each does to the prediction; shift; what is generated."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ..BackgroundWork import BackgroundWork
from ..MapLooks import mapLooks
from ..MapOverlay import MapOverlay
from ..OverlapPicture import OWN_COLOUR, PRECEDENT_COLOUR, Overlap, overlapOf
from ..ResultNodes import spaceOf
from ..ShiftGlyphs import areGlyphsShown, showGlyphs
from .Figures import figureText
from .HandChoice import HandChoice

ROW_HEIGHT, MOST_ROWS = 24, 6
INFLUENCE_COLUMN = 3


class WhyPanel:
    """Shows the precedents of one prediction. ``selected()``: other precedents were selected in the table.

    ``predictAgain()``: predict with the parameters as they are now.
    """

    def __init__(
        self, ui: Any, maps: MapOverlay, predictAgain: Callable[[], None], selected: Callable[[], None]
    ) -> None:
        self._ui, self._maps, self._selected = ui, maps, selected
        self._nodes: Any = None
        self._filling = False
        self._drawing: BackgroundWork | None = None
        self.handChoice = HandChoice(ui, predictAgain)
        self._prepareTable()
        maps.whenChanged.append(self._showToggles)
        ui.influenceCheckBox.connect("clicked(bool)", self._onInfluence)
        ui.generatedCheckBox.connect("clicked(bool)", self._onGenerated)
        ui.shiftCheckBox.connect("clicked(bool)", self._onShift)

    def setParameterNode(self, parameters: Any) -> None:
        """Cases that the user chose are parameters (None: there is no scene)."""
        self.handChoice.setParameterNode(parameters)

    def update(self) -> None:
        """The parameter node changed."""
        self.handChoice.update()

    def setReason(self, reason: str) -> None:
        """Why nothing can be predicted now; empty when it can."""
        self.handChoice.setReason(reason)

    def show(self, nodes: Any) -> None:
        """Show another prediction (None: none)."""
        self._nodes = nodes
        self._ui.whyCollapsibleButton.visible = nodes is not None
        self._ui.overlapPicture.visible = False
        if nodes is None:
            self.handChoice.show(None, None)
            return
        self._filling = True
        try:
            self._fillTable()
        finally:
            self._filling = False
        shift = nodes.summary.get("shift") or {}
        self._ui.shiftLabel.text = str(shift.get("midline_sentence", ""))
        self._ui.shiftLabel.visible = bool(self._ui.shiftLabel.text)
        self._showCase()

    def placed(self) -> None:
        """The prediction lies in another space: arrows would then show the turn of the head, too."""
        shift = getattr(self._nodes, "shift", None)
        if shift is not None and spaceOf(self._nodes) != "mni":
            showGlyphs(shift, False)
        self._showToggles()

    def cleanup(self) -> None:
        """The panel goes: a picture that is being drawn is wanted no more."""
        self._draw(None)

    def ranks(self) -> list[int]:
        """Ranks of the selected precedents, the most similar first."""
        rows = sorted({index.row() for index in self._ui.precedentsTable.selectionModel().selectedRows()})
        precedents = self._nodes.precedents if self._nodes is not None else ()
        return [precedents[row].rank for row in rows if row < len(precedents)]

    def _prepareTable(self) -> None:
        table = self._ui.precedentsTable
        table.setColumnCount(5)
        table.setHorizontalHeaderLabels([_("Rank"), _("IoU"), _("Resection"), _("Influence"), _("Source")])
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        table.horizontalHeader().setFixedHeight(ROW_HEIGHT)
        table.horizontalHeader().setStretchLastSection(True)
        table.connect("itemSelectionChanged()", self._onSelected)

    def _fillTable(self) -> None:
        table, precedents = self._ui.precedentsTable, self._nodes.precedents
        table.setRowCount(len(precedents))
        for row, one in enumerate(precedents):
            for column, text in enumerate(_rowTexts(one)):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        hasInfluence = any("influence_percent" in one.attributes for one in precedents)
        table.setColumnHidden(INFLUENCE_COLUMN, not hasInfluence)
        table.visible = bool(precedents)
        table.resizeColumnsToContents()
        rows = 1 + min(len(precedents), MOST_ROWS)
        table.setFixedHeight(rows * ROW_HEIGHT + 2 * table.frameWidth)
        if precedents:
            table.selectRow(0)

    def _case(self) -> Any:
        """The selected precedent; None where there is none, or several."""
        ranks = self.ranks()
        found = [one for one in self._nodes.precedents if one.rank in ranks] if self._nodes is not None else []
        return found[0] if len(found) == 1 else None

    def _onSelected(self, *_args: Any) -> None:
        if not self._filling and self._nodes is not None:
            wasInfluence = self._maps.volume is not None and self._maps.volume in self._influences()
            self._showCase()
            if wasInfluence:
                self._showInfluence()
            self._selected()

    def _showCase(self) -> None:
        ui, case = self._ui, self._case()
        ui.chosenCaseLabel.text = caseText(case) if case is not None else ""
        self._draw(overlapOf(self._nodes, case) if case is not None else None)
        self.handChoice.show(self._nodes, case)
        self._showToggles()

    def _draw(self, overlap: Overlap | None) -> None:
        """Show the picture of ``overlap`` as soon as it is drawn; until then the one before it is greyed out."""
        picture = self._ui.overlapPicture
        if self._drawing is not None:
            self._drawing.forget()
            self._drawing = None
        if overlap is None:
            picture.visible = False
            return
        picture.enabled = False
        self._drawing = BackgroundWork(overlap.picture, self._onDrawn, self._onNotDrawn)

    def _onDrawn(self, ppm: bytes | None) -> None:
        picture = self._ui.overlapPicture
        picture.visible = picture.enabled = ppm is not None
        if ppm is not None:
            pixmap = qt.QPixmap()
            pixmap.loadFromData(ppm)
            picture.setPixmap(pixmap)

    def _onNotDrawn(self, error: Exception) -> None:
        logging.error("PostOpPredictor: the tumours could not be drawn over each other (%s)", error)
        self._onDrawn(None)

    def _influences(self) -> list[Any]:
        found = [getattr(one, "influence", None) for one in self._nodes.precedents]
        return [node for node in found if node is not None]

    def _showToggles(self) -> None:
        if self._nodes is None:
            return
        ui, volume, case = self._ui, self._maps.volume, self._case()
        influence = getattr(case, "influence", None)
        ui.influenceCheckBox.visible = bool(self._influences())
        ui.influenceCheckBox.enabled = influence is not None
        ui.influenceCheckBox.checked = influence is not None and volume is influence
        told = (self._nodes.summary.get("uncertainty") or {}).get("influence_sentence") or ""
        text = _("Where the cavity is more (red) or less (blue) likely because of this case. {how}")
        ui.influenceCheckBox.toolTip = text.format(how=told).strip()
        generated = getattr(self._nodes, "generated", None)
        ui.generatedCheckBox.visible = generated is not None
        ui.generatedCheckBox.checked = generated is not None and volume is generated
        ui.generatedCheckBox.toolTip = _("Where the image is generated, and not the patient's own tissue, moved.")
        self._showShift()

    def _showShift(self) -> None:
        box, shift = self._ui.shiftCheckBox, getattr(self._nodes, "shift", None)
        box.visible = shift is not None
        isPossible = shift is not None and spaceOf(self._nodes) == "mni"
        box.enabled = isPossible
        box.checked = isPossible and areGlyphsShown(shift)
        where = _(
            "The way that tissue is predicted to move by the operation; the arrows are three times as long. "
            "Blue: 0.5 mm, yellow: 3 mm, red: 8 mm and more."
        )
        box.toolTip = where if isPossible else _("The arrows are drawn in MNI space only (see 'Show in').")

    def _onInfluence(self, *_args: Any) -> None:
        if self._ui.influenceCheckBox.checked:
            self._showInfluence()
        else:
            self._maps.remove()

    def _showInfluence(self) -> None:
        case = self._case()
        influence = getattr(case, "influence", None)
        if influence is None:
            self._maps.remove()
            return
        look = mapLooks()["influence"]
        self._maps.show(self._nodes, influence, look.title.format(rank=case.rank), look.labelFormat)

    def _onGenerated(self, *_args: Any) -> None:
        if not self._ui.generatedCheckBox.checked:
            self._maps.remove()
            return
        look = mapLooks()["generated"]
        self._maps.show(self._nodes, self._nodes.generated, look.title, look.labelFormat)

    def _onShift(self, *_args: Any) -> None:
        if self._nodes is not None and self._nodes.shift is not None:
            showGlyphs(self._nodes.shift, bool(self._ui.shiftCheckBox.checked))


def caseText(case: Any) -> str:
    """One precedent in words (rich text)."""
    told = case.attributes
    name = html.escape(str(told.get("case_id", "")) or _("Precedent {rank}").format(rank=case.rank))
    head = _("<b>{case}</b>, followed") if told.get("followed") else _("<b>{case}</b>")
    head = _("<b>{case}</b>, followed by your choice") if told.get("chosen_by_hand") else head
    lines = [head.format(case=name), _("Overlap of the tumours: {iou:.2f} (IoU)").format(iou=case.iou)]
    removed = figureText(told, "eor_percent", _("{value:.0f} %"))
    if removed != "-":
        lines.append(_("Resected: {percent}").format(percent=removed))
    if told.get("cavity") == "proxy":
        lines.append(_("Its cavity is a proxy: derived from other labels, not drawn."))
    if "influence_ml" in told:
        changed = figureText(told, "influence_ml", _("{value:.1f} ml"))
        lines.append(_("Without it the cavity changes by {volume}.").format(volume=changed))
    own, other = (f'<span style="color:rgb{colour};">&#9632;</span>' for colour in (OWN_COLOUR, PRECEDENT_COLOUR))
    lines.append(_("{own} this patient {other} precedent").format(own=own, other=other))
    return "<br>".join(lines)


def _rowTexts(one: Any) -> tuple[str, ...]:
    told, percent = one.attributes, _("{value:.0f} %")
    rank = _("{rank} (followed)") if told.get("followed") else "{rank}"
    return (
        rank.format(rank=one.rank),
        f"{one.iou:.2f}",
        figureText(told, "eor_percent", percent),
        figureText(told, "influence_percent", percent),
        " ".join(str(told[name]) for name in ("source", "institution") if told.get(name)),
    )
