"""The check of the intervals on disk: a table for people, JSON with everything, a reliability picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .. import __version__
from ..atomic_files import whole_file
from .bootstrap import Interval
from .report import interval_json, package_versions

if TYPE_CHECKING:
    from .calibration_check import Checked, GroupChecked

GOAL = (0.87, 0.93)
"""Coverage of the 90 % intervals on unseen patients."""

_WARNING = "**Every operation here is simulated. No figure says how sure a prediction for a real patient is.**"


def write_calibration_report(checked: Checked) -> dict[str, Any]:
    """Write the three files, each whole or not at all, the JSON last; returns their paths and the main figures."""
    out = Path(checked.request.out)
    paths = {"markdown": out / "calibration.md", "figure": out / "calibration.png", "json": out / "calibration.json"}
    with whole_file(paths["figure"]) as temporary:
        draw_reliability(checked.groups, temporary, checked.simulated)
    with whole_file(paths["markdown"]) as temporary:
        temporary.write_text(markdown(checked, paths["figure"].name), encoding="utf-8")
    with whole_file(paths["json"]) as temporary:
        temporary.write_text(json.dumps(_json(checked), indent=1) + "\n", encoding="utf-8")
    everyone = checked.groups[0]
    return {
        **paths,
        "patients": everyone.patients,
        "simulated": checked.simulated,
        "coverage": {f"{one.level:.0%}": round(one.coverage.mean, 4) for one in everyone.levels},
        "width_percent": {f"{one.level:.0%}": round(one.width.mean, 2) for one in everyone.levels},
        "correlation": None if everyone.correlation is None else round(everyone.correlation.mean, 3),
        "table": table(checked.groups),
    }


def table(groups: Sequence[GroupChecked]) -> str:
    """The table in markdown: a row for each group and level."""
    lines = [
        "| patients | level | coverage | mean interval width, % of the brightness range |",
        "| --- | --- | --- | --- |",
    ]
    for group in groups:
        lines += [
            f"| {group.name} ({group.patients}) | {one.level:.0%} | {_percent(one.coverage)} | {_shown(one.width, 1)} |"
            for one in group.levels
        ]
    return "\n".join(lines)


def markdown(checked: Checked, picture: str) -> str:
    """The whole report."""
    calibration = checked.calibration
    ninety = next(one for one in checked.groups[0].levels if one.level == 0.9)
    verdict = "within" if GOAL[0] <= ninety.coverage.mean <= GOAL[1] else "OUTSIDE"
    lines = [
        "# Calibration of the intervals on unseen patients",
        "",
        *([_WARNING, ""] if checked.simulated else []),
        f"{checked.data} of the split '{checked.request.split}'; calibrated on {calibration.patients} patients of the "
        f"split '{calibration.record.get('split')}' ({calibration.data}). Mean over patients [95% bootstrap interval "
        f"over patients]. The 90 % intervals cover {ninety.coverage.mean:.1%}: {verdict} the goal of {GOAL[0]:.0%} to "
        f"{GOAL[1]:.0%}.",
        "",
        f"![Coverage against level, and error against spread]({picture})",
        "",
        table(checked.groups),
        "",
        "| patients | correlation of spread and error (Spearman) | truly changed, but nothing was said to change |",
        "| --- | --- | --- |",
        *(
            f"| {group.name} ({group.patients}) | {_shown(group.correlation, 2)} | {_percent(group.missed)} |"
            for group in checked.groups
        ),
        "",
        "Coverage is the share of voxels that can change whose true brightness lies in the interval; elsewhere the "
        "prediction is the patient's own scan and has no interval.",
        "",
        f"Command: `{checked.request.command}`",
        f"Model {calibration.model_checksum[:16]}, library {checked.library_checksum[:16]}.",
    ]
    return "\n".join(lines) + "\n"


def draw_reliability(groups: Sequence[GroupChecked], target: Path, simulated: bool) -> None:
    """Left: coverage against level, with the diagonal; right: mean error against mean spread. Written as PNG."""
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot([0.4, 1.0], [0.4, 1.0], color="0.6", linewidth=1, label="as promised")
    left.axhspan(*GOAL, xmin=0.775, xmax=0.89, color="0.9")
    for group in groups:
        _draw_coverage(left, group)
        spread, error = zip(*group.error_by_spread, strict=True)
        right.plot(spread, error, marker="o", markersize=4, label=f"{group.name} ({group.patients})")
    left.set(xlabel="level", ylabel="coverage, mean over patients", xlim=(0.45, 1.0), ylim=(0.4, 1.0))
    right.set(xlabel="spread, % of the brightness range", ylabel="mean error, %", ylim=(0, None), xlim=(0, None))
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8)
    figure.suptitle("Unseen patients, simulated operations" if simulated else "Unseen patients", fontsize=10)
    figure.savefig(target, format="png", dpi=120)


def _draw_coverage(axes: Axes, group: GroupChecked) -> None:
    levels = [one.level for one in group.levels]
    means = [one.coverage.mean for one in group.levels]
    below = [one.coverage.mean - (one.coverage.low or one.coverage.mean) for one in group.levels]
    above = [(one.coverage.high or one.coverage.mean) - one.coverage.mean for one in group.levels]
    name = f"{group.name} ({group.patients})"
    axes.errorbar(levels, means, yerr=(below, above), marker="o", markersize=4, capsize=3, label=name)


def _percent(interval: Interval) -> str:
    return _shown(interval, 1, 100.0, "%")


def _shown(interval: Interval | None, digits: int, times: float = 1.0, unit: str = "") -> str:
    if interval is None:
        return "n/a"
    mean = f"{times * interval.mean:.{digits}f}{unit}"
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} [{times * interval.low:.{digits}f}, {times * interval.high:.{digits}f}]"


def _json(checked: Checked) -> dict[str, Any]:
    calibration = checked.calibration
    return {
        "title": "Calibration of the intervals on unseen patients",
        "simulated": checked.simulated,
        "command": checked.request.command,
        "split": checked.request.split,
        "data": checked.data,
        "goal_coverage_90": list(GOAL),
        "versions": {"PostOpPredictorLib": __version__, **package_versions()},
        "library_checksum": checked.library_checksum,
        "model_checksum": calibration.model_checksum,
        "calibration": {
            "floor": calibration.floor,
            "scales": {f"{100 * level:g}": scale for level, scale in calibration.scales.items()},
            "patients": calibration.patients,
            "data": calibration.data,
            "settings": dict(calibration.settings),
        },
        "groups": [_group(group) for group in checked.groups],
    }


def _group(group: GroupChecked) -> dict[str, Any]:
    return {
        "name": group.name,
        "patients": group.patients,
        "levels": [
            {
                "level": one.level,
                "coverage": interval_json(one.coverage),
                "width_percent": interval_json(one.width),
            }
            for one in group.levels
        ],
        "correlation": None if group.correlation is None else interval_json(group.correlation),
        "missed": interval_json(group.missed),
        "error_by_spread_percent": [[round(value, 3) for value in pair] for pair in group.error_by_spread],
    }
