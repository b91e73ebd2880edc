"""Whether the best precedent is one at all, by thresholds that validation patients gave: said first, in a sentence."""

from __future__ import annotations

from typing import Any

from ...model.calibration_file import Calibration, calibration_or_reason
from ...progress import Progress
from ...retrieval.strategies import MINIMUM_IOU
from ..asked import Answer, Asked
from ..model_choice import model_folder_of

DOUBT = "Read the prediction with more doubt."
FEW = (
    "The demonstration library holds few patients: choose a library of your own operated cases, or a larger simulated "
    "one, and more tumours find a similar case."
)


def how_similar(asked: Asked, progress: Progress) -> Answer:
    """The answer ``similarity``; it is always asked."""
    matches = asked.prediction.precedents.matches
    calibration, reason = calibration_of(asked)
    found = similarity_of(float(matches[0].iou) if matches else None, calibration, reason)
    if found["level"] == "none" and asked.request.library is None:
        found["sentence"] += f" {FEW}"
    if found["level"] != "good":
        progress.log(found["sentence"])
    return Answer("similarity", found)


def calibration_of(asked: Asked) -> tuple[Calibration | None, str]:
    """The calibration of the model that predicts, or None and why there is none."""
    return calibration_or_reason(model_folder_of(asked.request), asked.tools.model_checksum)


def similarity_of(iou: float | None, calibration: Calibration | None, reason: str) -> dict[str, Any]:
    """What the summary says of the followed precedent's ``iou`` (None: there is none)."""
    thresholds = calibration.similarity if calibration else None
    told = {
        "iou": None if iou is None else round(iou, 4),
        "threshold_weak": thresholds.weak if thresholds else None,
        "threshold_good": thresholds.good if thresholds else None,
    }
    if iou is None:
        sentence = f"NO SIMILAR CASE: no tumour of the library overlaps this one (IoU {MINIMUM_IOU:g} or more). {DOUBT}"
        return {**told, "level": "none", "sentence": sentence}
    overlap = f"the followed case's tumour overlaps this one by an IoU of {iou:.2f}"
    if calibration is None or thresholds is None:
        why = reason or "The validation patients gave no threshold."
        return {**told, "level": "weak", "sentence": f"Similarity not rated: {overlap}. {why}"}
    patients = f"{calibration.patients} validation patients"
    if iou < thresholds.weak:
        why = f"no gain on {patients}" if thresholds.by_gain else f"less than nine in ten of {patients} had"
        sentence = f"NO SIMILAR CASE: {overlap}; below {thresholds.weak:.3g} is {why}. {DOUBT}"
        return {**told, "level": "none", "sentence": sentence}
    if iou < thresholds.good:
        why = f"half the full gain on {patients}" if thresholds.by_gain else f"what half of {patients} had"
        sentence = f"WEAK PRECEDENT: {overlap}; {thresholds.good:.3g} is {why}. {DOUBT}"
        return {**told, "level": "weak", "sentence": sentence}
    return {**told, "level": "good", "sentence": f"Good precedent: {overlap} (good from {thresholds.good:.3g} on)."}
