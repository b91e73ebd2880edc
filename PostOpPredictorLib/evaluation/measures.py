"""One answer measured against the truth: a value per slice where that makes sense, else one per volume."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .metrics import PerceptualDistance, image_metrics, through_plane_ratio, wall_metrics
from .overlap import dice, hausdorff95_mm, relative_volume_error, slice_dice, volume_error_ml
from .query_case import QueryCase
from .systems import Answer
from .through_plane import cavity_steadiness

Value = float | None


@dataclass(frozen=True)
class CaseMeasures:
    """``per_slice``: metric -> one value per measured slice; ``per_volume``: metric -> one value. ``None`` where it
    is not defined.

    ``seconds`` the system took for the case; ``precedent`` case id of the precedent and ``iou`` its overlap with the
    query's tumour core.
    """

    per_slice: dict[str, list[Value]]
    per_volume: dict[str, Value]
    seconds: float
    precedent: str | None = None
    iou: float | None = None

    def value(self, metric: str) -> Value:
        """The case's value of a metric: the mean over its slices, or the volume's; ``None`` where there is none."""
        if metric in self.per_volume:
            return self.per_volume[metric]
        present = [value for value in self.per_slice.get(metric, []) if value is not None]
        return sum(present) / len(present) if present else None

    def as_json(self) -> dict[str, Any]:
        """Plain data that ``CaseMeasures(**data)`` takes back."""
        return asdict(self)


def measure(
    answer: Answer,
    case: QueryCase,
    seconds: float,
    perceptual: PerceptualDistance | None = None,
    precedent: str | None = None,
    iou: float | None = None,
) -> CaseMeasures:
    """Measure ``answer`` on the slices of ``case``; cavity and residual tumour as volumes too, of which with a stride
    only the measured slices count."""
    index = list(case.slices)
    predicted, true = np.clip(answer.image[index], 0.0, 1.0), case.post[index]
    per_slice = image_metrics(predicted, true, case.regions, perceptual)
    per_volume: dict[str, Value] = dict(wall_metrics(predicted, true, case.regions))
    per_volume["through_plane"] = through_plane_ratio(predicted, true, case.regions, index)
    if answer.cavity is not None:
        per_slice["cavity_dice_slice"] = slice_dice(answer.cavity[index], case.true_cavity[index])
        cavities = case.counted(answer.cavity), case.counted(case.true_cavity)
        per_volume["cavity_dice"] = dice(*cavities)
        per_volume["cavity_volume_error"] = relative_volume_error(*cavities)
        per_volume["cavity_hd95_mm"] = hausdorff95_mm(*cavities) if case.is_whole else None
        per_volume["cavity_steadiness"] = cavity_steadiness(answer.cavity[index], case.true_cavity[index], index)
    if answer.residual is not None:
        residuals = case.counted(answer.residual), case.counted(case.true_residual)
        per_volume["residual_dice"] = dice(*residuals)
        per_volume["residual_error_ml"] = volume_error_ml(*residuals)
    slices = {key: [_known(value) for value in values] for key, values in per_slice.items()}
    return CaseMeasures(slices, {key: _known(value) for key, value in per_volume.items()}, seconds, precedent, iou)


def _known(value: float | None) -> Value:
    return None if value is None or not math.isfinite(value) else round(float(value), 6)
