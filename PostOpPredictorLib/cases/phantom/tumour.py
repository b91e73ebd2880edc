"""Tumour growth by tissue (Fisher-Kolmogorov), its labels, and how it pushes the brain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .anatomy import Tissue
from .atlas import voxel_axes
from .fields import (
    SPACING_MM,
    Crop,
    FloatArray,
    blur,
    closed,
    crop_around,
    largest_part,
    pull,
    ramp,
    signed_distance,
    smooth_noise,
    upsample,
)

VOXEL_ML = SPACING_MM**3 / 1000
GROWTH_BOX = 19
"""Half width of the growth crop in 3 mm voxels."""


LEAST_GROWN = 0.5
"""Share of the planned core volume that there is at least, whatever the noise of its surface."""


@dataclass(frozen=True)
class TumourPlan:
    """What kind of tumour: ``core_ml`` before it pushes, ``rim_mm`` of enhancement, ``oedema`` and ``push`` 0 to 1."""

    core_ml: float
    low_grade: bool
    solid: bool
    rim_mm: float
    lobes: int
    oedema: float
    push: float


@dataclass(frozen=True)
class Tumour:
    """``labels`` uint8 (0, 1, 2, 4) and soft weights in [0, 1] for painting, (z, y, x) on the working grid."""

    labels: NDArray[np.uint8]
    core: FloatArray
    enhancing: FloatArray
    oedema: FloatArray

    @property
    def core_mask(self) -> NDArray[np.bool_]:
        """What a surgeon removes: labels 1 and 4."""
        return (self.labels == 1) | (self.labels == 4)


def random_plan(rng: np.random.Generator) -> TumourPlan:
    """Core volume log-normal with a tail of small ones (1.2 to 80 ml before the mass pushes), 15 % low grade."""
    low_grade = bool(rng.random() < 0.15)
    return TumourPlan(
        core_ml=float(np.clip(np.exp(rng.normal(np.log(20), 0.85)), 1.2, 80)),
        low_grade=low_grade,
        solid=bool(rng.random() < (0.5 if low_grade else 0.16)),
        rim_mm=float(np.exp(rng.normal(np.log(4.0), 0.35))),
        lobes=int(rng.choice([1, 2, 3], p=[0.5, 0.33, 0.17])),
        oedema=float(rng.uniform(0.0, 0.35) if low_grade else rng.beta(2.0, 1.6)),
        push=float(rng.uniform(0.35, 1.0) * (0.6 if low_grade else 1.0)),
    )


@dataclass(frozen=True)
class Growth:
    """A mass on the 3 mm lattice: cell ``density`` (z, y, x), its core ``threshold`` and ``push`` (3, z, y, x) mm."""

    density: FloatArray
    threshold: float
    push: FloatArray


def grow(rng: np.random.Generator, tissue: Tissue, plan: TumourPlan) -> Growth:
    """Grow a tumour in the coarse tissue, and find how it pushes the brain."""
    density = np.zeros(tuple(n + 1 for n in tissue.brain.shape), np.float32)
    part, box = _density(rng, tissue, plan)
    density[box] = part
    threshold = _threshold_for(density, plan.core_ml)
    core = np.pad(density > threshold, 0)
    radius = (plan.core_ml * 1000 * 3 / 4 / np.pi) ** (1 / 3)
    amplitude = float(np.clip(0.30 * plan.push * radius, 0.8, 8.0))
    push = radial_field(core, np.pad(tissue.brain, [(0, 1)] * 3, mode="edge"), radius) * np.float32(amplitude)
    return Growth(density, threshold, push)


def tumour_in(rng: np.random.Generator, growth: Growth, tissue: Tissue, plan: TumourPlan) -> Tumour:
    """The tumour's labels and soft weights in ``tissue``, which has already been pushed."""
    shape = tissue.brain.shape
    push = np.moveaxis(upsample(growth.push, shape, 2), 0, -1)
    fine = upsample(growth.density, shape, 2)
    crop = crop_around(fine > 0.02, 14.0)
    spread = np.log(np.maximum(pull(fine, push[crop], crop), 1e-4) / growth.threshold)
    rough = np.float32(0.22) * smooth_noise(rng, spread.shape, 7.0) + np.float32(0.10) * smooth_noise(
        rng, spread.shape, 3.5
    )
    level = blur(spread + rough - np.float32(1.2) * ramp(tissue.csf[crop], 0.6, 1.0), 1.0)
    brain = tissue.brain[crop]
    core = closed(largest_part((level > _surface(level[brain], plan.core_ml)) & brain), 4.0)
    core = np.stack([ndimage.binary_fill_holes(s) for s in core]) & brain
    return _labelled(rng, plan, crop, core, spread, tissue.wm[crop] * brain, shape)


