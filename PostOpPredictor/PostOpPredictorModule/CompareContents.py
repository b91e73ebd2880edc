"""What the compare views hold: each its own scan, outlines and caption, all the same window and level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from .CompareCaptions import AMBER, WHITE, CompareCaptions
from .CompareLayout import PREDICTED, PREOP, CompareSlot, afterTag, beforeTag
from .CompareOutlines import CompareOutlines
from .CompareWindowLevel import CompareWindowLevel

if TYPE_CHECKING:
    from .ResultNodes import PrecedentNodes, PredictionNodes


class CompareContents:
    """Fills the views of ``slots``, which the layout shows; ``remove()`` takes out what the views do not own."""

    def __init__(self, layoutManager: Any, scene: Any, slots: Sequence[CompareSlot]) -> None:
        self._layoutManager = layoutManager
        logics = [self._sliceLogic(slot.tag) for slot in slots]
        for logic, slot in zip(logics, slots, strict=True):
            _prepareView(logic, slot)
        self._outlines = CompareOutlines(scene, {logic.GetSliceNode().GetID() for logic in logics})
        self._captions = CompareCaptions()
        self._windowLevel: CompareWindowLevel | None = None
        self._observed: tuple[Any, int] | None = None

    def fill(self, nodes: PredictionNodes, precedents: Sequence[PrecedentNodes], whenMoved: Callable[[], None]) -> None:
        """Show ``nodes`` and ``precedents``, one for each column.

        ``whenMoved`` is called when the prediction gets another place in space.
        """
        self._fillView(PREOP, nodes.preop, nodes.tumour)
        self._fillView(PREDICTED, nodes.postop, nodes.cavity, faded=nodes.preop)
        self._caption(PREDICTED, _("SYNTHETIC - not for clinical decisions"), AMBER)
        for place, precedent in enumerate(precedents, start=1):
            self._fillPrecedent(place, precedent)
        others = [volume for one in precedents for volume in (one.pre, one.post) if isThere(volume)]
        self._windowLevel = CompareWindowLevel(nodes.preop, [nodes.postop], others)
        self._windowLevel.share()
        moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        self._observed = (nodes.preop, nodes.preop.AddObserver(moved, lambda *_args: whenMoved()))

    def remove(self) -> None:
        """Outlines, captions and observers go; windows, levels and the user's outlines are as they were."""
        if self._observed is not None:
            node, observer = self._observed
            node.RemoveObserver(observer)
        self._captions.remove()
        self._outlines.remove()
        if self._windowLevel is not None:
            self._windowLevel.remove()

    def _fillPrecedent(self, place: int, precedent: PrecedentNodes) -> None:
        self._fillView(beforeTag(place), precedent.pre, precedent.tumour)
        self._fillView(afterTag(place), precedent.post, precedent.cavity)
        self._caption(beforeTag(place), _("Overlap of tumours {iou:.2f}").format(iou=precedent.iou), WHITE)
        removed = precedent.attributes.get("eor_percent")
        if removed is not None:
            self._caption(afterTag(place), _("{percent:.0f} % resected").format(percent=float(removed)), WHITE)

    def _fillView(self, tag: str, volume: Any, outlined: Any, faded: Any = None) -> None:
        composite = self._sliceLogic(tag).GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(volume.GetID() if isThere(volume) else None)
        composite.SetForegroundVolumeID(faded.GetID() if faded is not None else None)
        composite.SetForegroundOpacity(0.0)
        composite.SetLabelVolumeID(None)
        self._outlines.add(outlined, self._sliceLogic(tag).GetSliceNode().GetID())

    def _caption(self, tag: str, text: str, colour: tuple[float, float, float]) -> None:
        self._captions.add(self._layoutManager.sliceWidget(tag).sliceView(), text, colour)

    def _sliceLogic(self, tag: str) -> Any:
        return self._layoutManager.sliceWidget(tag).sliceLogic()


def isThere(node: Any) -> bool:
    """Whether there is such a node and it is in a scene."""
    return node is not None and node.GetScene() is not None


def _prepareView(logic: Any, slot: CompareSlot) -> None:
    """A view that stayed from the layout before gets its new label; none of it is saved with the scene."""
    sliceNode, composite = logic.GetSliceNode(), logic.GetSliceCompositeNode()
    sliceNode.SetLayoutLabel(slot.label)
    sliceNode.SetSaveWithScene(False)
    composite.SetSaveWithScene(False)
    composite.SetLinkedControl(True)
    composite.SetHotLinkedControl(True)
    composite.SetDoPropagateVolumeSelection(False)
