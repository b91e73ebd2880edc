"""The table node of the operated cases that a prediction follows or lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _


@dataclass(frozen=True)
class TableColumn:
    """``name`` is for scripts and never translated; ``field``: what precedents.json calls it."""

    name: str
    field: str
    title: str
    kind: type[vtk.vtkAbstractArray] = vtk.vtkStringArray
    unit: str = ""


def tableColumns() -> tuple[TableColumn, ...]:
    """The columns in their order."""
    number = vtk.vtkDoubleArray
    return (
        TableColumn("rank", "rank", _("Rank"), vtk.vtkIntArray),
        TableColumn("case", "case_id", _("Case")),
        TableColumn("iou", "iou", _("Overlap (IoU)"), number),
        TableColumn("eor", "eor_percent", _("Extent of resection"), number, "%"),
        TableColumn("resection_class", "resection_class", _("Resection class")),
        TableColumn("tumour", "tumour_ml", _("Tumour"), number, "ml"),
        TableColumn("residual", "residual_ml", _("Residual tumour"), number, "ml"),
        TableColumn("source", "source", _("Source")),
        TableColumn("institution", "institution", _("Institution")),
        TableColumn("followed", "followed", _("Followed"), vtk.vtkIntArray),
        TableColumn("influence", "influence_percent", _("Influence"), number, "%"),
        TableColumn("influence_volume", "influence_ml", _("Influence on the cavity"), number, "ml"),
    )


def fillPrecedentsTable(table: slicer.vtkMRMLTableNode, records: Iterable[Mapping[str, Any]]) -> None:
    """Give ``table`` one row for every precedent; numbers that are unknown are NaN, texts empty."""
    columns, rows = tableColumns(), list(records)
    changes = table.StartModify()
    table.SetUseColumnTitleAsColumnHeader(True)
    for column in columns:
        array = column.kind()
        array.SetName(column.name)
        for row in rows:
            array.InsertNextValue(_cell(column, row.get(column.field)))
        table.AddColumn(array)
        table.SetColumnTitle(column.name, column.title)
        if column.unit:
            table.SetColumnUnitLabel(column.name, column.unit)
    table.SetLocked(True)
    table.EndModify(changes)


def _cell(column: TableColumn, value: Any) -> str | int | float:
    if column.kind is vtk.vtkStringArray:
        return "" if value is None else str(value)
    if column.kind is vtk.vtkIntArray:
        return int(value or 0)
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
