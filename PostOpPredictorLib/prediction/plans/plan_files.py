"""The files of a plan, beside those of the prediction, and the table of all plans."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ...cases.bids import SPACE
from ...imaging.grid import TEMPLATE_GRID, Grid
from ..asked import AnswerFile
from ..full_resolution import predicted_in_mni, predicted_in_patient_space
from ..outcome_images import cavity_on_template, outcome_on_template
from ..outcome_volume import RESIDUAL_LABEL
from ..output_folder import write_plain, write_synthetic
from ..patient import Patient
from ..upsampling import on_template
from ..volume_prediction import CasePrediction
from .planned_mask import Plan

TABLE_KIND, TABLE_FILE = "plans_table", "plans.csv"
COLUMNS = (
    *("number", "name", "description", "plan_ml", "cavity_ml", "resected_ml", "resected_enhancing_ml"),
    *("resected_non_enhancing_ml", "residual_ml", "residual_enhancing_ml", "residual_non_enhancing_ml"),
    *("residual_abnormality_ml", "eor_percent", "rano_class", "healthy_taken_ml"),
)
LONGEST_SLUG = 40


def plan_files(number: int, plan: Plan, patient: Patient, case: CasePrediction, sequence: str) -> list[AnswerFile]:
    """All files of one plan; each is made when it is written."""
    folder = f"plans/{number}_{slug_of(plan.name)}"

    def file(kind: str, name: str, make: Callable[[], sitk.Image], synthetic: bool = True) -> AnswerFile:
        write = write_synthetic if synthetic else write_plain
        return AnswerFile(f"plan-{number}/{kind}", f"{folder}/{name}", lambda path: write(make(), path))

    return [
        file("postop_mni", f"postop_space-{SPACE}_{sequence}.nii.gz", lambda: predicted_in_mni(patient, case)),
        file(
            "postop_patient",
            f"postop_space-patient_{sequence}.nii.gz",
            lambda: predicted_in_patient_space(patient, case),
        ),
        file("plan_mni", f"plan_mask_space-{SPACE}.nii.gz", lambda: _plan_on_template(patient, plan), synthetic=False),
        file("cavity_mask_mni", f"cavity_mask_space-{SPACE}.nii.gz", lambda: cavity_on_template(patient, case)),
        file("residual_mask_mni", f"residual_mask_space-{SPACE}.nii.gz", lambda: _residual_on_template(patient, case)),
        file("outcome_mni", f"outcome_dseg_space-{SPACE}.nii.gz", lambda: outcome_on_template(patient, case)),
    ]


def plans_table(rows: Sequence[Mapping[str, Any]]) -> AnswerFile:
    """plans.csv: a row for the prediction without a plan (number 0) and one for each plan."""
    return AnswerFile(TABLE_KIND, TABLE_FILE, lambda path: _write_table(path, rows))


def slug_of(name: str) -> str:
    """``name`` as part of a file name on every system."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_SLUG].strip("-") or "plan"


def _plan_on_template(patient: Patient, plan: Plan) -> sitk.Image:
    inside = sitk.GetArrayViewFromImage(patient.brain_mni) > 0
    return TEMPLATE_GRID.image(((on_template(plan.mask.astype(np.float32)) > 0.5) & inside).astype(np.uint8))


def _residual_on_template(patient: Patient, case: CasePrediction) -> sitk.Image:
    outcome = outcome_on_template(patient, case)
    return Grid.of(outcome).image((sitk.GetArrayViewFromImage(outcome) == RESIDUAL_LABEL).astype(np.uint8))


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    distances = [f"distance_mm {one['name']}" for one in rows[0]["read_out"]["structures"]] if rows else []
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *distances, "eloquent_overlap_ml (proxy, no prediction of deficit)", "warnings"])
    for row in rows:
        figures = {**row["read_out"], **{key: row[key] for key in ("number", "name", "description")}}
        writer.writerow(
            [
                *("" if figures[column] is None else figures[column] for column in COLUMNS),
                *("" if one["distance_mm"] is None else one["distance_mm"] for one in figures["structures"]),
                _eloquent_overlap(figures["eloquent"]),
                " ".join(row["warnings"]),
            ]
        )
    path.write_text(text.getvalue(), encoding="utf-8")


def _eloquent_overlap(areas: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{area['region']} {area['overlap_ml']:.2f}" for area in areas if area["overlap_ml"] > 0)
