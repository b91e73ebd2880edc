"""Further sequences of the same session: the outcome is predicted once, every scan that is given is drawn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from ..cases.bids import SPACE
from ..cases.case import SEQUENCES
from ..errors import InputError
from ..progress import Progress
from .asked import Answer, AnswerFile, Asked
from .full_resolution import predicted_in_mni, predicted_in_patient_space
from .further_scan import context_of, read_further_scan
from .instruction import Instruction
from .output_folder import write_plain, write_synthetic
from .patient import Patient
from .patient_prediction import Tools
from .precedents import Precedents
from .request import PredictionRequest
from .sequence_choice import untrained_warning
from .volume_prediction import CasePrediction, render_sequence


def more_sequences(asked: Asked, progress: Progress) -> Answer | None:
    """The predicted operation in every sequence of ``request.more``, in MNI space and on that scan's own grid.

    Raises ``InputError`` for a scan that is no usable one or lies in another space than the main scan.
    """
    further = asked.request.more
    if not further:
        return None
    if not asked.tools.pipeline.has_renderer:
        return None  # they were seen, and cannot be drawn
    records, files = [], []
    for number, (sequence, path) in enumerate(further.items()):
        progress.stage(f"Reading the {sequence} scan")
        progress.step(number, len(further))
        main = asked.prediction.patient
        patient = main.further.get(sequence) or read_further_scan(main, path, sequence)
        record, case = _drawn(asked, patient, sequence, progress)
        records.append(record)
        files += _files(patient, case, sequence, progress)
    return Answer("more", records, tuple(files))


def refuse_impossible_more(request: PredictionRequest, tools: Tools) -> None:
    """Raise ``InputError``, before anything is predicted, for further scans that could never be drawn."""
    for sequence, path in request.more.items():
        if sequence not in SEQUENCES:
            raise InputError(f"There is no sequence '{sequence}'. Choose one of: {', '.join(SEQUENCES)}.")
        if sequence == request.sequence:
            raise InputError(f"{sequence} is the sequence of the main scan; give it once.")
        if not path.exists():
            raise InputError(f"{path} does not exist. Check the path of the {sequence} scan.")
    if set(request.more) - set(context_of(tools.pipeline)) and not tools.pipeline.has_renderer:
        raise InputError(
            "This model draws one image and no structure, so no further sequence can be drawn from it. "
            "Choose a structure model, or leave the further scans out."
        )


def _drawn(asked: Asked, patient: Patient, sequence: str, progress: Progress) -> tuple[dict[str, Any], CasePrediction]:
    instruction = _instruction_in(asked.prediction.precedents, sequence)
    warnings = []
    if instruction is None and asked.prediction.precedents.matches:
        warnings.append(
            f"The case that is followed has no {sequence} scans: how bright its cavity is on {sequence} is not known, "
            "and the model drew what it draws on average."
        )
    untrained = untrained_warning(asked.tools.pipeline, sequence)
    warnings += [untrained] if untrained else []
    for warning in warnings:
        progress.log(warning)
    case = render_sequence(
        asked.tools.pipeline,
        asked.prediction.case,
        patient.pre,
        patient.tumour,
        patient.brain,
        instruction,
        sequence=sequence,
        progress=progress,
        days=asked.request.days,
        own_institution=asked.request.institution is not None,
    )
    followed = instruction is not None
    return {"sequence": sequence, "precedent_has_it": followed, "warnings": warnings}, case


def _instruction_in(precedents: Precedents, sequence: str) -> Instruction | None:
    """The precedent's pair of ``sequence``; None where one of the cases that are followed has no such pair."""
    matches = precedents.matches if precedents.by_slice else precedents.matches[:1]
    if not all(sequence in precedents.library.case(match.case_id).sequences for match in matches):
        return None
    return replace(precedents, sequence=sequence).instruction()


def _files(patient: Patient, case: CasePrediction, sequence: str, progress: Progress) -> list[AnswerFile]:
    progress.stage(f"Bringing {sequence} to full resolution")
    progress.step(0, 2)
    in_mni = predicted_in_mni(patient, case)
    progress.step(1, 2)
    in_patient_space = predicted_in_patient_space(patient, case)
    progress.step(2, 2)
    return [
        AnswerFile(
            f"preop_mni_{sequence}", f"preop_space-{SPACE}_{sequence}.nii.gz", _writing(patient.scan_mni, plain=True)
        ),
        AnswerFile(f"postop_mni_{sequence}", f"postop_space-{SPACE}_{sequence}.nii.gz", _writing(in_mni)),
        AnswerFile(f"postop_patient_{sequence}", f"postop_space-patient_{sequence}.nii.gz", _writing(in_patient_space)),
    ]


def _writing(image: sitk.Image, *, plain: bool = False) -> Callable[[Path], None]:
    return lambda path: (write_plain if plain else write_synthetic)(image, path)
