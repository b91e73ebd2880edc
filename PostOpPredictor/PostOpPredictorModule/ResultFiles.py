"""Reads what the backend wrote, without touching a node: it may run in a thread while the application stays usable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .WindowLevel import GreyWindow

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
RAS_AXES = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
LINEAR_TOLERANCE_MM = 1e-3

VOLUMES = {
    "postop": "postop_mni",
    "preop": "preop_mni",
    "cavityProbability": "cavity_probability_mni",
    "uncertainty": "uncertainty_mni",
}
LABELS = {"tumour": "tumour_mni", "cavity": "cavity_mask_mni", "outcome": "outcome_mni"}
"""What a result node shows -> the backend's name of the file."""
OPTIONAL_IMAGES = frozenset({"uncertainty"})
CAVITY_LABELS = (1, 3, 5)
"""Labels of an outcome that lie in the hole: fluid, blood and air."""


@dataclass(frozen=True)
class ImageData:
    """Voxels (z, y, x) and the 4 x 4 matrix from voxel indices (i, j, k) to RAS millimetres."""

    array: np.ndarray
    ijkToRas: np.ndarray

    def cropped(self) -> ImageData:
        """The smallest box that holds all labels (one voxel where there are none), as uint8."""
        held = np.argwhere(self.array)
        first, last = (held.min(axis=0), held.max(axis=0) + 1) if len(held) else (np.zeros(3, int), np.ones(3, int))
        box = tuple(slice(start, end) for start, end in zip(first, last, strict=True))
        place = self.ijkToRas.copy()
        place[:3, 3] += self.ijkToRas[:3, :3] @ first[::-1]
        return ImageData(np.ascontiguousarray(self.array[box], np.uint8), place)


@dataclass(frozen=True)
class PrecedentFiles:
    """One operated case: what precedents.json says of it, its volumes "pre" and "post" with the grey levels of its
    brain before surgery, and its label maps "tumour" and "cavity"."""

    record: Mapping[str, Any]
    images: Mapping[str, ImageData]
    grey: GreyWindow


@dataclass(frozen=True)
class ResultFiles:
    """A whole prediction in memory; label maps are cropped.

    ``grey``: window of the scan's brain. ``patientToMni``: a 4 x 4 matrix in RAS millimetres.
    """

    images: Mapping[str, ImageData]
    grey: GreyWindow
    precedents: tuple[PrecedentFiles, ...]
    patientToMni: np.ndarray
    provenance: Mapping[str, Any]


def readResult(message: Mapping[str, Any]) -> ResultFiles:
    """Read all files that the backend's result names; raises what reading raises."""
    files = {name: Path(path) for name, path in message["files"].items()}
    images = {
        role: readImage(files[name]) for role, name in VOLUMES.items() if name in files or role not in OPTIONAL_IMAGES
    }
    images |= {role: readImage(files[name]).cropped() for role, name in LABELS.items()}
    records = _readJson(files["precedents"])["precedents"]
    return ResultFiles(
        images,
        GreyWindow.ofValues(images["preop"].array),
        tuple(precedentFiles(record) for record in records),
        readLinearTransform(files["patient_to_mni"]),
        _readJson(files["provenance"]),
    )


def readImage(path: Path) -> ImageData:
    """Read a 3-D image of one component."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"{path.name} is no 3-D image with one value per voxel")
    ijkToLps = np.eye(4)
    ijkToLps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    ijkToLps[:3, 3] = image.GetOrigin()
    return ImageData(sitk.GetArrayFromImage(image), LPS_TO_RAS @ ijkToLps)


def readLinearTransform(path: Path) -> np.ndarray:
    """Read an affine ITK transform (LPS) as a 4 x 4 matrix in RAS; raises ``ValueError`` for one that is not affine."""
    import SimpleITK as sitk

    transform = sitk.ReadTransform(str(path))
    points = np.array([transform.TransformPoint(point) for point in RAS_AXES.tolist()])
    matrix = np.eye(4)
    matrix[:3, :3] = (points[1:] - points[0]).T
    matrix[:3, 3] = points[0]
    probe = (37.0, -58.0, 71.0)
    expected = matrix[:3, :3] @ probe + matrix[:3, 3]
    if not np.allclose(transform.TransformPoint(probe), expected, atol=LINEAR_TOLERANCE_MM):
        raise ValueError(f"{path.name} is no affine transform")
    return LPS_TO_RAS @ matrix @ LPS_TO_RAS


def precedentFiles(record: Mapping[str, Any]) -> PrecedentFiles:
    """Read the images of one entry of precedents.json; its cavity is the hole and what filled it."""
    pre, post, tumour, outcome = (
        readImage(Path(record["files"][name])) for name in ("pre", "post", "tumour", "outcome")
    )
    hole = ImageData(np.isin(outcome.array, CAVITY_LABELS), outcome.ijkToRas)
    images = {"pre": pre, "post": post, "tumour": tumour.cropped(), "cavity": hole.cropped()}
    return PrecedentFiles(record, images, GreyWindow.ofValues(pre.array))


def _readJson(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
