"""The midline as a neurosurgeon reads it: how far the septum pellucidum, just in front of the foramina of Monro, lies
from the line between the front and the back end of the fissure between the hemispheres.

Before surgery the three are found in the scan itself: the template's block around each is laid where it correlates
best with the scan (left to right, with a little play to the front and up), to a fraction of a voxel. An end of the
fissure counts only where the scan's own mirror symmetry says the same; contrast in the falx can hide it, and then the
middle plane of MNI space takes the line's place. How the operation moves the septum is read from the predicted shift,
followed forward from where the septum was found.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from ..cases.case import FloatArray
from ..imaging import template
from ..imaging.affine import linear_part
from ..imaging.grid import WORKING_GRID

HALF_WIDTH_MM = 18.0
MIDDLE_WEIGHT_MM = 9.0
PLAY_MM = 4.5
LEAST_LIKENESS = 0.6
AGREEMENT_MM = 3.0
FOLLOWING_STEPS = 12
SPACING_MM = WORKING_GRID.spacing[0]


@dataclass(frozen=True)
class _Block:
    """Where a midline structure lies in the template, LPS mm from and to, and how far from there it is looked for."""

    y_mm: tuple[float, float]
    z_mm: tuple[float, float]
    reach_mm: float

    @property
    def y_centre(self) -> float:
        """Its middle from front to back."""
        return sum(self.y_mm) / 2.0

    @property
    def voxels(self) -> tuple[slice, slice, slice]:
        """The voxels (z, y, x) of WORKING_GRID whose centres lie in it."""
        z, y, x = (
            [(mm - WORKING_GRID.origin[axis]) / SPACING_MM for mm in ends]
            for axis, ends in ((2, self.z_mm), (1, self.y_mm), (0, (-HALF_WIDTH_MM, HALF_WIDTH_MM)))
        )
        return _from_to(z), _from_to(y), _from_to(x)


SEPTUM = _Block((-18.0, -1.5), (5.0, 18.5), 16.5)
FRONT = _Block((-62.0, -38.0), (4.0, 21.5), 15.0)
BACK = _Block((58.0, 87.5), (4.0, 21.5), 15.0)


@dataclass(frozen=True)
class Midline:
    """mm, positive to the patient's left: ``septum_x`` in MNI space, ``before_mm`` from the ideal line in the patient.

    ``by_fissure``: the ideal line joins the ends of the fissure; otherwise it is the middle plane of MNI space.
    """

    septum_x: float
    before_mm: float
    by_fissure: bool


def midline_of(pre: FloatArray, sequence: str, mni_to_patient: sitk.Transform) -> Midline | None:
    """Find the midline in ``pre`` (z, y, x) on WORKING_GRID; None where the septum does not show clearly enough."""
    image = -pre if sequence == "T2w" else pre  # the template's fluid is dark
    likeness = _likeness(image, SEPTUM)
    septum = _best_place(likeness)
    if septum is None or likeness.max() < LEAST_LIKENESS:
        return None
    front, back = _end_of_fissure(image, FRONT), _end_of_fissure(image, BACK)
    ideal = 0.0
    if front is not None and back is not None:
        ideal = front + (back - front) * (SEPTUM.y_centre - FRONT.y_centre) / (BACK.y_centre - FRONT.y_centre)
    scale = sideways_scale(mni_to_patient)
    return Midline(septum, (septum - ideal) * scale, front is not None and back is not None)


def septum_moves_mm(shift: FloatArray, septum_x: float, mni_to_patient: sitk.Transform) -> float:
    """How far ``shift`` (z, y, x, 3; mm, LPS, pull-back) moves the septum to the patient's left, mean over it.

    A point q of the scan before surgery is found after it at p with p + shift(p) = q, so it moved by -shift(p).
    """
    z, y = (np.arange(low, high, SPACING_MM) for low, high in (SEPTUM.z_mm, SEPTUM.y_mm))
    before = np.stack([a.ravel() for a in np.meshgrid([septum_x], y, z, indexing="ij")], axis=-1)
    after = before
    for _ in range(FOLLOWING_STEPS):
        after = before - _sampled(shift, after)
    return float((after - before)[:, 0].mean()) * sideways_scale(mni_to_patient)


def septum_slices() -> tuple[int, int]:
    """First and last slice (z of WORKING_GRID) of the septum."""
    first, last = (round((z - WORKING_GRID.origin[2]) / SPACING_MM) for z in SEPTUM.z_mm)
    return first, last


def sideways_scale(mni_to_patient: sitk.Transform) -> float:
    """Patient mm between two sagittal planes of MNI space that are 1 mm apart."""
    normal = np.linalg.inv(linear_part(mni_to_patient))[0]
    return 1.0 / float(np.linalg.norm(normal))


def _sampled(shift: FloatArray, points: np.ndarray) -> np.ndarray:
    """``shift`` at ``points`` (n, 3; LPS mm)."""
    voxels = ((points - np.asarray(WORKING_GRID.origin)) / np.asarray(WORKING_GRID.spacing))[:, ::-1].T
    return np.stack([ndimage.map_coordinates(shift[..., c], voxels, order=1, mode="nearest") for c in range(3)], axis=1)


@functools.cache
def _template() -> FloatArray:
    return sitk.GetArrayFromImage(WORKING_GRID.resample(template.t1())).astype(np.float32)


def _end_of_fissure(image: FloatArray, block: _Block) -> float | None:
    """x (MNI mm) of the fissure in ``block``; None unless template and mirror symmetry agree."""
    by_template, by_mirror = _best_place(_likeness(image, block)), _best_place(_symmetry(image, block))
    if by_template is None or by_mirror is None or abs(by_template - by_mirror) > AGREEMENT_MM:
        return None
    return (by_template + by_mirror) / 2.0


def _likeness(image: FloatArray, block: _Block) -> np.ndarray:
    """Correlation of the template's ``block`` with ``image`` at every place along x within reach."""
    model = _template()[block.voxels]
    play, reach = round(PLAY_MM / SPACING_MM), round(block.reach_mm / SPACING_MM)
    around = image[tuple(_wider(part, by) for part, by in zip(block.voxels, (play, play, reach), strict=True))]
    return _correlation(model, sliding_window_view(around, model.shape)[::play, ::play]).max(axis=(0, 1))