def _surface(level: FloatArray, planned_ml: float) -> float:
    """The level of the core's surface: 0, or lower where roughness would leave next to nothing of a small tumour."""
    least = max(int(LEAST_GROWN * planned_ml / VOXEL_ML), 1)
    return min(0.0, float(np.partition(level, -least)[-least]) - 1e-4)


def _density(rng: np.random.Generator, tissue: Tissue, plan: TumourPlan) -> tuple[FloatArray, Crop]:
    """Tumour cell density in [0, 1] on a 3 mm crop, grown until the core is a little larger than planned."""
    wm, csf = tissue.wm, blur(tissue.csf, 1.5, 3.0)
    brain = ndimage.binary_erosion(tissue.brain)
    seed = _seed_place(rng, wm, brain & (csf < 0.3))
    box: Crop = tuple(
        slice(max(0, s - GROWTH_BOX), min(n, s + GROWTH_BOX)) for s, n in zip(seed, wm.shape, strict=True)
    )  # type: ignore[assignment]
    shape = tuple(s.stop - s.start for s in box)
    open_tissue = ramp(1 - csf[box], 0.35, 0.8) * (brain & ~_falx())[box]
    speed = np.exp(np.float32(0.45) * smooth_noise(rng, shape, 14.0, 3.0))
    diffusion = (
        np.float32(1.25 / 9) * (np.float32(0.22) + np.float32(0.78) * wm[box]) * np.minimum(speed, 1.9) * open_tissue
    )
    growth = np.float32(0.13) * np.exp(np.float32(0.4) * smooth_noise(rng, shape, 18.0, 3.0)) * open_tissue
    density = _seeds(rng, seed, box, shape, plan) * (open_tissue > 0.3)
    goal = plan.core_ml * 1.04
    for _ in range(160):
        density = _grow_step(density, diffusion, growth)
        if (density > 0.5).sum() * 0.027 > goal:
            break
    return density, box


def _grow_step(density: FloatArray, diffusion: FloatArray, growth: FloatArray) -> FloatArray:
    change = growth * density * (1 - density)
    for axis in range(3):
        first = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        second = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        flux = np.minimum(diffusion[first], diffusion[second]) * (density[second] - density[first])
        change[first] += flux
        change[second] -= flux
    return np.clip(density + change, 0, 1)


def _falx() -> NDArray[np.bool_]:
    """The midline above and in front of the callosum, which a tumour does not cross, on the 3 mm lattice."""
    z, y, x = (axis[::2, ::2, ::2] for axis in voxel_axes())
    return (np.abs(x) < 2.5) & ((z > 30) | (y < -38) | (y > 42))


def _seed_place(rng: np.random.Generator, wm: FloatArray, allowed: NDArray[np.bool_]) -> tuple[int, int, int]:
    """A voxel (z, y, x) of the 3 mm grid where gliomas begin: cerebral white matter near the cortex more than deep."""
    z, y, x = (axis[::2, ::2, ::2] for axis in voxel_axes())
    weight = (wm + 0.15) * allowed * (np.abs(x) > 7) * (z > -34)
    weight = weight * (1 + 0.9 * ((z < 12) & (np.abs(x) > 30)) + 0.5 * (y > 18) - 0.5 * (y < -38))
    weight = (
        weight
        * ((y < 34) | (z > 4))
        * ramp(np.abs(x) + np.zeros_like(weight), 8.0, 30.0)
        * ~((z < -8) & (np.abs(x) < 26))
    )
    chance = weight.ravel().astype(np.float64)
    place = np.unravel_index(rng.choice(chance.size, p=chance / chance.sum()), weight.shape)
    return int(place[0]), int(place[1]), int(place[2])


