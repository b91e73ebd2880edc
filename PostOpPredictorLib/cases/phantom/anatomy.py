"""One person's anatomy: tissue maps of a source brain, warped by a random flow, aged, later pushed by the tumour."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .atlas import DETAIL_SCALE, DETAIL_ZERO, SourceAnatomy, template_maps, voxel_axes
from .fields import FloatArray, blur, largest_part, ramp, smooth_noise, smooth_noise_vectors, upsample

FLOW_STEP = 4
"""Working-grid voxels between the points of the flow lattice (6 mm)."""


LOW = 2
"""Working-grid voxels between the points on which masses grow and push (3 mm)."""


@dataclass(frozen=True)
class Person:
    """Where a person's tissue comes from.

    ``flow`` (3, z, y, x) mm on the 3 mm lattice: place p of the person lies at affine(p + flow) in MNI space.
    """

    source: SourceAnatomy
    flow: FloatArray
    affine: FloatArray
    atrophy: float
    age: float
    sex: str


@dataclass(frozen=True)
class Tissue:
    """Tissue fractions, T1 residual and brain mask (z, y, x) on the working grid or on its 3 mm lattice."""

    wm: FloatArray
    gm: FloatArray
    csf: FloatArray
    detail: FloatArray
    brain: NDArray[np.bool_]


def low_shape(shape: tuple[int, int, int], step: int) -> tuple[int, int, int]:
    """Size of a lattice with every ``step``-th voxel of ``shape``, one point more at the end."""
    a, b, c = (-(-n // step) + 1 for n in shape)
    return a, b, c


def random_person(rng: np.random.Generator, source: SourceAnatomy) -> Person:
    """Draw age, size, ventricles and a smooth random deformation."""
    age = float(np.clip(rng.normal(60, 13), 22, 86))
    sex = "F" if rng.random() < 0.42 else "M"
    atrophy = float((age - 55) / 30 + rng.normal(0, 0.35))
    shape = template_maps().brain.shape
    spacing = 1.5 * FLOW_STEP
    velocity = _ventricle_flow(float(np.clip(0.8 * atrophy + rng.normal(0, 0.7), -1.8, 1.8)))
    for scale, amplitude in ((48, 4.2), (24, 2.6), (12, 1.3)):
        velocity += smooth_noise_vectors(rng, velocity.shape[:3], scale, spacing) * np.float32(amplitude)
    flow = np.moveaxis(_exponential(velocity, spacing), -1, 0)
    fine = upsample(flow, low_shape(shape, LOW), FLOW_STEP / LOW)
    return Person(source, fine, _random_affine(rng), atrophy, age, sex)


def _random_affine(rng: np.random.Generator) -> FloatArray:
    """(3, 4) mm map for head size, proportions and what registration leaves."""
    angles = rng.normal(0, 0.025, 3)
    cx, cy, cz = np.cos(angles)
    sx, sy, sz = np.sin(angles)
    turn = (
        np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    )
    scale = np.diag(rng.normal(1.0, 0.03, 3).clip(0.93, 1.07))
    return np.hstack([turn @ scale, rng.normal(0, 1.2, (3, 1))]).astype(np.float32)


@lru_cache(maxsize=1)
def _ventricle_slope() -> FloatArray:
    """Unit-height gradient (z, y, x, 3) of the template's blurred ventricles on the flow lattice."""
    csf, brain = template_maps().csf, template_maps().brain
    depth = ndimage.distance_transform_edt(brain) * 1.5
    ventricles = blur(csf * (depth > 20), 6.0)[::FLOW_STEP, ::FLOW_STEP, ::FLOW_STEP]
    low = low_shape(csf.shape, FLOW_STEP)
    ventricles = np.pad(ventricles, [(0, n - m) for n, m in zip(low, ventricles.shape, strict=True)])
    slope = np.stack([np.gradient(ventricles, axis=axis) for axis in (2, 1, 0)], axis=-1)
    return (slope / np.abs(slope).max()).astype(np.float32)


def _ventricle_flow(amplitude: float) -> FloatArray:
    """Pull-back velocity (mm) that widens (positive) or narrows the ventricles."""
    return _ventricle_slope() * np.float32(amplitude)


def _exponential(velocity: FloatArray, spacing: float, squarings: int = 4) -> FloatArray:
    """Scaling and squaring of a stationary velocity field (z, y, x, 3) mm on a lattice of ``spacing`` mm."""
    flow = velocity / np.float32(2**squarings)
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in flow.shape[:3]), indexing="ij"))
    for _ in range(squarings):
        points = grid + np.moveaxis(flow, -1, 0)[::-1] / np.float32(spacing)
        flow = flow + np.stack(
            [ndimage.map_coordinates(flow[..., c], points, order=1, mode="nearest") for c in range(3)], axis=-1
        )
    return flow


