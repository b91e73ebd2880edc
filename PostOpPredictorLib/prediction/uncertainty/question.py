"""The question "how sure, and why": maps of spread, calibrated intervals, and what each precedent changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ...cases.bids import SPACE
from ...imaging.grid import TEMPLATE_GRID
from ...progress import Progress
from ..asked import Answer, AnswerFile, Asked
from ..instruction import Instruction
from ..outcome_volume import VOXEL_ML
from ..output_folder import write_synthetic
from ..patient import Patient
from ..upsampling import on_template
from ..volumes_ml import volume_scale
from .ensemble import Ensemble, Read, ensemble_of
from .influence import Influence, influences
from .intervals import WRITTEN_LEVEL, Intervals, intervals_for
from .similarity import calibration_of

UNITS = "percent of the brain's brightness range"
PERCENT = 100.0
HIGH_PERCENTILE = 99.0


def how_sure(asked: Asked, progress: Progress) -> Answer | None:
    """The answer ``uncertainty``. Raises ``LibraryError`` when a precedent cannot be read any more."""
    if not asked.request.uncertainty:
        return None
    request, found = asked.request, asked.prediction.precedents
    precedents = _readers(asked)
    ensemble = ensemble_of(
        asked.again,
        asked.prediction.case,
        precedents,
        found.instruction(),
        progress,
        noise_samples=request.noise_samples,
        steps=request.steps,
        seed=request.seed,
    )
    alone = asked.again(None, progress).cavity_probability * ensemble.changeable if len(precedents) == 1 else None
    owed = influences([member.cavity * ensemble.changeable for member in ensemble.members], alone) if precedents else ()
    calibration, reason = calibration_of(asked)
    sequence = asked.prediction.sequence.sequence
    intervals = intervals_for(request, sequence, len(precedents), calibration, reason)
    summary = _summary(asked, ensemble, owed, intervals, len(precedents))
    return Answer("uncertainty", summary, _files(asked.prediction.patient, ensemble, owed, intervals, len(precedents)))


def _readers(asked: Asked) -> list[Read | None]:
    """How the first k cases that were found are read, each for the whole volume; None: the prediction followed it."""
    found, sequence = asked.prediction.precedents, asked.prediction.sequence.sequence

    def reader(rank: int, case_id: str) -> Read | None:
        if rank == 0 and not found.by_slice:
            return None
        return lambda: Instruction.of_case(found.library.case(case_id), sequence)

    return [reader(rank, match.case_id) for rank, match in enumerate(found.matches[: asked.request.k])]


def _summary(
    asked: Asked, ensemble: Ensemble, owed: tuple[Influence, ...], intervals: Intervals, precedents: int
) -> dict[str, Any]:
    scale = volume_scale(asked.prediction.patient.registration.transform)
    volumes = [round(member.cavity_voxels * VOXEL_ML * scale, 2) for member in ensemble.members]
    return {
        "units": UNITS,
        "precedents": precedents,
        "noise_samples": asked.request.noise_samples,
        "largest_noise": _largest(ensemble.noise, ensemble.changeable),
        "largest_precedents": _largest(ensemble.precedents, ensemble.changeable) if precedents > 1 else None,
        "precedents_sentence": _on_precedents(precedents),
        "cavity_ml_by_precedent": volumes if precedents else [],
        "cavity_ml_range": [min(volumes), max(volumes)],
        "influence": [
            {"influence_ml": round(one.ml * scale, 3), "influence_percent": round(one.percent, 2)} for one in owed
        ],
        "influence_sentence": _on_influence(precedents),
        "calibrated": intervals.calibration is not None,
        "calibration_sentence": intervals.sentence,
        "interval_level": WRITTEN_LEVEL,
    }


def _on_precedents(count: int) -> str | None:
    if count > 1:
        return None
    found = "Only one similar case was" if count else "No similar case was"
    return f"{found} used, so there is no spread over precedents. That does not mean that it is small."


def _on_influence(count: int) -> str:
    if count == 0:
        return "No precedent was followed, so none has an influence."
    if count == 1:
        return "Only one precedent was used: its influence is how the prediction changes without any precedent."
    return f"How the mean cavity over {count} precedents changes when one of them is left out."


def _largest(spread: np.ndarray, where: np.ndarray) -> float:
    return round(PERCENT * float(np.percentile(spread[where], HIGH_PERCENTILE)), 2) if where.any() else 0.0


def _files(
    patient: Patient, ensemble: Ensemble, owed: tuple[Influence, ...], intervals: Intervals, precedents: int
) -> tuple[AnswerFile, ...]:
    maps: dict[str, np.ndarray] = {"spread_noise": PERCENT * ensemble.noise}
    if precedents > 1:
        maps["spread_precedents"] = PERCENT * ensemble.precedents
    half_width = intervals.half_width(ensemble)
    if half_width is not None:
        maps["uncertainty"] = PERCENT * half_width
    maps["cavity_agreement"] = ensemble.agreement * ensemble.changeable
    maps |= {f"influence_{rank}": one.change for rank, one in enumerate(owed, start=1)}
    return tuple(
        AnswerFile(f"{kind}_mni", f"{kind}_space-{SPACE}.nii.gz", _writing(patient, array))
        for kind, array in maps.items()
    )


def _writing(patient: Patient, array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: write_synthetic(_on_brain(patient, array), path)


def _on_brain(patient: Patient, array: np.ndarray) -> sitk.Image:
    """A map of WORKING_GRID, signed or not, on TEMPLATE_GRID; 0 outside the brain."""
    values = on_template(np.maximum(array, 0.0)) - on_template(np.maximum(-array, 0.0))
    return TEMPLATE_GRID.image(values * (sitk.GetArrayViewFromImage(patient.brain_mni) > 0))
