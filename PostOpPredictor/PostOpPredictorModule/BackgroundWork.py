"""Work that must not stop the panel: done in a thread, told on the main thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import qt

MILLISECONDS_BETWEEN_LOOKS = 50
SECONDS_TO_LEND = 0.01
"""Slicer may hold Python's lock while its event loop runs; the thread then works only while a look lends it."""


class BackgroundWork:
    """Runs ``work`` in a thread; ``done(result)`` or ``failed(error)`` follows on the main thread.

    ``work`` touches files only, never Qt, VTK or MRML. ``forget()`` drops the answer of work that nobody waits for.
    """

    def __init__(
        self,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._work: Callable[[], Any] | None = work
        self._done, self._failed = done, failed
        self._answer: tuple[Any, Exception | None] | None = None
        self._thread = threading.Thread(target=self._run, name="PostOpPredictor files", daemon=True)
        self._timer = qt.QTimer()
        self._timer.setInterval(MILLISECONDS_BETWEEN_LOOKS)
        self._timer.connect("timeout()", self._look)
        self._thread.start()
        self._timer.start()

    def forget(self) -> None:
        """Call neither ``done`` nor ``failed`` any more."""
        self._timer.stop()

    def _run(self) -> None:
        assert self._work is not None
        try:
            self._answer = (self._work(), None)
        except Exception as error:
            self._answer = (None, error)

    def _look(self, *_args: Any) -> None:
        if self._answer is None:
            self._thread.join(SECONDS_TO_LEND)
        if self._answer is None:
            return
        self._timer.stop()
        result, error = self._answer
        # Qt's connection may keep this object for long: what it was made for should not stay in memory with it.
        self._answer = self._work = None
        if error is None:
            self._done(result)
        elif self._failed is not None:
            self._failed(error)
