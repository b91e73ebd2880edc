"""The operation itself, on a phantom or on a real scan: what is taken, what stays, and how the brain moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..case import EARLY_DAYS
from .approach import Craniotomy, craniotomy_for, with_corridor
from .atlas import voxel_axes
from .fields import (
    SPACING_MM,
    BoolArray,
    Crop,
    FloatArray,
    blur,
    crop_around,
    largest_part,
    pull_where,
    ramp,
    signed_distance,
    smooth_noise,
    upsample,
)
from .filling import filling_of
from .institutions import Practice
from .patient import Patient, centre_of
from .tumour import VOXEL_ML, radial_field

MAX_SHIFT_MM = 12.0
ELOQUENCE_MM = 46.0
"""How many mm of tumour are left per unit of eloquence above what the institution tolerates."""

LEAST_RESECTED = 0.42
"""Below this share of the core nobody would have operated (a biopsy is another procedure)."""


@dataclass(frozen=True)
class Operation:
    """The result in post-operative space (z, y, x): labels, pull-back ``shift`` (x, y, z mm), weights for painting.

    ``resection`` alone lies in pre-operative space: the tissue that was taken, corridor included. ``days`` since
    surgery on which it looks like this.
    """

    outcome: NDArray[np.uint8]
    resection: BoolArray
    shift: FloatArray
    cavity: FloatArray
    blood: FloatArray
    air: FloatArray
    oedema: FloatArray
    wall: FloatArray
    gap: FloatArray
    fluid: FloatArray
    eor_percent: float
    days: float = EARLY_DAYS


def operate(patient: Patient, eloquence: FloatArray, practice: Practice, rng: np.random.Generator) -> Operation:
    """Operate on ``patient`` the way ``practice`` does; ``eloquence`` 0 safe to 1 forbidden per voxel."""
    habits = _habits_of_this_patient(practice, patient.core, rng)
    level, crop = _resection_level(patient, eloquence, practice, habits, rng)
    door = craniotomy_for(patient, eloquence)
    level = with_corridor(level, crop, patient, door, habits, rng)
    cavity, residual = _cavity_and_residual(level, patient.core[crop], patient.brain[crop])
    full_cavity = _filled(patient.brain.shape, crop, cavity)
    shift = _shift(patient, full_cavity > 0.5, door, habits)
    return _outcome(patient, full_cavity, _filled(patient.brain.shape, crop, residual), shift, practice, habits, rng)


def _habits_of_this_patient(practice: Practice, core: BoolArray, rng: np.random.Generator) -> dict[str, float]:
    """Every habit at the tumour's centre, with a little of the patient's own."""
    place = ndimage.center_of_mass(core)
    z, y, x = (round(c) for c in place)
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
    offset = habits["margin_mm"] - practice.at("margin_mm", shape, centre_of(patient.core))
    margin = here["margin_mm"] + np.float32(offset) + np.float32(0.7) * smooth_noise(rng, depth.shape, 15.0)
    excess = eloquence[crop] - here["tolerance"]
    refused = np.float32(ELOQUENCE_MM) * np.maximum(excess, 0)
    margin = np.where(refused > 0, np.minimum(margin, 0.3) - refused, np.maximum(margin, -2.4))
    margin = np.where((depth < 0) & _other_side(patient.core, crop), -4.0, margin)
    margin -= np.float32(0.75) * np.maximum(-depth, 0) * ramp(patient.csf[crop], 0.5, 0.9)
    needed = np.sort((depth + margin)[patient.core[crop]])
    lift = max(0.0, 0.2 - float(needed[int((1 - LEAST_RESECTED) * needed.size)]))
    margin = np.minimum(margin + lift, np.maximum(margin, 0.5))
    return blur(depth + margin, 1.5), crop


def _other_side(core: BoolArray, crop: Crop) -> BoolArray:
    """Voxels of the crop beyond the midline as seen from the core's centre: the falx stops the surgeon."""
    z, y, x = voxel_axes()
    side = np.sign(x.ravel()[centre_of(core)[2]]) or np.float32(1)
    beyond = (x * side < -2.0) & ((z > 26) | (y < -36) | (y > 40))
    return np.broadcast_to(beyond, core.shape)[crop]


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
    hole, core, brain = (
        np.pad(m[::2, ::2, ::2], [(0, 1)] * 3, mode="edge") for m in (cavity, patient.core, patient.brain)
    )
    depth = float(ndimage.distance_transform_edt(hole).max()) * 3.0
    tight = radial_field(hole, brain, 0.8 * radius) * np.float32(0.62 * collapse * min(depth, 0.65 * radius))
    wide = radial_field(core, brain, 1.5 * radius) * np.float32(0.34 * release * min(depth, 0.75 * radius))
    inward = np.moveaxis(upsample(tight + wide, cavity.shape, 2), 0, -1)
    z, y, x = (np.arange(0, n, 4, dtype=np.float32) for n in cavity.shape)
    away = (
        (z[:, None, None] - door.place[0]) ** 2 + (y[:, None] - door.place[1]) ** 2 + (x - door.place[2]) ** 2
    ) * SPACING_MM**2
    out = (door.place - np.array(centre_of(patient.core)))[::-1]
    out = out / max(float(np.linalg.norm(out)), 1e-6)
    bell = np.exp(-away / np.float32(2 * 24.0**2)).astype(np.float32)
    sag = upsample(np.pad(bell, [(0, 1)] * 3, mode="edge"), cavity.shape, 4)
    shift = -inward + sag[..., None] * (max(habits["sag_mm"], 0.0) * out).astype(np.float32)
    height = np.sqrt((shift**2).sum(-1, keepdims=True))
    return (shift * (np.float32(MAX_SHIFT_MM) * np.tanh(height / MAX_SHIFT_MM) / np.maximum(height, 1e-6))).astype(
        np.float32
    )


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
    parts = filling_of(patient, hole, residual, shift, crop, practice, habits, rng)
    for name, target in soft.items():
        target[crop] = parts[name]
    oedema = (soft["oedema"] > 0.5) & ~hole & ~residual
    labels[oedema] = 4
    labels[residual] = 2
    labels[hole] = 1
    labels[hole & (soft["blood"] > 0.5)] = 3
    labels[hole & (soft["air"] > 0.5)] = 5
    eor = 100.0 * (1 - residual.sum() / patient.core.sum())
    return Operation(
        labels,
        (cavity_pre > 0.5) & patient.brain,
        shift,
        cavity,
        soft["blood"],
        soft["air"],
        soft["oedema"],
        soft["wall"],
        gap,
        soft["fluid"],
        float(max(eor, 0)),
    )
