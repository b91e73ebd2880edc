"""Anatomies to start from: tissue maps in MNI space, from the template or from other people's label maps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ...imaging import template
from ...imaging.grid import WORKING_GRID
from ...imaging.volumes import read_volume
from .fields import FloatArray, blur

WM_LEVEL, GM_LEVEL, CSF_LEVEL = 0.82, 0.58, 0.16
"""T1 signal of healthy tissue before any scanner; DETAIL_ZERO is a residual of 0."""
DETAIL_ZERO = 128
DETAIL_SCALE = 256.0


@dataclass(frozen=True)
class SourceAnatomy:
    """Tissue maps of one brain on a 1 mm grid, uint8 x255, ``detail`` = DETAIL_ZERO + 256 x T1 residual.

    ``to_voxel`` (3, 4) maps MNI LPS mm (x, y, z) to array indices (z, y, x).
    """

    wm: NDArray[np.uint8]
    gm: NDArray[np.uint8]
    csf: NDArray[np.uint8]
    detail: NDArray[np.uint8]
    to_voxel: NDArray[np.float32]


def voxel_axes() -> tuple[FloatArray, FloatArray, FloatArray]:
    """LPS mm coordinates (z, y, x) of the working grid's voxels, each shaped to broadcast."""
    x, y, z = (
        np.float32(o) + np.float32(s) * np.arange(n, dtype=np.float32)
        for o, s, n in zip(WORKING_GRID.origin, WORKING_GRID.spacing, WORKING_GRID.size, strict=True)
    )
    return z[:, None, None], y[None, :, None], x[None, None, :]


def voxel_matrix(image: sitk.Image) -> NDArray[np.float32]:
    """(3, 4) matrix from LPS mm (x, y, z) to array indices (z, y, x) of ``image``."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    inverse = np.linalg.inv(direction @ np.diag(image.GetSpacing()))
    matrix = np.hstack([inverse, -(inverse @ np.array(image.GetOrigin()))[:, None]])
    return matrix[::-1].astype(np.float32)


def _as_bytes(probability: np.ndarray) -> NDArray[np.uint8]:
    return np.clip(np.rint(probability * 255), 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def template_anatomy() -> SourceAnatomy:
    """The MNI template: sharpened tissue probabilities and the T1 detail that they do not explain."""
    t1, gm, wm = (
        sitk.GetArrayFromImage(image).astype(np.float32)
        for image in (template.t1(), template.tissue("gm"), template.tissue("wm"))
    )
    inside = t1 > 0.02
    csf = np.clip(1 - gm - wm, 0, 1) * inside
    gm, wm = gm * inside, wm * inside
    parts = np.stack([wm, gm, csf]) ** 2.2
    total = np.maximum(parts.sum(0), 1e-3)
    wm, gm, csf = parts / total * inside
    model = WM_LEVEL * wm + GM_LEVEL * gm + CSF_LEVEL * csf
    scale = np.median(t1[wm > 0.95]) / WM_LEVEL
    detail = np.clip(t1 / scale - model, -0.3, 0.3) * inside
    return SourceAnatomy(
        _as_bytes(wm),
        _as_bytes(gm),
        _as_bytes(csf),
        np.clip(np.rint(detail * DETAIL_SCALE + DETAIL_ZERO), 0, 255).astype(np.uint8),
        voxel_matrix(template.t1()),
    )


@dataclass(frozen=True)
class TemplateMaps:
    """Template tissue on the working grid (z, y, x), float32 in [0, 1]: priors for places and ventricles."""

    wm: FloatArray
    gm: FloatArray
    csf: FloatArray
    brain: NDArray[np.bool_]


@lru_cache(maxsize=1)
def template_maps() -> TemplateMaps:
    """The template's tissue maps on the working grid."""
    gm, wm, t1 = (
        sitk.GetArrayFromImage(WORKING_GRID.resample(image)).astype(np.float32)
        for image in (template.tissue("gm"), template.tissue("wm"), template.t1())
    )
    brain = t1 > 0.02
    return TemplateMaps(wm * brain, gm * brain, np.clip(1 - gm - wm, 0, 1) * brain, brain)


ELOQUENT_PLACES: tuple[tuple[str, tuple[float, float, float], float, float, bool], ...] = (
    ("hand motor", (38, -24, 56), 13, 0.9, True),
    ("leg motor", (8, -28, 66), 11, 0.8, True),
    ("face motor", (54, -8, 30), 11, 0.6, True),
    ("Broca", (-48, 16, 20), 14, 0.9, False),
    ("Wernicke", (-56, -42, 16), 15, 0.9, False),
    ("angular", (-46, -62, 34), 12, 0.7, False),
    ("internal capsule", (22, -8, 12), 13, 1.0, True),
    ("basal ganglia", (24, 4, 2), 12, 0.9, True),
    ("thalamus", (12, -18, 8), 13, 1.0, True),
    ("brain stem", (0, -28, -30), 17, 1.0, False),
    ("callosum", (0, 0, 22), 13, 0.7, False),
    ("calcarine", (10, -82, 4), 13, 0.7, True),
    ("optic radiation", (34, -55, 4), 11, 0.6, True),
    ("insula", (38, 4, 2), 11, 0.6, True),
)
"""Name, MNI RAS mm, width mm, weight, on both sides."""


@lru_cache(maxsize=2)
def eloquence(resection_map: Path | None = None) -> FloatArray:
    """How much would be lost by operating at a place: (z, y, x) on the working grid, 0 safe to 1 forbidden.

    ``resection_map``: a volume in MNI space with the probability that tumour at a place is resected (0 = not known);
    where it is known it counts as much as the places named here.
    """
    places = _eloquent_places()
    if resection_map is None:
        return places
    probability = sitk.GetArrayFromImage(WORKING_GRID.resample(read_volume(resection_map))).astype(np.float32)
    known = ((probability > 0.02) & (probability <= 1)).astype(np.float32)
    weight = blur(known, 5.0)
    chance = blur(probability * known, 5.0) / np.maximum(weight, 1e-3)
    real = np.clip((1 - chance) * np.float32(2.4), 0, 1)
    share = np.float32(0.5) * np.clip(weight * 2, 0, 1)
    return (places + share * (real - places)).astype(np.float32)


@lru_cache(maxsize=1)
def _eloquent_places() -> FloatArray:
    z, y, x = voxel_axes()
    safe: FloatArray = np.ones(WORKING_GRID.shape, np.float32)
    for _, (right, front, up), width, weight, both in ELOQUENT_PLACES:
        for side in (right, -right) if both else (right,):
            squared = (x + side) ** 2 + (y + front) ** 2 + (z - up) ** 2
            safe *= 1 - np.float32(weight) * np.exp(-squared / np.float32(2 * width**2))
    return np.asarray(1 - safe, np.float32)
