"""Which parts of a tumour's segmentation are resected, as far as their names and labels tell."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

_CORE = re.compile(r"tumou?r|enhanc|necro|core|lesion|gtv|glioma|metasta|meningioma|resect", re.IGNORECASE)
_ENHANCING = re.compile(r"(?<!non)(?<!non[ _-])enhanc", re.IGNORECASE)
_NOT_CORE = re.compile(r"o?edema|flair|brain|whole|ventricle|skull|peritumou?r|infiltrat", re.IGNORECASE)
BRATS_LABELS = frozenset({1, 2, 4})
BRATS_OEDEMA, BRATS_ENHANCING = 2, 4


def isTumourCore(name: str) -> bool:
    """Whether a segment called ``name`` is, by its name, part of what is resected."""
    return bool(_CORE.search(name)) and not _NOT_CORE.search(name)


def defaultTicks(names: Sequence[str]) -> list[bool]:
    """Which of the segments are ticked at first: those named as tumour core; without any, all but oedema and brain."""
    ticks = [isTumourCore(name) for name in names]
    return ticks if any(ticks) else [not _NOT_CORE.search(name) for name in names]


def defaultTicksOf(node: slicer.vtkMRMLNode | None, segments: Sequence[tuple[str, str]]) -> list[bool]:
    """``defaultTicks`` of the (id, name) pairs of ``node``; in a label map with BraTS' labels all but the oedema."""
    isLabelMap = node is not None and not node.IsA("vtkMRMLSegmentationNode")
    if isLabelMap and {int(identity) for identity, _name in segments} == BRATS_LABELS:
        return [int(identity) != BRATS_OEDEMA for identity, _name in segments]
    return defaultTicks([name for _id, name in segments])


def segmentsOf(node: slicer.vtkMRMLNode) -> list[tuple[str, str]]:
    """(id, name) of each segment in the node's order; of a label map (label as text, name) for each label above 0."""
    if node.IsA("vtkMRMLSegmentationNode"):
        segmentation, ids = node.GetSegmentation(), vtk.vtkStringArray()
        segmentation.GetSegmentIDs(ids)
        found = [ids.GetValue(index) for index in range(ids.GetNumberOfValues())]
        return [(identity, segmentation.GetSegment(identity).GetName() or identity) for identity in found]
    return [(str(label), _labelName(node, label)) for label in _labels(node)]


def defaultIds(node: slicer.vtkMRMLNode) -> tuple[str, ...]:
    """The segments (of a label map: labels as text) that the panel would tick for ``node``; may be empty."""
    segments = segmentsOf(node)
    ticks = defaultTicksOf(node, segments)
    return tuple(identity for (identity, _name), tick in zip(segments, ticks, strict=True) if tick)


def enhancingIds(node: slicer.vtkMRMLNode, ids: Sequence[str]) -> tuple[str, ...]:
    """Those of the segments ``ids`` (of a label map: labels as text) that take up contrast agent, by name or label."""
    segments = [(one, name) for one, name in segmentsOf(node) if one in ids]
    labels = set() if node.IsA("vtkMRMLSegmentationNode") else {int(one) for one, _name in segmentsOf(node)}
    if BRATS_ENHANCING in labels and len(labels) > 1 and labels <= BRATS_LABELS:
        return tuple(one for one, _name in segments if int(one) == BRATS_ENHANCING)
    return tuple(one for one, name in segments if _ENHANCING.search(name))


def _labels(node: slicer.vtkMRMLLabelMapVolumeNode) -> list[int]:
    if node.GetImageData() is None:
        return []
    voxels = slicer.util.arrayFromVolume(node)
    # The background is left out first: ten times as fast, and the panel waits.
    return [int(label) for label in np.unique(voxels[voxels > 0])]


def _labelName(node: slicer.vtkMRMLLabelMapVolumeNode, label: int) -> str:
    display = node.GetDisplayNode()
    colours = display.GetColorNode() if display is not None else None
    name = colours.GetColorName(label) if colours is not None else ""
    plain = _("Label {number}").format(number=label)
    return plain if not name or name in ("(none)", str(label)) else f"{plain}: {name}"