def _symmetry(image: FloatArray, block: _Block) -> np.ndarray:
    """Correlation of ``image`` in ``block`` with its own mirror image, at every place along x within reach."""
    z, y, x = block.voxels
    around = image[z, y, _wider(x, round(block.reach_mm / SPACING_MM))]
    places = np.moveaxis(sliding_window_view(around, x.stop - x.start, axis=2), 2, 0)
    return np.array([_correlation(place, place[..., ::-1]) for place in places])


def _best_place(likeness: np.ndarray) -> float | None:
    """mm from the middle of ``likeness`` (one value per voxel along x) to its top; None when that is at an end."""
    best = int(likeness.argmax())
    if best in (0, len(likeness) - 1):
        return None
    return (best - len(likeness) // 2 + _peak(*likeness[best - 1 : best + 2].tolist())) * SPACING_MM


def _from_to(ends: list[float]) -> slice:
    return slice(int(np.ceil(ends[0])), int(np.floor(ends[1])) + 1)


def _wider(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop + by)


def _correlation(model: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Correlation of ``model`` (z, y, x) with ``places`` (..., z, y, x), the middle weighing most; 0 for a flat one."""
    axes = (-3, -2, -1)
    distance = (np.arange(model.shape[2]) - (model.shape[2] - 1) / 2.0) * SPACING_MM
    weight = np.broadcast_to(np.exp(-0.5 * (distance / MIDDLE_WEIGHT_MM) ** 2), model.shape)
    weight = weight / weight.sum()
    centred = model - (model * weight).sum()
    spread = (places * places * weight).sum(axis=axes) - (places * weight).sum(axis=axes) ** 2
    scale = np.sqrt(np.maximum(spread, 0.0) * (centred**2 * weight).sum())
    together = (places * centred * weight).sum(axis=axes)
    return np.where(scale > 1e-6, together / np.maximum(scale, 1e-6), 0.0)


def _peak(left: float, middle: float, right: float) -> float:
    """Where the parabola through three neighbours has its top, in voxels from the middle one."""
    bend = left - 2.0 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0
