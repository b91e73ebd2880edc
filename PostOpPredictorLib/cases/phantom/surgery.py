"""The operation itself, on a phantom or on a real scan: what is taken, what stays, and how the brain moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .atlas import voxel_axes
from .fields import (
    SPACING_MM,
    BoolArray,
    Crop,
    FloatArray,
    blur,
    crop_around,
    largest_part,
    pull,
    pull_where,
    ramp,
    signed_distance,
    smooth_noise,
    upsample,
)
from .institutions import Practice
from .tumour import VOXEL_ML, radial_field

MAX_SHIFT_MM = 12.0
ELOQUENCE_MM = 46.0
"""How many mm of tumour are left per unit of eloquence above what the institution tolerates."""


@dataclass(frozen=True)
class Patient:
    """What the surgeon sees: ``tumour`` labels 0, 1, 2, 4; tissue estimates in [0, 1]; all (z, y, x) on the working grid."""

    tumour: NDArray[np.uint8]
    brain: BoolArray
    wm: FloatArray
    csf: FloatArray

    @property
    def core(self) -> BoolArray:
        """What is to be removed: labels 1 and 4."""
        return (self.tumour == 1) | (self.tumour == 4)


@dataclass(frozen=True)
class Operation:
    """The result in post-operative space (z, y, x): labels, pull-back ``shift`` (mm, x y z), soft weights for painting."""

    outcome: NDArray[np.uint8]
    shift: FloatArray
    cavity: FloatArray
    blood: FloatArray
    air: FloatArray
    oedema: FloatArray
    wall: FloatArray
    gap: FloatArray
    fluid: FloatArray
    eor_percent: float


def operate(patient: Patient, eloquence: FloatArray, practice: Practice, rng: np.random.Generator) -> Operation:
    """Operate on ``patient`` the way ``practice`` does; ``eloquence`` 0 safe to 1 forbidden per voxel."""
    habits = _habits_of_this_patient(practice, patient.core, rng)
    level, crop = _resection_level(patient, eloquence, practice, habits, rng)
    door = _craniotomy(patient, eloquence)
    level = _with_corridor(level, crop, patient, door, habits, rng)
    cavity, residual = _cavity_and_residual(level, patient.core[crop], patient.brain[crop])
    full_cavity = _filled(patient.brain.shape, crop, cavity)
    shift = _shift(patient, full_cavity > 0.5, door, habits)
    return _outcome(patient, full_cavity, _filled(patient.brain.shape, crop, residual), shift, practice, habits, rng)


def _habits_of_this_patient(practice: Practice, core: BoolArray, rng: np.random.Generator) -> dict[str, float]:
    """Every habit at the tumour's centre, with a little of the patient's own."""
    place = ndimage.center_of_mass(core)
    z, y, x = (int(round(c)) for c in place)
    return {
        habit: practice.at(habit, core.shape, (z, y, x)) + float(rng.normal(0, practice.spread(habit)))
        for habit in practice.means
    }


def _filled(shape: tuple[int, int, int], crop: Crop, part: np.ndarray) -> FloatArray:
    full = np.zeros(shape, np.float32)
    full[crop] = part
    return full


def _resection_level(
    patient: Patient, eloquence: FloatArray, practice: Practice, habits: dict[str, float], rng: np.random.Generator
) -> tuple[FloatArray, Crop]:
    """Signed mm, positive where tissue is taken, on a crop around the tumour."""
    crop = crop_around(patient.core, 24.0)
    depth = signed_distance(patient.core[crop])
    shape = patient.core.shape
    here = {name: practice.over(name, shape, crop) for name in ("margin_mm", "tolerance")}
    offset = habits["margin_mm"] - practice.at("margin_mm", shape, _centre(patient.core))
    margin = here["margin_mm"] + np.float32(offset) + np.float32(0.7) * smooth_noise(rng, depth.shape, 15.0)
    excess = eloquence[crop] - here["tolerance"]
    refused = np.float32(ELOQUENCE_MM) * np.maximum(excess, 0)
    margin = np.maximum(margin, -0.4 + 0 * margin) * (refused <= 0) + np.minimum(margin, 0.3) * (refused > 0) - refused
    margin -= np.float32(6.0) * np.maximum(-depth, 0) / 8 * ramp(patient.csf[crop], 0.5, 0.9)
    level = blur(depth + margin, 1.5)
    taken = np.sort(level[patient.core[crop]])
    least = taken[int(0.62 * taken.size)]
    return level + np.float32(max(0.0, 0.2 - least)), crop


def _centre(mask: BoolArray) -> tuple[int, int, int]:
    z, y, x = (int(round(c)) for c in ndimage.center_of_mass(mask))
    return z, y, x


@dataclass(frozen=True)
class Craniotomy:
    """Where the skull is opened: voxel (z, y, x) on the brain's surface, and its distance mm from the tumour."""

    place: NDArray[np.float64]
    distance_mm: float


