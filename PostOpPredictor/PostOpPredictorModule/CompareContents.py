"""What the compare views hold: each its own scan, outlines and caption, all the same window and level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from .CompareCaptions import CompareCaptions
from .CompareLayout import CompareSlot
from .CompareOutlines import CompareOutlines
from .CompareScreens import ComparePane, CompareScreen, isThere
from .CompareWindowLevel import CompareWindowLevel


class CompareContents:
    """Fills the views of ``screen``, which the layout shows; ``remove()`` takes out what the views do not own."""

    def __init__(self, layoutManager: Any, scene: Any, screen: CompareScreen) -> None:
        self._layoutManager, self._screen = layoutManager, screen
        logics = [self._sliceLogic(pane.slot.tag) for pane in screen.panes]
        for logic, pane in zip(logics, screen.panes, strict=True):
            _prepareView(logic, pane.slot)
        self._outlines = CompareOutlines(scene, {logic.GetSliceNode().GetID() for logic in logics})
        self._captions = CompareCaptions()
        self._windowLevel: CompareWindowLevel | None = None
        self._observed: tuple[Any, int] | None = None

    def fill(self, whenMoved: Callable[[], None]) -> None:
        """Show everything; ``whenMoved`` is called when the reference gets another place in space."""
        screen = self._screen
        for pane in screen.panes:
            self._fillView(pane)
        self._windowLevel = CompareWindowLevel(screen.reference, list(screen.sameScale), list(screen.scaled))
        self._windowLevel.share()
        moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        self._observed = (screen.reference, screen.reference.AddObserver(moved, lambda *_args: whenMoved()))

    def remove(self) -> None:
        """Outlines, captions and observers go; windows, levels and the user's outlines are as they were."""
        if self._observed is not None:
            node, observer = self._observed
            node.RemoveObserver(observer)
        self._captions.remove()
        self._outlines.remove()
        if self._windowLevel is not None:
            self._windowLevel.remove()

    def _fillView(self, pane: ComparePane) -> None:
        logic = self._sliceLogic(pane.slot.tag)
        composite = logic.GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(pane.volume.GetID() if isThere(pane.volume) else None)
        composite.SetForegroundVolumeID(pane.faded.GetID() if pane.faded is not None else None)
        composite.SetForegroundOpacity(0.0)
        composite.SetLabelVolumeID(None)
        for segmentation in pane.outlined:
            self._outlines.add(segmentation, logic.GetSliceNode().GetID())
        view = self._layoutManager.sliceWidget(pane.slot.tag).sliceView()
        for line, (text, colour) in enumerate(pane.captions):
            self._captions.add(view, text, colour, line)

    def _sliceLogic(self, tag: str) -> Any:
        return self._layoutManager.sliceWidget(tag).sliceLogic()


def _prepareView(logic: Any, slot: CompareSlot) -> None:
    """A view that stayed from the layout before gets its new label; none of it is saved with the scene."""
    sliceNode, composite = logic.GetSliceNode(), logic.GetSliceCompositeNode()
    sliceNode.SetLayoutLabel(slot.label)
    sliceNode.SetSaveWithScene(False)
    composite.SetSaveWithScene(False)
    composite.SetLinkedControl(True)
    composite.SetHotLinkedControl(True)
    composite.SetDoPropagateVolumeSelection(False)
