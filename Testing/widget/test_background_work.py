"""Work in a thread goes on although the main thread keeps Python's lock, as an application around Python may do."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

FOREVER = 60.0
"""Seconds that a thread waits before it asks for the lock; only who gives it away lets another thread work."""


@pytest.fixture
def greedy_main_thread() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(FOREVER)
    yield
    sys.setswitchinterval(before)


def hold_the_lock(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize("fails", [False, True])
def test_each_look_lends_the_thread_some_time(host: Any, greedy_main_thread: None, fails: bool) -> None:
    from PostOpPredictorModule.BackgroundWork import BackgroundWork

    def work() -> int:
        time.sleep(0.01)
        return 1 // (0 if fails else 1)

    told: list[Any] = []
    background = BackgroundWork(work, told.append, told.append)
    hold_the_lock(0.1)
    assert told == []
    background._look()
    assert len(told) == 1
    assert told == [1] or isinstance(told[0], ZeroDivisionError)
    background.forget()
