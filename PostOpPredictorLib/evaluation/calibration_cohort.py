"""Patients of a split measured one after another, for calibrating and for checking; what was measured stays on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cases.library import CaseLibrary, LibraryCase
from ..errors import InputError
from ..prediction.outcome_volume import tumour_core
from ..prediction.volume_prediction import Pipeline
from ..progress import PartOf, Progress
from ..retrieval.query import Query
from ..retrieval.strategies import TumourGuided
from .calibration_patient import (
    BLOCK,
    RIM,
    VOXELS,
    PatientMeasures,
    Trial,
    load_measures,
    measure_patient,
    save_measures,
)
from .evaluate import chosen_cases
from .result_cache import anonymous

VERSION = 1
"""To be raised when the measures change their meaning."""

TRIED_IOU = (0.02, 0.12)
"""Where else than among the most similar cases a precedent is tried, to see from where on one helps."""


@dataclass(frozen=True)
class CohortRequest:
    """``limit`` patients of each kind of the ``split``; each is measured in one of ``sequences``, in turn. ``settings``
    as ``intervals.settings_of`` names them; ``work``: the folder of results so far.
    """

    library: Path
    split: str
    limit: int | None
    sequences: tuple[str, ...]
    settings: Mapping[str, Any]
    work: Path
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """A patient's kind (phantom, semi-real, real), the sequence, and what was measured."""

    source: str
    sequence: str
    measures: PatientMeasures


def measure_cohort(
    request: CohortRequest, load: Callable[[], Pipeline], model_checksum: str, progress: Progress
) -> tuple[list[Measured], str]:
    """Every patient's measures, and the library's checksum; ``load`` opens the model when there is work for it.

    ``progress.step`` may raise to cancel: what is done is kept. Raises ``InputError`` when no patient can be measured.
    """
    library = CaseLibrary.open(request.library)
    cases = _one_of_each(chosen_cases(library.cases, request.split, request.limit), request.sequences)
    checksum = library.checksum()
    folder = request.work / _key(request, checksum, model_checksum)
    strategy = TumourGuided(library, progress=progress)
    progress.stage("Measuring patients")
    pipe: Pipeline | None = None
    found = []
    for number, (case, sequence) in enumerate(cases):
        progress.step(number, len(cases))
        path = folder / f"{anonymous(case.case_id)}_{sequence}.npz"
        measures = load_measures(path)
        if measures is None:
            pipe = pipe or load()
            measures = _measured(
                case, sequence, library, strategy, _trial(pipe, request), PartOf(progress, number, len(cases))
            )
            if measures is None:
                progress.log("A patient without any similar case was left out: such predictions get no interval.")
                continue
            save_measures(measures, path)
        if measures.error.size:
            found.append(Measured(case.source, sequence, measures))
    progress.step(len(cases), len(cases))
    if not found:
        raise InputError(f"In no patient of the split '{request.split}' anything was predicted to change.")
    return found, checksum


def _one_of_each(cases: Sequence[LibraryCase], sequences: Sequence[str]) -> list[tuple[LibraryCase, str]]:
    """One case of each patient and its sequence: the first in turn that the case has."""
    chosen: dict[str, tuple[LibraryCase, str]] = {}
    for case in cases:
        turned = [sequences[(len(chosen) + step) % len(sequences)] for step in range(len(sequences))]
        held = [sequence for sequence in turned if sequence in case.sequences]
        if held and case.patient_id not in chosen:
            chosen[case.patient_id] = (case, held[0])
    if not chosen:
        raise InputError(f"No patient has a scan of {', '.join(sequences)}. Choose another --sequence or --split.")
    return list(chosen.values())


def _measured(
    case: LibraryCase,
    sequence: str,
    library: CaseLibrary,
    strategy: TumourGuided,
    trial: Trial,
    progress: Progress,
) -> PatientMeasures | None:
    """None for a patient without any similar case."""
    core = tumour_core(case.tumour())
    query = Query(core, own_case_id=case.case_id, own_patient_id=case.patient_id)
    allowed = {
        one.case_id: one for one in library.cases if sequence in one.sequences and one.patient_id != case.patient_id
    }
    followed = strategy.rank(query, trial.followed, frozenset(allowed))
    if not followed:
        return None
    index = strategy.index
    iou = dict(zip(index.case_ids, index.volume_iou(core).tolist(), strict=True))
    others = sorted(set(allowed) - {match.case_id for match in followed})
    tried = {min(others, key=lambda name: abs(iou[name] - wanted)) for wanted in TRIED_IOU if others}
    return measure_patient(
        case,
        sequence,
        [(match.iou, allowed[match.case_id]) for match in followed],
        [(iou[name], allowed[name]) for name in sorted(tried)],
        trial,
        progress,
    )


def _trial(pipe: Pipeline, request: CohortRequest) -> Trial:
    settings = request.settings
    asked = {name: settings[name] for name in ("mode", "steps", "samples", "guidance", "start")}
    return Trial(pipe, settings["k"], settings["noise_samples"], settings["noise_steps"], request.seed, asked)


def _key(request: CohortRequest, library_checksum: str, model_checksum: str) -> str:
    parts = [VERSION, BLOCK, RIM, VOXELS, TRIED_IOU, library_checksum, model_checksum]
    parts += [sorted(request.settings.items()), request.sequences, request.seed]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
