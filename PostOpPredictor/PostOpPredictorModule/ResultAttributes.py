"""The marks by which result nodes are known, also after the scene was saved and opened again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import slicer

ROLE = "PostOpPredictor.Role"
RUN_ID = "PostOpPredictor.RunId"
SYNTHETIC = "PostOpPredictor.Synthetic"
PROVENANCE = "PostOpPredictor.Provenance"
RANK = "PostOpPredictor.Rank"
SOURCE = "PostOpPredictor.Source"
"""The role of the node reference to the volume that the prediction was made from."""

PATIENT_ROLES = (
    "postop",
    "preop",
    "tumour",
    "cavity",
    "outcome",
    "cavityProbability",
    "uncertainty",
    "spreadPrecedents",
    "spreadNoise",
    "cavityAgreement",
    "generated",
    "shift",
    "patientToMni",
    "mniToPatient",
    "table",
    "report",
)
NOT_SYNTHETIC = frozenset({"preop", "tumour", "patientToMni", "mniToPatient", "table"})
INFLUENCE_ROLE = "precedent-influence"
PLAN_ROLES = ("plan-postop", "plan-plan", "plan-cavity", "plan-residual")
PLANS_TABLE_ROLE = "plans-table"
SEQUENCE_ROLES = ("more-preop", "more-postop")
SERIES_ROLES = ("series-sequence", "series-browser", "series-postop")
COLOURS_ROLE = "colours"
"""Colour tables of the maps."""
SYNTHETIC_ROLES = frozenset(
    {
        *(role for role in PATIENT_ROLES if role not in NOT_SYNTHETIC),
        *(role for role in PLAN_ROLES if role != "plan-plan"),
        *SERIES_ROLES,
        PLANS_TABLE_ROLE,
        INFLUENCE_ROLE,
        "more-postop",
    }
)
PRECEDENT_ROLES = ("precedent-pre", "precedent-post", "precedent-tumour", "precedent-cavity")
SIMULATED_ROLES = {
    "phantom": frozenset(PRECEDENT_ROLES),
    "semi-real": frozenset({"precedent-post", "precedent-cavity"}),
}
"""What of a precedent is simulated, by the source of its case; of "real" ones nothing is."""


def markNode(
    node: slicer.vtkMRMLNode,
    role: str,
    runId: str,
    record: Mapping[str, Any],
    rank: int | None = None,
) -> None:
    """Mark ``node`` as a result; ``record`` says how it came about and holds nothing about who the patient is.

    ``rank``: of a precedent, the number of a plan, or the place of another sequence.
    """
    node.SetAttribute(ROLE, role)
    node.SetAttribute(RUN_ID, runId)
    isSynthetic = role in SYNTHETIC_ROLES or isSimulated(role, record)
    node.SetAttribute(SYNTHETIC, "1" if isSynthetic else "0")
    node.SetAttribute(PROVENANCE, json.dumps(record, ensure_ascii=False, sort_keys=True))
    if rank is not None:
        node.SetAttribute(RANK, str(rank))


def isSimulated(role: str, record: Mapping[str, Any]) -> bool:
    """Whether a precedent's node shows no real patient; ``record`` is what the library says of the case."""
    return role in SIMULATED_ROLES.get(str(record.get("source", "")), frozenset())


def recordOf(node: slicer.vtkMRMLNode) -> dict[str, Any]:
    """What ``markNode`` was given as the record of ``node``; empty when somebody changed it to something else."""
    try:
        record = json.loads(node.GetAttribute(PROVENANCE) or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def markedNodes(scene: slicer.vtkMRMLScene, runId: str | None = None) -> list[slicer.vtkMRMLNode]:
    """All result nodes of ``scene`` (of one run), in the order in which they were added."""
    nodes = (scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes()))
    return [
        node
        for node in nodes
        if node.GetAttribute(RUN_ID) and node.GetAttribute(ROLE) and runId in (None, node.GetAttribute(RUN_ID))
    ]