def _craniotomy(patient: Patient, eloquence: FloatArray) -> Craniotomy:
    """The surface point of the same hemisphere with the shortest and safest way to the tumour."""
    small = patient.brain[::2, ::2, ::2]
    rim = small & ~ndimage.binary_erosion(small)
    points = np.argwhere(rim) * 2
    target = np.array(_centre(patient.core))
    z, y, x = (axis.ravel() for axis in voxel_axes())
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


def _with_corridor(
    level: FloatArray, crop: Crop, patient: Patient, door: Craniotomy, habits: dict[str, float], rng: np.random.Generator
) -> FloatArray:
    """Join the cavity to the brain's surface by a tapering corridor, when the tumour is near enough or the habit asks for it."""
    radius = float(np.clip(habits["corridor_mm"], 3.5, 15.0))
    grid = np.stack(np.meshgrid(*(np.arange(s.start, s.stop, dtype=np.float32) for s in crop), indexing="ij"))
    target = np.array(_centre(patient.core), float)
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


def _cavity_and_residual(level: FloatArray, core: BoolArray, brain: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Soft cavity (its 0.5 contour is the wall) and residual tumour, without specks of either."""
    level = blur(level, 1.2)
    taken = largest_part((level > 0) & brain)
    residual = ndimage.binary_opening(core & ~taken)
    parts, count = ndimage.label(residual)
    if count:
        residual = np.isin(parts, _parts_worth_leaving(parts, taken)) & (parts > 0)
    slivers = core & ~taken & ~residual
    soft = np.clip(level / np.float32(SPACING_MM) + 0.5, 0, 1) * ndimage.binary_dilation(taken)
    soft = np.maximum(soft, blur(slivers | taken, 0.9) * ndimage.binary_dilation(slivers, iterations=2))
    return soft * brain, (residual & (soft <= 0.5)).astype(np.float32)


def _parts_worth_leaving(parts: NDArray[np.int32], taken: BoolArray) -> NDArray[np.intp]:
    """Labels of residual parts above 0.12 ml that hang on to brain; an island in the cavity would have been taken."""
    grown = ndimage.grey_dilation(parts, size=(3, 3, 3))
    shell = (parts == 0) & (grown > 0)
    around = np.bincount(grown[shell], minlength=parts.max() + 1)
    attached = np.bincount(grown[shell & ~taken], minlength=parts.max() + 1)
    sizes = np.bincount(parts.ravel())
    worth = (sizes * VOXEL_ML > 0.12) & (attached > 0.3 * np.maximum(around, 1))
    worth[0] = False
    return np.flatnonzero(worth)


def _shift(patient: Patient, cavity: BoolArray, door: Craniotomy, habits: dict[str, float]) -> FloatArray:
    """Pull-back mm: the wall closes in, the mass effect goes, the surface sinks under the craniotomy."""
    radius = (cavity.sum() * VOXEL_ML * 1000 * 3 / 4 / np.pi) ** (1 / 3)
    collapse, release = (float(np.clip(habits[h], 0, 1)) for h in ("collapse", "release"))
    hole, core, brain = (np.pad(m[::2, ::2, ::2], [(0, 1)] * 3, mode="edge") for m in (cavity, patient.core, patient.brain))
    tight = radial_field(hole, brain, 0.8 * radius) * np.float32(0.40 * collapse * radius)
    wide = radial_field(core, brain, 1.5 * radius) * np.float32(0.26 * release * radius)
    inward = np.moveaxis(upsample(tight + wide, cavity.shape, 2), 0, -1)
    z, y, x = (np.arange(0, n, 4, dtype=np.float32) for n in cavity.shape)
    away = ((z[:, None, None] - door.place[0]) ** 2 + (y[:, None] - door.place[1]) ** 2 + (x - door.place[2]) ** 2) * SPACING_MM**2
    out = (door.place - np.array(_centre(patient.core)))[::-1]
    out = out / max(float(np.linalg.norm(out)), 1e-6)
    bell = np.exp(-away / np.float32(2 * 24.0**2)).astype(np.float32)
    sag = upsample(np.pad(bell, [(0, 1)] * 3, mode="edge"), cavity.shape, 4)
    shift = -inward + sag[..., None] * (max(habits["sag_mm"], 0.0) * out).astype(np.float32)
    height = np.sqrt((shift**2).sum(-1, keepdims=True))
    return (shift * (np.float32(MAX_SHIFT_MM) * np.tanh(height / MAX_SHIFT_MM) / np.maximum(height, 1e-6))).astype(np.float32)


def _outcome(
    patient: Patient,
    cavity_pre: FloatArray,
    residual_pre: FloatArray,
    shift: FloatArray,
    practice: Practice,
    habits: dict[str, float],
    rng: np.random.Generator,
) -> Operation:
    """Carry everything to post-operative space and fill the cavity."""
    shape = patient.brain.shape
    moves = np.sqrt((shift**2).sum(-1))
    affected = (moves > 0.02) & patient.brain
    cavity = pull_where(cavity_pre, shift, affected) * patient.brain
    residual = (pull_where(residual_pre, shift, affected) > 0.5) & patient.brain
    moved_brain = pull_where(patient.brain.astype(np.float32), shift, affected)
    gap = np.clip(1 - moved_brain, 0, 1) * patient.brain * (moves > 0.6)
    hole = (cavity > 0.5) | ((gap > 0.5) & ndimage.binary_dilation(cavity > 0.3, iterations=4))
    residual &= ~hole
    crop = crop_around(hole, 22.0)
    soft = {name: np.zeros(shape, np.float32) for name in ("blood", "air", "oedema", "wall", "fluid")}
    labels = np.zeros(shape, np.uint8)
    parts = _filling(patient, hole, residual, shift, crop, practice, habits, rng)
    for name, target in soft.items():
        target[crop] = parts[name]
    oedema = (soft["oedema"] > 0.5) & ~hole & ~residual
    labels[oedema] = 4
    labels[residual] = 2
    labels[hole] = 1
    labels[hole & (soft["blood"] > 0.5)] = 3
    labels[hole & (soft["air"] > 0.5)] = 5
    eor = 100.0 * (1 - residual.sum() / patient.core.sum())
    return Operation(labels, shift, cavity, soft["blood"], soft["air"], soft["oedema"], soft["wall"], gap, soft["fluid"], float(max(eor, 0)))


def _filling(
    patient: Patient,
    hole: BoolArray,
    residual: BoolArray,
    shift: FloatArray,
    crop: Crop,
    practice: Practice,
    habits: dict[str, float],
    rng: np.random.Generator,
) -> dict[str, FloatArray]:
    """Soft weights on the crop: blood along the wall and settled behind, air in front, oedema and scar around, fluid brightness."""
    inside = hole[crop]
    shape = inside.shape
    depth = signed_distance(inside)

    def habit(name: str) -> FloatArray:
        mine = habits[name] - practice.at(name, patient.brain.shape, _centre(patient.core))
        return practice.over(name, patient.brain.shape, crop) + np.float32(mine)

    patchy = smooth_noise(rng, shape, 9.0)
    rim = habit("blood_rim_mm") + np.float32(0.8) * patchy
    blood = ramp(rim - depth, -0.7, 0.7) * (rim > 0.2) * ramp(depth, -0.4, 0.6)
    height = _height_in(inside) + np.float32(0.015) * patchy
    blood = np.maximum(blood, ramp(np.float32(habits["blood_layer"]) - height, -0.03, 0.03) * inside)
    air = ramp(height - np.float32(1 - habits["air"]), -0.015, 0.015) * inside if habits["air"] > 0.02 else np.zeros(shape, np.float32)
    wm = pull(patient.wm, shift[crop], crop)
    before = blur(pull((patient.tumour == 2).astype(np.float32), shift[crop], crop), 1.0)
    stays = np.clip(habit("oedema_stays"), 0, 1)
    fresh = ramp(habit("oedema_mm") + patchy + depth, -1.0, 1.0)
    oedema = np.maximum(ramp(wm, 0.2, 0.6) * fresh, before * ramp(stays - np.float32(0.5) + np.float32(0.1) * patchy, -0.25, 0.25))
    wall = np.clip(habit("wall_enhancement"), 0, 1) * np.exp(-((depth + 1.0) ** 2) / np.float32(2 * 1.1**2)) * ramp(patchy, -1.2, 0.6)
    fluid = np.clip(habit("fluid") + np.float32(0.05) * patchy, -0.05, 1.0)
    blood = blood * (1 - air)
    return {"blood": blood, "air": air, "oedema": oedema * ~inside * ~residual[crop], "wall": wall, "fluid": fluid}


def _height_in(inside: BoolArray) -> FloatArray:
    """0 at the hindmost to 1 at the foremost voxel of the hole (the patient lies on the back), by volume."""
    rows = inside.sum(axis=(0, 2)).astype(np.float64)
    below = np.cumsum(rows[::-1])[::-1]
    fraction = (below - rows / 2) / max(below[0], 1)
    return np.broadcast_to((fraction).astype(np.float32)[None, :, None], inside.shape)
