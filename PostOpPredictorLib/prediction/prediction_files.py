"""The files of a prediction: written into a folder that becomes public only when all of them are there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..cases.bids import SPACE
from ..imaging.grid import TEMPLATE_GRID, WORKING_GRID
from ..progress import Progress
from .asked import Answer, AnswerFile, file_names_of
from .outcome_images import cavity_in_patient_space, cavity_on_template, outcome_on_template
from .output_folder import PROVENANCE, write_plain, write_synthetic
from .patient_prediction import PatientPrediction
from .prediction_figure import draw_prediction
from .report.finished import Finished
from .report.written import REPORT, write_report
from .upsampling import on_template

JSON_INDENT = 2


def file_names(sequence: str, has_shift: bool) -> dict[str, str]:
    """Name of every file by what it is."""
    names = {
        "postop_mni": f"postop_space-{SPACE}_{sequence}.nii.gz",
        "postop_patient": f"postop_space-patient_{sequence}.nii.gz",
        "preop_mni": f"preop_space-{SPACE}_{sequence}.nii.gz",
        "tumour_mni": f"tumour_mask_space-{SPACE}.nii.gz",
        "outcome_mni": f"outcome_dseg_space-{SPACE}.nii.gz",
        "cavity_probability_mni": f"cavity_probability_space-{SPACE}.nii.gz",
        "cavity_mask_mni": f"cavity_mask_space-{SPACE}.nii.gz",
        "cavity_mask_patient": "cavity_mask_space-patient.nii.gz",
        "mni_to_patient": "from-MNI_to-patient.tfm",
        "patient_to_mni": "from-patient_to-MNI.tfm",
        "precedents": "precedents.json",
        "figure": "prediction.png",
        "provenance": PROVENANCE,
    }
    return names | ({"shift_mni": f"shift_space-{SPACE}_res-1p5mm.nii.gz"} if has_shift else {})


def write_prediction(
    folder: Path,
    prediction: PatientPrediction,
    precedents: dict[str, Any],
    provenance: Callable[[], dict[str, Any]],
    texts: tuple[str, str],
    progress: Progress,
    answers: Mapping[str, Answer],
    *,
    with_report: bool = False,
) -> dict[str, str]:
    """Write everything into the existing ``folder``; returns the file names by what they are.

    ``texts``: the figure's header lines. ``provenance`` is asked last, so that it knows how long everything took; only
    the report, which shows it, is written after it.
    """
    names = file_names(prediction.sequence.sequence, bool(np.any(prediction.case.shift))) | file_names_of(answers)
    progress.stage("Writing the prediction")
    tasks: list[Callable[[], None]] = [
        *_image_tasks(folder, prediction, names),
        *(_writing_answer(folder, file) for answer in answers.values() for file in answer.files),
        lambda: _write_transforms(folder, prediction, names),
        lambda: _write_figure(folder / names["figure"], prediction, texts),
        lambda: write_json(folder / names["precedents"], precedents),
        lambda: write_json(folder / names["provenance"], provenance()),
    ]
    for number, task in enumerate(tasks):
        progress.step(number, len(tasks))
        task()
    progress.step(len(tasks), len(tasks))
    if not with_report:
        return names
    records = (json.loads((folder / names[kind]).read_text(encoding="utf-8")) for kind in ("provenance", "precedents"))
    write_report(folder / REPORT, Finished(folder, names, prediction, *records), progress)
    return names | {"report": REPORT}


def _writing_answer(folder: Path, file: AnswerFile) -> Callable[[], None]:
    def write() -> None:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        file.write(path)

    return write


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` as JSON that a person can read."""
    path.write_text(
        json.dumps(content, indent=JSON_INDENT, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )


def _image_tasks(folder: Path, prediction: PatientPrediction, names: dict[str, str]) -> list[Callable[[], None]]:
    patient, case = prediction.patient, prediction.case
    plain = {"preop_mni": lambda: patient.scan_mni, "tumour_mni": lambda: patient.labels_mni}
    synthetic: dict[str, Callable[[], sitk.Image]] = {
        "postop_mni": lambda: prediction.post_mni,
        "postop_patient": lambda: prediction.post_patient,
        "outcome_mni": lambda: outcome_on_template(patient, case),
        "cavity_probability_mni": lambda: TEMPLATE_GRID.image(on_template(case.cavity_probability)),
        "cavity_mask_mni": lambda: cavity_on_template(patient, case),
        "cavity_mask_patient": lambda: cavity_in_patient_space(patient, case),
    }
    if "shift_mni" in names:
        synthetic["shift_mni"] = lambda: WORKING_GRID.image(case.shift)

    def writing(
        kind: str, make: Callable[[], sitk.Image], write: Callable[[sitk.Image, Path], None]
    ) -> Callable[[], None]:
        return lambda: write(make(), folder / names[kind])

    tasks = [writing(kind, make, write_plain) for kind, make in plain.items()]
    return tasks + [writing(kind, make, write_synthetic) for kind, make in synthetic.items()]


def _write_transforms(folder: Path, prediction: PatientPrediction, names: dict[str, str]) -> None:
    transform = prediction.patient.registration.transform
    sitk.WriteTransform(transform, str(folder / names["mni_to_patient"]))
    sitk.WriteTransform(transform.GetInverse(), str(folder / names["patient_to_mni"]))


def _write_figure(path: Path, prediction: PatientPrediction, texts: tuple[str, str]) -> None:
    draw_prediction(
        path,
        prediction.patient,
        prediction.case,
        prediction.post_mni,
        prediction.precedents.best,
        prediction.sequence.sequence,
        *texts,
    )
