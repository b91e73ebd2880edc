"""The noise-free pre-operative signal: tissue, its texture, vessels, choroid plexus; the tumour in T1w and T1wCE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .anatomy import Tissue, ventricle_weight
from .atlas import GM_LEVEL, WM_LEVEL, voxel_axes
from .fields import FloatArray, blur, ramp, smooth_noise, upsample
from .tumour import Tumour, TumourPlan


@dataclass(frozen=True)
class TissueLevels:
    """Signal of healthy tissue, of strong enhancement and (T2w and FLAIR only) of oedema, in the image's units."""

    csf: float
    gm: float
    wm: float
    enhancing: float
    oedema: float = 0.0


def random_levels(rng: np.random.Generator) -> dict[str, TissueLevels]:
    """This patient's tissue contrast in T1w and T1wCE; a contrast scan is dominated by its vessels and rim."""
    csf = float(rng.uniform(0.10, 0.22))
    gm = GM_LEVEL + float(rng.normal(0, 0.03))
    flat = float(rng.uniform(0.0, 0.4))
    wm_ce = WM_LEVEL - 0.04
    gm_ce = gm + 0.02 + flat * (wm_ce - gm - 0.08)
    return {
        "T1w": TissueLevels(csf, gm, WM_LEVEL, 0.62),
        "T1wCE": TissueLevels(csf, gm_ce, wm_ce, float(rng.uniform(0.95, 1.35))),
    }


T1_SEQUENCES = ("T1w", "T1wCE")

CHOROID: Mapping[str, float] = {"T1w": 0.18, "T2w": -0.25, "FLAIR": 0.3}
"""What the choroid plexus adds to the CSF around it; in T1wCE it enhances."""

VESSELS: tuple[tuple[float, tuple[tuple[float, float, float], ...], bool], ...] = (
    (1.3, ((6, 0, -14), (14, 2, -18), (26, 4, -18), (36, 2, -12), (42, -6, -2), (48, -16, 6), (54, -26, 14)), True),
    (1.1, ((36, 2, -12), (44, 8, -2), (50, 14, 8)), True),
    (1.1, ((3, 8, -14), (2, 24, -8), (2, 36, 8), (2, 34, 24), (2, 18, 34), (2, 0, 42)), True),
    (1.5, ((0, -24, -14), (0, -20, -24), (0, -18, -38), (0, -20, -50)), False),
    (1.0, ((2, -24, -12), (12, -28, -10), (18, -42, -4), (20, -60, 0)), True),
    (1.5, ((3, -6, 14), (4, -22, 12), (1, -38, 12), (0, -48, 16), (0, -62, 26)), True),
)
"""Radius mm, MNI RAS points, on both sides: middle, anterior, posterior cerebral and basilar arteries, deep veins."""


def healthy_signal(
    rng: np.random.Generator, tissue: Tissue, levels: Mapping[str, TissueLevels]
) -> dict[str, FloatArray]:
    """Every sequence of ``levels`` without a tumour, arbitrary units around 0 to 2; they share what is random."""
    shape = tissue.brain.shape
    texture = np.float32(0.016) * smooth_noise(rng, shape, 3.0) + np.float32(0.018) * smooth_noise(rng, shape, 8.0)
    unevenness = np.float32(0.025) * smooth_noise(rng, shape, 30.0)
    fluid = np.float32(0.03) * smooth_noise(rng, shape, 4.0) * tissue.csf
    vessels, rim = _vessels(rng, tissue), _rim_of_the_brain(rng, tissue)
    choroid = _choroid(rng, tissue)
    signal = {}
    for sequence, level in levels.items():
        base = level.wm * tissue.wm + level.gm * tissue.gm + level.csf * tissue.csf
        base = base + tissue.detail * np.float32((level.wm - level.gm) / (WM_LEVEL - GM_LEVEL))
        base = base * (1 + (texture + unevenness) * (1 - tissue.csf)) + fluid
        base = base * (1 - np.float32(0.8) * rim.dark)
        if sequence == "T1wCE":
            bright = np.maximum(vessels, rim.bright)
            base = base + bright * np.maximum(np.float32(1.15 * level.enhancing) - base, 0)
            base = base + choroid * np.float32(0.6 * level.enhancing)
        else:
            base = base * (1 - np.float32(0.5) * vessels) + choroid * np.float32(CHOROID[sequence])
        signal[sequence] = (np.maximum(base, 0.02) * tissue.brain).astype(np.float32)
    return signal


