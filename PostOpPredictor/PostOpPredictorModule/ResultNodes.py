"""The nodes of a prediction: found by their marks, moved between MNI and patient space, removed without a trace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import slicer
import vtk

from .PredictionNodes import PlanNodes, PrecedentNodes, PredictionNodes, SequenceNodes
from .ResultAttributes import (
    INFLUENCE_ROLE,
    PATIENT_ROLES,
    PLAN_ROLES,
    PLANS_TABLE_ROLE,
    PRECEDENT_ROLES,
    RANK,
    ROLE,
    RUN_ID,
    SEQUENCE_ROLES,
    SOURCE,
    markedNodes,
    recordOf,
)
from .SeriesNodes import seriesOf

SPACES = ("mni", "patient")


def findResults(scene: slicer.vtkMRMLScene) -> list[PredictionNodes]:
    """The predictions in ``scene``, newest first; those whose predicted volume was removed do not count."""
    runs = dict.fromkeys(node.GetAttribute(RUN_ID) for node in markedNodes(scene))
    results = [result for runId in runs if (result := nodesOfRun(scene, runId)) is not None]
    return sorted(results, key=lambda result: str(result.provenance.get("added", "")), reverse=True)


def nodesOfRun(scene: slicer.vtkMRMLScene, runId: str) -> PredictionNodes | None:
    """The prediction ``runId``; None when its predicted volume is not in ``scene``."""
    marked = markedNodes(scene, runId)
    byRole: dict[str, slicer.vtkMRMLNode] = {}
    for node in marked:
        # A copy that the user made of a result carries its marks too: the first one is ours.
        byRole.setdefault(node.GetAttribute(ROLE), node)
    postop = byRole.get("postop")
    if postop is None:
        return None
    provenance = recordOf(postop)
    roles = {role: byRole.get(role) for role in PATIENT_ROLES if role not in ("patientToMni", "mniToPatient")}
    return PredictionNodes(
        runId=runId,
        folderItem=_folderOf(scene, runId),
        **roles,
        transform=byRole.get("patientToMni"),
        transformToPatient=byRole.get("mniToPatient"),
        precedents=_precedents(marked),
        plans=_plans(marked),
        more=_sequences(marked),
        series=seriesOf(byRole),
        plansTable=byRole.get(PLANS_TABLE_ROLE),
        source=postop.GetNodeReference(SOURCE),
        summary=provenance.get("result", {}),
        warnings=tuple(provenance.get("warnings", ())),
        provenance=provenance,
    )


def showInSpace(nodes: PredictionNodes, space: str) -> None:
    """Put the result where the patient lies in the scene ("patient"), or back into MNI space ("mni").

    Raises ``ValueError``, and moves nothing, where the transform to the patient was removed from the scene.
    """
    if space not in SPACES:
        raise ValueError(f"There is no space '{space}'. Choose one of {', '.join(SPACES)}.")
    if space == "patient" and not _isInScene(nodes.transformToPatient):
        raise ValueError("The transform from MNI to the patient was removed from the scene, so only 'mni' is possible.")
    transformId = nodes.transformToPatient.GetID() if space == "patient" else None
    for node in nodes.displayed():
        node.SetAndObserveTransformNodeID(transformId)


def _isInScene(node: Any) -> bool:
    return node is not None and node.GetScene() is not None


def spaceOf(nodes: PredictionNodes) -> str:
    """The space in which the result is shown now."""
    return "mni" if nodes.postop.GetTransformNodeID() is None else "patient"


def removeRun(scene: slicer.vtkMRMLScene, runId: str) -> None:
    """Remove all that a prediction added: nodes, what shows and stores them, and its folder.

    What the user put into the folder stays in the scene, in the folder's place.
    """
    # Without a batch: other modules clean up after each removal, which they do not in a batch.
    for node in markedNodes(scene, runId):
        removeNode(scene, node)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for folder in reversed(_foldersOf(hierarchy, runId)):
        # Not recursive: what is in it moves to the folder's place.
        hierarchy.RemoveItem(folder, False, False)


def removeNode(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
    """Remove ``node`` with its display and storage nodes and its item in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node)
    companions = []
    if node.IsA("vtkMRMLDisplayableNode"):
        companions += [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        companions += [node.GetNthStorageNode(number) for number in range(node.GetNumberOfStorageNodes())]
    scene.RemoveNode(node)
    for companion in companions:
        if companion is not None and companion.GetScene() is not None:
            scene.RemoveNode(companion)
    # In the application the item left together with the node.
    if item and hierarchy.GetItemParent(item):
        hierarchy.RemoveItem(item, False, False)


def _precedents(marked: Iterable[slicer.vtkMRMLNode]) -> tuple[PrecedentNodes, ...]:
    found = _byRank(marked, (*PRECEDENT_ROLES, INFLUENCE_ROLE))
    return tuple(
        PrecedentNodes(rank=rank, iou=float(record.get("iou", float("nan"))), attributes=record, **nodes)
        for rank, record, nodes in found
    )


def _plans(marked: Iterable[slicer.vtkMRMLNode]) -> tuple[PlanNodes, ...]:
    found = _byRank(marked, PLAN_ROLES)
    return tuple(
        PlanNodes(number=number, name=str(record.get("name") or ""), record=record, **nodes)
        for number, record, nodes in found
    )


def _sequences(marked: Iterable[slicer.vtkMRMLNode]) -> tuple[SequenceNodes, ...]:
    found = _byRank(marked, SEQUENCE_ROLES)
    return tuple(SequenceNodes(sequence=str(record.get("sequence", "")), **nodes) for _rank, record, nodes in found)


def _byRank(
    marked: Iterable[slicer.vtkMRMLNode], roles: tuple[str, ...]
) -> list[tuple[int, dict[str, Any], dict[str, slicer.vtkMRMLNode | None]]]:
    """(rank, record, nodes by the part of their role after the "-") of what has one of ``roles``, in order."""
    byRank: dict[int, dict[str, slicer.vtkMRMLNode]] = {}
    for node in marked:
        if node.GetAttribute(ROLE) in roles:
            byRank.setdefault(int(node.GetAttribute(RANK)), {}).setdefault(node.GetAttribute(ROLE), node)
    found = []
    for rank, nodes in sorted(byRank.items()):
        parts = {role.partition("-")[2]: nodes.get(role) for role in roles}
        found.append((rank, recordOf(next(iter(nodes.values()))), parts))
    return found


def _folderOf(scene: slicer.vtkMRMLScene, runId: str) -> int:
    folders = _foldersOf(slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene), runId)
    return folders[0] if folders else slicer.vtkMRMLSubjectHierarchyNode.GetInvalidItemID()


def _foldersOf(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, runId: str) -> list[int]:
    """The folders of a prediction, outer ones first."""
    items = _children(hierarchy, hierarchy.GetSceneItemID(), deep=True)
    return [item for item in items if hierarchy.GetItemAttribute(item, RUN_ID) == runId]


def _children(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, item: int, deep: bool = False) -> list[int]:
    found = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, found, deep)
    return [found.GetId(number) for number in range(found.GetNumberOfIds())]
