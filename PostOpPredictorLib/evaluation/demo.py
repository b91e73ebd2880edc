"""The demonstration: a simulated patient is predicted like a real one and compared with the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_files import whole_folder
from ..cases.case import FloatArray, LabelArray
from ..cases.phantom.cohort import simulate_case
from ..errors import InputError
from ..imaging.volumes import write_volume
from ..prediction.demonstration_library import (
    DEMONSTRATION_CASES,
    TEST_PATIENT_INDEX,
    demonstration_library,
    demonstration_patient,
)
from ..prediction.outcome_volume import CAVITY_LABELS, VOXEL_ML, tumour_core
from ..prediction.output_folder import PROVENANCE, refuse_unusable_folder
from ..prediction.patient import Patient
from ..prediction.patient_prediction import PatientPrediction, open_tools, predict_patient
from ..prediction.prediction_files import write_json
from ..prediction.predictor import write_result
from ..prediction.provenance import STATEMENT, StageTimes
from ..prediction.request import PredictionRequest, PredictionResult
from ..prediction.volume_prediction import Pipeline
from ..prediction.volumes_ml import volume_scale
from ..progress import Progress
from .demo_figure import draw_demo
from .demo_patient import DemoPatient, Truth, demo_patient, truth_for
from .metrics import image_metrics
from .overlap import dice
from .regions import Regions

PICTURE = "demo.png"
SEQUENCE = "T1wCE"
ANSWERS = ("prediction", "copy of the scan before", "precedent after")
MEASURES = ("ssim_peri", "psnr_peri", "ssim_brain", "psnr_brain", "cavity_dice")


@dataclass(frozen=True)
class DemoRequest:
    """``out``: folder to write; ``cases``: least patients of the library; ``patient``: who is predicted."""

    out: Path = Path("postop-demo")
    cases: int = DEMONSTRATION_CASES
    model: Path | None = None
    seed: int = 0
    patient: int = TEST_PATIENT_INDEX
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.cases <= TEST_PATIENT_INDEX:
            raise InputError(f"A library of {self.cases} cases was asked for; give 1 to {TEST_PATIENT_INDEX}.")
        if self.patient < TEST_PATIENT_INDEX:
            raise InputError(f"Patient {self.patient} may be in the library; give {TEST_PATIENT_INDEX} or more.")


def run_demo(
    request: DemoRequest, progress: Progress, load: Callable[[Path], Pipeline] | None = None
) -> Mapping[str, Any]:
    """Simulate a library and a patient, predict the patient, compare with the truth, and write all of it.

    Whole or not at all, like ``predict``, and raises what that raises.
    """
    began = time.perf_counter()
    folder = refuse_unusable_folder(request.out, request.overwrite, ())
    library = demonstration_library(progress, request.cases)
    progress.stage("Simulating the patient")
    progress.step(0, 1)
    demo = demo_patient(simulate_case(demonstration_patient(request.patient)), SEQUENCE)
    progress.step(1, 1)
    with whole_folder(folder, replace=folder.exists()) as temporary:
        asked = _prediction_request(request, demo, library.folder, temporary)
        timed = StageTimes(progress)
        tools = open_tools(asked, timed, load)
        prediction = predict_patient(asked, tools, timed)
        written = write_result(asked.out, asked, tools, prediction, timed)
        report = _report(demo, prediction, written, time.perf_counter() - began)
        progress.stage("Comparing with the truth")
        progress.step(0, 1)
        draw_demo(temporary / PICTURE, prediction, truth_for(demo, prediction.patient), _details(report))
        write_json(temporary / PROVENANCE, {"statement": STATEMENT, **report})
        progress.step(1, 1)
    files = {name: folder / path.relative_to(temporary) for name, path in written.files.items()}
    files |= {"prediction_figure": files["figure"], "figure": folder / PICTURE}
    return {"folder": folder, "files": files, **report}


def _prediction_request(request: DemoRequest, demo: DemoPatient, library: Path, folder: Path) -> PredictionRequest:
    """Write the patient's files as a hospital would give them, and ask for their prediction."""
    pre, tumour = folder / "patient" / f"{SEQUENCE}.nii.gz", folder / "patient" / "tumour.nii.gz"
    write_volume(demo.scan, pre)
    write_volume(demo.labels, tumour)
    write_volume(demo.true_post, folder / "patient" / f"true_postop_{SEQUENCE}.nii.gz")
    return PredictionRequest(
        pre=pre, tumour=tumour, out=folder / "prediction", library=library, model=request.model, seed=request.seed
    )


def _report(
    demo: DemoPatient, prediction: PatientPrediction, written: PredictionResult, seconds: float
) -> dict[str, Any]:
    truth = truth_for(demo, prediction.patient)
    true_cavity = np.isin(truth.outcome, CAVITY_LABELS)
    ml = volume_scale(prediction.patient.registration.transform) * VOXEL_ML
    return {
        "measures": measures(prediction, truth),
        "precedent": written.summary["precedent"],
        "precedent_iou": written.summary["precedent_iou"],
        "no_similar_case": written.summary["no_similar_case"],
        "cavity_ml": written.summary["cavity_ml"],
        "true_cavity_ml": round(float(true_cavity.sum()) * ml, 2),
        "registration": written.summary["registration"],
        "seconds": round(seconds, 1),
    }


def measures(prediction: PatientPrediction, truth: Truth) -> dict[str, dict[str, float | None]]:
    """Answer -> metric -> value, over the slices that were predicted; ``None`` where a metric is not defined."""
    patient, case = prediction.patient, prediction.case
    shown = prediction.precedents.instruction()
    images = (case.image, patient.pre, None if shown is None else shown.post)
    nothing = np.zeros(case.outcome.shape, np.uint8)
    outcomes = (case.outcome, nothing, None if shown is None else shown.outcome)
    return {
        name: {} if image is None or outcome is None else _measured(image, outcome, patient, truth)
        for name, image, outcome in zip(ANSWERS, images, outcomes, strict=True)
    }


def _measured(image: FloatArray, outcome: LabelArray, patient: Patient, truth: Truth) -> dict[str, float | None]:
    core, cavity = tumour_core(patient.tumour), np.isin(truth.outcome, CAVITY_LABELS)
    index = np.flatnonzero((core | cavity).any(axis=(1, 2)))
    regions = Regions.of(patient.brain[index] > 0, core[index], cavity[index])
    values = image_metrics(image[index], truth.post[index], regions)
    found: dict[str, float | None] = {key: round(float(np.nanmean(values[key])), 4) for key in MEASURES[:-1]}
    overlap = dice(np.isin(outcome, CAVITY_LABELS), cavity)
    return found | {"cavity_dice": None if overlap is None else round(overlap, 4)}


def _details(report: Mapping[str, Any]) -> str:
    ours, copy = (report["measures"][name] for name in ANSWERS[:2])
    precedent = "NO SIMILAR CASE" if report["no_similar_case"] else f"precedent IoU {report['precedent_iou']:.2f}"
    return (
        f"around the cavity: SSIM {ours['ssim_peri']:.3f} (copy of the scan before {copy['ssim_peri']:.3f}), "
        f"PSNR {ours['psnr_peri']:.1f} dB ({copy['psnr_peri']:.1f} dB)   ·   "
        f"cavity Dice {ours['cavity_dice'] or 0:.2f}, {report['cavity_ml']:.0f} ml predicted, "
        f"{report['true_cavity_ml']:.0f} ml true   ·   {precedent}"
    )
