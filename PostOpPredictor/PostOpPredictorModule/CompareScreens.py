"""What there is to compare: the panes of a comparison with precedents, of one with plans, and of the live preview."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from .CompareCaptions import AMBER, WHITE
from .CompareLayout import (
    MOST_PRECEDENTS,
    CompareSlot,
    afterSlot,
    beforeSlot,
    liveSlot,
    planSlot,
    predictedSlot,
    preopSlot,
)
from .PlansTable import NO_PLAN, PlanFigures, planFigures

if TYPE_CHECKING:
    from .LiveNodes import LiveNodes
    from .PredictionNodes import PrecedentNodes, PredictionNodes

BEFORE = "before"
"""The column of the scan before surgery; the other columns of plans are their numbers, 0 for none."""
MOST_COLUMNS = 4
Column = str | int


@dataclass(frozen=True)
class ComparePane:
    """One view: a volume, what is outlined over it (nodes may be None), and lines of text (text, colour).

    ``faded``: the volume that the reveal fades in.
    """

    slot: CompareSlot
    volume: Any
    outlined: tuple[Any, ...] = ()
    faded: Any = None
    captions: tuple[tuple[str, tuple[float, float, float]], ...] = ()


@dataclass(frozen=True)
class CompareScreen:
    """``columns``: from left to right, of one view or of one over the other. ``number``: of the layout.

    ``reference``: the volume whose window and place in space all share; ``sameScale``: volumes in its grey levels;
    ``scaled``: those of other scanners. ``framed``: volumes whose brains must fit. ``target``: segmentations to look
    at, the first that has a voxel counts. ``needed``: nodes without which there is nothing to compare.
    """

    number: int
    columns: tuple[tuple[ComparePane, ...], ...]
    reference: Any
    sameScale: tuple[Any, ...]
    scaled: tuple[Any, ...]
    framed: tuple[Any, ...]
    target: tuple[Any, ...]
    needed: tuple[Any, ...]

    @property
    def panes(self) -> list[ComparePane]:
        """All views, column by column."""
        return [pane for column in self.columns for pane in column]

    @property
    def slots(self) -> list[tuple[CompareSlot, ...]]:
        """The slots of every column."""
        return [tuple(pane.slot for pane in column) for column in self.columns]


def isThere(node: Any) -> bool:
    """Whether there is such a node and it is in a scene."""
    return node is not None and node.GetScene() is not None


def precedentScreen(nodes: PredictionNodes, ranks: Sequence[int]) -> CompareScreen:
    """Pre-op | predicted | one column per precedent, scan before over scan after surgery."""
    byRank = {precedent.rank: precedent for precedent in nodes.precedents}
    shown = [byRank[rank] for rank in ranks]
    predicted = ComparePane(predictedSlot(), nodes.postop, (nodes.cavity,), nodes.preop, (_synthetic(),))
    pairs = (_precedentPair(place, one) for place, one in enumerate(shown, start=1))
    return CompareScreen(
        number=len(ranks),
        columns=((_preopPane(nodes),), (predicted,), *pairs),
        reference=nodes.preop,
        sameScale=(nodes.postop,),
        scaled=tuple(volume for one in shown for volume in (one.pre, one.post) if isThere(volume)),
        framed=(nodes.preop, *(one.pre for one in shown if isThere(one.pre))),
        target=(nodes.tumour, nodes.cavity),
        needed=(nodes.preop, nodes.postop),
    )


def planScreen(nodes: PredictionNodes, columns: Sequence[Column]) -> CompareScreen:
    """The chosen ``columns`` side by side: the scan before surgery, the prediction without a plan, those of plans."""
    figures = {row.number: row for row in planFigures(nodes.summary)}
    panes = [_planPane(nodes, one, figures) for one in columns]
    predicted = tuple(pane.volume for pane in panes if pane.volume is not nodes.preop)
    return CompareScreen(
        number=MOST_PRECEDENTS + len(panes),
        columns=tuple((pane,) for pane in panes),
        reference=nodes.preop,
        sameScale=predicted,
        scaled=(),
        framed=(nodes.preop,),
        target=(nodes.tumour, nodes.cavity),
        needed=(nodes.preop, *predicted),
    )


def liveScreen(live: LiveNodes) -> CompareScreen:
    """The scan before surgery beside the live preview."""
    before = ComparePane(preopSlot(), live.preop, (live.tumour,))
    preview = ComparePane(liveSlot(), live.postop, (live.cavity,), live.preop, (_synthetic(),))
    return CompareScreen(
        number=MOST_PRECEDENTS + MOST_COLUMNS + 1,
        columns=((before,), (preview,)),
        reference=live.preop,
        sameScale=(live.postop,),
        scaled=(),
        framed=(live.preop,),
        target=(live.tumour, live.cavity),
        needed=(live.preop, live.postop),
    )


def columnsOf(nodes: PredictionNodes) -> list[Column]:
    """All columns that a comparison of plans may have, in their order."""
    return [BEFORE, NO_PLAN, *(plan.number for plan in nodes.plans if isThere(plan.postop))]


def checkedColumns(nodes: PredictionNodes, columns: Sequence[Column] | None) -> tuple[Column, ...]:
    """``columns``, each once (None: the first four); raises ``ValueError`` for one that is not there or too many."""
    known = columnsOf(nodes)
    chosen = tuple(dict.fromkeys(known[:MOST_COLUMNS] if columns is None else columns))
    for one in chosen:
        if one not in known:
            raise ValueError(_("The prediction has no plan {number} any more. Predict again.").format(number=one))
    if not chosen:
        raise ValueError(_("Choose at least one column to compare."))
    if len(chosen) > MOST_COLUMNS:
        raise ValueError(_("At most {most} columns fit side by side. Untick some.").format(most=MOST_COLUMNS))
    return chosen


def _preopPane(nodes: PredictionNodes) -> ComparePane:
    return ComparePane(preopSlot(), nodes.preop, (nodes.tumour,))


def _synthetic() -> tuple[str, tuple[float, float, float]]:
    return _("SYNTHETIC - not for clinical decisions"), AMBER


def _precedentPair(place: int, precedent: PrecedentNodes) -> tuple[ComparePane, ComparePane]:
    overlap = _("Overlap of tumours {iou:.2f}").format(iou=precedent.iou)
    before = ComparePane(
        beforeSlot(place, precedent.rank), precedent.pre, (precedent.tumour,), captions=((overlap, WHITE),)
    )
    after = ComparePane(afterSlot(place, precedent.rank), precedent.post, (precedent.cavity,))
    removed = precedent.attributes.get("eor_percent")
    told = [] if removed is None else [_("{percent:.0f} % resected").format(percent=float(removed))]
    if precedent.attributes.get("cavity") == "proxy":
        told.append(_("cavity: a proxy"))
    return before, replace(after, captions=tuple((text, WHITE) for text in told))


def _planPane(nodes: PredictionNodes, column: Column, figures: dict[int, PlanFigures]) -> ComparePane:
    if column == BEFORE:
        return _preopPane(nodes)
    captions = (*_figureCaption(figures.get(int(column))), _synthetic())
    if column == NO_PLAN:
        outlined: tuple[Any, ...] = (nodes.cavity,)
        return ComparePane(predictedSlot(_("No plan (synthetic)")), nodes.postop, outlined, nodes.preop, captions)
    plan = next(one for one in nodes.plans if one.number == column)
    name = plan.name or _("Plan {number}").format(number=plan.number)
    outlined = (plan.plan, plan.cavity, plan.residual)
    return ComparePane(planSlot(plan.number, name), plan.postop, outlined, nodes.preop, captions)


def _figureCaption(row: PlanFigures | None) -> tuple[tuple[str, tuple[float, float, float]], ...]:
    if row is None:
        return ()
    residual, removed = row.value("residual_ml"), row.value("eor_percent")
    parts = []
    if not math.isnan(residual):
        parts.append(_("Residual {value:.1f} ml").format(value=residual))
    if not math.isnan(removed):
        parts.append(_("EOR {value:.0f} %").format(value=removed))
    return ((", ".join(parts), WHITE),) if parts else ()
