"""The compare view's layout: which views there are, what they are called and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import slicer
from slicer.i18n import tr as _

VIEW_GROUP = 5500
"""A group of our own: views of other groups neither follow ours nor lead them."""
LAYOUT_WITHOUT_PRECEDENTS = 5500
"""The layout with k precedents has this number plus k."""
MOST_PRECEDENTS = 10
ORIENTATIONS = ("Axial", "Coronal", "Sagittal")
_OUR_VIEWS = "PostOpCompare"
PREOP = f"{_OUR_VIEWS}PreOp"
PREDICTED = f"{_OUR_VIEWS}Predicted"

_PREOP_COLOUR = "#8FB8E8"
_PREDICTED_COLOUR = "#F2A541"
_BEFORE_COLOUR = "#B9C4CE"
_AFTER_COLOUR = "#8CCB8A"
_LARGE, _SMALL = 200, 100  # a precedent's view, half as high, is half as wide: all views have the same shape


@dataclass(frozen=True)
class CompareSlot:
    """One view: its singleton tag (also the slice view's name), what the bar above it says, and that bar's colour."""

    tag: str
    label: str
    colour: str


def beforeTag(place: int) -> str:
    """The view of the scan before surgery of the precedent in column ``place`` (1 is the first)."""
    return f"{_OUR_VIEWS}Before{place}"


def afterTag(place: int) -> str:
    """The view of the scan after surgery of the precedent in column ``place`` (1 is the first)."""
    return f"{_OUR_VIEWS}After{place}"


def isCompareViewName(name: str | None) -> bool:
    """Whether the slice view ``name`` is one of ours."""
    return name is not None and name.startswith(_OUR_VIEWS)


def slotsFor(ranks: Sequence[int]) -> list[CompareSlot]:
    """All views for the precedents ``ranks``, in the order pre-op, predicted, before 1, after 1, before 2, ..."""
    slots = [
        CompareSlot(PREOP, _("Pre-op"), _PREOP_COLOUR),
        CompareSlot(PREDICTED, _("Predicted (synthetic)"), _PREDICTED_COLOUR),
    ]
    for place, rank in enumerate(ranks, start=1):
        slots += [
            CompareSlot(beforeTag(place), _("Precedent {rank} before").format(rank=rank), _BEFORE_COLOUR),
            CompareSlot(afterTag(place), _("Precedent {rank} after").format(rank=rank), _AFTER_COLOUR),
        ]
    return slots


def layoutId(precedents: int) -> int:
    """The number under which the layout with so many precedents is registered with the layout node."""
    return LAYOUT_WITHOUT_PRECEDENTS + precedents


def isCompareLayout(number: int) -> bool:
    """Whether ``number`` is one of ours."""
    return LAYOUT_WITHOUT_PRECEDENTS <= number <= LAYOUT_WITHOUT_PRECEDENTS + MOST_PRECEDENTS


def leaveSavedLayout() -> None:
    """To be called when the application has started: nobody knows our layout yet.

    Slicer starts in the layout in which it was left, and without a description of it that is a window without views.
    """
    layoutManager = slicer.app.layoutManager()
    if layoutManager is None:
        return
    layoutNode = layoutManager.layoutLogic().GetLayoutNode()
    if isCompareLayout(layoutNode.GetViewArrangement()):
        layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutInitialView)


def layoutXml(slots: Sequence[CompareSlot]) -> str:
    """Slicer's description of the layout: two large views, then one column per precedent, before over after."""
    preop, predicted, *columns = (_viewXml(slot) for slot in slots)
    items = [_item(preop, _LARGE), _item(predicted, _LARGE)]
    for before, after in zip(columns[::2], columns[1::2], strict=True):
        pair = f'<layout type="vertical" split="true">{_item(before, _SMALL)}{_item(after, _SMALL)}</layout>'
        items.append(_item(pair, _SMALL))
    return f'<layout type="horizontal" split="true">{"".join(items)}</layout>'


def _item(content: str, size: int) -> str:
    return f'<item splitSize="{size}">{content}</item>'


def _viewXml(slot: CompareSlot) -> str:
    properties = {
        "orientation": ORIENTATIONS[0],
        "viewlabel": slot.label,
        "viewcolor": slot.colour,
        "viewgroup": str(VIEW_GROUP),
    }
    inner = "".join(
        f'<property name="{name}" action="default">{escape(value)}</property>' for name, value in properties.items()
    )
    return f'<view class="vtkMRMLSliceNode" singletontag="{slot.tag}">{inner}</view>'
