"""The table for the terminal: the columns that matter most, per kind of patients."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = (
    "ssim_full",
    "ssim_brain",
    "ssim_peri",
    "psnr_peri",
    "cavity_dice",
    "cavity_volume_error",
    "wall_agreement",
    "lpips_full",
)
DIFFERENCES = ("ssim_peri", "psnr_peri", "cavity_dice")


def printed_table(json_file: Path) -> str:
    """Render ``evaluation.json`` for a terminal of the present width."""
    report = json.loads(json_file.read_text(encoding="utf-8"))
    console = Console(file=io.StringIO(), width=max(shutil.get_terminal_size((150, 40)).columns, 110))
    for cohort in report["cohorts"]:
        console.print(_rows(cohort, report["metrics"]))
        console.print(_differences(cohort, report["metrics"]))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def _kind(cohort: Mapping[str, Any]) -> str:
    source = str(cohort["source"])
    return f"Simulated {source}" if cohort.get("simulated", True) else source.capitalize()


def _rows(cohort: Mapping[str, Any], metrics: Mapping[str, Any]) -> Table:
    proxies = cohort.get("proxy_cavities", 0)
    shown = [key for key in COLUMNS if any(key in row["mean_over_patients"] for row in cohort["rows"])]
    table = Table(
        title=f"{_kind(cohort)} patients: {cohort['patients']}, {cohort['slices']} slices; mean [95 % interval]",
        caption=f"The true cavity of {proxies} cases is a proxy." if proxies else None,
    )
    table.add_column("system, retrieval, pool")
    for key in shown:
        table.add_column(metrics[key]["title"], justify="right")
    for row in cohort["rows"]:
        cells = [_cell(row["mean_over_patients"].get(key), metrics[key]["digits"]) for key in shown]
        table.add_row(row["title"], *cells, style="bold" if row["kind"] == "ours" else None)
    return table


def _differences(cohort: Mapping[str, Any], metrics: Mapping[str, Any]) -> Table:
    table = Table(title=f"{_kind(cohort)} patients: paired differences")
    for title in ("question", "first", "second", "metric", "difference", "first is"):
        table.add_column(title)
    for item in cohort["differences"]:
        if item["metric"] in DIFFERENCES:
            metric = metrics[item["metric"]]
            cells = (item["question"], item["first"], item["second"], metric["title"], _cell(item, metric["digits"]))
            table.add_row(*cells, item["verdict"])
    return table


def _cell(interval: Mapping[str, Any] | None, digits: int) -> str:
    if interval is None:
        return "n/a"
    mean = f"{interval['mean']:.{digits}f}"
    return mean if interval["low"] is None else f"{mean} [{interval['low']:.{digits}f}, {interval['high']:.{digits}f}]"
