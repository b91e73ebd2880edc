"""How long the main thread is away from its event loop while something runs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any


def longest_gaps_ms(until: Callable[[], bool], seconds: float = 30.0) -> tuple[float, float]:
    """Run Qt's own event loop with a timer of 5 ms and return the longest time between two of its ticks.

    First by the clock, then as the main thread's own processor time.
    """
    import qt

    loop, ticks = qt.QEventLoop(), []
    timer = qt.QTimer()
    end = time.monotonic() + seconds

    def tick(*_args: Any) -> None:
        ticks.append((time.perf_counter(), time.thread_time()))
        if until() or time.monotonic() > end:
            loop.quit()

    timer.setInterval(5)
    timer.setTimerType(qt.Qt.PreciseTimer)
    timer.timeout.connect(tick)
    timer.start()
    loop.exec()
    timer.stop()
    assert until(), "the run did not end"
    assert len(ticks) > 50
    clock, own = ([after[kind] - before[kind] for before, after in itertools.pairwise(ticks)] for kind in (0, 1))
    return 1000 * max(clock), 1000 * max(own)
