"""What fills and surrounds a cavity: fluid, blood, air, a healing wall, oedema."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .fields import BoolArray, Crop, FloatArray, blur, pull, ramp, signed_distance, smooth_noise
from .institutions import Practice
from .patient import Patient, centre_of


def filling_of(
    patient: Patient,
    hole: BoolArray,
    residual: BoolArray,
    shift: FloatArray,
    crop: Crop,
    practice: Practice,
    habits: Mapping[str, float],
    rng: np.random.Generator,
) -> dict[str, FloatArray]:
    """Weights on the crop: blood on the wall and settled behind, air in front, oedema, scar; fluid brightness."""
    inside = hole[crop]
    shape = inside.shape
    depth = signed_distance(inside)

    def habit(name: str) -> FloatArray:
        mine = habits[name] - practice.at(name, patient.brain.shape, centre_of(patient.core))
        return practice.over(name, patient.brain.shape, crop) + np.float32(mine)

    patchy = smooth_noise(rng, shape, 9.0)
    rim = habit("blood_rim_mm") + np.float32(0.8) * patchy + np.float32(1.1) * smooth_noise(rng, shape, 20.0)
    blood = ramp(rim - depth, -0.7, 0.7) * (rim > 0.2) * ramp(depth, -0.4, 0.6)
    height = height_in(inside) + np.float32(0.015) * patchy
    blood = np.maximum(blood, ramp(np.float32(habits["blood_layer"]) - height, -0.03, 0.03) * inside)
    air = (
        ramp(height - np.float32(1 - habits["air"]), -0.015, 0.015) * inside
        if habits["air"] > 0.02
        else np.zeros(shape, np.float32)
    )
    wm = pull(patient.wm, shift[crop], crop)
    before = blur(pull((patient.tumour == 2).astype(np.float32), shift[crop], crop), 1.0)
    stays = np.clip(habit("oedema_stays"), 0, 1)
    fresh = ramp(habit("oedema_mm") + patchy + depth, -1.0, 1.0)
    oedema = np.maximum(
        ramp(wm, 0.2, 0.6) * fresh, before * ramp(stays - np.float32(0.5) + np.float32(0.1) * patchy, -0.25, 0.25)
    )
    wall = (
        np.clip(habit("wall_enhancement"), 0, 1)
        * np.exp(-((depth + 1.0) ** 2) / np.float32(2 * 1.1**2))
        * ramp(patchy, -1.2, 0.6)
    )
    fluid = np.clip(habit("fluid") + np.float32(0.05) * patchy, -0.05, 1.0)
    blood = blood * (1 - air)
    return {"blood": blood, "air": air, "oedema": oedema * ~inside * ~residual[crop], "wall": wall, "fluid": fluid}


def height_in(inside: BoolArray) -> FloatArray:
    """0 at the hindmost to 1 at the foremost voxel of the hole (the patient lies on the back), by volume."""
    rows = inside.sum(axis=(0, 2)).astype(np.float64)
    below = np.cumsum(rows[::-1])[::-1]
    fraction = (below - rows / 2) / max(below[0], 1)
    return np.broadcast_to((fraction).astype(np.float32)[None, :, None], inside.shape)
