"""Which model predicts: the one that is named, or of the shipped ones the one that knows what is asked."""

from __future__ import annotations

from pathlib import Path

from ..shipped import COMPACT, FOLLOW_UP, shipped_model_folder
from .request import PredictionRequest

OF_THE_COMPACT_MODEL = ("auto", "T1w", "T1wCE")


def model_folder_of(request: PredictionRequest) -> Path:
    """The folder of the model; without a named one the follow-up model for times since surgery, T2w and FLAIR.

    For early scans in T1w and T1wCE the compact one, which finds more of the cavity (docs/experiments.md).
    """
    if request.model is not None:
        return request.model
    timed = request.days is not None or bool(request.series)
    further = any(name not in OF_THE_COMPACT_MODEL for name in (request.sequence, *request.more))
    return shipped_model_folder(FOLLOW_UP if timed or further else COMPACT)
