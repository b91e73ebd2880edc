"""The prediction over the patient's scan in the user's own slice views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
import slicer.util

from .CompareLayout import isCompareViewName

if TYPE_CHECKING:
    from .ResultNodes import PredictionNodes

OPACITY = 0.5


class ScanOverlay:
    """Shows one prediction as the foreground of all slice views but those of the compare view.

    Views without any background get the scan from which was predicted. ``remove()`` brings the foreground back that
    there was, unless somebody else changed it meanwhile.
    """

    def __init__(self) -> None:
        self._volumeId = ""
        self._before: dict[Any, tuple[str | None, float]] = {}

    def show(self, nodes: PredictionNodes) -> None:
        """Lay the prediction over what the views show; it replaces the one laid there before."""
        self.remove()
        self._volumeId = nodes.postop.GetID()
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if isCompareViewName(view.GetLayoutName()):
                continue
            self._before[view] = (view.GetForegroundVolumeID(), view.GetForegroundOpacity())
            if view.GetBackgroundVolumeID() is None and nodes.source is not None:
                view.SetBackgroundVolumeID(nodes.source.GetID())
            view.SetForegroundVolumeID(self._volumeId)
            view.SetForegroundOpacity(OPACITY)

    def remove(self) -> None:
        """Take the prediction out of the views."""
        for view, (volumeId, opacity) in self._before.items():
            if view.GetScene() is not None and view.GetForegroundVolumeID() == self._volumeId:
                view.SetForegroundVolumeID(volumeId)
                view.SetForegroundOpacity(opacity)
        self._before = {}
