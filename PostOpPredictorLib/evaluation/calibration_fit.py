"""From validation patients to interval widths that hold on patients, and to what a similar case is.

Split conformal prediction, scaled by the spread (Lei et al., "Distribution-free predictive inference for regression",
JASA 2018): a voxel's score is |error| / (spread + floor), and the interval of a level is as many times (spread + floor)
wide as the quantile of the scores. Voxels of one patient resemble each other, so the quantile is taken over patients:
every patient's own distribution of scores counts the same, however large the tumour (pooled CDFs: Dunn, Wasserman and
Ramdas, "Distribution-free prediction sets for two-layer hierarchical models", JASA 2022). With n patients the expected
coverage of a new patient's voxel is at least level * n / (n + 1), and nears the level from there (the point mass at
infinity of Lee, Barber and Willett, "Distribution-free inference with hierarchical data", 2023, left out). Nothing is
promised of any single patient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..model.calibration_file import LEVELS, SimilarityThresholds
from ..prediction.uncertainty.intervals import half_width
from ..retrieval.strategies import MINIMUM_IOU
from .bootstrap import pooled_interval
from .calibration_patient import PatientMeasures

FLOORS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
"""Added to the spread, of a brightness in [0, 1], so that a spread of 0 is not taken for certainty."""

CHOSEN_AT = 0.9
BINS, LEAST_PER_BIN = 4, 6
GOOD_SHARE = 0.5
UNUSUAL, USUAL = 0.1, 0.5


def fit_intervals(patients: Sequence[PatientMeasures]) -> tuple[float, dict[float, float]]:
    """The floor, of ``FLOORS``, whose 90 % intervals are the narrowest, and the scale for each level."""
    best = min(FLOORS, key=lambda floor: mean_half_width(patients, floor, scale_for(patients, floor, CHOSEN_AT)))
    return best, {level: scale_for(patients, best, level) for level in LEVELS}


def scale_for(patients: Sequence[PatientMeasures], floor: float, level: float) -> float:
    """The least number of (spread + floor) within which the share ``level`` of the errors lies, patients alike."""
    scores = np.concatenate([one.error / (one.spread + floor) for one in patients])
    weights = np.concatenate([np.full(len(one.error), 1.0 / len(one.error)) for one in patients])
    order = np.argsort(scores)
    reached = np.cumsum(weights[order]) / len(patients)
    return float(scores[order][min(int(np.searchsorted(reached, level - 1e-9)), len(order) - 1)])


def mean_half_width(patients: Sequence[PatientMeasures], floor: float, scale: float) -> float:
    """Half the width of the interval, mean over voxels, then over patients."""
    return float(np.mean([half_width(one.spread, floor, scale).mean() for one in patients]))


def fit_similarity(patients: Sequence[PatientMeasures]) -> SimilarityThresholds | None:
    """What IoU a precedent needs: by the gain that it brings where a gain is clear, else by what patients usually had.

    None without a single precedent.
    """
    return _by_gain(patients) or _by_custom(patients)


def _by_gain(patients: Sequence[PatientMeasures]) -> SimilarityThresholds | None:
    """From which IoU on following a precedent gains Dice of the cavity over following none.

    The gains of all precedents that were tried are sorted by IoU into ``BINS`` equal groups, whose means are made to
    rise (isotonic regression). ``weak`` is the lowest IoU of the first group with a gain above 0, ``good`` that of the
    first one with half the gain of the last. None when the last group's gain is not surely above 0 (95 % bootstrap
    interval over patients).
    """
    iou, gain, patient = _trials(patients)
    if len(iou) < BINS * LEAST_PER_BIN:
        return None
    groups = np.array_split(np.argsort(iou, kind="stable"), BINS)
    last = groups[-1]
    surely = pooled_interval([gain[last][patient[last] == number].tolist() for number in np.unique(patient[last])])
    if surely is None or surely.low is None or surely.low <= 0.0:
        return None
    rising = _made_to_rise([float(gain[group].mean()) for group in groups])
    lowest = [max(float(iou[group].min()), MINIMUM_IOU) for group in groups]
    weak = lowest[next(n for n, mean in enumerate(rising) if mean > 0.0)]
    good = lowest[next(n for n, mean in enumerate(rising) if mean >= GOOD_SHARE * rising[-1])]
    told = ", ".join(f"{mean:+.3f} from {least:.2f}" for mean, least in zip(rising, lowest, strict=True))
    rule = (
        f"gain of the cavity's Dice over no precedent, {len(iou)} precedents of {len(patients)} patients in {BINS} "
        f"groups by IoU, made to rise: {told}; weak from the first gain above 0, good from half the last one"
    )
    return SimilarityThresholds(round(weak, 3), round(good, 3), True, rule)


def _by_custom(patients: Sequence[PatientMeasures]) -> SimilarityThresholds | None:
    """The IoU that all but a tenth of the patients' best precedents had, and that half of them had."""
    best = [float(one.trials[0, 0]) for one in patients if len(one.trials)]
    if not best:
        return None
    weak, good = (max(float(np.quantile(best, share)), MINIMUM_IOU) for share in (UNUSUAL, USUAL))
    _, gain, _ = _trials(patients)
    rule = (
        f"no clear gain over no precedent (of the cavity's Dice {gain.mean():+.3f} on average), so by what "
        f"the best precedents of {len(best)} patients had: weak from the IoU that {1 - UNUSUAL:.0%} of them reached, "
        f"good from that which {1 - USUAL:.0%} reached"
    )
    return SimilarityThresholds(round(weak, 3), round(good, 3), False, rule)


def _trials(patients: Sequence[PatientMeasures]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IoU, gain over no precedent, and the patient's number, of every precedent that was tried."""
    iou = np.concatenate([one.trials[:, 0] for one in patients])
    gain = np.concatenate([one.trials[:, 1] - one.alone for one in patients])
    patient = np.concatenate([np.full(len(one.trials), number) for number, one in enumerate(patients)])
    return iou, gain, patient


def _made_to_rise(means: Sequence[float]) -> list[float]:
    """Isotonic regression of groups of equal size: neighbours that fall are averaged."""
    pools: list[list[float]] = []
    for mean in means:
        pools.append([mean])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1].extend(last)
    return [float(np.mean(pool)) for pool in pools for _ in pool]
