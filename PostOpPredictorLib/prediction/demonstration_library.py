"""The library that is used when none is named: phantom patients, simulated once and kept in the user's cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ..cases.library import CaseLibrary
from ..cases.phantom.cohort import PlannedCase, phantom_cohort_plan, write_cohort
from ..progress import Progress
from ..retrieval.slice_index import SliceIndex
from ..shipped import demonstration_library_folder

DEMONSTRATION_CASES = 40
DEMONSTRATION_SEED = 7
"""Another cohort than the shipped model was trained on (seed 2026): its institutions and patients were not seen."""
MOST_WORKERS = 8
TEST_PATIENT_INDEX = 1000
"""Far beyond the cases of any demonstration library."""


def demonstration_library(progress: Progress, cases: int = DEMONSTRATION_CASES) -> CaseLibrary:
    """Open the demonstration library with at least ``cases`` patients, simulating those that are missing.

    An interrupted simulation goes on where it stopped. Raises ``Cancelled`` and ``StorageError``.
    """
    folder = demonstration_library_folder()
    if (folder / "dataset_description.json").is_file():
        library = CaseLibrary.open(folder, allow_empty=True)
        if len(library.cases) >= cases:
            return library
    progress.log(f"Making the demonstration library of {cases} simulated patients; this is done once.")
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    return write_cohort(folder, cases, DEMONSTRATION_SEED, workers=workers, progress=progress)


@dataclass(frozen=True)
class DemonstrationLibraryRequest:
    """``cases``: how many patients there should be at least."""

    cases: int = DEMONSTRATION_CASES


def make_demonstration_library(request: DemonstrationLibraryRequest, progress: Progress) -> dict[str, Any]:
    """The same for the job protocol, with the index that the first prediction would make; names folder and cases."""
    library = demonstration_library(progress, request.cases)
    SliceIndex.open(library, progress)
    return {"library": library.folder, "cases": len(library.cases)}


def demonstration_patient(index: int = TEST_PATIENT_INDEX) -> PlannedCase:
    """The plan of a patient who is in no demonstration library, operated at one of its institutions."""
    return phantom_cohort_plan(index + 1, DEMONSTRATION_SEED)[index]
