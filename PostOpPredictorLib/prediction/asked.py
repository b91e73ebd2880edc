"""A question that goes beyond one prediction, and its answer: figures, and files to write beside the prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..progress import Progress
from .instruction import Instruction
from .patient_prediction import PatientPrediction, Tools, predict_once
from .request import PredictionRequest
from .volume_prediction import CasePrediction


@dataclass(frozen=True)
class Asked:
    """A patient who was predicted, and all that is needed to predict again with something changed."""

    request: PredictionRequest
    tools: Tools
    prediction: PatientPrediction

    def again(self, instruction: Instruction | None, progress: Progress, **changes: Any) -> CasePrediction:
        """Predict the same patient with ``instruction`` (None: no similar case) and ``changes`` of the settings, which
        are arguments of ``predict_case`` such as ``plan``, ``days``, ``mode`` or ``seed``.
        """
        patient, sequence = self.prediction.patient, self.prediction.sequence
        return predict_once(self.request, self.tools, patient, sequence, instruction, progress, **changes)


@dataclass(frozen=True)
class AnswerFile:
    """``kind``: its key in the result's files; ``name``: path with "/" below the prediction's folder; ``write``
    is given the path, whose folder exists.
    """

    kind: str
    name: str
    write: Callable[[Path], None]


@dataclass(frozen=True)
class Answer:
    """``summary``: what JSON can hold, under ``name`` in the result and in provenance.json."""

    name: str
    summary: Any
    files: tuple[AnswerFile, ...] = ()


class Question(Protocol):
    """One kind of question; each has a file of its own."""

    def __call__(self, asked: Asked, progress: Progress) -> Answer | None:
        """Answer it, or return None when the request does not ask it."""


def file_names_of(answers: Mapping[str, Answer]) -> dict[str, str]:
    """Name of every file of the answers by its kind."""
    return {file.kind: file.name for answer in answers.values() for file in answer.files}
