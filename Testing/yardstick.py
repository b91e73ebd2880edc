"""What a limit in seconds of processor time is worth on the machine at hand."""

from __future__ import annotations

import statistics
import time

import numpy as np

REFERENCE_SECONDS = 0.0105
"""Of the work below on the machine that the limits are given for, with nothing else running: a Xeon of 2023."""
TRIES = 9


def slowness() -> float:
    """How many times slower than on that machine one core is just now, at least 1: a limit is multiplied by it.

    Older processors count in it, and a neighbour that takes cache and memory; waiting for the processor does not.
    """
    return max(1.0, statistics.median(_seconds_of_work() for _ in range(TRIES)) / REFERENCE_SECONDS)


def _seconds_of_work() -> float:
    """Processor time for the kinds of work that the limits are about: interpreted code, and fresh memory filled."""
    began = time.thread_time()
    names = {f"name-{number}": number for number in range(20_000)}
    assert sum(value for name, value in names.items() if name.endswith("7")) > 0
    assert np.full((40, 240, 240), 1.0, np.float32)[-1, -1, -1] == 1.0
    return time.thread_time() - began