def _seeds(
    rng: np.random.Generator, seed: tuple[int, int, int], box: Crop, shape: tuple[int, ...], plan: TumourPlan
) -> FloatArray:
    """Starting density: one blob, or several a little apart for a multi-lobed tumour."""
    density = np.zeros(shape, np.float32)
    radius = (plan.core_ml * 1000 * 3 / 4 / np.pi) ** (1 / 3)
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    for lobe in range(plan.lobes):
        away = rng.normal(0, 0.75 * radius / 3 / np.sqrt(3) * 1.7, 3) if lobe else np.zeros(3)
        squared = sum((g - (s - b.start + a)) ** 2 for g, s, b, a in zip(grid, seed, box, away, strict=True))
        density = np.maximum(density, np.exp(-squared / 4.0).astype(np.float32) * np.float32(0.9 if lobe == 0 else 0.8))
    return density


def _threshold_for(density: FloatArray, core_ml: float) -> float:
    """The density above which the volume is ``core_ml`` (at least a tenth)."""
    wanted = int(core_ml / 0.027)
    values = np.sort(density.ravel())[::-1]
    return float(np.clip(values[min(wanted, values.size - 1)], 0.1, 0.9))


def radial_field(region: NDArray[np.bool_], brain: NDArray[np.bool_], radius_mm: float) -> FloatArray:
    """Unit-height vectors (3, z, y, x) (x, y, z) that point into ``region``, fading over its radius and at the skull.

    Everything lies on the 3 mm lattice.
    """
    small = region.astype(np.float32)
    near = blur(small, max(4.0, 0.55 * radius_mm), 3.0)
    far = blur(small, max(8.0, 1.2 * radius_mm), 3.0)
    slope = np.stack(
        np.gradient(near / max(near.max(), 1e-6) + np.float32(1.2) * far / max(far.max(), 1e-6))[::-1], axis=0
    )
    depth = ndimage.distance_transform_edt(brain) * 3.0
    slope = slope * blur(ramp(depth.astype(np.float32), 2.0, 13.0), 4.0, 3.0)
    return (slope / max(float(np.sqrt((slope**2).sum(0)).max()), 1e-9)).astype(np.float32)


def _labelled(
    rng: np.random.Generator,
    plan: TumourPlan,
    crop: Crop,
    core: NDArray[np.bool_],
    level: FloatArray,
    wm: FloatArray,
    shape: tuple[int, int, int],
) -> Tumour:
    depth = signed_distance(core)
    enhancing = _rim(rng, plan, depth)
    reach = np.float32(-(0.5 + 2.8 * plan.oedema)) + np.float32(0.35) * smooth_noise(rng, depth.shape, 12.0)
    oedema = ramp(level - reach, -0.55, 0.55) * ramp(wm, 0.25, 0.75) * ~core
    oedema = blur(oedema, 1.0) * (1 - core)
    labels = np.zeros(depth.shape, np.uint8)
    labels[(oedema > 0.45) & ~core] = 2
    labels[core] = 1
    labels[core & (enhancing > 0.5)] = 4
    full = np.zeros(shape, np.uint8)
    full[crop] = labels
    soft = [np.zeros(shape, np.float32) for _ in range(3)]
    for target, part in zip(soft, (blur(core.astype(np.float32), 1.0), enhancing, oedema), strict=True):
        target[crop] = part
    return Tumour(full, soft[0], soft[1], soft[2])


def _rim(rng: np.random.Generator, plan: TumourPlan, depth: FloatArray) -> FloatArray:
    """Soft weight of enhancement inside the core: an irregular rim with nodules, a solid mass, or faint patches."""
    shape = depth.shape
    patches = smooth_noise(rng, shape, 9.0) + np.float32(0.6) * smooth_noise(rng, shape, 5.0)
    if plan.low_grade:
        return ramp(patches - np.float32(2.2), -0.3, 0.3) * (depth > 0)
    thickness = np.float32(plan.rim_mm) * np.exp(
        np.float32(0.42) * smooth_noise(rng, shape, 16.0) + np.float32(0.2) * patches
    )
    if plan.solid:
        thickness = thickness * np.float32(3.5) * np.exp(np.float32(0.4) * patches)
    rim = ramp(thickness - depth, -0.9, 0.9)
    islands = ramp(patches - np.float32(1.9), -0.25, 0.25)
    return np.maximum(rim, islands).astype(np.float32) * (depth > 0)
