"""What an operation looks like days to months after surgery: blood, air and oedema go, the cavity shrinks.

Sources: the cavity loses 32 +- 30 % and the oedema around it 38 +- 25 % of their volume in a median of 19.5 days
(Dejonckheere et al., Cancers 2023, 15:2840); air is there in every head on day 2, in 75 % by day 7, in 60 % in the
second week and in 26 % in the third (Reasoner et al., Anesthesiology 1994, 80:1008). Assumptions: everything else,
above all that blood is gone in three to eleven weeks, that the cavity ends at 30 to 75 % of its volume, that its fluid
clears, and that the wall enhances most from the third week to the second month. Oedema peaks some days after surgery
in truth; here it only recedes. There is no model of regrowth, infarction, infection or radiation: residual tumour stays
as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ...errors import InputError
from ..case import EARLY_DAYS
from .fields import (
    BoolArray,
    Crop,
    FloatArray,
    blur,
    crop_around,
    pull,
    pull_where,
    ramp,
    signed_distance,
    smooth_noise,
    upsample,
)
from .filling import height_in
from .patient import Patient
from .surgery import Operation
from .tumour import VOXEL_ML, radial_field

LAST_DAY = 365.0
STEP_MM = 0.9
MOST_STEPS = 12
"""Up to about 11 mm of wall moving in; a cavity that needs more keeps the rest of its volume."""


@dataclass(frozen=True)
class LaterScans:
    """How many operations are scanned again, and between which days after surgery (log-uniform)."""

    count: int
    first_day: float = EARLY_DAYS
    last_day: float = LAST_DAY

    def __post_init__(self) -> None:
        """Raise ``InputError`` for days outside 1 to 365 or in the wrong order."""
        if not EARLY_DAYS <= self.first_day <= self.last_day <= LAST_DAY:
            raise InputError(
                f"Later scans from day {self.first_day:g} to day {self.last_day:g} cannot be simulated. "
                f"Give a first and a last day between {EARLY_DAYS:g} and {LAST_DAY:g}, the first one first."
            )

    def day(self, *key: int) -> float:
        """The day of the scan that ``key`` (seed and numbers) names, to a tenth."""
        rng = np.random.default_rng(np.random.SeedSequence(key))
        drawn = float(np.exp(rng.uniform(np.log(self.first_day), np.log(self.last_day))))
        return min(max(round(drawn, 1), self.first_day), self.last_day)


@dataclass(frozen=True)
class _Pace:
    """How fast one patient heals: days until all is gone, or of an exponential; shares of the volume on day 1."""

    shrinks: float
    shrink_days: float
    blood_days: float
    air_days: float
    oedema_days: float
    oedema_stays: float

    def cavity(self, days: float) -> float:
        return 1 - self.shrinks * (1 - float(np.exp(-(days - EARLY_DAYS) / self.shrink_days)))

    def oedema(self, days: float) -> float:
        return self.oedema_stays + (1 - self.oedema_stays) * float(np.exp(-(days - EARLY_DAYS) / self.oedema_days))

    def blood(self, days: float) -> float:
        return max(0.0, 1 - (days - EARLY_DAYS) / self.blood_days) ** 1.5

    def air(self, days: float) -> float:
        return max(0.0, 1 - (days - EARLY_DAYS) / self.air_days) ** 1.5


def _random_pace(rng: np.random.Generator) -> _Pace:
    def around(median: float, spread: float, low: float, high: float) -> float:
        return float(np.clip(median * np.exp(rng.normal(0, spread)), low, high))

    return _Pace(
        shrinks=float(rng.uniform(0.25, 0.70)),
        shrink_days=around(20, 0.35, 8, 50),
        blood_days=around(45, 0.3, 21, 75),
        air_days=around(13, 0.7, 3, 30),
        oedema_days=around(36, 0.35, 15, 70),
        oedema_stays=float(rng.uniform(0.0, 0.15)),
    )


def heal(operation: Operation, patient: Patient, days: float, rng: np.random.Generator) -> Operation:
    """``operation`` as a scan ``days`` (1 to 365) after surgery shows it; day 1 is ``operation`` itself.

    Everything again in post-operative space, of that day: labels, weights and the whole ``shift`` from before surgery.
    For one ``rng`` state the volumes of blood, air, oedema and cavity never grow with the days, and the cavity of a
    later day lies within that of an earlier one. Raises ``InputError`` for other days.
    """
    if not EARLY_DAYS <= days <= LAST_DAY:
        raise InputError(f"Day {days:g} after surgery cannot be simulated: give 1 to {LAST_DAY:g}.")
    pace = _random_pace(rng)
    hole = np.isin(operation.outcome, (1, 3, 5))
    crop = crop_around(hole, 22.0)
    noise = smooth_noise(rng, hole[crop].shape, 11.0)
    if days <= EARLY_DAYS or not hole.any():
        return operation
    cavity, closing = _closed_in(operation, patient, hole, pace.cavity(days))
    sunk = hole & (operation.cavity <= 0.5)
    late_hole = (cavity > 0.5) | sunk
    moving = (np.sqrt((closing**2).sum(-1)) > 0.02) & patient.brain
    shift = closing + np.stack([pull_where(operation.shift[..., c], closing, moving) for c in range(3)], axis=-1)
    late = {name: pull_where(getattr(operation, name), closing, moving) for name in ("blood", "air", "oedema", "fluid")}
    residual = _as_large_as_before(operation.outcome == 2, closing, moving, patient.brain & ~late_hole)
    _resolve(late, operation.outcome, late_hole, residual, crop, noise, pace, days)
    return replace(
        operation,
        outcome=_labels(late, late_hole, residual),
        shift=shift,
        cavity=cavity,
        blood=late["blood"],
        air=late["air"],
        oedema=late["oedema"],
        wall=pull_where(operation.wall, closing, moving) * np.float32(_enhancement(days)),
        gap=np.maximum(_gap(patient, shift), operation.gap * sunk),
        fluid=late["fluid"] * np.float32(0.2 + 0.8 * np.exp(-(days - EARLY_DAYS) / 30)),
        days=days,
    )


def _closed_in(operation: Operation, patient: Patient, hole: BoolArray, share: float) -> tuple[FloatArray, FloatArray]:
    """The soft cavity when its walls have come in until ``share`` of the volume is left, and their pull-back mm.

    The walls follow one stationary flow; the cavity at every step is the least so far, so that it only ever shrinks.
    """
    crop = crop_around(hole, 4.0)
    velocity = _wall_velocity(hole, patient.brain)
    places = np.nonzero(np.sqrt((velocity**2).sum(0)) > 0.004)
    soft, flow = operation.cavity[crop], np.zeros_like(velocity)
    volume = float((soft > 0.5).sum())
    target = share * volume
    for _ in range(MOST_STEPS):
        ahead = _one_step(velocity, flow, places)
        moved = np.moveaxis(upsample(ahead, hole.shape, 2, crop=crop), 0, -1)
        less = np.minimum(soft, pull(operation.cavity, moved, crop))
        left = float((less > 0.5).sum())
        if left <= target:
            way = np.float32((volume - target) / max(volume - left, 1.0))
            soft, flow = soft + way * (less - soft), flow + way * (ahead - flow)
            break
        soft, flow, volume = less, ahead, left
    cavity = np.zeros(hole.shape, np.float32)
    cavity[crop] = soft
    return cavity, np.ascontiguousarray(np.moveaxis(upsample(flow, hole.shape, 2), 0, -1))


def _wall_velocity(hole: BoolArray, brain: BoolArray) -> FloatArray:
    """Pull-back (3, z, y, x), at most 1 high, on the 3 mm lattice: away from the cavity, nothing at the skull."""
    low_hole, low_brain = (np.pad(m[::2, ::2, ::2], [(0, 1)] * 3, mode="edge") for m in (hole, brain))
    radius = (hole.sum() * VOXEL_ML * 1000 * 3 / 4 / np.pi) ** (1 / 3)
    if not low_hole.any():  # a cavity of a few voxels that the lattice misses
        return np.zeros((3, *low_hole.shape), np.float32)
    return -radial_field(low_hole, low_brain, 0.8 * radius)


def _one_step(velocity: FloatArray, here: FloatArray, places: tuple[np.ndarray, ...]) -> FloatArray:
    """``here`` (3, z, y, x) mm, carried on by the flow for STEP_MM of its greatest speed."""
    points = np.stack(places) + np.stack([here[2 - axis][places] for axis in range(3)]) / np.float32(3.0)
    ahead = here.copy()
    for c in range(3):
        speed = ndimage.map_coordinates(velocity[c], points, output=np.float32, order=1, mode="nearest")
        ahead[c][places] += np.float32(STEP_MM) * speed
    return ahead


def _gap(patient: Patient, shift: FloatArray) -> FloatArray:
    """Where the brain has drawn back from its old surface, as in the operation itself."""
    moves = np.sqrt((shift**2).sum(-1))
    brain = pull_where(patient.brain.astype(np.float32), shift, (moves > 0.02) & patient.brain)
    return (np.clip(1 - brain, 0, 1) * patient.brain * (moves > 0.6)).astype(np.float32)


def _as_large_as_before(residual: BoolArray, closing: FloatArray, moving: BoolArray, room: BoolArray) -> BoolArray:
    """The residual tumour where it has moved to, of the same number of voxels as far as there is room."""
    score = pull_where(blur(residual.astype(np.float32), 2.0), closing, moving) * room
    count = min(int(residual.sum()), int((score > 0.01).sum()))
    if count == 0:
        return np.zeros_like(residual)
    return score >= max(float(np.partition(score.ravel(), -count)[-count]), 0.01)


def _resolve(
    late: dict[str, FloatArray],
    before: np.ndarray,
    hole: BoolArray,
    residual: BoolArray,
    crop: Crop,
    noise: FloatArray,
    pace: _Pace,
    days: float,
) -> None:
    """Let blood, air and oedema go, in ``late``: settled blood, air in front and oedema at the wall stay longest."""
    inside = hole[crop]
    height = height_in(inside)
    around = -np.maximum(-signed_distance(inside), 0)
    tissue = ~inside & ~residual[crop]
    plans = (
        ("air", 5, pace.air(days), height + np.float32(0.01) * noise, 0.03, inside),
        ("blood", 3, pace.blood(days), np.float32(0.5) * noise - height, 0.25, inside),
        ("oedema", 4, pace.oedema(days), around + np.float32(2.0) * noise, 1.5, tissue),
    )
    for name, label, share, lasting, width, allowed in plans:
        count = int(share * (before == label).sum())
        if name == "blood":
            allowed = allowed & (late["air"][crop] <= 0.5)
        kept = np.zeros_like(hole, np.float32)
        kept[crop] = _lasting_part(late[name][crop], lasting, allowed, count, width)
        late[name] = kept
    late["oedema"] = late["oedema"] * ~hole * ~residual


def _lasting_part(weight: FloatArray, lasting: FloatArray, allowed: BoolArray, count: int, width: float) -> FloatArray:
    """``weight`` where ``lasting`` is greatest, so that it is above 0.5 in ``count`` voxels of ``allowed``.

    Where the moving walls have left too few above 0.5, the greatest of the others make up for it.
    """
    there = allowed & (weight > 0.5)
    if count == 0:
        return np.zeros_like(weight)
    if there.sum() > count:
        return np.minimum(weight, ramp(lasting - _next_after(lasting[there], count), -width, width))
    some = weight[allowed & (weight > 0.02)]
    if there.sum() == count or some.size <= count:
        return weight
    return np.minimum(weight * np.float32(0.5 / _next_after(some, count)), 1)


def _next_after(values: FloatArray, count: int) -> float:
    """The greatest value but ``count``."""
    return float(np.partition(values, -count - 1)[-count - 1])


def _labels(late: dict[str, FloatArray], hole: BoolArray, residual: BoolArray) -> np.ndarray:
    labels = np.zeros(hole.shape, np.uint8)
    labels[late["oedema"] > 0.5] = 4
    labels[residual] = 2
    labels[hole] = 1
    labels[hole & (late["blood"] > 0.5)] = 3
    labels[hole & (late["air"] > 0.5)] = 5
    return labels


def _enhancement(days: float) -> float:
    """Factor of the wall's enhancement: 1 on day 1, about 1.9 in the first two months, little after half a year."""
    rise = 1 + 0.9 * float(np.clip((days - EARLY_DAYS) / 20, 0, 1))
    return rise * (1 - 0.85 * float(np.clip((days - 60) / 120, 0, 1)))
