"""A functional-atlas proxy of eloquent areas: balls and tubes in MNI space. Overlap with it predicts no deficit.

Group averages of healthy people, laid over the patient by an affine alignment: a tumour pushes and moves function,
which this does not know. It says where to look at the patient's own functional imaging, no more.

Sources (MNI RAS mm):
- sensorimotor and visual cortex, posterior superior temporal cortex (comprehension of speech): regions of Seitzman et
  al., NeuroImage 2020; 206:116290 (networks somatomotor dorsal and lateral, visual, ventral attention), which come
  with nilearn.
- production of speech: pars opercularis, doi 10.1098/rstb.2013.0297, table 2 (47, 13, 17), mirrored.
- corticospinal tract: from the hand and leg areas to the third quarter of the internal capsule's posterior limb
  (Holodny et al., Radiology 2005; 234:649-653), midway between the same atlas's thalamus (17, -22, 9) and posterior
  putamen (28, -9, 8), then through the cerebral peduncle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import SimpleITK as sitk

from ...imaging import template
from ...imaging.grid import WORKING_GRID

LABEL = "functional-atlas proxy: overlap, not a prediction of deficit"

CORTEX_MM, SPEECH_MM, TRACT_MM = 9.0, 12.0, 5.0

Point = tuple[float, float, float]

_LEFT_CORTEX: dict[str, tuple[float, tuple[Point, ...]]] = {
    "hand sensorimotor": (CORTEX_MM, ((-39.6, -19.0, 54.2), (-38.2, -14.6, 68.7), (-45.1, -31.9, 46.6))),
    "leg sensorimotor": (CORTEX_MM, ((-6.8, -33.1, 72.3), (-6.9, -20.6, 65.2), (-13.0, -17.3, 74.7))),
    "face sensorimotor": (CORTEX_MM, ((-49.5, -11.1, 35.0), (-52.8, -10.2, 24.4))),
    "primary visual": (CORTEX_MM, ((-8.4, -80.5, 7.4), (-12.1, -94.6, -12.8))),
    "Broca (speech, if left-dominant)": (SPEECH_MM, ((-47.0, 13.0, 17.0),)),
    "Wernicke (speech, if left-dominant)": (SPEECH_MM, ((-55.3, -39.9, 13.5), (-56.5, -50.5, 9.9))),
}
_RIGHT_CORTEX: dict[str, tuple[float, tuple[Point, ...]]] = {
    "hand sensorimotor": (CORTEX_MM, ((42.1, -20.2, 54.6), (28.9, -17.0, 70.6), (47.2, -29.8, 48.7))),
    "leg sensorimotor": (CORTEX_MM, ((3.5, -17.4, 58.5), (10.1, -17.1, 74.1), (13.2, -32.8, 75.0))),
    "face sensorimotor": (CORTEX_MM, ((51.1, -5.8, 32.4), (65.6, -7.9, 24.8))),
    "primary visual": (CORTEX_MM, ((6.2, -81.4, 6.1), (8.0, -91.1, -7.1), (8.5, -71.8, 10.8))),
}
_TRACT_FROM = ((39.6, -19.0, 54.2), (10.0, -25.0, 68.0))
_TRACT_DOWN: tuple[Point, ...] = ((26.0, -20.0, 28.0), (22.5, -16.0, 8.5), (14.0, -18.0, -14.0))
"""Right side; the corona radiata lies on the way."""


@dataclass(frozen=True)
class EloquentArea:
    """``mask`` bool (z, y, x) on WORKING_GRID, within the template's brain."""

    name: str
    mask: np.ndarray


@lru_cache(maxsize=1)
def eloquent_areas() -> tuple[EloquentArea, ...]:
    """All areas, left and right apart."""
    areas = [
        (f"{side} {name}", _balls(points, radius))
        for side, cortex in (("left", _LEFT_CORTEX), ("right", _RIGHT_CORTEX))
        for name, (radius, points) in cortex.items()
    ]
    areas += [(f"{side} corticospinal tract", _tract(sign)) for side, sign in (("left", -1.0), ("right", 1.0))]
    brain = sitk.GetArrayFromImage(WORKING_GRID.resample(template.brain_mask(), interpolator=sitk.sitkNearestNeighbor))
    return tuple(EloquentArea(name, mask & (brain > 0)) for name, mask in areas)


def _tract(sign: float) -> np.ndarray:
    down = [np.multiply(point, (sign, 1.0, 1.0)) for point in _TRACT_DOWN]
    mask = np.zeros(WORKING_GRID.shape, bool)
    for start in _TRACT_FROM:
        way = [np.multiply(start, (sign, 1.0, 1.0)), *down]
        for one, two in pairwise(way):
            count = int(np.linalg.norm(two - one)) + 1
            points = [tuple((one + (two - one) * at / count).tolist()) for at in range(count + 1)]
            mask |= _balls(points, TRACT_MM)
    return mask


def _balls(points: tuple[Point, ...] | list[Point], radius: float) -> np.ndarray:
    x, y, z = (
        origin + spacing * np.arange(size)
        for origin, spacing, size in zip(WORKING_GRID.origin, WORKING_GRID.spacing, WORKING_GRID.size, strict=True)
    )
    mask = np.zeros(WORKING_GRID.shape, bool)
    for right, front, up in points:
        # RAS to LPS: x and y change sign.
        away = (x + right) ** 2 + ((y + front) ** 2)[:, None] + ((z - up) ** 2)[:, None, None]
        mask |= away <= radius**2
    return mask
