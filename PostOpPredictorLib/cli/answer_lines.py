"""What is printed of a prediction's doubt and of its days."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def doubt_lines(result: Mapping[str, Any]) -> list[str]:
    """How sure it is, where that was asked."""
    sure = result.get("uncertainty")
    if not sure:
        return []
    volumes = ", ".join(f"{volume:.1f}" for volume in sure["cavity_ml_by_precedent"])
    spreads = [f"{sure['largest_noise']:.0f} % over noise"]
    if sure["largest_precedents"] is not None:
        spreads.insert(0, f"{sure['largest_precedents']:.0f} % over precedents")
    return [
        *([f"Cavity after each precedent: {volumes} ml"] if volumes else []),
        f"Largest spread of the brightness: {', '.join(spreads)}",
        *([sure["precedents_sentence"]] if sure["precedents_sentence"] else []),
        sure["calibration_sentence"],
    ]


def day_lines(result: Mapping[str, Any]) -> list[str]:
    """The volumes of every day, where a series was asked."""
    days = result.get("series") or []
    if not days:
        return []
    return [
        *(
            f"Day {one['days']:g}: cavity {one['cavity_ml']:.1f} ml, blood {one['blood_ml']:.1f} ml, "
            f"oedema {one['oedema_ml']:.1f} ml"
            for one in days
        ),
        days[0]["sentence"],
    ]


def headline(result: Mapping[str, Any]) -> str:
    """The volumes of the prediction itself; beside a series it is said that they are of no day of it."""
    label = "Without a day: tumour" if result.get("series") else "Tumour"
    return (
        f"{label} core {result['tumour_ml']:.1f} ml, predicted cavity {result['cavity_ml']:.1f} ml, "
        f"predicted residual {result['residual_ml']:.1f} ml (extent of resection {result['eor_percent']:.0f} %)"
    )
