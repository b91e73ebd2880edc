"""Affine registration of a patient's scan to MNI space, its quality, and the brain mask that comes with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..errors import InputError, RegistrationFailed
from ..progress import Progress, SilentProgress
from . import brain as brain_masks
from .alignment import Search
from .grid import Grid
from .moving_scan import prepare
from .registration_quality import RegistrationQuality, agreement, judge

__all__ = ["Registration", "RegistrationQuality", "register_to_mni"]

_IN_MNI_OVERLAP = 0.85
"""A scan whose brain overlaps the template's less is certainly not in MNI space; the search need not ask."""


@dataclass(frozen=True)
class Registration:
    """How a scan lies in MNI space.

    ``transform`` maps MNI (LPS mm) to the patient (LPS mm), so it is ready for ``Grid.resample(image, transform)``.
    ``brain_mask``: uint8 0/1 on ``TEMPLATE_GRID``. ``already_in_mni``: the scan was in MNI space, the transform is the
    identity.
    """

    transform: sitk.Transform
    brain_mask: sitk.Image
    quality: RegistrationQuality
    already_in_mni: bool


def register_to_mni(
    image: sitk.Image,
    tumour: sitk.Image | None = None,
    brain: sitk.Image | None = None,
    progress: Progress | None = None,
    sequence: str = "T1w",
) -> Registration:
    """Lay ``image`` (3-D, one component, scanner units) over the MNI template by an affine transform.

    ``tumour`` (labels, 0 = none) is left out of the metric; ``brain`` (0/1) says where the brain is and always wins
    over what the scan itself shows. Both lie in the physical space of ``image``, on any grid. ``sequence``: what the
    scan is ("auto" counts as T1-weighted). Every run gives the same.
    Raises ``RegistrationFailed`` when the outcome is not good enough to be trusted, ``InputError`` for a brain mask
    that does not overlap the scan.
    """
    progress = progress or SilentProgress()
    progress.stage("Aligning to MNI space")
    scan = prepare(_finite(image), tumour, brain)
    if not sitk.GetArrayViewFromImage(scan.brain).any():
        if brain is not None:
            raise InputError("The brain mask does not overlap the scan. Choose the mask that was made from this scan.")
        raise RegistrationFailed("No head was found in the scan. Check that it is a T1-weighted scan of a whole brain.")
    search = Search.of(scan)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    in_mni = agreement(scan, identity)[0] >= _IN_MNI_OVERLAP and search.is_in_place()
    transform = identity if in_mni else search.align(progress)
    quality = judge(scan, transform, sequence)
    if not quality.passed:
        raise RegistrationFailed(quality.sentence)
    progress.log(quality.sentence)
    mask = brain_masks.mask_in_mni(scan.region, transform, exact=scan.exact, tumour=tumour)
    return Registration(transform, mask, quality, in_mni)


def _finite(image: sitk.Image) -> sitk.Image:
    """As float32 with 0 for NaN and infinity, which would make the search loop for ever."""
    array = np.nan_to_num(sitk.GetArrayFromImage(image).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return Grid.of(image).image(array)
