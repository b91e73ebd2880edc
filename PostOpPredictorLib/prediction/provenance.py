"""How a prediction was made, so that it can be made again, and nothing about who the patient is."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import SimpleITK as sitk

from ..progress import Progress
from .patient_prediction import PatientPrediction, Tools
from .request import PredictionRequest

STATEMENT = (
    "Synthetic image: a computer's guess of how the brain may look after the operation. For research only, "
    "not for clinical decisions. Trained on simulated operations."
)
PACKAGES = ("PostOpPredictorLib", "torch", "diffusers", "SimpleITK", "numpy", "scipy", "nilearn")
PRIVATE_SETTINGS = (
    *("pre", "tumour", "brain", "out", "library", "model", "overwrite"),
    *("more", "plans", "structures"),
)
"""Paths may hold a patient's name."""


def software_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the result."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = _own_version() if name == "PostOpPredictorLib" else "unknown"
    return versions


def _own_version() -> str:
    from .. import __version__

    return __version__


def voxel_checksum(image: sitk.Image) -> str:
    """SHA-256 of the voxels of ``image`` as read and its size: tells whether two predictions had the same input."""
    array = sitk.GetArrayViewFromImage(image)
    digest = hashlib.sha256(repr((array.shape, str(array.dtype))).encode())
    digest.update(array.tobytes())
    return digest.hexdigest()


def settings_of(request: PredictionRequest) -> dict[str, Any]:
    """The request's settings without its paths; of further scans, plans and structures what names and numbers say."""
    return {name: value for name, value in asdict(request).items() if name not in PRIVATE_SETTINGS} | {
        "more": list(request.more),
        "plans": [
            {"name": plan.name, "margin_mm": plan.margin_mm, "spare_mm": [one.distance_mm for one in plan.spare]}
            for plan in request.plans
        ],
        "structures": [structure.name for structure in request.structures],
    }


class StageTimes:
    """A ``Progress`` that passes everything on and remembers the seconds that every stage took."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self._name: str | None = None
        self._began = time.perf_counter()
        self._seconds: dict[str, float] = {}

    def stage(self, name: str) -> None:
        """Begin a stage and close the one before."""
        self._close()
        self._name = name
        self._inner.stage(name)

    def step(self, done: int, total: int) -> None:
        """Pass the step on; raises what the inner one raises."""
        self._inner.step(done, total)

    def log(self, text: str) -> None:
        """Pass the text on."""
        self._inner.log(text)

    def seconds(self) -> Mapping[str, float]:
        """Seconds by stage so far, in order."""
        self._close()
        return dict(self._seconds)

    def _close(self) -> None:
        now = time.perf_counter()
        if self._name is not None:
            self._seconds[self._name] = round(self._seconds.get(self._name, 0.0) + now - self._began, 2)
        self._began = now


def provenance_record(
    request: PredictionRequest,
    tools: Tools,
    prediction: PatientPrediction,
    summary: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """What provenance.json says. No path and no file name of the input: they may hold a patient's name."""
    quality = prediction.patient.registration.quality
    return {
        "statement": STATEMENT,
        "synthetic": True,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": software_versions(),
        "model": {"name": tools.model_name, "checksum": tools.model_checksum},
        "library": {"cases": len(tools.library.cases), "checksum": tools.library.checksum()},
        "settings": settings_of(request),
        "sequence": {"name": prediction.sequence.sequence, "reason": prediction.sequence.reason},
        "input": {
            "scan_sha256": voxel_checksum(prediction.patient.scan),
            "tumour_sha256": voxel_checksum(prediction.patient.labels),
            "further_scans_sha256": {
                name: voxel_checksum(one.scan) for name, one in prediction.patient.further.items()
            },
        },
        "registration": {
            "sentence": quality.sentence,
            "overlap": round(float(quality.overlap), 4),
            "metric": round(float(quality.metric), 4),
            "already_in_mni": bool(prediction.patient.registration.already_in_mni),
        },
        "predicted_slices": [int(prediction.case.slices[0]), int(prediction.case.slices[-1])],
        "result": dict(summary),
        "seconds": dict(seconds),
    }