def _vessels(rng: np.random.Generator, tissue: Tissue) -> FloatArray:
    """Soft mask of the large arteries and deep veins, each wobbling and of its own calibre."""
    shape = tissue.brain.shape
    volume = np.zeros(shape, np.float32)
    z0, y0, x0 = (float(axis.ravel()[0]) for axis in voxel_axes())
    for radius, points, both in VESSELS:
        for side in (1, -1) if both else (1,):
            if rng.random() < 0.1:
                continue
            knots = np.array(points, float) * (side, 1, 1) + rng.normal(0, 1.6, (len(points), 3))
            t = np.linspace(0, len(knots) - 1, 60 * len(knots))
            path = np.stack(
                [ndimage.map_coordinates(knots[:, c], [t], order=3, mode="nearest") for c in range(3)], axis=1
            )
            voxels = np.stack([path[:, 2] - z0, -path[:, 1] - y0, -path[:, 0] - x0], axis=1) / 1.5
            index = tuple(np.rint(voxels).astype(int).T)
            np.maximum.at(volume, index, np.float32(radius * rng.uniform(0.7, 1.2)))
    return np.clip(blur(volume, 1.2) * 3.2, 0, 1) * tissue.brain


@dataclass(frozen=True)
class BrainRim:
    """Soft masks at the edge of the stripped brain: ``bright`` pial vessels, dura, sinus; ``dark`` bone and air."""

    bright: FloatArray
    dark: FloatArray


def _rim_of_the_brain(rng: np.random.Generator, tissue: Tissue) -> BrainRim:
    """Enhancing threads in the sulci near the surface, scraps of dura, the sagittal sinus; and dark partial volume."""
    shape = tissue.brain.shape
    depth = upsample(ndimage.distance_transform_edt(tissue.brain[::2, ::2, ::2]).astype(np.float32) * 3.0, shape, 2)
    threads = 1 - np.abs(smooth_noise(rng, shape, 7.0)) * np.float32(3.4)
    strength = ramp(smooth_noise(rng, shape, 20.0), -0.6, 1.2)
    bright = (
        np.clip(threads, 0, 1) * strength * ramp(tissue.csf, 0.3, 0.75) * ramp(-depth, -17.0, -6.0) * np.float32(0.9)
    )
    edge = ramp(-depth, -4.2, -1.6)
    scraps = ramp(smooth_noise(rng, shape, 9.0), 1.2, 2.0)
    z, y, x = voxel_axes()
    sinus = np.exp(-((x / np.float32(2.6)) ** 2)) * ((z > 20) | (y > 60)) * ramp(-depth, -7.0, -2.5)
    dark = edge * ramp(smooth_noise(rng, shape, 6.0), -0.6, 1.0) * (1 - scraps)
    return BrainRim(np.maximum.reduce([bright, edge * scraps, sinus]).astype(np.float32), dark.astype(np.float32))


def _choroid(rng: np.random.Generator, tissue: Tissue) -> FloatArray:
    """Choroid plexus: lumpy tissue in the atria and bodies of the lateral ventricles."""
    z, y, x = voxel_axes()
    place = np.zeros(tissue.brain.shape, np.float32)
    for side in (1, -1):
        for right, front, up, width in ((24, -40, 4, 6.0), (14, -22, 18, 4.0), (5, -8, 16, 3.5)):
            place += np.exp(-((x + side * right) ** 2 + (y + front) ** 2 + (z - up) ** 2) / np.float32(2 * width**2))
    lumps = ramp(smooth_noise(rng, tissue.brain.shape, 5.0), -0.4, 0.6)
    return np.minimum(place, 1) * ventricle_weight(tissue) * lumps


def add_tumour(
    rng: np.random.Generator,
    signal: Mapping[str, FloatArray],
    tumour: Tumour,
    plan: TumourPlan,
    levels: Mapping[str, TissueLevels],
    brain: np.ndarray,
) -> dict[str, FloatArray]:
    """Paint core, rim and oedema into a signal that was rendered with the tumour's push."""
    shape = tumour.core.shape
    grain, lumps = smooth_noise(rng, shape, 4.0), smooth_noise(rng, shape, 9.0)
    strength = float(rng.uniform(0.75, 1.05))
    wetness = float(rng.uniform(0.14, 0.32))
    necrosis = float(rng.uniform(0.20, 0.46)) if not plan.low_grade else float(rng.uniform(0.40, 0.52))
    solid_level = float(rng.uniform(0.44, 0.60))
    out = {}
    for sequence, base in signal.items():
        level = levels[sequence]
        wet = np.clip(tumour.oedema * (1 + np.float32(0.12) * lumps), 0, 1)
        value = base * (1 - np.float32(wetness) * wet)
        core = necrosis + np.float32(0.025) * grain + np.float32(0.035) * lumps
        rim = solid_level + np.float32(0.03) * grain + np.float32(0.03) * lumps
        if sequence == "T1wCE":
            rim = np.float32(level.enhancing * strength) * (1 + np.float32(0.09) * grain + np.float32(0.11) * lumps)
        inside = core + tumour.enhancing * (rim - core)
        value = value + tumour.core * (inside - value)
        out[sequence] = (np.maximum(value, 0.02) * brain).astype(np.float32)
    return out
