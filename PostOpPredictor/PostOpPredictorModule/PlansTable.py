"""The read-out of the plans of a prediction: as the rows of a table node, and in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

NO_PLAN = 0
"""The number of the row without a plan."""
LEAST_OVERLAP_ML = 0.05
"""Less overlap with an area is not told."""
MOST_AREAS = 6


@dataclass(frozen=True)
class PlanFigures:
    """One row. ``number``: 0 for the prediction without a plan. ``readOut``: as the backend's summary has it.

    ``warnings`` are sentences.
    """

    number: int
    name: str
    description: str
    readOut: Mapping[str, Any]
    diceCavityPlan: float | None = None
    warnings: tuple[str, ...] = ()

    def value(self, name: str) -> float:
        """A number of the read-out; NaN where it is not known."""
        value = self.readOut.get(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan

    def text(self, name: str) -> str:
        """A text of the read-out; empty where it is not known."""
        value = self.readOut.get(name)
        return "" if value is None else str(value)


def planFigures(summary: Mapping[str, Any]) -> list[PlanFigures]:
    """The rows of a prediction's ``summary``: without a plan first, then the plans; empty without plans."""
    plans = [one for one in summary.get("plans") or () if isinstance(one, Mapping)]
    if not plans:
        return []
    names = ("cavity_ml", "residual_ml", "eor_percent", "residual_enhancing_ml", "residual_non_enhancing_ml")
    own = {name: summary.get(name) for name in names}
    suggested = _("follows no case") if summary.get("no_similar_case") else _("what the followed case suggests")
    first = PlanFigures(NO_PLAN, _("No plan"), suggested, own)
    return [first, *(_figuresOf(number, one) for number, one in enumerate(plans, start=1))]


def _figuresOf(place: int, plan: Mapping[str, Any]) -> PlanFigures:
    number = int(plan.get("number") or place)
    readOut = plan.get("read_out")
    dice = plan.get("dice_cavity_plan")
    return PlanFigures(
        number,
        str(plan.get("name") or _("Plan {number}").format(number=number)),
        str(plan.get("description") or ""),
        readOut if isinstance(readOut, Mapping) else {},
        float(dice) if isinstance(dice, (int, float)) else None,
        tuple(str(one) for one in plan.get("warnings") or ()),
    )


@dataclass(frozen=True)
class _Column:
    name: str
    title: str
    unit: str = ""
    kind: type[vtk.vtkAbstractArray] = vtk.vtkDoubleArray


def _columns() -> list[_Column]:
    text = vtk.vtkStringArray
    return [
        _Column("plan", _("Plan"), kind=text),
        _Column("description", _("Takes and leaves"), kind=text),
        _Column("plan_ml", _("Planned"), "ml"),
        _Column("resected_ml", _("Tumour resected"), "ml"),
        _Column("resected_enhancing_ml", _("Resected, enhancing"), "ml"),
        _Column("resected_non_enhancing_ml", _("Resected, non-enhancing"), "ml"),
        _Column("residual_ml", _("Residual tumour"), "ml"),
        _Column("residual_enhancing_ml", _("Residual, enhancing"), "ml"),
        _Column("residual_non_enhancing_ml", _("Residual, non-enhancing"), "ml"),
        _Column("eor_percent", _("Extent of resection"), "%"),
        _Column("rano_class", _("RANO class"), kind=text),
        _Column("cavity_ml", _("Cavity"), "ml"),
        _Column("healthy_taken_ml", _("Healthy tissue taken"), "ml"),
        _Column("dice_cavity_plan", _("Cavity follows plan (Dice)")),
        _Column("eloquent", _("Overlap with eloquent areas (functional atlas; no prediction of deficit)"), kind=text),
        _Column("warnings", _("Warnings"), kind=text),
    ]


def fillPlansTable(table: slicer.vtkMRMLTableNode, figures: Sequence[PlanFigures]) -> None:
    """One row for each of ``figures``, and a column for the distance to every structure that one of them tells.

    Numbers that are not known are NaN, texts empty. Column names are for scripts and never translated.
    """
    structures = list(dict.fromkeys(one["name"] for row in figures for one in structuresOf(row)))
    changes = table.StartModify()
    table.SetUseColumnTitleAsColumnHeader(True)
    for column in _columns():
        _addColumn(table, column, [_cell(row, column) for row in figures])
    for name in structures:
        title = _("Distance to {structure}").format(structure=name)
        values = [distanceTo(row, name) for row in figures]
        _addColumn(table, _Column(f"distance_{name}", title, "mm"), values)
    table.SetLocked(True)
    table.EndModify(changes)


def _addColumn(table: slicer.vtkMRMLTableNode, column: _Column, values: Sequence[Any]) -> None:
    array = column.kind()
    array.SetName(column.name)
    for value in values:
        array.InsertNextValue(value)
    table.AddColumn(array)
    table.SetColumnTitle(column.name, column.title)
    if column.unit:
        table.SetColumnUnitLabel(column.name, column.unit)


