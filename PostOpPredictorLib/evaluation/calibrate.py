"""``calibrate``: validation patients in, the model's calibration.json out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..model.calibration_file import LEVELS, Calibration, write_calibration
from ..model.weights import CALIBRATION, verify
from ..prediction.request import PredictionRequest
from ..prediction.uncertainty.intervals import settings_of
from ..prediction.volume_prediction import Pipeline
from ..progress import Progress
from ..shipped import shipped_model_folder, user_cache
from .calibration_cohort import CohortRequest, Measured, measure_cohort
from .calibration_fit import fit_intervals, fit_similarity, mean_half_width

LEAST_PATIENTS = 5
KINDS = {
    "phantom": "phantom patients",
    "semi-real": "real scans with a simulated operation",
    "real": "real patients",
}


@dataclass(frozen=True)
class CalibrationRequest:
    """``limit`` patients of each kind of ``split``; ``sequences`` in turn; the rest as in ``PredictionRequest``.

    ``model``: None = the shipped one; ``out``: the file to write, calibration.json of a named model when left out;
    ``work``: folder of results so far.
    """

    library: Path
    model: Path | None = None
    split: str = "val"
    limit: int | None = None
    out: Path | None = None
    work: Path | None = None
    sequences: tuple[str, ...] = ("T1wCE", "T1w")
    k: int = PredictionRequest.k
    noise_samples: int = PredictionRequest.noise_samples
    mode: str = "mean"
    steps: int | None = None
    seed: int = 0
    device: str = "auto"
    command: str = ""


def calibrate(request: CalibrationRequest, progress: Progress) -> dict[str, Any]:
    """Measure the patients, fit the intervals and thresholds, and write them whole or not at all.

    Raises ``InputError`` for fewer than ``LEAST_PATIENTS`` patients or an option out of range.
    """
    if request.limit is not None and request.limit < 1:
        raise InputError(f"--limit is {request.limit}; give at least 1.")
    if request.model is None and request.out is None:
        raise InputError(
            "The shipped model's calibration is not replaced unasked. Name a model with --model, or a file with --out."
        )
    folder = request.model or shipped_model_folder()
    checksum = verify(folder)
    settings = _settings(request)
    cohort = CohortRequest(
        request.library,
        request.split,
        request.limit,
        request.sequences,
        settings,
        request.work or user_cache() / "calibration",
        request.seed,
    )
    measured, library_checksum = measure_cohort(cohort, lambda: load_model(folder, request.device), checksum, progress)
    if len(measured) < LEAST_PATIENTS:
        raise InputError(
            f"Only {len(measured)} patients could be measured; an interval needs at least {LEAST_PATIENTS}. "
            "Raise --limit, or name another --split."
        )
    calibration = _fitted(request, measured, settings, checksum, library_checksum)
    path = request.out or Path(folder) / CALIBRATION
    write_calibration(calibration, path)
    return {
        "file": path,
        "patients": calibration.patients,
        "floor": calibration.floor,
        "scales": {f"{level:.0%}": round(scale, 3) for level, scale in calibration.scales.items()},
        "mean_width_90_percent": calibration.record["mean_width_percent"]["90"],
        "threshold_weak": calibration.similarity.weak if calibration.similarity else None,
        "threshold_good": calibration.similarity.good if calibration.similarity else None,
    }


def load_model(folder: Path, device: str) -> Pipeline:
    """The model, ready on ``device``."""
    from ..model.device import chosen_device
    from ..model.pipeline import PostOpPipeline

    return PostOpPipeline.from_pretrained(folder).to(chosen_device(device))


def described(measured: Sequence[Measured]) -> str:
    """What the patients were, for people: "22 phantom patients, 2 real scans with a simulated operation"."""
    counts = Counter(one.source for one in measured)
    return ", ".join(f"{count} {KINDS.get(source, source or 'patients')}" for source, count in sorted(counts.items()))


def _settings(request: CalibrationRequest) -> dict[str, Any]:
    """Those of the prediction that is calibrated; everything else as `postop predict` does by default."""
    nowhere = Path()
    like = PredictionRequest(
        nowhere,
        nowhere,
        nowhere,
        mode=request.mode,  # type: ignore[arg-type]
        steps=request.steps,
        k=request.k,
        noise_samples=request.noise_samples,
        seed=request.seed,
    )
    return settings_of(like)


def _fitted(
    request: CalibrationRequest,
    measured: Sequence[Measured],
    settings: dict[str, Any],
    checksum: str,
    library_checksum: str,
) -> Calibration:
    patients = [one.measures for one in measured]
    floor, scales = fit_intervals(patients)
    n = len(patients)
    record = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": request.command,
        "version": __version__,
        "split": request.split,
        "library_checksum": library_checksum,
        "kinds": dict(sorted(Counter(one.source for one in measured).items())),
        "expected_coverage_at_least": {f"{100 * level:g}": round(level * n / (n + 1), 4) for level in LEVELS},
        "mean_width_percent": {
            f"{100 * level:g}": round(200.0 * mean_half_width(patients, floor, scale), 2)
            for level, scale in scales.items()
        },
    }
    return Calibration(
        model_checksum=checksum,
        floor=floor,
        scales=scales,
        patients=n,
        data=described(measured),
        settings={**settings, "sequences": list(request.sequences)},
        similarity=fit_similarity(patients),
        record=record,
    )
