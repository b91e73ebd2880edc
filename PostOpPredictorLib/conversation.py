"""What a command gets that is talked to while it runs: requests come in as JSON lines, answers go out as JSON lines."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LONGEST_LINE = 1_000_000
MOST_WAITING = 1_000
"""A client that writes faster than it is served waits when so many lines lie here."""


@dataclass(frozen=True)
class Conversation:
    """``tell(kind, **fields)`` writes one line; ``check()`` raises ``Cancelled``; ``requests`` is where lines come in;
    relative paths in them start at ``folder``.
    """

    tell: Callable[..., None]
    check: Callable[[], None]
    requests: BinaryIO
    folder: Path


class Inbox:
    """Reads the lines of a stream from a thread of its own, so that work is not kept waiting by a silent client."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: queue.Queue[bytes | None] = queue.Queue(MOST_WAITING)
        self._ended = False
        threading.Thread(target=self._read, name="requests", daemon=True).start()

    def take(self, seconds: float) -> list[bytes]:
        """All lines that came in; waits ``seconds`` at most when there are none."""
        taken: list[bytes] = []
        with contextlib.suppress(queue.Empty):
            self._put_into(taken, self._lines.get(timeout=seconds))
            while True:
                self._put_into(taken, self._lines.get_nowait())
        return taken

    @property
    def has_ended(self) -> bool:
        """Whether the stream is at its end and every line was taken."""
        return self._ended

    def _put_into(self, taken: list[bytes], line: bytes | None) -> None:
        if line is None:
            self._ended = True
        else:
            taken.append(line)

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in iter(lambda: self._stream.readline(LONGEST_LINE), b""):
                self._lines.put(line)
        self._lines.put(None)
