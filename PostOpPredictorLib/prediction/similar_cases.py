"""``retrieve``: the operated cases of a library whose tumours lay like the one on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..cases.library import CaseLibrary
from ..errors import InputError
from ..progress import Progress
from ..retrieval.query import Query
from ..retrieval.query_mask import core_in_mni
from ..retrieval.strategies import Match, strategy_named
from .demonstration_library import demonstration_library
from .outcome_volume import tumour_core
from .patient import read_patient


@dataclass(frozen=True)
class SimilarCasesRequest:
    """Whom to look for, and among whom.

    ``tumour``: label map, read by ``labels``; drawn on the scan ``pre``, or in MNI space when that is left out.
    ``brain``: brain mask of ``pre``, made when left out. ``library``: the demonstration library when left out.
    ``k``: cases to find, for each slice when ``per`` is "slice". ``exclude_patient``: whose own cases are left out.
    Raises ``InputError`` for a value that cannot be used.
    """

    tumour: Path
    library: Path | None = None
    pre: Path | None = None
    labels: str = "brats"
    brain: Path | None = None
    k: int = 5
    per: Literal["volume", "slice"] = "volume"
    strategy: Literal["tumour", "image", "random"] = "tumour"
    sequence: str = "T1w"
    institution: str | None = None
    exclude_patient: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"k is {self.k}, but at least one case must be looked for. Give 1 or more.")
        if self.seed < 0:
            raise InputError(f"The seed is {self.seed}, but a seed is never negative. Give 0 or more.")


def find_similar_cases(request: SimilarCasesRequest, progress: Progress) -> dict[str, Any]:
    """Return the library's folder, whether nothing was similar, and the cases found, the best first."""
    library = demonstration_library(progress) if request.library is None else CaseLibrary.open(request.library)
    query = _query(request, progress)
    progress.stage("Looking for similar cases")
    strategy = strategy_named(
        request.strategy, library, per=request.per, sequence=request.sequence, seed=request.seed, progress=progress
    )
    allowed = None if request.institution is None else library.select(institution=request.institution)
    cases = _found(library, strategy.rank(query, request.k, allowed))
    if request.per == "volume" and len(cases) < request.k:
        found = "one case of the library overlaps" if len(cases) == 1 else f"{len(cases)} cases of the library overlap"
        progress.log(f"Only {found} this tumour.")
    return {"library": library.folder, "no_similar_case": not cases, "cases": cases}


def _query(request: SimilarCasesRequest, progress: Progress) -> Query:
    if request.pre is None:
        progress.log(
            "The mask is taken to be drawn in MNI space. If it was drawn on the patient's scan, give that too."
        )
        return Query(core_in_mni(request.tumour, request.labels), own_patient_id=request.exclude_patient)
    patient = read_patient(request.pre, request.tumour, request.labels, request.brain, progress)
    return Query(tumour_core(patient.tumour), patient.pre, own_patient_id=request.exclude_patient)


def _found(library: CaseLibrary, matches: Sequence[Match]) -> list[dict[str, Any]]:
    cases = []
    for rank, match in enumerate(matches, start=1):
        case = library.case(match.case_id)
        cases.append(
            {
                "rank": rank,
                "iou": round(match.iou, 4),
                "score": round(match.score, 4),
                "folder": case.folder,
                **case.attributes,
                "slices": {str(z): [case_z, round(iou, 4)] for z, (case_z, iou) in match.slices.items()},
            }
        )
    return cases
