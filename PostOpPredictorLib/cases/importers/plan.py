"""What an importer found in a data set: the pairs to read, and the patients that are left out with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..bids import participant_of
from ..case import SEQUENCES

Dataset = Literal["lumiere", "rhuh", "brats-post", "bids"]


@dataclass(frozen=True)
class PlannedSession:
    """The files of one session, all in one physical space.

    ``name`` is the data set's own ("week-000-1"). The labels come from ``labels``, one map in the data set's
    convention, or from ``masks``, a binary mask for each label. ``volumes`` is the record that the labels must meet.
    """

    name: str
    scans: Mapping[str, Path]
    labels: Path | None = None
    masks: Mapping[int, Path] = field(default_factory=dict)
    brain: Path | None = None
    volumes: Path | None = None


@dataclass(frozen=True)
class PlannedPair:
    """One operation to import. ``one_space``: the data set itself laid both sessions into one space, at least roughly.

    ``preset`` names the convention of the labels before surgery (``imaging.tumour_mask``); ``attributes`` are what the
    data set's tables say, for participants.tsv; ``notes`` what a reader of the report should know.
    """

    dataset: Dataset
    institution: str
    patient_id: str
    case_id: str
    pre: PlannedSession
    post: PlannedSession
    preset: str
    one_space: bool
    attributes: Mapping[str, str | float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def sequences(self) -> tuple[str, ...]:
        """The sequences of which both sessions have a scan."""
        return tuple(name for name in SEQUENCES if name in self.pre.scans and name in self.post.scans)


@dataclass(frozen=True)
class LeftOut:
    """A patient, or one operation of a patient, that cannot be imported, and why (a sentence)."""

    patient_id: str
    reason: str
    case_id: str = ""


@dataclass(frozen=True)
class ImportPlan:
    """Every patient of a data set is in ``pairs`` or in ``left_out``."""

    dataset: Dataset
    pairs: tuple[PlannedPair, ...]
    left_out: tuple[LeftOut, ...]


def checked_plan(dataset: Dataset, found: list[PlannedPair | LeftOut]) -> ImportPlan:
    """The plan of what was found, without pairs that have no common T1-weighted sequence or whose ids collide."""
    pairs: dict[str, PlannedPair] = {}
    left_out = [item for item in found if isinstance(item, LeftOut)]
    for pair in (item for item in found if isinstance(item, PlannedPair)):
        problem = _sequence_problem(pair)
        name = participant_of(pair.case_id)
        if problem is None and name in pairs:
            problem = f"its id {pair.case_id} means the same participant as {pairs[name].case_id}; rename one of them."
        if problem is None:
            pairs[name] = replace(pair, notes=(*pair.notes, *_missing_sequences(pair)))
        else:
            left_out.append(LeftOut(pair.patient_id, problem, pair.case_id))
    left_out.sort(key=lambda item: (item.patient_id, item.case_id))
    return ImportPlan(dataset, tuple(sorted(pairs.values(), key=lambda pair: pair.case_id)), tuple(left_out))


def _sequence_problem(pair: PlannedPair) -> str | None:
    if not {"T1w", "T1wCE"} & set(pair.sequences):
        before, after = (", ".join(sorted(session.scans)) or "none" for session in (pair.pre, pair.post))
        return f"no T1-weighted scan both before and after surgery (before: {before}; after: {after})."
    return None


def _missing_sequences(pair: PlannedPair) -> tuple[str, ...]:
    missing = sorted({*pair.pre.scans, *pair.post.scans} - set(pair.sequences))
    return (f"{', '.join(missing)} only in one session, not imported",) if missing else ()
