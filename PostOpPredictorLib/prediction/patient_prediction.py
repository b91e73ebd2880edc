"""Everything that is known after one patient was predicted, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from ..cases.library import CaseLibrary
from ..model.device import chosen_device
from ..model.pipeline import PostOpPipeline
from ..model.weights import verify
from ..progress import Progress
from .demonstration_library import demonstration_library
from .full_resolution import predicted_in_mni, predicted_in_patient_space
from .further_scan import with_context
from .instruction import Instruction
from .model_choice import model_folder_of
from .patient import Patient, read_patient
from .precedents import Precedents, find_precedents, refuse_unknown
from .request import PredictionRequest
from .sequence_choice import SequenceChoice, choose_sequence, with_warning
from .volume_prediction import CasePrediction, Pipeline, predict_case
from .volumes_ml import OutcomeVolumes, outcome_volumes


@dataclass(frozen=True)
class Tools:
    """What a prediction is made with: a loaded model with its checksum, and a library, opened when it is first asked
    for."""

    pipeline: Pipeline
    model_name: str
    model_checksum: str
    open_library: Callable[[], CaseLibrary]

    @cached_property
    def library(self) -> CaseLibrary:
        """The library; that of the demonstration is simulated the first time, which takes minutes."""
        return self.open_library()


@dataclass(frozen=True)
class PatientPrediction:
    """``post_mni`` on TEMPLATE_GRID and ``post_patient`` on the scan's own grid are in scanner units."""

    patient: Patient
    sequence: SequenceChoice
    precedents: Precedents
    case: CasePrediction
    post_mni: sitk.Image
    post_patient: sitk.Image
    volumes: OutcomeVolumes


def open_tools(request: PredictionRequest, progress: Progress, load: Callable[[Path], Pipeline] | None = None) -> Tools:
    """Open the library and load the model, the shipped ones where the request names none.

    Raises ``LibraryError``, ``ModelMissing`` or ``ModelTampered``: before the long work, not after it. A demonstration
    library that must be simulated first waits until the patient's files are known to be usable.
    """
    folder = model_folder_of(request)
    progress.stage("Loading the model")
    progress.step(0, 1)
    checksum = verify(folder)
    pipeline = load(folder) if load else PostOpPipeline.from_pretrained(folder).to(chosen_device(request.device))
    progress.step(1, 1)
    named = None if request.library is None else CaseLibrary.open(request.library)
    if named is not None:
        refuse_unknown(named, request)
    return Tools(pipeline, folder.resolve().name, checksum, lambda: named or demonstration_library(progress))


def predict_patient(request: PredictionRequest, tools: Tools, progress: Progress) -> PatientPrediction:
    """Read, align, retrieve and predict the patient of ``request``; nothing is written."""
    patient = read_patient(request.pre, request.tumour, request.labels, request.brain, progress, request.sequence)
    sequence = choose_sequence(request.sequence, patient.pre, patient.tumour, patient.brain)
    sequence = with_warning(sequence, tools.pipeline)
    progress.log(f"Sequence {sequence.sequence}: {sequence.reason}.")
    patient = with_context(patient, request, tools.pipeline, sequence, progress)
    library = tools.library
    progress.stage("Looking for similar cases")
    progress.step(0, 1)
    precedents = find_precedents(library, patient, sequence.sequence, request, progress)
    instruction = precedents.instruction()
    progress.step(1, 1)
    if instruction is None:
        progress.log(
            "NO SIMILAR CASE in the library: the prediction is made without a precedent. Read it with more doubt."
        )
    case = predict_once(request, tools, patient, sequence, instruction, progress)
    progress.stage("Bringing the prediction to full resolution")
    progress.step(0, 2)
    post_mni = predicted_in_mni(patient, case)
    progress.step(1, 2)
    post_patient = predicted_in_patient_space(patient, case)
    progress.step(2, 2)
    volumes = outcome_volumes(patient.tumour, case.outcome, patient.registration.transform)
    return PatientPrediction(patient, sequence, precedents, case, post_mni, post_patient, volumes)


def predict_once(
    request: PredictionRequest,
    tools: Tools,
    patient: Patient,
    sequence: SequenceChoice,
    instruction: Instruction | None,
    progress: Progress,
    **changes: Any,
) -> CasePrediction:
    """``predict_case`` with the settings of ``request``, except for ``changes`` (arguments of ``predict_case``)."""
    settings: dict[str, Any] = {
        "sequence": sequence.sequence,
        "mode": request.mode,
        "steps": request.steps,
        "samples": request.samples,
        "seed": request.seed,
        "guidance": request.guidance,
        "start": request.start if instruction is not None else "noise",
        "days": request.days,
        "own_institution": request.institution is not None,
        "context": patient.context,
    }
    return predict_case(
        tools.pipeline,
        patient.pre,
        patient.tumour,
        patient.brain,
        instruction,
        progress=progress,
        **{**settings, **changes},
    )
