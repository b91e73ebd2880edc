"""The operated patients whose tumours lay like this one: found, shown to the model, named to the reader."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.library import CaseLibrary, LibraryCase
from ..cases.library_check import case_problems
from ..errors import InputError, LibraryError
from ..imaging.grid import WORKING_GRID
from ..progress import Progress
from ..retrieval.query import Match, Query, best_per_slice
from ..retrieval.slice_index import SliceIndex
from ..retrieval.strategies import corresponding_slices, strategy_named
from .instruction import Instruction
from .outcome_volume import tumour_core
from .patient import Patient
from .request import PredictionRequest

SHOWN_ATTRIBUTES = (
    "source",
    "institution",
    "eor_percent",
    "resection_class",
    "cavity",
    "tumour_ml",
    "residual_ml",
    "lobe",
    "hemisphere",
)


@dataclass(frozen=True)
class Precedents:
    """Ranked cases, best first; none means "no similar case". ``by_slice``: every slice has its own.

    ``by_hand``: the first one was chosen by a person; the others follow by likeness.
    """

    library: CaseLibrary
    sequence: str
    matches: tuple[Match, ...]
    by_slice: bool
    by_hand: bool = False

    @property
    def best(self) -> LibraryCase | None:
        """The case that drives the prediction (of a per-slice retrieval: the one that is best on the most slices)."""
        return self.library.case(self.matches[0].case_id) if self.matches else None

    def instruction(self) -> Instruction | None:
        """What the model is shown; None when no case is similar."""
        best = self.best
        if best is None:
            return None
        if not self.by_slice:
            return Instruction.of_case(best, self.sequence)
        chosen = {z: (self.library.case(name), case_z) for z, (name, case_z, _) in best_per_slice(self.matches).items()}
        return Instruction.of_slices(_with_neighbours(chosen), self.sequence)


def _with_neighbours(chosen: dict[int, tuple[LibraryCase, int]]) -> dict[int, tuple[LibraryCase, int]]:
    """Slices without a precedent follow that of the nearest slice that has one, as far above or below it."""
    levels = np.array(sorted(chosen))
    deepest = WORKING_GRID.shape[0] - 1
    followed = {}
    for z in range(WORKING_GRID.shape[0]):
        nearest = int(levels[np.argmin(np.abs(levels - z))])
        case, case_z = chosen[nearest]
        followed[z] = (case, min(max(case_z + z - nearest, 0), deepest))
    return followed


def find_precedents(
    library: CaseLibrary, patient: Patient, sequence: str, request: PredictionRequest, progress: Progress
) -> Precedents:
    """Rank the library's cases for ``patient`` as ``request`` says. The most similar case comes first, after the one
    that the request follows.

    A case whose files are broken is passed over, and the log says so. Raises ``LibraryError`` when no case of the
    library can serve (none of that institution, none with that sequence, none left, or all broken), or the followed
    one cannot; ``InputError`` when it is excluded as well.
    """
    allowed = _usable_cases(library, sequence, request)
    query = Query(tumour=tumour_core(patient.tumour), pre=patient.pre)
    chosen = () if request.follow is None else (_followed(library, request.follow, allowed, sequence, query, progress),)
    strategy = strategy_named(
        request.retrieval, library, per=request.per, sequence=sequence, seed=request.seed, progress=progress
    )
    others = allowed - {match.case_id for match in chosen}
    found = tuple(strategy.rank(query, request.k, others)) if others else ()
    by_slice = request.per == "slice" and request.retrieval == "tumour" and not chosen
    matches = found if by_slice else (*chosen, *found)[: request.k]
    if not matches and all(_is_broken(library, case_id, sequence) for case_id in sorted(allowed)):
        raise LibraryError(f"Every case that could serve in {library.folder} is broken. Run `postop library check`.")
    if len(matches) < request.k and not by_slice:
        progress.log(
            f"{request.k} similar cases were asked for and {len(matches)} found: the library has {len(allowed)} that "
            "could serve, and the others do not resemble the patient or are broken."
        )
    return Precedents(library, sequence, matches, by_slice, bool(chosen))


def _followed(
    library: CaseLibrary, case_id: str, allowed: frozenset[str], sequence: str, query: Query, progress: Progress
) -> Match:
    """The case that a person chose, however little it resembles the patient."""
    case = library.case(case_id)
    if case_id not in allowed:
        lack = (
            f"no {sequence} scans" if sequence not in case.sequences else "another institution than the one asked for"
        )
        raise LibraryError(f"Case {case_id}, which is to be followed, has {lack}. Choose another case to follow.")
    problem = next(case_problems(case.files), None)
    if problem is not None:
        raise LibraryError(f"Case {case_id}, which is to be followed, cannot be used: {problem}")
    index = SliceIndex.open(library, progress)
    number = index.case_ids.index(case_id)
    iou = float(index.volume_iou(query.tumour)[number])
    return Match(case_id, iou, corresponding_slices(index, number, query), iou)


def _is_broken(library: CaseLibrary, case_id: str, sequence: str) -> bool:
    try:
        Instruction.of_case(library.case(case_id), sequence)
    except LibraryError:
        return True
    return False


def _usable_cases(library: CaseLibrary, sequence: str, request: PredictionRequest) -> frozenset[str]:
    of_institution = refuse_unknown(library, request)
    usable = frozenset(case.case_id for case in of_institution if sequence in case.sequences)
    if not usable:
        raise LibraryError(
            f"No case of the library has {sequence} scans before and after surgery. "
            "Choose another --sequence or --library."
        )
    if not usable - set(request.exclude):
        raise LibraryError("Every case that could serve is excluded. Exclude fewer cases.")
    return usable - set(request.exclude)


def refuse_unknown(library: CaseLibrary, request: PredictionRequest) -> list[LibraryCase]:
    """The cases of the institution that ``request`` asks for, all where it asks for none.

    Raises ``LibraryError`` for an institution or a case that the library does not have, ``InputError`` for a
    contradiction.
    """
    for case_id in (*(() if request.follow is None else (request.follow,)), *request.exclude):
        library.case(case_id)
    if request.follow in request.exclude:
        raise InputError(f"Case {request.follow} is to be followed and is excluded. Do one of the two.")
    institution = request.institution
    of_institution = [case for case in library.cases if institution in (None, case.institution)]
    if not of_institution:
        known = sorted({case.institution for case in library.cases if case.institution})
        raise LibraryError(
            f"The library has no case of the institution '{institution}'. It has {', '.join(known) or 'none named'}."
        )
    return of_institution


def precedents_record(
    precedents: Precedents, out: Path, request: PredictionRequest, influence: Sequence[Mapping[str, float]] = ()
) -> dict[str, Any]:
    """What precedents.json says: who was found, how similar, and where the files are.

    ``influence``: figures of the first cases, by rank.
    """
    entries = [_entry(rank, match, precedents, out) for rank, match in enumerate(precedents.matches, start=1)]
    for entry, figures in zip(entries, influence, strict=False):
        entry.update(figures)
    return {
        "retrieval": request.retrieval,
        "per": request.per,
        "institution": request.institution,
        "follow": request.follow,
        "exclude": list(request.exclude),
        "no_similar_case": not precedents.matches,
        "library": str(precedents.library.folder.resolve()),
        "precedents": entries,
    }


def _entry(rank: int, match: Match, precedents: Precedents, out: Path) -> dict[str, Any]:
    case = precedents.library.case(match.case_id)
    files = {
        "pre": case.files.image("preop", precedents.sequence),
        "post": case.files.image("postop", precedents.sequence),
        "tumour": case.files.tumour,
        "outcome": case.files.outcome,
    }
    return {
        "rank": rank,
        "followed": rank == 1 or precedents.by_slice,
        "chosen_by_hand": rank == 1 and precedents.by_hand,
        "case_id": case.case_id,
        "iou": round(float(match.iou), 4),
        "files": {name: str(path.resolve()) for name, path in files.items()},
        "relative_files": _relative(files, out),
        **{name: case.attributes[name] for name in SHOWN_ATTRIBUTES if name in case.attributes},
    }


def _relative(files: Mapping[str, Path], out: Path) -> dict[str, str]:
    try:
        return {name: Path(os.path.relpath(path.resolve(), out)).as_posix() for name, path in files.items()}
    except ValueError:  # another drive on Windows
        return {}
