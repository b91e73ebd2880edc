"""T2w and FLAIR of a phantom or a real patient: the sequences in which water shows, before and after surgery.

The contrast is that of 1.5 to 3 T textbooks: T2w CSF > oedema > grey > white; FLAIR oedema > grey > white > CSF. Blood
is dark on T2w in the first week and bright from the second on (Bradley, Radiology 1993, 189:15); FLAIR of a cavity is
dark when its fluid is clear and grey when it is not; gliosis makes its rim bright with time (assumed).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..case import EARLY_DAYS
from .fields import BoolArray, FloatArray, blur, ramp, smooth_noise
from .signal import TissueLevels
from .surgery import Operation
from .tumour import Tumour, TumourPlan

WATER_SEQUENCES = ("T2w", "FLAIR")

Ranges = Mapping[str, tuple[float, float]]
LEVELS: Mapping[str, Ranges] = {
    "T2w": {
        "csf": (0.95, 1.15),
        "gm": (0.53, 0.60),
        "wm": (0.38, 0.45),
        "enhancing": (0.56, 0.74),
        "oedema": (0.64, 0.84),
    },
    "FLAIR": {
        "csf": (0.06, 0.16),
        "gm": (0.56, 0.64),
        "wm": (0.44, 0.51),
        "enhancing": (0.6, 0.85),
        "oedema": (0.8, 1.05),
    },
}
CORES: Mapping[str, Ranges] = {
    "T2w": {"necrotic": (0.75, 1.05), "low grade": (0.72, 0.95)},
    "FLAIR": {"necrotic": (0.30, 0.78), "low grade": (0.68, 0.98)},
}
"""Lowest and highest signal of a phantom's tissue, in the units in which T1w white matter is 0.82."""


def random_water_levels(rng: np.random.Generator, sequence: str) -> TissueLevels:
    """This patient's contrast in ``sequence``."""
    return TissueLevels(**{name: float(rng.uniform(*bounds)) for name, bounds in LEVELS[sequence].items()})


def add_water_tumour(
    rng: np.random.Generator,
    base: FloatArray,
    sequence: str,
    tumour: Tumour,
    plan: TumourPlan,
    levels: TissueLevels,
    brain: BoolArray,
) -> FloatArray:
    """Paint bright oedema, core and rim into the signal ``base`` (z, y, x) of ``sequence``."""
    grain, lumps = smooth_noise(rng, brain.shape, 4.0), smooth_noise(rng, brain.shape, 9.0)
    wetness = float(rng.uniform(0.65, 1.0))
    core_level = float(rng.uniform(*CORES[sequence]["low grade" if plan.low_grade else "necrotic"]))
    wet = np.clip(tumour.oedema * (1 + np.float32(0.12) * lumps), 0, 1)
    value = base + np.float32(wetness) * wet * np.maximum(np.float32(levels.oedema) - base, 0)
    core = core_level + np.float32(0.02) * grain + np.float32(0.04) * lumps
    rim = np.float32(levels.enhancing) * (1 + np.float32(0.06) * grain + np.float32(0.09) * lumps)
    value = value + tumour.core * (core + tumour.enhancing * (rim - core) - value)
    return (np.maximum(value, 0.02) * brain).astype(np.float32)


def paint_water(
    moved: FloatArray,
    levels: TissueLevels,
    sequence: str,
    operation: Operation,
    was_wet: FloatArray,
    resolved: float,
    grain: FloatArray,
    lumps: FloatArray,
) -> FloatArray:
    """The moved pre-operative signal with dried and new oedema, the cavity's rim and its filling.

    ``resolved`` is the share of a gone oedema's signal that has gone with it.
    """
    dry = was_wet * (1 - operation.oedema) * np.float32(resolved)
    wet = operation.oedema * (1 - was_wet) * np.float32(0.75)
    tissue = np.clip((moved - levels.csf) / np.float32(levels.gm - levels.csf), 0, 1)
    value = moved - dry * np.maximum(moved - np.float32(levels.wm), 0)
    value = value + wet * tissue * np.maximum(np.float32(levels.oedema) - value, 0)
    edge = blur(operation.cavity, 2.0)
    rim = 4 * edge * (1 - edge) * tissue * (1 - operation.cavity) * np.float32(_gliosis(sequence, operation.days))
    value = value + rim * np.maximum(np.float32(levels.oedema) - value, 0)
    value = value + operation.cavity * (_filling(levels, sequence, operation, grain, lumps) - value)
    return value + operation.gap * (1 - operation.cavity) * (np.float32(levels.csf) - value)


def _gliosis(sequence: str, days: float) -> float:
    """Weight of the cavity's bright rim: some at once (contusion), more over a month."""
    grown = 0.30 + 0.45 * (1 - float(np.exp(-(days - EARLY_DAYS) / 30)))
    return grown if sequence == "FLAIR" else 0.5 * grown


def _filling(
    levels: TissueLevels, sequence: str, operation: Operation, grain: FloatArray, lumps: FloatArray
) -> FloatArray:
    """Fluid between CSF and grey matter by its protein, blood of its age, black air."""
    fluid = levels.csf + (levels.gm - levels.csf) * (
        np.float32(0.85 if sequence == "FLAIR" else 0.3) * operation.fluid + np.float32(0.02) * grain
    )
    late = float(ramp(np.full(1, operation.days, np.float32), 6.0, 16.0)[0])
    young, old = (0.35 * levels.wm, 0.92 * levels.csf) if sequence == "T2w" else (0.7 * levels.wm, levels.oedema)
    blood = np.float32(young + late * (old - young)) * (1 + np.float32(0.10) * lumps + np.float32(0.05) * grain)
    value = fluid + operation.blood * (blood - fluid)
    return (value + operation.air * (np.float32(0.05 * levels.wm) - value)).astype(np.float32)
