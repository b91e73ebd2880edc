"""Through time: one prediction for each of several days after surgery, as simulated healing knows them.

All days have the same precedent and the same noise. What heals never comes back: the cavity of a later day lies within
that of an earlier one, and blood, air, oedema and the figure of residual tumour do not grow. The network learned that
from examples (``cases/phantom/healing.py``); here it is held to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..cases.bids import SPACE
from ..cases.case import FloatArray
from ..errors import InputError
from ..progress import Progress
from .asked import Answer, AnswerFile, Asked
from .full_resolution import predicted_in_mni
from .outcome_images import cavity_on_template
from .outcome_volume import (
    AIR_LABEL,
    CAVITY_LABELS,
    RESIDUAL_LABEL,
    VOXEL_ML,
    cavity_probability,
    outcome_labels,
)
from .output_folder import write_synthetic
from .patient_prediction import Tools
from .request import PredictionRequest
from .volume_prediction import CasePrediction
from .volumes_ml import volume_scale

FLUID_LABEL, BLOOD_LABEL, OEDEMA_LABEL = 1, 3, 4
BECOMES = {AIR_LABEL: FLUID_LABEL, BLOOD_LABEL: FLUID_LABEL, OEDEMA_LABEL: 0}
"""What is left where something has gone."""
SENTENCE = (
    "Simulated healing: learned from simulated operations in which blood and air go, oedema recedes and the cavity "
    "shrinks. Regrowth, infarction, infection and radiation are not in it."
)


def refuse_times_without_a_model(request: PredictionRequest, tools: Tools) -> None:
    """Raise ``InputError``, before the long work, when times are asked of a model that knows none."""
    if request.days is None and not request.series:
        return
    tools.pipeline.refuse_unknown(days=True)
    if request.series and not tools.pipeline.has_renderer:
        raise InputError("This model draws images only, so it has no series. Choose a structure model.")


def how_it_heals(asked: Asked, progress: Progress) -> Answer | None:
    """A prediction for every day of the request's series, the earliest first, with its volumes and files."""
    days = sorted(set(asked.request.series))
    if not days:
        return None
    instruction = asked.prediction.precedents.instruction()
    receding = Receding()
    entries: list[dict[str, Any]] = []
    files: list[AnswerFile] = []
    for number, day in enumerate(days, start=1):
        progress.log(f"Day {day:g} after surgery, {number} of {len(days)}. {SENTENCE}")
        case = asked.again(instruction, progress, days=day, settle=receding)
        own = _files(day, asked, case)
        entry = _entry(day, asked, case, own)
        # Core beside a smaller cavity is what closed in on it: what was taken does not come back.
        entry["residual_ml"] = min(one["residual_ml"] for one in (*entries[-1:], entry))
        entries.append(entry)
        files += own
    return Answer("series", entries, tuple(files))


class Receding:
    """Holds outcome probabilities (6, z, y, x), given one after the other in time, to what was there before.

    They still sum to 1. Nothing happens to the first ones.
    """

    def __init__(self) -> None:
        self._hole: FloatArray | None = None
        self._most: dict[int, int] = {}

    def __call__(self, probability: FloatArray) -> FloatArray:
        """Return the probabilities of the next day, with nothing in them that has gone."""
        told = probability.copy()
        if self._hole is not None:
            _shrink_hole(told, self._hole)
        for label, instead in BECOMES.items():
            if label in self._most:
                _keep_most_likely(told, label, self._most[label], instead)
        self._hole = cavity_probability(told)
        labels = outcome_labels(told)
        self._most = {label: int((labels == label).sum()) for label in BECOMES}
        return told


def _shrink_hole(told: FloatArray, before: FloatArray) -> None:
    """Where the cavity is likelier than it was, the difference becomes unchanged tissue."""
    hole = cavity_probability(told)
    grown = hole > before
    share = before[grown] / hole[grown]
    for label in CAVITY_LABELS:
        told[label, grown] *= share
    told[0, grown] += hole[grown] - before[grown]


def _keep_most_likely(told: FloatArray, label: int, most: int, instead: int) -> None:
    """Leave ``label`` to the ``most`` voxels in which it is likeliest, and give the others to ``instead``."""
    z, y, x = np.nonzero(outcome_labels(told) == label)
    if len(z) <= most:
        return
    dropped = np.argsort(-told[label, z, y, x], kind="stable")[most:]
    gone = (z[dropped], y[dropped], x[dropped])
    told[(instead, *gone)] += told[(label, *gone)]
    told[(label, *gone)] = 0.0


def _entry(day: float, asked: Asked, case: CasePrediction, files: list[AnswerFile]) -> dict[str, Any]:
    scale = volume_scale(asked.prediction.patient.registration.transform) * VOXEL_ML

    def ml(*labels: int) -> float:
        return round(float(np.isin(case.outcome, labels).sum()) * scale, 2)

    return {
        "days": day,
        "cavity_ml": ml(*CAVITY_LABELS),
        "blood_ml": ml(BLOOD_LABEL),
        "air_ml": ml(AIR_LABEL),
        "oedema_ml": ml(OEDEMA_LABEL),
        "residual_ml": ml(RESIDUAL_LABEL),
        "sentence": SENTENCE,
        "files": {file.kind.partition("/")[2]: file.name for file in files},
    }


def _files(day: float, asked: Asked, case: CasePrediction) -> list[AnswerFile]:
    patient, sequence = asked.prediction.patient, asked.prediction.sequence.sequence
    named = f"day-{day:03g}"

    def file(kind: str, name: str, make: Callable[[], sitk.Image]) -> AnswerFile:
        return AnswerFile(f"{named}/{kind}", f"series/{named}/{name}", lambda path: write_synthetic(make(), path))

    return [
        file("postop_mni", f"postop_space-{SPACE}_{sequence}.nii.gz", lambda: predicted_in_mni(patient, case)),
        file("cavity_mask_mni", f"cavity_mask_space-{SPACE}.nii.gz", lambda: cavity_on_template(patient, case)),
    ]
