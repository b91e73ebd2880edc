"""One map of a prediction over the predicted scan, with its legend: in the user's slice views and the compared one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import slicer
import slicer.util

from .CompareLayout import PREDICTED, isCompareViewName
from .PredictionNodes import PredictionNodes

DEFAULT_OPACITY = 0.7
LEGEND_SIZE, LEGEND_PLACE = (0.10, 0.32), (0.97, 0.06)
"""Parts of the view's width and height, and of what is left of them: at the right below."""


class MapOverlay:
    """Shows one map at a time as the foreground of all slice views but those that show no prediction.

    ``remove()`` brings back what a view showed before, unless somebody else changed it meanwhile. Functions in
    ``whenChanged`` are called after another map, or none, is shown. The legend lies in the views that show the map.
    """

    def __init__(self) -> None:
        self.volume: Any = None
        self.opacity = DEFAULT_OPACITY
        self.whenChanged: list[Callable[[], None]] = []
        self._nodes: PredictionNodes | None = None
        self._legendTexts = ("", "")
        self._legend: Any = None
        self._before: dict[Any, tuple[str | None, str | None, float]] = {}

    def show(self, nodes: PredictionNodes, volume: Any, title: str, labelFormat: str) -> None:
        """Lay ``volume``, a map of ``nodes``, over the prediction; it replaces the one laid there before.

        Nothing is shown where the user removed it from the scene.
        """
        isFirst = self.volume is None
        self._lift()
        if not _isThere(volume):
            self._nodes = self.volume = None
            self._tell()
            return
        self._nodes, self.volume = nodes, volume
        self._lay()
        if isFirst:
            self._jump()
        self._legendTexts = (title, labelFormat)
        self._showLegend()
        self._tell()

    def remove(self) -> None:
        """Show no map."""
        if self.volume is None:
            return
        self._lift()
        self.volume = self._nodes = None
        self._tell()

    def setOpacity(self, opacity: float) -> None:
        """0 hides the map, 1 hides what is under it."""
        self.opacity = opacity
        for view in self._ours():
            view.SetForegroundOpacity(opacity)

    def refresh(self) -> None:
        """Views came or were filled anew: lay the map over them too."""
        if _isThere(self.volume):
            self._lay()
            self._showLegend()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """While something else changes what the views show, the map is out of them."""
        self._lift()
        try:
            yield
        finally:
            self.refresh()

    def _lay(self) -> None:
        if not _isThere(self.volume) or not _isThere(self._nodes.postop):
            return
        for view in _viewsOfPredictions():
            if view.GetForegroundVolumeID() == self.volume.GetID():
                continue
            self._before[view] = (
                view.GetBackgroundVolumeID(),
                view.GetForegroundVolumeID(),
                view.GetForegroundOpacity(),
            )
            view.SetBackgroundVolumeID(self._nodes.postop.GetID())
            view.SetForegroundVolumeID(self.volume.GetID())
            view.SetForegroundOpacity(self.opacity)

    def _lift(self) -> None:
        for view in self._ours():
            background, foreground, opacity = self._before[view]
            view.SetForegroundVolumeID(foreground)
            view.SetForegroundOpacity(opacity)
            if view.GetBackgroundVolumeID() == self._nodes.postop.GetID():
                view.SetBackgroundVolumeID(background)
        self._before = {}
        self._removeLegend()

    def _showLegend(self) -> None:
        """A legend made anew: views that came after a legend never show it."""
        self._removeLegend()
        title, labelFormat = self._legendTexts
        self._legend = legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(self.volume)
        legend.SetTitleText(title)
        legend.SetLabelFormat(labelFormat)
        legend.SetUseColorNamesForLabels(False)
        legend.SetSize(*LEGEND_SIZE)
        legend.SetPosition(*LEGEND_PLACE)
        legend.SetVisibility(True)

    def _removeLegend(self) -> None:
        # It outlives a map that the user removes, and a map of an opened scene may bring one along.
        own = slicer.modules.colors.logic().GetColorLegendDisplayNode(self.volume) if _isThere(self.volume) else None
        for legend in (self._legend, own):
            if _isThere(legend):
                slicer.mrmlScene.RemoveNode(legend)
        self._legend = None

    def _ours(self) -> list[Any]:
        """The views that show the map because we put it there."""
        volumeId = self.volume.GetID() if self.volume is not None else None
        return [one for one in self._before if _isThere(one) and one.GetForegroundVolumeID() == volumeId]

    def _jump(self) -> None:
        """The user's own views go to where the map tells something; the compared ones are framed already."""
        bounds = [0.0] * 6
        self.volume.GetRASBounds(bounds)
        centre = [(bounds[axis] + bounds[axis + 1]) / 2 for axis in (0, 2, 4)]
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if not isCompareViewName(node.GetLayoutName()):
                node.JumpSliceByCentering(*centre)

    def _tell(self) -> None:
        for tell in list(self.whenChanged):
            tell()


def _viewsOfPredictions() -> list[Any]:
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return [one for one in views if one.GetLayoutName() == PREDICTED or not isCompareViewName(one.GetLayoutName())]


def _isThere(node: Any) -> bool:
    return node is not None and node.GetScene() is not None
