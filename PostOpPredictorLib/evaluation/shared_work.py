"""The measuring of an evaluation shared by processes; they meet in the folder of results and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..cases.library import LibraryCase
from ..launched import Share
from ..progress import Progress
from ..worker_processes import in_processes
from .measuring import Bench
from .rows import Row

PATIENCE_SECONDS = 1800.0
"""So long without a new result, and the other processes of a launch are taken for dead."""
_LOOK_EVERY_SECONDS = 1.0


def measure_share(
    share: Share,
    bench: Bench,
    rows: Sequence[Row],
    queries: Sequence[LibraryCase],
    progress: Progress,
    workers: int,
    measure: Callable[[str], None],
) -> int:
    """Measure this process's share of ``queries`` into ``bench.cache``; returns how many queries it has.

    With more than one of ``workers``, ``measure`` (picklable) is given a case's id in another process.
    """
    own = share.of(queries)
    missing = bench.unmeasured(rows, own)
    if workers > 1 and len(missing) > 1:
        progress.stage("Evaluating the test patients")
        for _ in in_processes(measure, [case.case_id for case in missing], workers, progress):
            pass
    elif share.count > 1:
        bench.measure_all(rows, missing, progress)
    return len(own)


def wait_for_others(
    bench: Bench,
    rows: Sequence[Row],
    queries: Sequence[LibraryCase],
    progress: Progress,
    patience: float = PATIENCE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Return when all results are there, or when none came for ``patience`` seconds: what is missing is then left to
    the caller. ``progress.step`` may raise to cancel."""
    progress.stage("Waiting for the other processes")
    waited, before = 0.0, -1
    while waited < patience:
        missing = len(bench.unmeasured(rows, queries))
        progress.step(len(queries) - missing, len(queries))
        if missing == 0:
            return
        waited, before = (0.0 if missing != before else waited), missing
        pause(_LOOK_EVERY_SECONDS)
        waited += _LOOK_EVERY_SECONDS
    progress.log(f"{before} cases were not measured by the processes whose share they are; they are measured here.")
