"""The way in: where the skull is opened, and the corridor from there to the tumour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .atlas import voxel_axes
from .fields import SPACING_MM, Crop, FloatArray, smooth_noise
from .patient import Patient, centre_of


@dataclass(frozen=True)
class Craniotomy:
    """Where the skull is opened: voxel (z, y, x) on the brain's surface, and its distance mm from the tumour."""

    place: NDArray[np.float64]
    distance_mm: float


def craniotomy_for(patient: Patient, eloquence: FloatArray) -> Craniotomy:
    """The surface point of the same hemisphere with the shortest and safest way to the tumour."""
    small = patient.brain[::2, ::2, ::2]
    rim = small & ~ndimage.binary_erosion(small)
    points = np.argwhere(rim) * 2
    target = np.array(centre_of(patient.core))
    z, _y, x = (axis.ravel() for axis in voxel_axes())
    px, pz = x[np.minimum(points[:, 2], x.size - 1)], z[np.minimum(points[:, 0], z.size - 1)]
    side = np.sign(x[target[2]]) or 1.0
    usable = (px * side > 10) & (pz > -30)
    points = points[usable] if usable.any() else points
    way = np.linalg.norm((points - target) * SPACING_MM, axis=1)
    steps = target + (points[:, None, :] - target) * np.linspace(0.2, 1, 7)[None, :, None]
    index = np.rint(steps).astype(int)
    risk = eloquence[index[..., 0], index[..., 1], index[..., 2]].mean(axis=1)
    best = int(np.argmin(way + 22 * risk + 0.25 * np.maximum(-pz[usable] if usable.any() else 0 * way, 0)))
    return Craniotomy(points[best].astype(float), float(way[best]))


def with_corridor(
    level: FloatArray,
    crop: Crop,
    patient: Patient,
    door: Craniotomy,
    habits: Mapping[str, float],
    rng: np.random.Generator,
) -> FloatArray:
    """Join the cavity to the brain's surface by a corridor that widens outwards, unless the way is long and narrow."""
    radius = float(np.clip(habits["corridor_mm"], 3.5, 15.0))
    grid = np.stack(np.meshgrid(*(np.arange(s.start, s.stop, dtype=np.float32) for s in crop), indexing="ij"))
    target = np.array(centre_of(patient.core), float)
    axis = (door.place - target) * SPACING_MM
    length = float(np.linalg.norm(axis))
    unit = axis / max(length, 1e-6)
    relative = [(grid[k] - np.float32(target[k])) * np.float32(SPACING_MM) for k in range(3)]
    along = sum(r * np.float32(u) for r, u in zip(relative, unit, strict=True))
    across = np.sqrt(np.maximum(sum(r * r for r in relative) - along**2, 0))
    wobble = np.float32(1.2) * smooth_noise(rng, level.shape, 12.0)
    open_radius = np.float32(radius) * (np.float32(0.75) + np.float32(0.4) * np.clip(along / max(length, 1), 0, 1.2))
    corridor = np.minimum(open_radius - across, along) + wobble
    if door.distance_mm > 52 and radius < 9:
        corridor = corridor - 2.0
    return np.maximum(level, corridor)
