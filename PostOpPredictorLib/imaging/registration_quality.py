"""Whether a scan really lies where the template says: overlap of the brains and agreement of their detail.

Measured (overlap, metric) on which the limits stand; 2 x overlap + metric of the good is 2.13 or more, of the bad with
an overlap of 0.88 or more 2.05 or less:

| passed | overlap | metric |
|---|---|---|
| 11 BraTS cases, T1 | 0.950 to 0.966 | 0.37 to 0.63 |
| 11 BraTS cases, T1 with contrast | 0.954 to 0.966 | 0.22 to 0.52 |
| BraTS-GLI-00001-000, T1 and with contrast | 0.963, 0.964 | 0.61, 0.41 |
| TCGA-FG-6692 stripped, T1 and with contrast | 0.952, 0.952 | 0.66, 0.52 |
| TCGA-FG-6692 full head 5.5 mm, T1 and with contrast | 0.952, 0.928 | 0.66, 0.46 |
| pyradiomics brain2, full head 6.5 mm with contrast | 0.934 | 0.32 |
| 20 misaligned templates of the benchmark | 0.970 to 0.980 | 0.98 to 0.99 |

| refused | overlap | metric |
|---|---|---|
| noise, two kinds | 0.00, 0.46 | 0.00, -0.01 |
| leg-like cylinders | 0.75 | 0.04 |
| ellipsoids: even, noisy, textured | 0.90 to 0.91 | 0.01 to 0.14 |
| trunk-like blobs, two kinds | 0.90 | 0.02, 0.03 |
| brain upside down; head upside down | 0.88, 0.88 | 0.12, 0.07 |
| brain back to front; turned by 180 degrees | 0.86, 0.86 | 0.14, 0.14 |
| axes x and y swapped; y and z swapped | 0.89, 0.93 | 0.00, 0.18 |
| contrast inverted (as in T2) | 0.96 | -0.41 |
| noise in the outline of a brain | 0.97 | 0.04 |
| slice spacing wrong by half | 0.86 | -0.01 |
| half of a brain: one side; the top | 0.86, 0.89 | 0.06, 0.15 |
| a slab of 65 mm | 0.87 | 0.50 |
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from . import template
from .grid import TEMPLATE_GRID, Grid
from .moving_scan import SMOOTHED_MM, MovingScan

LEAST_OVERLAP = 0.88
_LEAST_METRIC = 0.12
_NEEDED_TOGETHER = 2.085
_JUDGED_AT_MM = 2.0
_RIM_MM = 6.0
"""The border alone would make any ellipsoid agree with a brain; only what lies deeper tells them apart."""
_DETAIL_MM = 8.0
_FEWEST_VOXELS = 1000


@dataclass(frozen=True)
class RegistrationQuality:
    """How well a scan lies on the template.

    ``overlap``: Dice of the scan's own brain, brought to MNI, with the template's brain.
    ``metric``: correlation with the template of what is finer than some 8 mm (sulci, ventricles, white matter), 6 mm or
    more inside both brains, away from the tumour; from -1 to 1.
    ``sentence``: the verdict for a person.
    """

    overlap: float
    metric: float
    passed: bool
    sentence: str


def judge(scan: MovingScan, transform: sitk.Transform, sequence: str = "T1w") -> RegistrationQuality:
    """The quality of ``transform`` (MNI -> scan, LPS mm).

    T2w and FLAIR are judged by the template as they show it; the limits were measured on T1-weighted scans.
    """
    overlap, metric = agreement(scan, transform, sequence)
    needed = least_metric(overlap)
    passed = overlap >= LEAST_OVERLAP and metric >= needed
    if passed:
        figures = f"brain overlap {overlap:.2f}, agreement with the template {metric:.2f}"
        return RegistrationQuality(overlap, metric, True, f"The scan was aligned to MNI space ({figures}).")
    figures = f"brain overlap {overlap:.2f}, needed {LEAST_OVERLAP:.2f}; agreement {metric:.2f}, needed {needed:.2f}"
    kind = sequence if sequence in template.OTHER_CONTRASTS else "T1-weighted"
    advice = f"Check that it is an upright {kind} scan of a whole brain, or give a brain mask."
    if kind == "T1-weighted" and agreement(scan, transform, "T2w")[1] >= needed:
        advice = "It looks T2-weighted: if it is, say so with --sequence T2w."
    sentence = f"The scan could not be aligned to MNI space ({figures}). {advice}"
    return RegistrationQuality(overlap, metric, False, sentence)


def least_metric(overlap: float) -> float:
    """The metric that is needed at this overlap: the less the outlines agree, the more the detail inside must."""
    return max(_LEAST_METRIC, _NEEDED_TOGETHER - 2 * max(overlap, LEAST_OVERLAP))


def agreement(scan: MovingScan, transform: sitk.Transform, sequence: str = "T1w") -> tuple[float, float]:
    """Dice of the brains and correlation of their detail; see ``RegistrationQuality``."""
    grid, atlas, atlas_detail = _atlas(sequence if sequence in template.OTHER_CONTRASTS else "T1w")
    brain = _on(grid, scan.brain, transform) > 0
    overlap = 2 * np.count_nonzero(atlas & brain) / (np.count_nonzero(atlas) + np.count_nonzero(brain))
    both = atlas & brain & (_on(grid, scan.counts, transform) > 0)
    deep = ndimage.binary_erosion(both, iterations=round(_RIM_MM / _JUDGED_AT_MM))
    if np.count_nonzero(deep) < _FEWEST_VOXELS:
        return float(overlap), 0.0
    own = _detail(_on(grid, scan.smooth, transform), both)[deep]
    other = atlas_detail[deep]
    spread = float(own.std() * other.std())
    covariance = float(((own - own.mean()) * (other - other.mean())).mean())
    return float(overlap), covariance / spread if spread > 0 else 0.0


def _on(grid: Grid, image: sitk.Image, transform: sitk.Transform) -> np.ndarray:
    interpolator = sitk.sitkLinear if image.GetPixelID() == sitk.sitkFloat32 else sitk.sitkNearestNeighbor
    return sitk.GetArrayFromImage(grid.resample(image, transform, interpolator))


def _detail(array: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """What is left of the intensities without their mean over some 8 mm around, so without the coil's bias."""
    sigma = _DETAIL_MM / _JUDGED_AT_MM
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
    mean = ndimage.gaussian_filter(array * inside, sigma) / np.maximum(weight, 1e-6)
    return (array - mean) * inside


@functools.cache
def _atlas(sequence: str) -> tuple[Grid, np.ndarray, np.ndarray]:
    """A coarse MNI grid with the template's brain (bool) and the detail of its intensities, arrays (z, y, x)."""
    x, y, z = (int(n // _JUDGED_AT_MM) for n in TEMPLATE_GRID.size)
    grid = Grid((x, y, z), (_JUDGED_AT_MM,) * 3, TEMPLATE_GRID.origin, TEMPLATE_GRID.direction)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    brain = _on(grid, template.brain_mask(), identity) > 0
    smooth = _on(grid, sitk.SmoothingRecursiveGaussian(template.seen_in(sequence), SMOOTHED_MM), identity)
    return grid, brain, _detail(smooth, brain)
