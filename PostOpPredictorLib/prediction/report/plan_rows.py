"""Plans side by side: a row of pictures for each, and a table of what each takes and leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..figure import PLANES
from ..outcome_volume import tumour_core
from ..prediction_figure import CAVITY_COLOUR, CORE_COLOUR, RESIDUAL_COLOUR
from .finished import Finished
from .picture import Picture
from .view import Layer, planes_of

PLAN_COLOUR = "#7cc4ff"
PIXELS_PER_MM = 1.7
PLANS_PER_TABLE = 5

ROWS: tuple[tuple[str, str, str], ...] = (
    ("plan_ml", "Planned resection", "ml"),
    ("resected_ml", "Tumour core taken", "ml"),
    ("resected_enhancing_ml", "… enhancing", "ml"),
    ("resected_non_enhancing_ml", "… non-enhancing", "ml"),
    ("residual_ml", "Tumour core left", "ml"),
    ("residual_enhancing_ml", "… enhancing", "ml"),
    ("residual_non_enhancing_ml", "… non-enhancing", "ml"),
    ("residual_abnormality_ml", "Oedema around the core left", "ml"),
    ("eor_percent", "Extent of resection", "%"),
    ("rano_class", "RANO resect class", ""),
    ("cavity_ml", "Predicted cavity", "ml"),
    ("healthy_taken_ml", "Tissue outside the tumour taken", "ml"),
)


@dataclass(frozen=True)
class PlanRow:
    """One plan: ``entry`` is what the summary says of it."""

    entry: Mapping[str, Any]
    pictures: list[tuple[str, Picture]]


@dataclass(frozen=True)
class PlanTable:
    """``heads``: a name per plan; ``rows``: name, unit, and a value per plan ("–" where it is not known)."""

    heads: list[str]
    rows: list[tuple[str, str, list[str]]]


def plan_rows(finished: Finished) -> list[PlanRow]:
    """Every plan with its pictures: the plan over the scan before, and the prediction that follows it."""
    return [PlanRow(entry, _pictures(finished, entry)) for entry in finished.summary.get("plans") or ()]


def plan_tables(summary: Mapping[str, Any]) -> list[PlanTable]:
    """All figures of all plans, what is predicted without a plan first; not more than five plans in one table."""
    without = [summary["without_plan"]] if "without_plan" in summary else []
    entries = [*without, *(summary.get("plans") or ())]
    parts = [entries[at : at + PLANS_PER_TABLE] for at in range(0, len(entries), PLANS_PER_TABLE)]
    return [_table(part) for part in parts]


def _table(entries: Sequence[Mapping[str, Any]]) -> PlanTable:
    read_outs = [entry["read_out"] for entry in entries]
    rows = [(name, unit, [_told(one.get(key)) for one in read_outs]) for key, name, unit in ROWS]
    rows = [row for row in rows if set(row[2]) != {"–"}]
    if any("dice_cavity_plan" in entry for entry in entries):
        rows.append(
            ("Predicted cavity against the plan (Dice)", "", [_told(e.get("dice_cavity_plan")) for e in entries])
        )
    for kind, key in (("structures", "name"), ("eloquent", "region")):
        for name in dict.fromkeys(one[key] for read_out in read_outs for one in read_out.get(kind) or ()):
            found = [_named(read_out.get(kind) or (), key, name) for read_out in read_outs]
            rows.append((f"{name[:1].upper()}{name[1:]}: distance, overlap", "", [_beside(one) for one in found]))
    return PlanTable([_head(entry) for entry in entries], rows)


def _head(entry: Mapping[str, Any]) -> str:
    return f"{entry['number']} · {entry['name']}" if entry["number"] else "Without a plan"


def _named(entries: Sequence[Mapping[str, Any]], key: str, name: str) -> Mapping[str, Any] | None:
    return next((one for one in entries if one[key] == name), None)


def _beside(one: Mapping[str, Any] | None) -> str:
    """Distance and overlap in one cell."""
    if one is None:
        return "–"
    overlap = f"{_told(one.get('overlap_ml'))} ml"
    if "percent_of_region" in one:
        overlap += f" ({one['percent_of_region']} %)"
    return f"{_told(one.get('distance_mm'))} mm, {overlap}"


def _told(value: object) -> str:
    return "–" if value is None else str(value)


def _pictures(finished: Finished, entry: Mapping[str, Any]) -> list[tuple[str, Picture]]:
    number = entry["number"]
    post, plan, cavity, residual = (
        finished.read(f"plan-{number}/{kind}")
        for kind in ("postop_mni", "plan_mni", "cavity_mask_mni", "residual_mask_mni")
    )
    if post is None or plan is None:
        return []
    planned = Layer(plan > 0.5, PLAN_COLOUR)
    before = [Layer(tumour_core(finished.tumour), CORE_COLOUR), planned]
    after = [Layer(planned.mask, PLAN_COLOUR, dashed=True)]
    after += [] if cavity is None else [Layer(cavity > 0.5, CAVITY_COLOUR)]
    after += [] if residual is None else [Layer(residual > 0.5, RESIDUAL_COLOUR)]
    what = f"plan {number}"
    (first,) = planes_of(
        finished.mni, finished.before, f"{what} over the scan before surgery", PIXELS_PER_MM, before, planes=PLANES[:1]
    )
    rest = planes_of(
        finished.mni, finished.unit(post), f"predicted scan of {what}", PIXELS_PER_MM, after, planes=PLANES[:2]
    )
    return [("planned", first), *(("predicted", picture) for picture in rest)]
