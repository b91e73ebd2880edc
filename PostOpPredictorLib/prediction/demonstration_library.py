"""The library that is used when none is named: phantom patients, simulated once and kept in the user's cache."""

from __future__ import annotations

from ..cases.library import CaseLibrary
from ..progress import Progress

DEMONSTRATION_CASES = 40
DEMONSTRATION_SEED = 2026


def demonstration_library(progress: Progress) -> CaseLibrary:
    raise NotImplementedError
