"""The compare view's layout: which views there are, what they are called and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import slicer
from slicer.i18n import tr as _

VIEW_GROUP = 5500
"""A group of our own: views of other groups neither follow ours nor lead them."""
FIRST_LAYOUT = 5500
"""Our layouts have this number and those that follow: first those with 0, 1, ... precedents."""
MOST_PRECEDENTS = 10
MOST_LAYOUTS = 20
ORIENTATIONS = ("Axial", "Coronal", "Sagittal")
_OUR_VIEWS = "PostOpCompare"
PREOP = f"{_OUR_VIEWS}PreOp"
PREDICTED = f"{_OUR_VIEWS}Predicted"
LIVE = f"{_OUR_VIEWS}Live"

_PREOP_COLOUR = "#8FB8E8"
_PREDICTED_COLOUR = "#F2A541"
_BEFORE_COLOUR = "#B9C4CE"
_AFTER_COLOUR = "#8CCB8A"
_PLAN_COLOURS = ("#E58BB8", "#B79BE0", "#7FC8C2")
_LIVE_COLOUR = "#F2C94C"
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


def planTag(number: int) -> str:
    """The view of the prediction for the plan ``number``."""
    return f"{_OUR_VIEWS}Plan{number}"


def isCompareViewName(name: str | None) -> bool:
    """Whether the slice view ``name`` is one of ours."""
    return name is not None and name.startswith(_OUR_VIEWS)


def preopSlot() -> CompareSlot:
    """The scan before surgery."""
    return CompareSlot(PREOP, _("Pre-op"), _PREOP_COLOUR)


def predictedSlot(label: str | None = None) -> CompareSlot:
    """The prediction, without a plan where there are some."""
    return CompareSlot(PREDICTED, label or _("Predicted (synthetic)"), _PREDICTED_COLOUR)


def planSlot(number: int, name: str) -> CompareSlot:
    """The prediction for a plan."""
    colour = _PLAN_COLOURS[(number - 1) % len(_PLAN_COLOURS)]
    return CompareSlot(planTag(number), _("{plan} (synthetic)").format(plan=name), colour)


def liveSlot() -> CompareSlot:
    """The live preview."""
    return CompareSlot(LIVE, _("Live preview (synthetic)"), _LIVE_COLOUR)


def beforeSlot(place: int, rank: int) -> CompareSlot:
    """The precedent ``rank`` before surgery, in column ``place``."""
    return CompareSlot(beforeTag(place), _("Precedent {rank} before").format(rank=rank), _BEFORE_COLOUR)


def afterSlot(place: int, rank: int) -> CompareSlot:
    """The precedent ``rank`` after surgery, in column ``place``."""
    return CompareSlot(afterTag(place), _("Precedent {rank} after").format(rank=rank), _AFTER_COLOUR)


def layoutId(number: int) -> int:
    """The number under which our layout ``number`` is registered with the layout node."""
    return FIRST_LAYOUT + number


def isCompareLayout(number: int) -> bool:
    """Whether ``number`` is one of ours."""
    return FIRST_LAYOUT <= number < FIRST_LAYOUT + MOST_LAYOUTS


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


def layoutXml(columns: Sequence[tuple[CompareSlot, ...]]) -> str:
    """Slicer's description of the layout: one column beside the other, in each one view or two over each other."""
    items = []
    for slots in columns:
        views = [_viewXml(slot) for slot in slots]
        if len(views) == 1:
            items.append(_item(views[0], _LARGE))
            continue
        stacked = "".join(_item(view, _SMALL) for view in views)
        items.append(_item(f'<layout type="vertical" split="true">{stacked}</layout>', _SMALL))
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
