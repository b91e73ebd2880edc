"""What the tests of plans share: patients, masks over their scan, a model that may be given a plan."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from prediction_bench import CENTRE_MM, HAND_GRID, FollowsThePrecedent, in_mni, template_patient

from PostOpPredictorLib.prediction.patient import Patient, align

LARGER = 1.2


@dataclasses.dataclass
class KnowsPlans(FollowsThePrecedent):
    """A model that may be given a plan, and pays no attention to it."""

    def refuse_unknown(self, **_: bool) -> None: ...


@functools.cache
def a_patient() -> Patient:
    """The patient of the tests of prediction, who lies in MNI space; must not be changed."""
    scan, labels = template_patient()
    return align(scan, labels, in_mni(scan))


@functools.cache
def a_larger_patient() -> Patient:
    """The same with a head that is larger than the template by 1.2."""
    scan, labels = (_stretched(image) for image in template_patient())
    transform = sitk.AffineTransform(3)
    transform.Scale(LARGER)
    return align(scan, labels, dataclasses.replace(in_mni(scan), transform=transform))


def _stretched(image: sitk.Image) -> sitk.Image:
    larger = sitk.Image(image)
    larger.SetSpacing([LARGER * one for one in image.GetSpacing()])
    larger.SetOrigin([LARGER * one for one in image.GetOrigin()])
    return larger


def ball(path: Path, radius_mm: float, centre: tuple[float, float, float] = CENTRE_MM, value: int = 1) -> Path:
    """Write a mask over the patient's scan: a ball at ``centre`` (LPS mm)."""
    z, y, x = np.meshgrid(*(np.arange(size) for size in HAND_GRID.shape), indexing="ij")
    points = np.stack([x, y, z], axis=-1) * HAND_GRID.spacing + HAND_GRID.origin
    inside = np.linalg.norm(points - np.asarray(centre), axis=-1) < radius_mm
    sitk.WriteImage(HAND_GRID.image((inside * value).astype(np.uint8)), str(path))
    return path
