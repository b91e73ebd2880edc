"""``predict``: from a scan and a tumour mask on disk to a folder with the predicted post-operative scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..atomic_files import whole_folder
from ..progress import Progress, SilentProgress
from .asked import Answer, Asked
from .more_sequences import refuse_impossible_more
from .output_folder import refuse_unusable_folder
from .patient_prediction import PatientPrediction, Tools, open_tools, predict_patient
from .plans.question import masks_of, refuse_unreadable_plans
from .precedents import precedents_record
from .prediction_files import write_prediction
from .provenance import StageTimes, provenance_record
from .questions import answers_of
from .report.written import REPORT
from .request import PredictionRequest, PredictionResult
from .time_series import refuse_times_without_a_model
from .volume_prediction import Pipeline


def predict(
    request: PredictionRequest,
    progress: Progress | None = None,
    load: Callable[[Path], Pipeline] | None = None,
    tools: Tools | None = None,
) -> PredictionResult:
    """Predict one patient and write everything into ``request.out``, whole or not at all.

    ``load`` opens another kind of model than ours (tests); ``tools``: opened already, for many patients. Raises one of
    ``errors``; whatever is raised, nothing was written and nothing that was there is lost.
    """
    timed = StageTimes(progress or SilentProgress())
    folder = _checked_folder(request)
    tools = tools or open_tools(request, timed, load)
    refuse_impossible_more(request, tools)
    refuse_times_without_a_model(request, tools)
    prediction = predict_patient(request, tools, timed)
    answers = answers_of(Asked(request, tools, prediction), timed)
    return write_result(folder, request, tools, prediction, timed, answers)


def predict_command(request: PredictionRequest, progress: Progress) -> Mapping[str, Any]:
    """The same for the command line and the job protocol: the result as one mapping."""
    return predict(request, progress).as_dict()


def write_result(
    folder: Path,
    request: PredictionRequest,
    tools: Tools,
    prediction: PatientPrediction,
    progress: StageTimes,
    answers: Mapping[str, Answer] | None = None,
) -> PredictionResult:
    """Write what was predicted into ``folder``, with the answers to what else was asked, and tell what is in it."""
    answers = answers or {}
    summary = summary_of(prediction) | {name: answer.summary for name, answer in answers.items()}
    summary |= {"report": {"file": REPORT}} if request.report else {}
    with whole_folder(folder, replace=folder.exists()) as temporary:
        names = write_prediction(
            temporary,
            prediction,
            precedents_record(prediction.precedents, folder, request, _influence(answers)),
            lambda: provenance_record(request, tools, prediction, summary, progress.seconds()),
            figure_texts(prediction, request),
            progress,
            answers,
            with_report=request.report,
        )
    return PredictionResult(folder, {kind: folder / name for kind, name in names.items()}, summary)


def _influence(answers: Mapping[str, Answer]) -> Sequence[Mapping[str, float]]:
    """What each precedent changes, by rank; empty when it was not asked."""
    return answers["uncertainty"].summary["influence"] if "uncertainty" in answers else ()


def summary_of(prediction: PatientPrediction) -> dict[str, Any]:
    """The figures that a person wants first, as JSON can hold them."""
    best = prediction.precedents.matches[0] if prediction.precedents.matches else None
    volumes = prediction.volumes
    return {
        "sequence": prediction.sequence.sequence,
        "sequence_reason": prediction.sequence.reason,
        "no_similar_case": best is None,
        "precedent": best.case_id if best else None,
        "precedent_iou": round(float(best.iou), 4) if best else None,
        "tumour_ml": round(volumes.tumour_ml, 2),
        "cavity_ml": round(volumes.cavity_ml, 2),
        "residual_ml": round(volumes.residual_ml, 2),
        "eor_percent": round(volumes.eor_percent, 1),
        "registration": prediction.patient.registration.quality.sentence,
    }


def figure_texts(prediction: PatientPrediction, request: PredictionRequest) -> tuple[str, str]:
    """The two lines above the figure."""
    summary = summary_of(prediction)
    precedent = "NO SIMILAR CASE" if summary["no_similar_case"] else f"precedent IoU {summary['precedent_iou']:.2f}"
    details = (
        f"tumour core {summary['tumour_ml']:.1f} ml   ·   predicted cavity {summary['cavity_ml']:.1f} ml   ·   "
        f"predicted residual {summary['residual_ml']:.1f} ml   ·   {precedent}   ·   "
        f"{summary['sequence']}, mode {request.mode}, seed {request.seed}"
    )
    return "Predicted post-operative MRI", details


def _checked_folder(request: PredictionRequest) -> Path:
    refuse_unreadable_plans(request)
    given = (request.pre, request.tumour, request.brain, request.library, request.model)
    inputs = tuple(path for path in (*given, *request.more.values(), *masks_of(request)) if path is not None)
    return refuse_unusable_folder(request.out, request.overwrite, inputs)
