"""What a limit in seconds of processor time is worth on the machine at hand."""

from __future__ import annotations

import statistics
import time

import numpy as np

REFERENCE_SECONDS = 0.0116
"""The least that the work below took on one core of a Xeon of 2017 at 2.0 GHz: there the limits hold as they stand."""
MOST = 3.0
"""A panel that freezes is found on the slowest machine, too."""
TRIES = 9


def slowness() -> float:
    """How many times slower than on that machine one core is just now, from 1 to 3: a limit is multiplied by it.

    Older processors count in it, and a neighbour that takes cache and memory; waiting for the processor does not.
    """
    return min(MOST, max(1.0, statistics.median(_seconds_of_work() for _ in range(TRIES)) / REFERENCE_SECONDS))


def _seconds_of_work() -> float:
    """Processor time for the kinds of work that the limits are about: interpreted code, and fresh memory filled."""
    began = time.thread_time()
    names = {f"name-{number}": number for number in range(20_000)}
    assert sum(value for name, value in names.items() if name.endswith("7")) > 0
    assert np.full((40, 240, 240), 1.0, np.float32)[-1, -1, -1] == 1.0
    return time.thread_time() - began