def coarse_tissue(person: Person) -> Tissue:
    """The person's tissue on the 3 mm lattice, without a mass: what a tumour grows in."""
    z, y, x = (axis[::LOW, ::LOW, ::LOW] for axis in voxel_axes())
    nz, ny, nx = z.size, y.size, x.size
    flow = person.flow[:, :nz, :ny, :nx]
    indices = _source_indices(person, x + flow[0], y + flow[1], z + flow[2])
    wm, gm, csf, detail = _sampled(person.source, indices)
    brain = _brain_mask(wm + gm, spacing_mm=1.5 * LOW)
    total = np.maximum(wm + gm + csf, 1)
    return Tissue(wm / total * brain, gm / total * brain, (1 - (wm + gm) / total) * brain, detail, brain)


def tissue_of(person: Person, rng: np.random.Generator, push: FloatArray) -> Tissue:
    """The person's tissue on the working grid under a mass's pull-back ``push`` (3, z, y, x) mm on the 3 mm lattice."""
    shape = template_maps().brain.shape
    flow = upsample(push + _pulled_flow(person.flow, push), shape, LOW)
    z, y, x = voxel_axes()
    where = _near_brain()
    places = [np.broadcast_to(axis, shape)[where] + flow[c][where] for c, axis in enumerate((x, y, z))]
    parts = []
    for values in _sampled(person.source, _source_indices(person, *places)):
        part = np.zeros(shape, np.float32)
        part[where] = values
        parts.append(part)
    wm, gm, csf, detail = parts
    brain = _brain_mask(wm + gm, spacing_mm=1.5)
    sulci = smooth_noise(rng, shape, 5.0) + smooth_noise(rng, shape, 9.0)
    csf = np.maximum(csf, 255 - wm - gm) * np.exp(np.float32(0.5 * person.atrophy) + np.float32(0.22) * sulci)
    share = brain / np.maximum(wm + gm + csf, 1)
    return Tissue(wm * share, gm * share, csf * share, detail * brain, brain)


def _pulled_flow(flow: FloatArray, push: FloatArray) -> FloatArray:
    """``flow`` sampled at p + push, both (3, z, y, x) mm on the 3 mm lattice."""
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in flow.shape[1:]), indexing="ij"))
    points = grid + push[::-1] / np.float32(1.5 * LOW)
    return np.stack([ndimage.map_coordinates(part, points, order=1, mode="nearest") for part in flow])


@lru_cache(maxsize=1)
def _near_brain() -> NDArray[np.bool_]:
    """Voxels where any person's brain may lie."""
    return ndimage.distance_transform_edt(~template_maps().brain) * 1.5 < 15


def _sampled(source: SourceAnatomy, indices: FloatArray) -> list[FloatArray]:
    """White matter, grey matter, CSF (0 to 255) and T1 residual at array indices (3, ...) of the source."""
    wm, gm, csf, detail = (
        ndimage.map_coordinates(channel, indices, output=np.float32, order=1, mode="constant", cval=outside)
        for channel, outside in ((source.wm, 0), (source.gm, 0), (source.csf, 0), (source.detail, DETAIL_ZERO))
    )
    return [wm, gm, csf, (detail - DETAIL_ZERO) / np.float32(DETAIL_SCALE)]


def _source_indices(person: Person, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Array indices (3, ...) in the source of places in mm."""
    four = np.vstack([person.affine, [[0, 0, 0, 1]]]).astype(np.float32)
    matrix = person.source.to_voxel @ four
    return np.stack([m[0] * x + m[1] * y + m[2] * z + m[3] for m in matrix])


def _brain_mask(solid_bytes: FloatArray, spacing_mm: float) -> NDArray[np.bool_]:
    """Brain with its sulci, fissures and ventricles, as a skull stripper leaves it."""
    step = round(3.0 / spacing_mm)
    mask = largest_part(blur(solid_bytes / np.float32(255), 3.0, spacing_mm) > 0.33)
    low = np.pad(mask[::step, ::step, ::step], 8)
    outside = ndimage.distance_transform_edt(~low) * 3.0
    hull = ndimage.distance_transform_edt(outside <= 7.0) * 3.0 - 7.0
    deep = ndimage.distance_transform_edt(outside <= 18.0) * 3.0 - 18.0
    level = np.maximum(hull, deep - 7.0)[8:-8, 8:-8, 8:-8].astype(np.float32)
    filled = upsample(level, mask.shape, step) if step > 1 else level
    return ndimage.binary_fill_holes(mask | (filled > 1.0))


def ventricle_weight(tissue: Tissue) -> FloatArray:
    """Soft mask of the deep CSF (ventricles), for choroid plexus and for tests."""
    depth = ndimage.distance_transform_edt(tissue.brain[::2, ::2, ::2]) * 3.0
    deep = upsample(depth.astype(np.float32), tissue.brain.shape, 2)
    return tissue.csf * ramp(deep, 14.0, 22.0)
