"""One planned pair of a data set, from its files to a case on the working grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import SimpleITK as sitk

from ...errors import InputError
from ...imaging.brain import made_background
from ...imaging.grid import WORKING_GRID, Grid
from ...imaging.intensity import IntensityWindow
from ...imaging.registration import register_to_mni
from ...imaging.volumes import read_labels, read_volume
from ...progress import Progress, SilentProgress
from ..bids import CORE_LABELS
from ..case import CaseKind, FloatArray, LabelArray, SimulatedCase
from ..phantom.attributes import describe, resection_class
from ..phantom.fields import BoolArray
from ..phantom.tumour import VOXEL_ML
from .label_reading import read_after, read_tumour
from .outcome_labels import AFTER, outcome_of
from .pair_alignment import (
    Align,
    AlignedPair,
    ReadSession,
    align_pair,
    healthy,
    on_working_grid,
)
from .plan import PlannedPair, PlannedSession

_ENHANCING = 4
_POOR_AGREEMENT = 0.5
_OF_THE_RESIDUAL = ("eor_percent", "resection_class", "residual_ml")


def read_pair(pair: PlannedPair, align: Align = register_to_mni, progress: Progress | None = None) -> SimulatedCase:
    """Read ``pair``, align both sessions to MNI space, and name what happened to every labelled voxel.

    ``align`` is the registration. The case is ``kind`` "real"; ``shift`` and ``resection`` are not known. Attributes
    say whether the cavity is labelled or a proxy, and how well the sessions were aligned.
    Raises ``InputError`` for files that cannot be used and ``RegistrationFailed`` when an alignment is not trusted.
    """
    progress = progress or SilentProgress()
    progress.stage("Reading the scans and masks")
    reference = pair.sequences[0]
    before = {name: _scan(pair.pre.scans[name]) for name in pair.sequences}
    after = {name: _scan(pair.post.scans[name]) for name in pair.sequences}
    tumour, tumour_notes = read_tumour(pair, before[reference])
    left, left_notes = read_after(pair, after[reference])
    first = ReadSession(before, tumour, _brain_mask(pair.pre), reference)
    last = ReadSession(after, left, _brain_mask(pair.post), reference)
    aligned = align_pair(first, last, one_space=pair.one_space, align=align, progress=progress)
    labels = WORKING_GRID.resample_labels(tumour, aligned.to_before)
    theirs = WORKING_GRID.resample_labels(left, aligned.to_after)
    core = np.isin(labels, CORE_LABELS)
    if not core.any():
        raise InputError("the tumour core is too small: nothing is left of it on the library's grid.")
    outcome = outcome_of(theirs, core, pair.dataset)
    pre, post = _windowed(first, last, aligned, labels | theirs)
    measured = _measured(pair, labels, core, theirs, outcome)
    notes = (*pair.notes, *tumour_notes, *left_notes, *_odd(measured, aligned))
    return SimulatedCase(
        case_id=pair.case_id,
        patient_id=pair.patient_id,
        institution=pair.institution,
        kind=cast(CaseKind, "real"),
        split="train",
        attributes={**measured, **_noted(notes), **aligned.figures, "dataset": pair.dataset},
        pre=pre,
        post=post,
        brain_pre=aligned.brain_pre,
        brain_post=aligned.brain_post,
        tumour=labels,
        outcome=outcome,
        shift=None,
    )


def _scan(path: Path) -> sitk.Image:
    """A scan whose background is its darkest value, 0, also where it was z-scored and its background is the mean."""
    image = read_volume(path)
    array = sitk.GetArrayFromImage(image)
    darkest = array.min()
    if darkest >= 0:
        return image
    background = made_background(array)
    if background is not None:
        array[array == background] = darkest
    return Grid.of(image).image(array - darkest)


def _brain_mask(session: PlannedSession) -> sitk.Image | None:
    if session.brain is None:
        return None
    mask = read_labels(session.brain)
    return mask if sitk.GetArrayViewFromImage(mask).any() else None


def _windowed(
    before: ReadSession, after: ReadSession, aligned: AlignedPair, lesion: LabelArray
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Both scans of each sequence in [0, 1] by one window, that of the brain before surgery; outside the brain 0.

    Scanners count in units of their own, so the second scan is first brought to the first one's by the spread of
    healthy tissue (percentiles 10 and 90), away from everything labelled.
    """
    unchanged = healthy(aligned.brain_pre, aligned.brain_post, lesion)
    pre, post = {}, {}
    for name in before.scans:
        first = on_working_grid(before.scans[name], aligned.to_before)
        last = on_working_grid(after.scans[name], aligned.to_after)
        window = IntensityWindow.of(first, aligned.brain_pre)
        in_units = _in_units_of(first, last, unchanged, name)
        pre[name] = np.where(aligned.brain_pre > 0, window.normalise(first), np.float32(0))
        post[name] = np.where(aligned.brain_post > 0, window.normalise(in_units), np.float32(0))
    return pre, post


def _in_units_of(first: FloatArray, last: FloatArray, unchanged: BoolArray, name: str) -> FloatArray:
    low, high = np.percentile(first[unchanged], (10, 90))
    own_low, own_high = np.percentile(last[unchanged], (10, 90))
    if not own_high > own_low:
        raise InputError(f"the {name} scan after surgery has one value ({own_low:g}) nearly everywhere in the brain.")
    return ((last - own_low) * ((high - low) / (own_high - own_low)) + low).astype(np.float32)


def _measured(
    pair: PlannedPair, labels: LabelArray, core: BoolArray, theirs: LabelArray, outcome: LabelArray
) -> dict[str, str | float]:
    """What the masks say, overruled by what the data set's tables say."""
    convention = AFTER[pair.dataset]
    before = (labels == _ENHANCING) if (labels == _ENHANCING).any() else core
    known = bool(pair.post.labels) or convention.enhancing in pair.post.masks
    extent = 100 * max(0.0, 1 - float((theirs == convention.enhancing).sum()) / float(before.sum()))
    values = describe(core, outcome, extent)
    if not known:
        values = {name: value for name, value in values.items() if name not in _OF_THE_RESIDUAL}
    if convention.may_be_cavity:
        elsewhere = (theirs == convention.may_be_cavity) & (outcome == 0)
        values["unassigned_ml"] = round(float(elsewhere.sum()) * VOXEL_ML, 3)
    values = {**values, **pair.attributes, "cavity": convention.kind}
    if values.get("expert_extent"):
        values["resection_class"] = "gross total" if values["expert_extent"] == "CRET" else "partial"
    elif "eor_percent" in pair.attributes and "resection_class" not in pair.attributes:
        values["resection_class"] = resection_class(float(pair.attributes["eor_percent"]))
    return values


def _odd(measured: Mapping[str, str | float], aligned: AlignedPair) -> tuple[str, ...]:
    """Notes on what a reader of the report should look at."""
    notes = []
    if not measured["cavity_ml"]:
        notes.append("no cavity was found after surgery")
    if float(aligned.figures["session_agreement"]) < _POOR_AGREEMENT:
        notes.append("the two scans agree poorly after alignment: look at them")
    return tuple(notes)


def _noted(notes: tuple[str, ...]) -> dict[str, str]:
    return {"import_notes": "; ".join(notes)} if notes else {}
