"""What the post-operative scan shows: the pre-operative signal moved, and cavity, blood, air and oedema painted in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..case import EARLY_DAYS
from .fields import BoolArray, FloatArray, blur, pull_where, ramp, smooth_noise
from .patient import Patient
from .signal import TissueLevels
from .surgery import Operation
from .water import WATER_SEQUENCES, paint_water

RESOLVED_OEDEMA_GAIN = 0.20
NEW_OEDEMA_LOSS = 0.20


def post_signal(
    pre: Mapping[str, FloatArray],
    levels: Mapping[str, TissueLevels],
    patient: Patient,
    operation: Operation,
    rng: np.random.Generator,
) -> dict[str, FloatArray]:
    """The post-operative signal (z, y, x) per sequence, in the units of ``pre``, 0 outside the brain."""
    grain = smooth_noise(rng, patient.brain.shape, 4.0)
    lumps = smooth_noise(rng, patient.brain.shape, 10.0)
    moves = np.sqrt((operation.shift**2).sum(-1))
    was_wet = blur(
        pull_where((patient.tumour == 2).astype(np.float32), operation.shift, (moves > 0.02) & patient.brain), 1.0
    )
    return {
        sequence: _paint(image, levels[sequence], sequence, patient, operation, was_wet, grain, lumps)
        for sequence, image in pre.items()
    }


def _paint(
    pre: FloatArray,
    levels: TissueLevels,
    sequence: str,
    patient: Patient,
    operation: Operation,
    was_wet: FloatArray,
    grain: FloatArray,
    lumps: FloatArray,
) -> FloatArray:
    moved = _moved(pre, operation.shift, patient.brain)
    resolved = RESOLVED_OEDEMA_GAIN * (1 + 0.4 * (1 - float(np.exp(-(operation.days - EARLY_DAYS) / 40))))
    if sequence in WATER_SEQUENCES:
        value = paint_water(moved, levels, sequence, operation, was_wet, 3 * resolved, grain, lumps)
        return (np.maximum(value, 0) * patient.brain).astype(np.float32)
    white = levels.wm - levels.csf
    drier = was_wet * (1 - operation.oedema) * np.float32(resolved)
    wetter = operation.oedema * (1 - was_wet) * np.float32(NEW_OEDEMA_LOSS)
    value = moved + drier * np.clip(levels.wm - moved, 0, white) * 3 - wetter * np.maximum(moved - levels.csf, 0)
    if sequence == "T1wCE":
        value = value + operation.wall * (levels.enhancing - levels.gm) * (1 - operation.cavity)
    inside = _filling(levels, operation, grain, lumps)
    value = value + operation.cavity * (inside - value)
    gap = operation.gap * (1 - operation.cavity)
    value = value + gap * (levels.csf * 1.1 - value)
    return (np.maximum(value, 0) * patient.brain).astype(np.float32)


def _moved(pre: FloatArray, shift: FloatArray, brain: BoolArray) -> FloatArray:
    """``pre`` pulled by ``shift``; voxels that hardly move are kept as they are, so nothing far away is blurred."""
    height = np.sqrt((shift**2).sum(-1))
    moved = pull_where(pre, shift, (height > 0.02) & brain)
    return pre + ramp(height, 0.02, 0.2) * (moved - pre)


def _filling(levels: TissueLevels, operation: Operation, grain: FloatArray, lumps: FloatArray) -> FloatArray:
    """Signal inside the cavity: fluid of the institution's brightness, T1-bright blood, black air."""
    span = levels.wm - levels.csf
    fluid = levels.csf + span * (np.float32(0.55) * operation.fluid + np.float32(0.012) * grain)
    blood = levels.csf + span * (np.float32(1.10) + np.float32(0.10) * lumps + np.float32(0.05) * grain)
    value = fluid + operation.blood * (blood - fluid)
    return (value + operation.air * (np.float32(0.3 * levels.csf) - value)).astype(np.float32)
