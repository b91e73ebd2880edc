"""The tables of a batch: one row per case, one per plan and one per day, whole on the disk after every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .BatchRows import BatchRows
from .PlansTable import NO_PLAN, areaTexts, planFigures

COLUMNS = (
    "id",
    "status",
    "sentence",
    "error_code",
    "sequence",
    "no_similar_case",
    "similarity",
    "precedent",
    "precedent_iou",
    "tumour_ml",
    "cavity_ml",
    "cavity_ml_low",
    "cavity_ml_high",
    "residual_ml",
    "eor_percent",
    "midline_mm",
    "largest_spread_precedents",
    "largest_spread_noise",
    "warnings",
    "seconds",
)
"""``status``: done or failed; ``sentence``: why it failed. Volumes in ml, extent of resection in percent, movement of
the midline in mm (+ to the patient's left), spreads in percent of the brain's brightness range. ``similarity``: none,
weak or good; ``cavity_ml_low`` and ``_high``: over the precedents."""
READ_OUT_COLUMNS = (
    "plan_ml",
    "resected_ml",
    "resected_enhancing_ml",
    "resected_non_enhancing_ml",
    "residual_ml",
    "residual_enhancing_ml",
    "residual_non_enhancing_ml",
    "eor_percent",
    "rano_class",
    "cavity_ml",
    "healthy_taken_ml",
)
PLAN_COLUMNS = ("id", "plan", "name", "description", *READ_OUT_COLUMNS, "dice_cavity_plan", "eloquent", "warnings")
"""``plan``: its number. ``eloquent``: overlap with areas of a functional atlas, no prediction of deficit."""
DAY_COLUMNS = ("id", "days", "cavity_ml", "blood_ml", "air_ml", "oedema_ml", "residual_ml")
PLANS, DAYS = "plans.csv", "days.csv"
DONE, FAILED = "done", "failed"


class FiguresTable:
    """The rows of ``path``, by case id, and of plans.csv and days.csv beside it; existing files are continued."""

    def __init__(self, path: Path) -> None:
        self._cases = BatchRows(path, COLUMNS)
        self._plans = BatchRows(path.with_name(PLANS), PLAN_COLUMNS)
        self._days = BatchRows(path.with_name(DAYS), DAY_COLUMNS)

    def isDone(self, caseId: str) -> bool:
        """Whether the case was predicted before."""
        return any(row["status"] == DONE for row in self._cases.of(caseId))

    def addResult(self, caseId: str, summary: Mapping[str, Any], warnings: Sequence[str], seconds: float) -> None:
        """Write the figures of a prediction; those of the case last, so that a case is done only with all of them."""
        self._plans.replace(caseId, _planRows(summary))
        self._days.replace(caseId, [one for one in summary.get("series") or () if isinstance(one, Mapping)])
        figures = {**{name: summary.get(name) for name in COLUMNS}, **_furtherFigures(summary)}
        ended = {"status": DONE, "warnings": " ".join(warnings), "seconds": round(seconds, 1)}
        self._cases.replace(caseId, [{**figures, **ended}])

    def addFailure(self, caseId: str, code: str, sentence: str, seconds: float) -> None:
        """Write why there is no prediction; what an earlier one gave for plans and days goes."""
        self._plans.replace(caseId, [])
        self._days.replace(caseId, [])
        row = {"status": FAILED, "error_code": code, "sentence": sentence, "seconds": round(seconds, 1)}
        self._cases.replace(caseId, [row])


def _furtherFigures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the summary keeps one level deeper."""
    similarity, shift, spread = (summary.get(name) or {} for name in ("similarity", "shift", "uncertainty"))
    low, high = (*(spread.get("cavity_ml_range") or ()), None, None)[:2]
    return {
        "similarity": similarity.get("level"),
        "midline_mm": shift.get("midline_mm"),
        "cavity_ml_low": low,
        "cavity_ml_high": high,
        "largest_spread_precedents": spread.get("largest_precedents"),
        "largest_spread_noise": spread.get("largest_noise"),
    }


def _planRows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **{name: row.readOut.get(name) for name in READ_OUT_COLUMNS},
            "plan": row.number,
            "name": row.name,
            "description": row.description,
            "dice_cavity_plan": row.diceCavityPlan,
            "eloquent": "; ".join(areaTexts(row)),
            "warnings": " ".join(row.warnings),
        }
        for row in planFigures(summary)
        if row.number != NO_PLAN
    ]
