"""The operated patients whose tumours lay like this one: found, shown to the model, named to the reader."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.library import CaseLibrary, LibraryCase
from ..errors import LibraryError
from ..imaging.grid import WORKING_GRID
from ..progress import Progress
from ..retrieval.query import Match, Query, best_per_slice
from ..retrieval.strategies import strategy_named
from .instruction import Instruction
from .outcome_volume import tumour_core
from .patient import Patient
from .request import PredictionRequest

SHOWN_ATTRIBUTES = (
    "source",
    "institution",
    "eor_percent",
    "resection_class",
    "tumour_ml",
    "residual_ml",
    "lobe",
    "hemisphere",
)


@dataclass(frozen=True)
class Precedents:
    """Ranked cases, best first; none means "no similar case". ``by_slice``: every slice has its own."""

    library: CaseLibrary
    sequence: str
    matches: tuple[Match, ...]
    by_slice: bool

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
    """Rank the library's cases for ``patient`` as ``request`` says. The most similar case comes first.

    A case whose files are broken is passed over, and the log says so. Raises ``LibraryError`` when no case of the
    library can serve (none of that institution, none with that sequence, or all broken).
    """
    allowed = _usable_cases(library, sequence, request.institution)
    query = Query(tumour=tumour_core(patient.tumour), pre=patient.pre)
    strategy = strategy_named(
        request.retrieval, library, per=request.per, sequence=sequence, seed=request.seed, progress=progress
    )
    by_slice = request.per == "slice" and request.retrieval == "tumour"
    matches = tuple(strategy.rank(query, request.k, allowed))
    if not matches and all(_is_broken(library, case_id, sequence) for case_id in sorted(allowed)):
        raise LibraryError(f"Every case that could serve in {library.folder} is broken. Run `postop library check`.")
    return Precedents(library, sequence, matches, by_slice)


def _is_broken(library: CaseLibrary, case_id: str, sequence: str) -> bool:
    try:
        Instruction.of_case(library.case(case_id), sequence)
    except LibraryError:
        return True
    return False


def _usable_cases(library: CaseLibrary, sequence: str, institution: str | None) -> frozenset[str]:
    of_institution = [case for case in library.cases if institution in (None, case.institution)]
    if not of_institution:
        known = sorted({case.institution for case in library.cases if case.institution})
        raise LibraryError(
            f"The library has no case of the institution '{institution}'. It has {', '.join(known) or 'none named'}."
        )
    usable = frozenset(case.case_id for case in of_institution if sequence in case.sequences)
    if not usable:
        raise LibraryError(
            f"No case of the library has {sequence} scans before and after surgery. "
            "Choose another --sequence or --library."
        )
    return usable


def precedents_record(precedents: Precedents, out: Path, request: PredictionRequest) -> dict[str, Any]:
    """What precedents.json says: who was found, how similar, and where the files are."""
    return {
        "retrieval": request.retrieval,
        "per": request.per,
        "institution": request.institution,
        "no_similar_case": not precedents.matches,
        "library": str(precedents.library.folder.resolve()),
        "precedents": [_entry(rank, match, precedents, out) for rank, match in enumerate(precedents.matches, start=1)],
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
