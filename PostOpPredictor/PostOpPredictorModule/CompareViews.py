"""The slice views of a comparison: in a layout of our own, moved and faded together, and gone without a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util

from . import CompareFraming
from .CompareLayout import MOST_LAYOUTS, isCompareLayout, layoutId, layoutXml
from .CompareScreens import ComparePane, CompareScreen, isThere


class CompareViews:
    """The views of ``screen`` in the layout of ``layoutManager``; ``leave()`` brings back the layout from before."""

    def __init__(self, layoutManager: Any) -> None:
        self.layoutManager = layoutManager
        self.layoutNode = layoutManager.layoutLogic().GetLayoutNode()
        self.scene = self.layoutNode.GetScene()
        self.screen: CompareScreen | None = None
        self._previousLayout = self.layoutNode.GetViewArrangement()
        # A scene saved now opens in the layout that is on by then: nobody else knows ours.
        self._layoutWasSaved = self.layoutNode.GetSaveWithScene()
        self.layoutNode.SetSaveWithScene(False)

    @property
    def areLeft(self) -> bool:
        """Whether the user chose another layout."""
        return not isCompareLayout(self.layoutNode.GetViewArrangement())

    def switchTo(self, screen: CompareScreen) -> None:
        """Bring up the layout of ``screen``, its views still empty."""
        before, self.screen = self._tags(), screen
        number, xml = layoutId(screen.number), layoutXml(screen.slots)
        if not self.layoutNode.AddLayoutDescription(number, xml):
            self.layoutNode.SetLayoutDescription(number, xml)
        self.layoutNode.SetViewArrangement(number)
        self._remove(before - self._tags())

    def leave(self) -> None:
        """The layout as it was, unless the user chose another one, and no view of ours in the scene."""
        if not self.areLeft:
            self.layoutNode.SetViewArrangement(self._previousLayout)
        self.layoutNode.SetSaveWithScene(self._layoutWasSaved)
        self._remove(self._tags())
        for number in range(MOST_LAYOUTS):
            if self.layoutNode.IsLayoutDescription(layoutId(number)):
                self.layoutNode.SetLayoutDescription(layoutId(number), "")

    @property
    def reveal(self) -> float:
        """How much of what is faded in lies over the predictions, 0 to 1."""
        faded = self._fadedPanes()
        return self._composite(faded[0]).GetForegroundOpacity() if faded else 0.0

    def setReveal(self, opacity: float) -> None:
        """Fade in so much, cut to 0 to 1."""
        for pane in self._fadedPanes():
            self._composite(pane).SetForegroundOpacity(min(max(float(opacity), 0.0), 1.0))

    def setOrientation(self, orientation: str) -> None:
        """Turn all views."""
        for logic in self._sliceLogics():
            logic.GetSliceNode().SetOrientation(orientation)

    @property
    def firstNode(self) -> Any:
        """The slice node of the first view; all look at the same plane."""
        return self._sliceLogics()[0].GetSliceNode()

    @property
    def sliceToRas(self) -> np.ndarray:
        """The plane that is looked at, a copy (4, 4)."""
        return np.copy(slicer.util.arrayFromVTKMatrix(self.firstNode.GetSliceToRAS()))

    def fit(self) -> None:
        """Look at the plane that cuts most of the screen's first target that has a voxel, the whole brain in view."""
        if self.screen is not None:
            found = (CompareFraming.voxelsOf(one) for one in self.screen.target)
            self._frame(next((voxels for voxels in found if len(voxels)), np.empty((0, 3))))

    def fitIn(self, sliceToRas: np.ndarray) -> None:
        """Zoom to the brain in the plane and orientation of ``sliceToRas`` (4, 4)."""
        for logic in self._sliceLogics():
            node = logic.GetSliceNode()
            node.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(sliceToRas))
            node.UpdateMatrices()
        self._frame(sliceToRas[None, :3, 3])

    def _frame(self, target: np.ndarray) -> None:
        assert self.screen is not None
        CompareFraming.frame(self._sliceLogics(), CompareFraming.brainCorners(self.screen.framed), target)

    def _panes(self) -> list[ComparePane]:
        return self.screen.panes if self.screen is not None else []

    def _tags(self) -> set[str]:
        return {pane.slot.tag for pane in self._panes()}

    def _fadedPanes(self) -> list[ComparePane]:
        return [pane for pane in self._panes() if pane.faded is not None]

    def _remove(self, tags: set[str]) -> None:
        """Take views that are no longer in the layout out of the scene, with what their logic keeps there.

        The slice node goes first: its logic lets go then, and would make a composite node anew otherwise.
        """
        for tag in sorted(tags):
            widget = self.layoutManager.sliceWidget(tag)
            if widget is None:
                continue
            logic = widget.sliceLogic()
            ours = [
                logic.GetSliceNode(),
                logic.GetSliceModelNode(),
                logic.GetSliceModelDisplayNode(),
                logic.GetSliceModelTransformNode(),
                logic.GetSliceCompositeNode(),
            ]
            for node in ours:
                if isThere(node):
                    self.scene.RemoveNode(node)

    def _sliceLogic(self, pane: ComparePane) -> Any:
        return self.layoutManager.sliceWidget(pane.slot.tag).sliceLogic()

    def _sliceLogics(self) -> list[Any]:
        return [self._sliceLogic(pane) for pane in self._panes()]

    def _composite(self, pane: ComparePane) -> Any:
        return self._sliceLogic(pane).GetSliceCompositeNode()
