"""What each figure means, in one sentence, and every figure of the result by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TABLED = ("plans", "without_plan", "series", "more", "report")
"""Parts of the result that have tables of their own."""


@dataclass(frozen=True)
class Figure:
    """``value`` with its unit, as it is printed."""

    name: str
    value: str
    meaning: str


def headline(summary: Mapping[str, Any]) -> list[Figure]:
    """The figures at the top of the first page; ``meaning`` is the small line below each."""
    shift, sure = summary.get("shift") or {}, summary.get("uncertainty") or {}
    low, high = sure.get("cavity_ml_range") or (None, None)
    by_precedent = "predicted, with its filling" if low is None else f"predicted; {low:.1f} to {high:.1f} by precedent"
    figures = [
        Figure("Tumour core", f"{summary['tumour_ml']:.1f} ml", "before surgery"),
        Figure("Cavity", f"{summary['cavity_ml']:.1f} ml", by_precedent),
        Figure("Residual", f"{summary['residual_ml']:.1f} ml", "predicted to be left"),
        Figure("Resected", f"{summary['eor_percent']:.0f} %", "of the core, predicted"),
    ]
    if shift:
        figures.append(Figure("Largest shift", f"{shift['largest_mm']} mm", "of tissue that stays"))
        figures.append(Figure("Midline", *_midline(shift)))
    return figures


def meanings(summary: Mapping[str, Any]) -> list[Figure]:
    """Every figure of the headline, the shift and the maps, with a sentence."""
    found = [
        Figure(
            "Tumour core",
            f"{summary['tumour_ml']} ml",
            "Necrotic, non-enhancing and enhancing tumour before surgery, in the patient's own head.",
        ),
        Figure(
            "Predicted cavity",
            f"{summary['cavity_ml']} ml",
            "The hole and what fills it (fluid, blood, air) in the predicted scan, after the brain has moved.",
        ),
        Figure(
            "Predicted residual", f"{summary['residual_ml']} ml", "Tumour core that the predicted scan still shows."
        ),
        Figure(
            "Extent of resection",
            f"{summary['eor_percent']} %",
            "Share of the tumour core that is gone in the predicted scan: 100 × (1 − residual / core).",
        ),
    ]
    if summary.get("precedent_iou") is not None:
        found.append(
            Figure(
                "IoU",
                f"{summary['precedent_iou']}",
                "Overlap in MNI space of the patient's tumour core with that of the case that is followed, 0 to 1.",
            )
        )
    return found + _of_shift(summary.get("shift") or {}) + _of_uncertainty(summary.get("uncertainty") or {})


def every_figure(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every number of the result that no table of its own shows, by its name there."""
    return [line for name, value in summary.items() if name not in TABLED for line in _numbers(name, value)]


def _midline(shift: Mapping[str, Any]) -> tuple[str, str]:
    """Its value, and what the value says."""
    before, after, moved = (shift.get(f"midline{part}_mm") for part in ("_before", "_after", ""))
    if before is None and moved is None:
        return "not readable", "in this scan"
    if before is None:
        return f"moves {_side(moved)}", "predicted"
    if after is None:
        return _side(before), "before surgery"
    return f"{_short(before)} → {_short(after)} mm", "before → predicted"


def _short(mm: float) -> str:
    return f"{abs(mm)} {'L' if mm > 0 else 'R'}" if mm else "0.0"


def sideways(mm: float) -> str:
    """A signed distance as a surgeon says it: 3.2 mm L."""
    return f"{abs(mm)} mm {'L' if mm > 0 else 'R'}" if mm else "0.0 mm"


def _of_shift(shift: Mapping[str, Any]) -> list[Figure]:
    if not shift:
        return []
    moved = shift.get("midline_mm")
    return [
        Figure(
            "Largest shift",
            f"{shift['largest_mm']} mm",
            "How far the tissue that moves most is predicted to move, cavity left out.",
        ),
        Figure(
            "Shift near the cavity",
            f"{shift['mean_near_cavity_mm']} mm",
            "Mean movement of the tissue within 10 mm of the cavity's wall.",
        ),
        Figure(
            "Midline before",
            _side(shift.get("midline_before_mm")),
            "Where the septum pellucidum lies in the scan, sideways of the ideal midline; L and R are the patient's.",
        ),
        Figure("Midline movement", _side(moved), "How far the operation is predicted to move the septum sideways."),
        Figure("Midline after", _side(shift.get("midline_after_mm")), "The two together."),
    ]


def _side(mm: float | None) -> str:
    return "–" if mm is None else sideways(mm)


def _of_uncertainty(sure: Mapping[str, Any]) -> list[Figure]:
    if not sure:
        return []
    low, high = sure["cavity_ml_range"]
    found = [
        Figure(
            "Cavity by precedent",
            f"{low} to {high} ml",
            "Smallest and largest cavity when each of the precedents is followed in turn.",
        ),
        Figure(
            "Spread over noise",
            f"{sure['largest_noise']} %",
            "99th percentile of that map where something changes, in percent of the brain's brightness range.",
        ),
    ]
    if sure.get("largest_precedents") is not None:
        found.append(
            Figure(
                "Spread over precedents",
                f"{sure['largest_precedents']} %",
                "The same of the map of spread over precedents.",
            )
        )
    return found


def _numbers(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{name} {key}", inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, inner in enumerate(value, start=1):
            yield from _numbers(f"{name} {number}", inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name.replace("_", " "), str(value)
