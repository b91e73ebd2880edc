"""Keeps the plans in the parameter node, so that they are saved with the scene and come back with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import slicer
import slicer.util

from .PlanList import PlanList, ResectionPlan, SegmentReference, SparedSegment

PARAMETER = "PostOpPredictor.Plans"
ROLE = "PostOpPredictor.PlanSegmentation"
"""Start of the names of the node references: MRML renames a reference when an opened scene gets other node ids."""


def plansOf(parameterNode: slicer.vtkMRMLScriptedModuleNode) -> PlanList:
    """The plans that ``parameterNode`` holds; an empty list when it holds none, or something else.

    A segment whose segmentation was removed from the scene comes as a reference that is not there.
    """
    try:
        kept = json.loads(parameterNode.GetParameter(PARAMETER) or "{}")
        return _Reader(parameterNode).planList(kept)
    except (ValueError, TypeError, KeyError, AttributeError):
        return PlanList()


def keepPlans(parameterNode: slicer.vtkMRMLScriptedModuleNode, plans: PlanList) -> None:
    """Store ``plans``; the node tells of the change once, and not at all when there is none."""
    writer = _Writer()
    text = json.dumps(writer.planList(plans), ensure_ascii=False)
    roles = {f"{ROLE}{number}": node for number, node in enumerate(writer.segmentations)}
    known: list[str] = []
    parameterNode.GetNodeReferenceRoles(known)
    old = [role for role in known if role.startswith(ROLE) and role not in roles]
    with slicer.util.NodeModify(parameterNode):
        for role, node in roles.items():
            if parameterNode.GetNodeReference(role) is not node:
                parameterNode.SetNodeReferenceID(role, node.GetID() if node is not None else None)
        for role in old:
            parameterNode.RemoveNodeReferenceIDs(role)
        parameterNode.SetParameter(PARAMETER, text)


class _Writer:
    """Numbers the segmentations in the order in which they are met."""

    def __init__(self) -> None:
        self.segmentations: list[Any] = []

    def planList(self, plans: PlanList) -> dict[str, Any]:
        return {
            "plans": [self._plan(one) for one in plans.plans],
            "structures": [self._segment(one) for one in plans.structures],
            "days": list(plans.days),
        }

    def _plan(self, plan: ResectionPlan) -> dict[str, Any]:
        spared = [{"segment": self._segment(one.segment), "mm": one.distanceMm} for one in plan.spared]
        segment = None if plan.segment is None else self._segment(plan.segment)
        return {"name": plan.name, "margin": plan.marginMm, "segment": segment, "spared": spared}

    def _segment(self, segment: SegmentReference) -> list[Any]:
        node = segment.segmentation
        if node not in self.segmentations:
            self.segmentations.append(node)
        return [self.segmentations.index(node), segment.segmentId]


class _Reader:
    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
        self._node = parameterNode

    def planList(self, kept: Mapping[str, Any]) -> PlanList:
        return PlanList(
            tuple(self._plan(one) for one in kept.get("plans", ())),
            tuple(self._segment(one) for one in kept.get("structures", ())),
            tuple(float(day) for day in kept.get("days", ())),
        )

    def _plan(self, kept: Mapping[str, Any]) -> ResectionPlan:
        spared = tuple(SparedSegment(self._segment(one["segment"]), float(one["mm"])) for one in kept["spared"])
        segment = None if kept["segment"] is None else self._segment(kept["segment"])
        margin = None if kept["margin"] is None else float(kept["margin"])
        return ResectionPlan(str(kept["name"]), margin, segment, spared)

    def _segment(self, kept: Any) -> SegmentReference:
        number, segmentId = kept
        return SegmentReference(self._node.GetNodeReference(f"{ROLE}{int(number)}"), str(segmentId))
