"""BraTS 2024 GLI post-treatment: nearly all studies are after surgery, so pairs must be found by the cavity label."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...errors import InputError
from ...imaging.volumes import read_labels
from ...progress import Progress, SilentProgress
from .plan import ImportPlan, LeftOut, PlannedPair, PlannedSession, checked_plan

CAVITY = 4
_ENHANCING = 3
_CORE = {1, _ENHANCING}
_ENDINGS = {"T1w": "t1n", "T1wCE": "t1c", "T2w": "t2w", "FLAIR": "t2f"}
_STUDY = re.compile(r"(BraTS-GLI-\d+)-(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class _Study:
    folder: Path
    labels: Path
    found: frozenset[int]


def plan(source: Path, progress: Progress | None = None) -> ImportPlan:
    """Pairs of the last study without a cavity and the first one with it, of patients who have both in this order.

    The data set does not say which studies are before surgery: no cavity in the expert labels, but a tumour core, is
    taken for it. Only the masks of patients with two or more studies are read.
    Raises ``InputError`` when the folder is not BraTS's, or its label 4 is the enhancing tumour of older challenges.
    """
    progress = progress or SilentProgress()
    patients = _patients(source)
    found: list[PlannedPair | LeftOut] = [
        LeftOut(name, "only one study.", name) for name, folders in patients.items() if len(folders) < 2
    ]
    several = {name: folders for name, folders in patients.items() if len(folders) > 1}
    progress.stage("Looking for cavities in the label maps")
    read: dict[str, list[_Study]] = {}
    for done, (name, folders) in enumerate(several.items()):
        progress.step(done, len(several))
        try:
            read[name] = [_study(folder) for folder in folders]
        except InputError as error:
            found.append(LeftOut(name, str(error), name))
    progress.step(len(several), len(several))
    _refuse_older_labels(source, [study for studies in read.values() for study in studies])
    found += [_pair(name, studies) for name, studies in read.items()]
    return checked_plan("brats-post", found)


def _patients(source: Path) -> dict[str, list[Path]]:
    """The study folders of each patient in order of time."""
    patients: dict[str, list[Path]] = {}
    places = (source, *(sorted(path for path in source.iterdir() if path.is_dir()) if source.is_dir() else ()))
    for path in sorted(path for place in places if place.is_dir() for path in place.iterdir() if path.is_dir()):
        match = _STUDY.fullmatch(path.name)
        if match:
            patients.setdefault(match[1], []).append(path)
    if not patients:
        raise InputError(
            f"{source} is not the BraTS post-treatment data set: there is no folder such as BraTS-GLI-00005-100 in it. "
            "Name the folder that holds the studies."
        )
    return patients


def _study(folder: Path) -> _Study:
    labels = folder / f"{folder.name}-seg.nii.gz"
    if not labels.is_file():
        raise InputError(f"{folder.name} has no segmentation ({labels.name}).")
    values = np.unique(sitk.GetArrayViewFromImage(read_labels(labels)))
    return _Study(folder, labels, frozenset(int(value) for value in values if value))


def _refuse_older_labels(source: Path, studies: list[_Study]) -> None:
    labels = frozenset[int]().union(*(study.found for study in studies))
    if CAVITY in labels and _ENHANCING not in labels:
        raise InputError(
            f"No mask in {source} has the label 3 but some have 4: this is the older BraTS convention, where 4 is the "
            "enhancing tumour and no cavity. Use the post-treatment data of 2024 or later."
        )


def _pair(name: str, studies: list[_Study]) -> PlannedPair | LeftOut:
    first = next((place for place, study in enumerate(studies) if CAVITY in study.found), None)
    if first is None:
        return LeftOut(name, f"none of {len(studies)} studies has a cavity.", name)
    if first == 0:
        return LeftOut(name, "only studies after surgery: the earliest has a cavity already.", name)
    before, after = studies[first - 1], studies[first]
    if not before.found & _CORE:
        return LeftOut(name, f"{before.folder.name} has no tumour core, so nothing could be matched to it.", name)
    return PlannedPair(
        dataset="brats-post",
        institution="BraTS-GLI",
        patient_id=name,
        case_id=name,
        pre=_session(before),
        post=_session(after),
        preset="brats2023",
        one_space=True,
        notes=("that the first scan is before any surgery follows from its labels only",),
    )


def _session(study: _Study) -> PlannedSession:
    name = study.folder.name
    scans = {sequence: study.folder / f"{name}-{end}.nii.gz" for sequence, end in _ENDINGS.items()}
    return PlannedSession(name, {key: path for key, path in scans.items() if path.is_file()}, labels=study.labels)
