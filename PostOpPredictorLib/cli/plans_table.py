"""The plans of a prediction side by side, as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

_COLUMNS: tuple[tuple[str, str], ...] = (
    ("plan cm3", "plan_ml"),
    ("cavity cm3", "cavity_ml"),
    ("left cm3", "residual_ml"),
    ("enhancing", "residual_enhancing_ml"),
    ("other", "residual_non_enhancing_ml"),
    ("EOR %", "eor_percent"),
    ("RANO", "rano_class"),
    ("healthy cm3", "healthy_taken_ml"),
)
LEAST_SHOWN_ML = 0.05
"""Less would be printed as 0.0."""


def plans_lines(result: Mapping[str, Any]) -> list[str]:
    """The table, what each row warns of, structures and eloquent areas; nothing when no plan was asked."""
    rows: Sequence[Row] = [*([result["without_plan"]] if result.get("without_plan") else ()), *result.get("plans", ())]
    if not rows:
        return []
    lines = ["", *_table(rows)]
    for row in rows:
        lines += _notes(row)
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    cells = [["", *(title for title, _ in _COLUMNS)]]
    for row in rows:
        figures = row["read_out"]
        cells.append([f"{row['number']} {row['name']}", *(_shown(figures[key]) for _, key in _COLUMNS)])
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    return [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in cells
    ]


def _notes(row: Row) -> list[str]:
    figures, head = row["read_out"], f"{row['number']} {row['name']}"
    notes = [figures["rano_sentence"], *(f"Note: {warning}" for warning in row["warnings"])]
    if figures["structures"]:
        told = (f"{one['name']} {_distance(one['distance_mm'], one['overlap_ml'])}" for one in figures["structures"])
        notes.append(f"Distance of what is taken: {', '.join(told)}.")
    touched = [area for area in figures["eloquent"] if area["overlap_ml"] >= LEAST_SHOWN_ML]
    if touched:
        told = (f"{area['region']} {area['overlap_ml']:.1f} cm3" for area in touched)
        notes.append(f"Overlap: {', '.join(told)} ({row['eloquent_label']}).")
    return [f"{head}: {row['description']}.", *(f"   {note}" for note in notes)]


def _distance(distance: float | None, overlap: float) -> str:
    if distance is None:
        return "unknown"
    return f"overlaps by {overlap:.1f} cm3" if overlap >= LEAST_SHOWN_ML else f"{distance:.1f} mm"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
