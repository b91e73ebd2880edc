"""Reads what the backend wrote, without touching a node: it may run in a thread while the application stays usable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .ImageFiles import ImageData, readDisplacement, readImage, readLinearTransform
from .MapLooks import mapRanges
from .WindowLevel import GreyWindow

VOLUMES = {"postop": "postop_mni", "preop": "preop_mni", "cavityProbability": "cavity_probability_mni"}
LABELS = {"tumour": "tumour_mni", "cavity": "cavity_mask_mni", "outcome": "outcome_mni"}
MAPS = {
    "spreadPrecedents": "spread_precedents_mni",
    "spreadNoise": "spread_noise_mni",
    "uncertainty": "uncertainty_mni",
    "cavityAgreement": "cavity_agreement_mni",
    "generated": "generated_mni",
}
"""What a result node shows -> the backend's name of the file; those of MAPS are there where they were asked for."""
PLAN_LABELS = {"plan": "plan_mni", "cavity": "cavity_mask_mni", "residual": "residual_mask_mni"}
CAVITY_LABELS = (1, 3, 5)
"""Labels of an outcome that lie in the hole: fluid, blood and air."""


@dataclass(frozen=True)
class PrecedentFiles:
    """One operated case: what precedents.json says of it, its volumes "pre" and "post" with the grey levels of its
    brain before surgery, and its label maps "tumour" and "cavity". ``influence``: what the prediction's cavity
    probability gains by this case, -1..1; None where it was not asked for."""

    record: Mapping[str, Any]
    images: Mapping[str, ImageData]
    grey: GreyWindow
    influence: ImageData | None = None


@dataclass(frozen=True)
class PlanFiles:
    """One planned resection: its entry in the summary's "plans", the volume "postop", and the label maps "plan",
    "cavity" and "residual"."""

    number: int
    record: Mapping[str, Any]
    images: Mapping[str, ImageData]


@dataclass(frozen=True)
class DayFiles:
    """The patient so many ``days`` after surgery: "postop" as a volume, ``cavity`` as a label map, and the figures."""

    days: float
    postop: ImageData
    cavity: ImageData | None
    record: Mapping[str, Any]


@dataclass(frozen=True)
class SequenceFiles:
    """Another scan of the same session, before and after surgery, in grey levels of its own."""

    sequence: str
    preop: ImageData
    postop: ImageData
    grey: GreyWindow


@dataclass(frozen=True)
class ResultFiles:
    """A whole prediction in memory; label maps and maps are cropped.

    ``grey``: window of the scan's brain. ``ranges``: values at both ends of the colours of a map, by role.
    ``patientToMni``: a 4 x 4 matrix in RAS millimetres. ``shift``: pull-back in RAS mm, after(p) = before(p +
    shift(p)), None where nothing moves. ``report``: a page of HTML.
    """

    images: Mapping[str, ImageData]
    grey: GreyWindow
    precedents: tuple[PrecedentFiles, ...]
    ranges: Mapping[str, tuple[float, float]]
    patientToMni: np.ndarray
    provenance: Mapping[str, Any]
    shift: ImageData | None = None
    plans: tuple[PlanFiles, ...] = ()
    series: tuple[DayFiles, ...] = ()
    more: tuple[SequenceFiles, ...] = ()
    report: str = ""


def readResult(message: Mapping[str, Any]) -> ResultFiles:
    """Read all files that the backend's result names; raises what reading raises."""
    files = {name: Path(path) for name, path in message["files"].items()}
    images = {role: readImage(files[name]) for role, name in VOLUMES.items()}
    images |= {role: readImage(files[name]).cropped() for role, name in LABELS.items()}
    images |= {role: readImage(files[name]).cropped(np.float32) for role, name in MAPS.items() if name in files}
    records = _readJson(files["precedents"])["precedents"]
    precedents = tuple(precedentFiles(record, files.get(f"influence_{record['rank']}_mni")) for record in records)
    return ResultFiles(
        images,
        GreyWindow.ofValues(images["preop"].array),
        precedents,
        mapRanges(images, [one.influence for one in precedents if one.influence is not None]),
        readLinearTransform(files["patient_to_mni"]),
        _readJson(files["provenance"]),
        readDisplacement(files["shift_mni"]) if "shift_mni" in files else None,
        tuple(planFiles(record, files) for record in message.get("plans") or ()),
        seriesFiles(message.get("series") or (), files),
        tuple(sequenceFiles(str(record["sequence"]), files) for record in message.get("more") or ()),
        files["report"].read_text(encoding="utf-8") if "report" in files else "",
    )


def precedentFiles(record: Mapping[str, Any], influence: Path | None = None) -> PrecedentFiles:
    """Read the images of one entry of precedents.json; its cavity is the hole and what filled it."""
    pre, post, tumour, outcome = (
        readImage(Path(record["files"][name])) for name in ("pre", "post", "tumour", "outcome")
    )
    hole = ImageData(np.isin(outcome.array, CAVITY_LABELS), outcome.ijkToRas)
    images = {"pre": pre, "post": post, "tumour": tumour.cropped(), "cavity": hole.cropped()}
    change = None if influence is None else readImage(influence).cropped(np.float32)
    return PrecedentFiles(record, images, GreyWindow.ofValues(pre.array), change)


def planFiles(record: Mapping[str, Any], files: Mapping[str, Path]) -> PlanFiles:
    """Read one plan; ``record``: its entry in the summary."""
    number = int(record["number"])
    images = {role: readImage(files[f"plan-{number}/{name}"]).cropped() for role, name in PLAN_LABELS.items()}
    images["postop"] = readImage(files[f"plan-{number}/postop_mni"])
    return PlanFiles(number, record, images)


def seriesFiles(records: Sequence[Mapping[str, Any]], files: Mapping[str, Path]) -> tuple[DayFiles, ...]:
    """Read the days; their files are named in the order of ``records``."""
    names = list(dict.fromkeys(kind.partition("/")[0] for kind in files if kind.startswith("day-")))
    days = []
    for record, name in zip(records, names, strict=True):
        mask = files.get(f"{name}/cavity_mask_mni")
        cavity = None if mask is None else readImage(mask).cropped()
        days.append(DayFiles(float(record["days"]), readImage(files[f"{name}/postop_mni"]), cavity, record))
    return tuple(days)


def sequenceFiles(sequence: str, files: Mapping[str, Path]) -> SequenceFiles:
    """Read another sequence of the patient."""
    preop, postop = (readImage(files[f"{name}_mni_{sequence}"]) for name in ("preop", "postop"))
    return SequenceFiles(sequence, preop, postop, GreyWindow.ofValues(preop.array))


def _readJson(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
