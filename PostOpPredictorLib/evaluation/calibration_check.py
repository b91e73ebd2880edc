"""``evaluate --calibration``: whether the model's intervals hold on patients that neither it nor they have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ..errors import InputError
from ..model.calibration_file import LEVELS, Calibration, read_calibration
from ..model.weights import verify
from ..prediction.uncertainty.intervals import half_width
from ..progress import Progress
from ..shipped import shipped_model_folder, user_cache
from .bootstrap import RESAMPLES, Interval, mean_interval
from .calibrate import described, load_model
from .calibration_cohort import CohortRequest, Measured, measure_cohort

SPREAD_GROUPS = 10


@dataclass(frozen=True)
class CheckRequest:
    """``limit`` patients of each kind of ``split``, with the settings that the model was calibrated with."""

    library: Path
    model: Path | None = None
    out: Path = Path("evaluation")
    work: Path | None = None
    split: str = "test"
    limit: int | None = None
    resamples: int = RESAMPLES
    seed: int = 0
    device: str = "auto"
    command: str = ""


@dataclass(frozen=True)
class LevelChecked:
    """Means over patients with bootstrap intervals: share of voxels within the interval of ``level``, and its whole
    width in percent of the brightness range."""

    level: float
    coverage: Interval
    width: Interval


@dataclass(frozen=True)
class GroupChecked:
    """Patients of one kind, or all. ``correlation``: Spearman's, of spread and error within each patient; None where
    no patient has one. ``missed``: share of the truly changed voxels where nothing was said to change.
    ``error_by_spread``: (mean spread, mean error) in percent of tenths of the voxels by spread."""

    name: str
    patients: int
    levels: tuple[LevelChecked, ...]
    correlation: Interval | None
    missed: Interval
    error_by_spread: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Checked:
    """All that the report says."""

    request: CheckRequest
    calibration: Calibration
    library_checksum: str
    data: str
    simulated: bool
    groups: tuple[GroupChecked, ...]


def check_calibration(request: CheckRequest, progress: Progress) -> dict[str, Any]:
    """Measure the patients and write ``calibration.md``, ``.json`` and ``.png`` to ``request.out``.

    Raises ``InputError`` when the model has no calibration of its own, or it was made on the split that is tested.
    """
    from .calibration_report import write_calibration_report

    if request.limit is not None and request.limit < 1:
        raise InputError(f"--limit is {request.limit}; give at least 1.")
    folder = request.model or shipped_model_folder()
    checksum = verify(folder)
    calibration = read_calibration(folder, checksum)
    if calibration.record.get("split") == request.split:
        raise InputError(
            f"The model was calibrated on the split '{request.split}', so its patients are not unseen. "
            "Name another --split."
        )
    cohort = CohortRequest(
        request.library,
        request.split,
        request.limit,
        tuple(calibration.settings["sequences"]),
        {name: value for name, value in calibration.settings.items() if name != "sequences"},
        request.work or user_cache() / "calibration",
        request.seed,
    )
    measured, library_checksum = measure_cohort(cohort, lambda: load_model(folder, request.device), checksum, progress)
    progress.stage("Writing the table")
    checked = Checked(
        request,
        calibration,
        library_checksum,
        described(measured),
        all(one.source in ("phantom", "semi-real") for one in measured),
        check_groups(measured, calibration, request.resamples, request.seed),
    )
    return write_calibration_report(checked)


def check_groups(
    measured: Sequence[Measured], calibration: Calibration, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[GroupChecked, ...]:
    """All patients, then each kind apart where there are several."""
    kinds = sorted({one.source for one in measured})
    groups = [("all", list(measured))]
    if len(kinds) > 1:
        groups += [(kind, [one for one in measured if one.source == kind]) for kind in kinds]
    return tuple(_checked(name, patients, calibration, resamples, seed) for name, patients in groups)


def _checked(
    name: str, patients: Sequence[Measured], calibration: Calibration, resamples: int, seed: int
) -> GroupChecked:
    def mean(values: Sequence[float | None]) -> Interval | None:
        return mean_interval(values, resamples=resamples, seed=seed)

    def surely(values: Sequence[float]) -> Interval:
        interval = mean(values)
        assert interval is not None
        return interval

    levels = []
    for level in LEVELS:
        halves = [half_width(p.measures.spread, calibration.floor, calibration.scales[level]) for p in patients]
        covered = [float((p.measures.error <= half).mean()) for p, half in zip(patients, halves, strict=True)]
        levels.append(LevelChecked(level, surely(covered), surely([200.0 * float(half.mean()) for half in halves])))
    return GroupChecked(
        name,
        len(patients),
        tuple(levels),
        mean([_correlation(p) for p in patients]),
        surely([p.measures.missed for p in patients]),
        _error_by_spread(patients),
    )


def _correlation(patient: Measured) -> float | None:
    spread, error = patient.measures.spread, patient.measures.error
    if np.ptp(spread) == 0 or np.ptp(error) == 0:
        return None
    return float(spearmanr(spread, error).statistic)


def _error_by_spread(patients: Sequence[Measured]) -> tuple[tuple[float, float], ...]:
    """Mean spread and mean error, percent, of tenths of the voxels by spread."""
    spread = np.concatenate([one.measures.spread for one in patients])
    error = np.concatenate([one.measures.error for one in patients])
    groups = np.array_split(np.argsort(spread, kind="stable"), SPREAD_GROUPS)
    return tuple(
        (100.0 * float(spread[group].mean()), 100.0 * float(error[group].mean())) for group in groups if len(group)
    )
