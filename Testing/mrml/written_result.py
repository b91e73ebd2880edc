"""All that the backend may write for a prediction, on a coarse grid and within a second; the numbers are made up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
from finished_prediction import through
from PostOpPredictorModule.PredictionNodes import PredictionNodes
from PostOpPredictorModule.ResultFiles import readResult
from PostOpPredictorModule.ResultImport import ResultImport

SHAPE = (24, 30, 26)  # z, y, x
SPACING = 8.0
ORIGIN = (-100.0, -130.0, -72.0)  # LPS of the first voxel
TUMOUR_AT = np.array([40.0, -10.0, 30.0])  # LPS: in the left hemisphere
SHIFT_MM = (-5.0, 2.0, 1.0)  # LPS pull-back within 30 mm of the tumour
DAYS = (1.0, 90.0)
SPREADS = {"spread_noise_mni": 4.0, "spread_precedents_mni": 18.0, "uncertainty_mni": 25.0}
INFLUENCE = (0.6, -0.2)
"""At the rim of the cavity, of the first and the second precedent."""


@dataclass(frozen=True)
class WrittenResult:
    """``message``: the result line of the backend, whose files are there."""

    folder: Path
    message: dict[str, Any]

    def added(self, source: Any = None, run: str = "run-1", **more: Any) -> PredictionNodes:
        """Add it to the scene."""
        return through(ResultImport(slicer.mrmlScene, readResult(self.message), run, source, None, **more).steps())


def written_result(folder: Path, leave_out: tuple[str, ...] = (), **summary: Any) -> WrittenResult:
    """Write the files of a prediction with two precedents, two plans and two days into the new ``folder``.

    ``leave_out``: kinds of files that are not written; ``summary``: figures that replace those of ``SUMMARY``.
    """
    folder.mkdir(parents=True)
    files = {kind: _write(folder, kind, image) for kind, image in _images().items() if kind not in leave_out}
    figures = _summary() | summary
    files["precedents"] = _json(folder / "precedents.json", {"precedents": _precedents(folder)})
    provenance = {"statement": "Synthetic image.", "settings": {"seed": 0}, "result": figures}
    files["provenance"] = _json(folder / "provenance.json", provenance)
    transform = sitk.AffineTransform(3)
    transform.SetTranslation((4.0, -3.0, 2.0))
    sitk.WriteTransform(transform, str(folder / "from-patient_to-MNI.tfm"))
    files["patient_to_mni"] = str(folder / "from-patient_to-MNI.tfm")
    if "report" not in leave_out:
        (folder / "report.html").write_text("<!doctype html><title>Report \u00e4</title>" + "x" * 400, encoding="utf-8")
        files["report"] = str(folder / "report.html")
    return WrittenResult(folder, {"folder": str(folder), "files": files, **figures})


def plain_result(folder: Path, **summary: Any) -> WrittenResult:
    """What was written before there was more to ask for."""
    new = {
        kind for kind in _images() if not kind.startswith(("postop_mni", "preop_mni", "tumour", "cavity", "outcome"))
    }
    new |= {"cavity_agreement_mni", "postop_mni_FLAIR", "preop_mni_FLAIR", "report"}
    gone = dict.fromkeys(("plans", "series", "more", "uncertainty", "shift", "similarity"))
    return written_result(folder, tuple(new), **gone | summary)


def distance_to_tumour() -> np.ndarray:
    """mm (z, y, x)."""
    z, y, x = np.indices(SHAPE)
    points = np.stack([x, y, z], axis=-1) * SPACING + np.array(ORIGIN)
    return np.sqrt(((points - TUMOUR_AT) ** 2).sum(axis=-1))


def _images() -> dict[str, np.ndarray]:
    distance = distance_to_tumour()
    brain = (_distance_to((0.0, -10.0, 10.0)) < 85).astype(np.float32)
    cavity, tumour, changed = distance < 22, distance < 26, distance < 40
    fading = np.clip(1 - distance / 44, 0, 1).astype(np.float32)
    preop, postop = brain * np.where(tumour, 180.0, 100.0), brain * np.where(cavity, 20.0, 100.0)
    images: dict[str, np.ndarray] = {
        "postop_mni": postop.astype(np.float32),
        "preop_mni": preop.astype(np.float32),
        "cavity_probability_mni": fading,
        "tumour_mni": tumour.astype(np.uint8),
        "cavity_mask_mni": cavity.astype(np.uint8),
        "outcome_mni": cavity.astype(np.uint8),
        "cavity_agreement_mni": fading,
        "generated_mni": (cavity | (fading > 0.4)).astype(np.float32),
        "shift_mni": np.where((distance < 30)[..., None], SHIFT_MM, 0.0).astype(np.float32),
        "postop_mni_FLAIR": postop.astype(np.float32) * 3,
        "preop_mni_FLAIR": preop.astype(np.float32) * 3,
    }
    images |= {name: (top * fading * changed).astype(np.float32) for name, top in SPREADS.items()}
    rim = (distance > 14) & changed
    images |= {f"influence_{rank}_mni": (rim * value).astype(np.float32) for rank, value in enumerate(INFLUENCE, 1)}
    for number, radius in ((1, 18), (2, 26)):
        taken = distance < radius
        images |= {
            f"plan-{number}/postop_mni": (brain * np.where(taken, 20.0, 100.0)).astype(np.float32),
            f"plan-{number}/plan_mni": taken.astype(np.uint8),
            f"plan-{number}/cavity_mask_mni": taken.astype(np.uint8),
            f"plan-{number}/residual_mask_mni": (tumour & ~taken).astype(np.uint8),
            f"plan-{number}/outcome_mni": (taken + 2 * (tumour & ~taken)).astype(np.uint8),
        }
    for days in DAYS:
        images[f"day-{days:03.0f}/postop_mni"] = postop.astype(np.float32)
        images[f"day-{days:03.0f}/cavity_mask_mni"] = (distance < 22 - days / 12).astype(np.uint8)
    return images


def _summary() -> dict[str, Any]:
    read_out = {"plan_ml": 24.0, "resected_ml": 20.0, "residual_ml": 4.0, "eor_percent": 83.0, "rano_class": "3"}
    return {
        "tumour_ml": 73.6,
        "cavity_ml": 44.6,
        "residual_ml": 1.5,
        "eor_percent": 98.0,
        "precedent_iou": 0.41,
        "no_similar_case": False,
        "similarity": {
            "iou": 0.41,
            "level": "good",
            "sentence": "The most similar case overlaps by 0.41.",
            "threshold_weak": 0.1,
            "threshold_good": 0.3,
        },
        "shift": {
            "largest_mm": 5.5,
            "mean_near_cavity_mm": 3.1,
            "midline_mm": -1.5,
            "midline_before_mm": 4.0,
            "midline_sentence": "The midline is predicted to move by 1.5 mm to the patient's right.",
        },
        "uncertainty": {
            "units": "percent of the brain's brightness range",
            "precedents": 2,
            "noise_samples": 8,
            "largest_noise": 3.8,
            "largest_precedents": 17.0,
            "precedents_sentence": None,
            "influence_sentence": "How the mean cavity over 2 precedents changes when one of them is left out.",
            "cavity_ml_by_precedent": [44.6, 38.0],
            "cavity_ml_range": [38.0, 44.6],
            "calibrated": True,
            "calibration_sentence": "On 40 unseen patients the 90 % interval held 91 % of the true values.",
            "interval_level": 0.9,
        },
        "plans": [
            {"number": 1, "name": "careful", "read_out": read_out, "warnings": [], "files": {"postop_mni": "secret"}},
            {"number": 2, "name": "", "read_out": {**read_out, "residual_ml": 0.0}, "warnings": ["Large."]},
        ],
        "series": [{"days": days, "cavity_ml": 44.6 - days / 10} for days in DAYS],
        "more": [{"sequence": "FLAIR"}],
    }


def _precedents(folder: Path) -> list[dict[str, Any]]:
    distance = distance_to_tumour()
    images = {
        "pre": np.where(distance < 24, 180.0, 100.0).astype(np.float32),
        "post": np.where(distance < 20, 20.0, 100.0).astype(np.float32),
        "tumour": (distance < 24).astype(np.uint8),
        "outcome": (distance < 20).astype(np.uint8),
    }
    paths = {name: _write(folder, f"case_{name}", image) for name, image in images.items()}
    return [
        {
            "rank": rank,
            "followed": rank == 1,
            "case_id": f"case-{rank:04d}",
            "iou": 0.5 - 0.09 * rank,
            "eor_percent": 100.0 - 7 * rank,
            "source": "phantom",
            "institution": "north",
            "influence_ml": 9.0 / rank,
            "influence_percent": 75.0 if rank == 1 else 25.0,
            "files": paths,
        }
        for rank in range(1, len(INFLUENCE) + 1)
    ]


def _distance_to(point: tuple[float, float, float]) -> np.ndarray:
    z, y, x = np.indices(SHAPE)
    points = np.stack([x, y, z], axis=-1) * SPACING + np.array(ORIGIN)
    return np.sqrt(((points - np.array(point)) ** 2).sum(axis=-1))


def _write(folder: Path, kind: str, values: np.ndarray) -> str:
    image = sitk.GetImageFromArray(values, isVector=values.ndim == 4)
    image.SetSpacing((SPACING,) * 3)
    image.SetOrigin(ORIGIN)
    path = folder / f"{kind}.nii.gz"
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(image, str(path))
    return str(path)


def _json(path: Path, content: Mapping[str, Any]) -> str:
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)
