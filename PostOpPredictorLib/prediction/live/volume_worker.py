"""The volume of the newest plan, in the background: a newer plan stops what is being made for an older one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...errors import PostOpError
from ...failures import as_postop_error
from ...progress import Progress

SECONDS_TO_END = 30.0


class Superseded(Exception):
    """Nobody wants the volume any more."""


@dataclass(frozen=True)
class Made:
    """``value``: what was made for ``key``, or the ``error`` that it ended with."""

    key: str
    value: Any = None
    error: PostOpError | None = None


class VolumeWorker:
    """A thread that makes one thing at a time: ``make(what, progress)``, whose progress raises ``Superseded``."""

    def __init__(self, make: Callable[[Any, Progress], Any]) -> None:
        self._make = make
        self._changed = threading.Condition()
        self._wanted: tuple[str, Any] | None = None
        self._running: str | None = None
        self._made: Made | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="volume", daemon=True)
        self._thread.start()

    def want(self, key: str, what: Any) -> None:
        """Make ``what`` next, unless it is wanted or made already; everything else is stopped."""
        with self._changed:
            if key in self._keys():
                return
            self._wanted, self._running, self._made = (key, what), None, None
            self._changed.notify_all()

    def keep_only(self, key: str | None) -> None:
        """Stop what is being made for any other ``key``, so that it takes no time from what comes first."""
        with self._changed:
            if key not in self._keys():
                self._wanted = self._running = self._made = None

    def _keys(self) -> set[str]:
        known = (self._running, self._wanted and self._wanted[0], self._made and self._made.key)
        return {key for key in known if key}

    def take(self) -> Made | None:
        """What was finished since the last call, if it is still wanted."""
        with self._changed:
            made, self._made = self._made, None
            return made

    def close(self) -> None:
        """Stop, and wait until the thread writes nothing more."""
        with self._changed:
            self._closed = True
            self._wanted = self._running = self._made = None
            self._changed.notify_all()
        self._thread.join(SECONDS_TO_END)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._wanted is not None)
                if self._closed or self._wanted is None:
                    return
                (key, what), self._wanted = self._wanted, None
                self._running = key
            made = self._tried(key, what)
            with self._changed:
                if made is not None and self._running == key:
                    self._running, self._made = None, made

    def _tried(self, key: str, what: Any) -> Made | None:
        try:
            return Made(key, self._make(what, _Stopping(lambda: self._running == key)))
        except Superseded:
            return None
        except Exception as error:
            return Made(key, error=as_postop_error(error))


class _Stopping:
    """A ``Progress`` that tells nobody and raises ``Superseded`` when its work is not ``wanted`` any more."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted

    def stage(self, name: str) -> None:
        self.step(0, 1)

    def step(self, done: int, total: int) -> None:
        if not self._wanted():
            raise Superseded

    def log(self, text: str) -> None:
        self.step(0, 1)
