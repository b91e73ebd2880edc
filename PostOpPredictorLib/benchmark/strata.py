"""Results by who the patient is and how the operation went: the bias audit, and retrieved IoU against gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import spearmanr

from ..cases.library import LibraryCase
from ..evaluation.bootstrap import Interval, mean_interval
from ..evaluation.measures import CaseMeasures, Value

UNKNOWN = "unknown"
AGE_BORDERS = (50.0, 65.0)
TUMOUR_ML_BORDERS = (10.0, 40.0)
RESECTION_BORDERS = (80.0, 95.0)
IOU_BORDERS = (0.05, 0.2, 0.4, 0.6)
AUDITED = ("ssim_peri", "psnr_peri", "cavity_dice")
_BY_NUMBER = {
    "age": ("age group, years", AGE_BORDERS),
    "tumour_ml": ("tumour size, ml", TUMOUR_ML_BORDERS),
    "eor_percent": ("extent of resection, %", RESECTION_BORDERS),
}
_BY_NAME = {"sex": "sex", "hemisphere": "hemisphere", "lobe": "lobe"}


@dataclass(frozen=True)
class Stratum:
    """Patients who share ``group`` of ``attribute``; ``results``: metric -> mean over them with its interval."""

    attribute: str
    group: str
    patients: int
    results: Mapping[str, Interval]


@dataclass(frozen=True)
class RetrievalGain:
    """A system's gain over another, patient by patient, against the IoU of the precedent it followed.

    ``correlation``: Spearman's, None for fewer than three patients or where all are alike.
    """

    first: str
    second: str
    metric: str
    correlation: float | None
    strata: Sequence[Stratum]


def audit(
    queries: Sequence[LibraryCase], patients: Mapping[str, Mapping[str, Value]], resamples: int, seed: int
) -> list[Stratum]:
    """``patients``: patient id -> metric -> value of one system. Every attribute that at least one patient has."""
    described = {case.patient_id: case.attributes for case in reversed(queries) if case.patient_id in patients}
    strata = []
    for key, title in [*((k, t) for k, t in _BY_NAME.items()), *((k, t) for k, (t, _) in _BY_NUMBER.items())]:
        groups = {patient: group_of(key, attributes) for patient, attributes in described.items()}
        if set(groups.values()) != {UNKNOWN}:
            strata += _strata(title, groups, patients, AUDITED, resamples, seed)
    return strata


def group_of(key: str, attributes: Mapping[str, str | float]) -> str:
    """The group of a patient: the attribute's own name, or the interval that its number lies in."""
    value = attributes.get(key)
    if value is None or key in _BY_NAME:
        return UNKNOWN if value is None else str(value)
    return interval_of(value, _BY_NUMBER[key][1]) if isinstance(value, float | int) else UNKNOWN


def interval_of(value: float, borders: Sequence[float]) -> str:
    """ "under 50", "50 to under 65" or "65 and over" for the borders 50 and 65."""
    if value < borders[0]:
        return f"under {borders[0]:g}"
    for low, high in pairwise(borders):
        if value < high:
            return f"{low:g} to under {high:g}"
    return f"{borders[-1]:g} and over"


def retrieval_gain(
    names: tuple[str, str],
    measured: tuple[Mapping[str, CaseMeasures], Mapping[str, CaseMeasures]],
    patient_of: Mapping[str, str],
    metric: str,
    resamples: int,
    seed: int,
) -> RetrievalGain:
    """Gain of the first over the second system of ``names``; ``measured``: case id -> measures of each."""
    cases: dict[str, list[tuple[float, float]]] = {}
    for case_id, patient in patient_of.items():
        first, second = (measures[case_id].value(metric) for measures in measured)
        if first is not None and second is not None:
            cases.setdefault(patient, []).append((measured[0][case_id].iou or 0.0, first - second))
    means = {patient: np.mean(values, axis=0) for patient, values in cases.items()}
    groups = {patient: interval_of(float(iou), IOU_BORDERS) for patient, (iou, _) in means.items()}
    gains: dict[str, dict[str, Value]] = {patient: {metric: float(gain)} for patient, (_, gain) in means.items()}
    strata = _strata("achieved IoU", groups, gains, (metric,), resamples, seed)
    return RetrievalGain(names[0], names[1], metric, _correlation(list(means.values())), strata)


def _strata(
    title: str,
    groups: Mapping[str, str],
    values: Mapping[str, Mapping[str, Value]],
    metrics: Sequence[str],
    resamples: int,
    seed: int,
) -> list[Stratum]:
    found = []
    for group in sorted(set(groups.values()), key=_order):
        members = sorted(patient for patient in groups if groups[patient] == group)
        results = {}
        for metric in metrics:
            interval = mean_interval([values[p].get(metric) for p in members], resamples=resamples, seed=seed)
            if interval is not None:
                results[metric] = interval
        found.append(Stratum(title, group, len(members), results))
    return found


def _order(group: str) -> tuple[int, float, str]:
    """Numbers in their order, names by the alphabet, what is unknown last."""
    numbers = [float(word) for word in group.split() if word.replace(".", "", 1).isdigit()]
    below = -0.5 if group.startswith("under") else 0.0
    return (2 if group == UNKNOWN else 0, numbers[0] + below if numbers else 0.0, group)


def _correlation(pairs: Sequence[np.ndarray]) -> float | None:
    if len(pairs) < 3:
        return None
    iou, gain = np.array(pairs).T
    if np.ptp(iou) == 0 or np.ptp(gain) == 0:
        return None
    return float(spearmanr(iou, gain).statistic)