def _cell(row: PlanFigures, column: _Column) -> Any:
    special = {
        "plan": row.name,
        "description": row.description,
        "dice_cavity_plan": math.nan if row.diceCavityPlan is None else row.diceCavityPlan,
        "eloquent": "; ".join(areaTexts(row)),
        "warnings": " ".join(row.warnings),
    }
    if column.name in special:
        return special[column.name]
    return row.text(column.name) if column.kind is vtk.vtkStringArray else row.value(column.name)


def structuresOf(row: PlanFigures) -> list[Mapping[str, Any]]:
    """What the read-out says of the structures that the user named."""
    return [one for one in row.readOut.get("structures") or () if isinstance(one, Mapping) and "name" in one]


def distanceTo(row: PlanFigures, name: str) -> float:
    """Millimetres from the cavity to the structure ``name``; NaN where it is not known."""
    found = next((one.get("distance_mm") for one in structuresOf(row) if one["name"] == name), None)
    return float(found) if isinstance(found, (int, float)) else math.nan


def areaTexts(row: PlanFigures) -> list[str]:
    """The eloquent areas that the cavity overlaps, the most first."""
    areas = [one for one in row.readOut.get("eloquent") or () if isinstance(one, Mapping)]
    overlapped = [one for one in areas if (one.get("overlap_ml") or 0.0) >= LEAST_OVERLAP_ML]
    overlapped.sort(key=lambda one: -float(one["overlap_ml"]))
    text = _("{region} {overlap:.1f} ml ({percent:.0f} % of it)")
    return [
        text.format(region=one.get("region"), overlap=one["overlap_ml"], percent=one.get("percent_of_region") or 0.0)
        for one in overlapped[:MOST_AREAS]
    ]


def _nearestAreaText(row: PlanFigures) -> str:
    """For a cavity that overlaps no area."""
    areas = [one for one in row.readOut.get("eloquent") or () if isinstance(one, Mapping)]
    told = [one for one in areas if isinstance(one.get("distance_mm"), (int, float))]
    if not told:
        return _("none")
    nearest = min(told, key=lambda one: float(one["distance_mm"]))
    text = _("none (nearest: {region}, {distance:.1f} mm)")
    return text.format(region=nearest.get("region"), distance=nearest["distance_mm"])


def planSentences(row: PlanFigures) -> list[str]:
    """What the table in the panel has no room for, line by line."""
    lines = [f"{row.name}: {row.description}" if row.description else row.name]
    figures = [
        text.format(value=row.value(name))
        for name, text in (
            ("resected_ml", _("{value:.1f} ml of tumour resected")),
            ("residual_enhancing_ml", _("residual enhancing {value:.1f} ml")),
            ("residual_non_enhancing_ml", _("non-enhancing {value:.1f} ml")),
            ("healthy_taken_ml", _("{value:.1f} ml beyond the tumour")),
        )
        if not math.isnan(row.value(name))
    ]
    if figures:
        lines.append(", ".join(figures))
    if row.text("rano_sentence"):
        lines.append(row.text("rano_sentence"))
    for one in structuresOf(row):
        lines.append(_structureSentence(one))
    if "eloquent" in row.readOut:
        areas = ", ".join(areaTexts(row)) or _nearestAreaText(row)
        lines.append(_("Overlap with eloquent areas: {areas}").format(areas=areas))
        lines.append(_("(from a functional atlas: overlap, not a prediction of deficit)"))
    return lines


def readOutSentence(readOut: Mapping[str, Any]) -> str:
    """The main figures of one read-out in a line; empty where none is known."""
    row = PlanFigures(NO_PLAN, "", "", readOut)
    parts = [
        text.format(value=row.value(name))
        for name, text in (
            ("plan_ml", _("Plan {value:.1f} ml")),
            ("resected_ml", _("resects {value:.1f} ml")),
            ("residual_ml", _("leaves {value:.1f} ml of tumour")),
            ("eor_percent", _("EOR {value:.0f} %")),
        )
        if not math.isnan(row.value(name))
    ]
    return ", ".join(parts)


def _structureSentence(structure: Mapping[str, Any]) -> str:
    overlap, distance = structure.get("overlap_ml") or 0.0, structure.get("distance_mm")
    if overlap >= LEAST_OVERLAP_ML:
        text = _("The cavity overlaps '{name}' by {overlap:.1f} ml")
        return text.format(name=structure["name"], overlap=overlap)
    if not isinstance(distance, (int, float)):
        return _("Distance to '{name}': not known").format(name=structure["name"])
    return _("Distance to '{name}': {distance:.1f} mm").format(name=structure["name"], distance=distance)
