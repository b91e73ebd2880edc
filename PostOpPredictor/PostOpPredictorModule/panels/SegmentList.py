"""The list in which the user ticks what is resected: segments of a segmentation, or labels of a label map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
import slicer.util
import vtk

from ..TumourSegments import defaultTicks, defaultTicksOf, segmentsOf

__all__ = ["SegmentList", "defaultTicks"]

LEAST_ROWS, MOST_ROWS, ROW_HEIGHT = 2, 7, 17


class SegmentList(slicer.util.VTKObservationMixin):
    """Shows the segments of one node with check boxes; ``changed()`` is called when the user ticks one."""

    def __init__(self, listWidget: Any, changed: Callable[[], None]) -> None:
        super().__init__()
        self._list, self._changed = listWidget, changed
        self._node: Any = None
        self._filling = False
        self._list.connect("itemChanged(QListWidgetItem*)", self._onItemChanged)

    @property
    def node(self) -> Any:
        """The segmentation or label map that is shown."""
        return self._node

    def setNode(self, node: Any, ticked: Sequence[str] = ()) -> None:
        """Show ``node``; ``ticked`` are the ids to tick, the defaults where it names none of them."""
        self.removeObservers()
        self._node = node
        if node is not None and node.IsA("vtkMRMLSegmentationNode"):
            for event in (slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SegmentRemoved):
                self.addObserver(node, event, self._onSegmentsChanged)
            self.addObserver(node, slicer.vtkSegmentation.SegmentModified, self._onSegmentsChanged)
        elif node is not None:
            # The second one is all that slicer.util.arrayFromVolumeModified tells.
            for event in (slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, vtk.vtkCommand.ModifiedEvent):
                self.addObserver(node, event, self._onSegmentsChanged)
        self._fill(ticked)

    def tickedIds(self) -> list[str]:
        """Ids of the ticked segments (of a label map: its labels as text)."""
        items = [self._list.item(row) for row in range(self._list.count)]
        return [str(item.data(qt.Qt.UserRole)) for item in items if item.checkState() == qt.Qt.Checked]

    def count(self) -> int:
        """How many segments there are."""
        return int(self._list.count)

    def _onItemChanged(self, *_args: Any) -> None:
        if not self._filling:
            self._changed()

    def _onSegmentsChanged(self, *_args: Any) -> None:
        before = [self._list.item(row).text() for row in range(self._list.count)]
        if before != [name for _id, name in self._segments()]:
            self._fill(self.tickedIds())
            self._changed()

    def _fill(self, ticked: Sequence[str]) -> None:
        segments = self._segments()
        kept = [identity in ticked for identity, _name in segments]
        ticks = kept if any(kept) else defaultTicksOf(self._node, segments)
        self._filling = True
        try:
            self._list.clear()
            for (identity, name), tick in zip(segments, ticks, strict=True):
                item = qt.QListWidgetItem(name)
                item.setData(qt.Qt.UserRole, identity)
                item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
                item.setCheckState(qt.Qt.Checked if tick else qt.Qt.Unchecked)
                self._list.addItem(item)
        finally:
            self._filling = False
        rows = min(max(len(segments), LEAST_ROWS), MOST_ROWS)
        height = max(self._list.sizeHintForRow(0), ROW_HEIGHT)
        self._list.setFixedHeight(rows * height + 2 * self._list.frameWidth + 2)

    def _segments(self) -> list[tuple[str, str]]:
        """(id, name) of each segment, in the node's order."""
        return [] if self._node is None else segmentsOf(self._node)
