"""Both sessions of a real pair in MNI space: which transform is trusted is decided by the quality of what it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ...imaging import brain as brain_masks
from ...imaging.grid import WORKING_GRID
from ...imaging.intensity import IntensityWindow
from ...imaging.moving_scan import prepare
from ...imaging.registration import Registration
from ...imaging.registration_quality import judge
from ...progress import Progress
from ..case import FloatArray, LabelArray
from ..phantom.fields import BoolArray
from ..session_alignment import follow

LESION_MARGIN_MM = 9.0


class Align(Protocol):
    """``imaging.registration.register_to_mni``, or what a test puts in its place."""

    def __call__(
        self,
        image: sitk.Image,
        tumour: sitk.Image | None = None,
        brain: sitk.Image | None = None,
        progress: Progress | None = None,
    ) -> Registration: ...


@dataclass(frozen=True)
class ReadSession:
    """One session in memory: scans (float32) and ``labels`` (uint8) in one space, ``brain`` where the set has a mask.

    ``reference`` is the sequence that is aligned.
    """

    scans: Mapping[str, sitk.Image]
    labels: sitk.Image
    brain: sitk.Image | None
    reference: str


@dataclass(frozen=True)
class AlignedPair:
    """The transforms MNI -> session (LPS mm) and the brains (uint8, WORKING_GRID) with everything that is labelled.

    ``figures`` go to participants.tsv: how well each session fits the template, and the second the first.
    """

    to_before: sitk.Transform
    to_after: sitk.Transform
    brain_pre: LabelArray
    brain_post: LabelArray
    figures: Mapping[str, str | float]


def align_pair(
    before: ReadSession, after: ReadSession, *, one_space: bool, align: Align, progress: Progress
) -> AlignedPair:
    """Lay the session before surgery over the template, and the one after it over the one before.

    With ``one_space`` the first session's transform is tried on the second one too: if that fits the template well
    enough to be trusted, both keep the same scale, and no second search can go astray. Else the second session is
    registered on its own. Either way ``session_alignment.follow`` then removes what is left between the sessions.
    Raises ``RegistrationFailed`` when a session cannot be aligned.
    """
    first = align(before.scans[before.reference], before.labels, before.brain, progress)
    marked_before = _marked(before, first.transform)
    brain_pre = _brain(first) | marked_before
    shared = _shared(after, first) if one_space else None
    last = shared or align(after.scans[after.reference], after.labels, after.brain, progress)
    progress.stage("Aligning the two sessions to each other")
    lesion = marked_before | _marked(after, last.transform)
    fixed = on_working_grid(before.scans[before.reference], first.transform) * brain_pre
    moving = on_working_grid(after.scans[after.reference], last.transform) * _brain(last)
    correction = follow(_scaled(fixed, brain_pre), _scaled(moving, _brain(last)), brain_pre, lesion)
    to_after = sitk.CompositeTransform([last.transform, correction])
    mask = WORKING_GRID.resample(WORKING_GRID.image(_brain(last)), correction, sitk.sitkNearestNeighbor)
    brain_post = sitk.GetArrayFromImage(mask) | _marked(after, to_after)
    moved = on_working_grid(after.scans[after.reference], to_after)
    unchanged = healthy(brain_pre, brain_post, lesion)
    figures = {
        "mni_overlap_pre": round(first.quality.overlap, 3),
        "mni_metric_pre": round(first.quality.metric, 3),
        "mni_overlap_post": round(last.quality.overlap, 3),
        "mni_metric_post": round(last.quality.metric, 3),
        "post_transform": "that of the scan before" if shared else "its own",
        "session_agreement": round(_correlation(fixed[unchanged], moved[unchanged]), 3),
    }
    return AlignedPair(first.transform, to_after, brain_pre, brain_post, figures)


def on_working_grid(image: sitk.Image, transform: sitk.Transform, interpolator: int = sitk.sitkLinear) -> FloatArray:
    """The array (z, y, x) of ``image`` on WORKING_GRID."""
    array: FloatArray = sitk.GetArrayFromImage(WORKING_GRID.resample(image, transform, interpolator))
    return array


def healthy(brain_pre: LabelArray, brain_post: LabelArray, lesion: LabelArray) -> BoolArray:
    """Brain of both sessions more than 9 mm away from everything labelled; all common brain where nothing is."""
    both = (brain_pre > 0) & (brain_post > 0)
    distance = ndimage.distance_transform_edt(lesion == 0, sampling=WORKING_GRID.spacing[0])
    away = both & (distance > LESION_MARGIN_MM)
    return away if away.any() else both


def _shared(after: ReadSession, first: Registration) -> Registration | None:
    """The first session's transform for the second one, when the second lies well enough on the template with it."""
    scan = prepare(after.scans[after.reference], after.labels, after.brain)
    if not sitk.GetArrayViewFromImage(scan.brain).any():
        return None
    quality = judge(scan, first.transform)
    if not quality.passed:
        return None
    mask = brain_masks.mask_in_mni(scan.region, first.transform, exact=scan.exact, tumour=after.labels)
    return Registration(first.transform, mask, quality, first.already_in_mni)


def _marked(session: ReadSession, transform: sitk.Transform) -> LabelArray:
    return (WORKING_GRID.resample_labels(session.labels, transform) > 0).astype(np.uint8)


def _brain(registration: Registration) -> LabelArray:
    mask = WORKING_GRID.resample(registration.brain_mask, interpolator=sitk.sitkNearestNeighbor)
    return (sitk.GetArrayFromImage(mask) > 0).astype(np.uint8)


def _scaled(array: FloatArray, brain: LabelArray) -> FloatArray:
    """In [0, 1] inside the brain, 0 outside: the window that the search wants."""
    return (IntensityWindow.of(array, brain).normalise(array) * brain).astype(np.float32)


def _correlation(one: FloatArray, other: FloatArray) -> float:
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean()) / spread if spread > 0 else 0.0
