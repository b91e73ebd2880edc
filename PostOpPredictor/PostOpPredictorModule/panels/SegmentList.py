"""The list in which the user ticks what is resected: segments of a segmentation, or labels of a label map."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

_CORE = re.compile(r"tumou?r|enhanc|necro|core|lesion|gtv|glioma|metasta|meningioma|resect", re.IGNORECASE)
_NOT_CORE = re.compile(r"o?edema|flair|brain|whole|ventricle|skull|peritumou?r|infiltrat", re.IGNORECASE)
BRATS_LABELS = frozenset({1, 2, 4})
BRATS_OEDEMA = 2
LEAST_ROWS, MOST_ROWS, ROW_HEIGHT = 2, 7, 17


def isTumourCore(name: str) -> bool:
    """Whether a segment called ``name`` is, by its name, part of what is resected."""
    return bool(_CORE.search(name)) and not _NOT_CORE.search(name)


def defaultTicks(names: Sequence[str]) -> list[bool]:
    """Which of the segments are ticked at first: those named as tumour core; without any, all but oedema and brain."""
    ticks = [isTumourCore(name) for name in names]
    return ticks if any(ticks) else [not _NOT_CORE.search(name) for name in names]


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
        ticks = kept if any(kept) else self._defaults(segments)
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

    def _defaults(self, segments: list[tuple[str, str]]) -> list[bool]:
        isLabelMap = self._node is not None and not self._node.IsA("vtkMRMLSegmentationNode")
        if isLabelMap and {int(identity) for identity, _name in segments} == BRATS_LABELS:
            return [int(identity) != BRATS_OEDEMA for identity, _name in segments]
        return defaultTicks([name for _id, name in segments])

    def _segments(self) -> list[tuple[str, str]]:
        """(id, name) of each segment, in the node's order."""
        if self._node is None:
            return []
        if self._node.IsA("vtkMRMLSegmentationNode"):
            segmentation, ids = self._node.GetSegmentation(), vtk.vtkStringArray()
            segmentation.GetSegmentIDs(ids)
            found = [ids.GetValue(index) for index in range(ids.GetNumberOfValues())]
            return [(identity, segmentation.GetSegment(identity).GetName() or identity) for identity in found]
        return [(str(label), self._labelName(label)) for label in self._labels()]

    def _labels(self) -> list[int]:
        if self._node.GetImageData() is None:
            return []
        return [int(label) for label in np.unique(slicer.util.arrayFromVolume(self._node)) if label > 0]

    def _labelName(self, label: int) -> str:
        display = self._node.GetDisplayNode()
        colours = display.GetColorNode() if display is not None else None
        name = colours.GetColorName(label) if colours is not None else ""
        plain = _("Label {number}").format(number=label)
        return plain if not name or name in ("(none)", str(label)) else f"{plain}: {name}"
