"""Plans and structures as the files and options of a job, in the place where the user sees them in the scene."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .Errors import PredictionError
from .MaskExport import maskOf, nameOf, worldVolume, writeMask
from .PlanList import PlanList, ResectionPlan, SegmentReference


@dataclass(frozen=True)
class ExportedPlans:
    """``plans`` and ``structures`` as the backend's requests in JSON; ``shownAs``: path -> what the user calls it."""

    plans: list[dict[str, Any]] = field(default_factory=list)
    structures: list[dict[str, Any]] = field(default_factory=list)
    shownAs: dict[str, str] = field(default_factory=dict)

    def asJobOptions(self) -> dict[str, Any]:
        """The options of a job of the command "predict"; nothing where nothing is planned."""
        options = {"plans": self.plans, "structures": self.structures}
        return {name: value for name, value in options.items() if value}


def exportPlans(
    plans: Sequence[ResectionPlan],
    structures: Sequence[SegmentReference],
    volume: slicer.vtkMRMLScalarVolumeNode,
    folder: Path,
) -> ExportedPlans:
    """Write the masks of all segments that are named, parent transforms applied, on the grid of the hardened scan.

    Raises ``PredictionError`` ("bad_input", "input_removed", "storage") with a sentence that names plan or segment.
    """
    problem = PlanList(tuple(plans), tuple(structures)).problem()
    if problem:
        raise PredictionError("bad_input", problem)
    if not plans and not structures:
        return ExportedPlans()
    masks = SegmentMasks(volume, folder)
    return ExportedPlans(
        [masks.planOption(plan) for plan in plans],
        [masks.structureOption(one) for one in structures],
        masks.shownAs,
    )


class SegmentMasks:
    """Writes each segment once, as a mask (uncompressed NRRD, uint8 0/1) on the grid of the hardened scan.

    A segment that was edited or moved since is written again, under another name.
    """

    def __init__(self, volume: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> None:
        self._scan, self._folder = worldVolume(volume), folder
        self._written: dict[tuple[str, str], tuple[Any, Path]] = {}
        self._count = 0
        self.shownAs: dict[str, str] = {}

    def planOption(self, plan: ResectionPlan) -> dict[str, Any]:
        """The backend's request for ``plan``; raises as ``exportPlans`` does."""
        option: dict[str, Any] = {"name": plan.name}
        if plan.segment is not None:
            option["mask"] = str(self.file(plan.segment))
        else:
            option["margin_mm"] = plan.marginMm
        spared = [{"mask": str(self.file(one.segment)), "distance_mm": one.distanceMm} for one in plan.spared]
        return {**option, "spare": spared} if spared else option

    def structureOption(self, segment: SegmentReference) -> dict[str, Any]:
        """The backend's request for a structure to measure the distance to."""
        return {"name": segment.name, "mask": str(self.file(segment))}

    def file(self, segment: SegmentReference) -> Path:
        """The mask of ``segment``; raises ``PredictionError``."""
        node = segment.segmentation
        if node is None or not segment.isThere:
            sentence = _("The segment '{segment}' is not in the scene any more. Choose another one.")
            raise PredictionError("input_removed", sentence.format(segment=segment.name))
        key, state = (node.GetID(), segment.segmentId), stateOf(segment)
        written = self._written.get(key)
        if written is not None and written[0] == state:
            return written[1]
        mask = maskOf(node, [segment.segmentId], self._scan)
        if not mask.any():
            sentence = _(
                "No voxel of the segment '{segment}' of '{name}' lies within the scan. Draw it, or choose another."
            )
            raise PredictionError("bad_input", sentence.format(segment=segment.name, name=nameOf(node)))
        self._count += 1
        path = self._folder / f"segment-{self._count}.nrrd"
        writeMask(mask, self._scan, path)
        if written is not None:
            # Nobody is told of it any more; a session may go on for hours, and each edit writes a whole mask.
            with contextlib.suppress(OSError):
                written[1].unlink()
        self._written[key] = (state, path)
        self.shownAs[str(path)] = f"'{segment.name}'"
        return path


def stateOf(segment: SegmentReference) -> tuple[Any, ...]:
    """Changes when the segment is edited, or moved by a transform; only for one that is there."""
    node = segment.segmentation
    times, transform = [], node.GetParentTransformNode()
    while transform is not None:
        times.append(transform.GetTransformToWorldMTime())
        transform = transform.GetParentTransformNode()
    segmentation = node.GetSegmentation()
    voxels = segmentation.GetSegment(segment.segmentId).GetRepresentation(segmentation.GetSourceRepresentationName())
    return (node.GetTransformNodeID(), tuple(times), voxels.GetMTime() if voxels is not None else None)
