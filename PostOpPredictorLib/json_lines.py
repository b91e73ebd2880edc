"""The stream of JSON lines that a program reads while a command runs (one object per line, key ``type``).

``started`` {schema, command, version, pid} · ``stage`` {name} · ``progress`` {step, of, seconds_left} · ``log`` {text}
· ``result`` {...} · ``error`` {code, message}. The last line of a run is always ``result`` or ``error``.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, TextIO

from .errors import Cancelled, PostOpError

SECONDS_BETWEEN_PROGRESS_LINES = 0.1


class JsonLines:
    """Writes one JSON object per line and flushes it; a reader that went away counts as a cancel."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, kind: str, **fields: object) -> None:
        """Write one line; raises ``Cancelled`` when nobody reads any more."""
        line = json.dumps({"type": kind, **plain(fields)}, ensure_ascii=False, allow_nan=False)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except BrokenPipeError as error:
            raise Cancelled("Nobody reads the progress any more, so the work was stopped.") from error

    def result(self, result: Mapping[str, object]) -> None:
        """Announce what was made; call it only when every file stands under its final name."""
        self.write("result", **{str(key): value for key, value in result.items() if key != "type"})

    def error(self, error: PostOpError) -> None:
        """Announce why there is no result."""
        with contextlib.suppress(Cancelled):
            self.write("error", code=error.code, message=str(error))


class JsonProgress:
    """``Progress`` as JSON lines; ``cancelled`` is asked at every call and makes it raise ``Cancelled``."""

    def __init__(self, lines: JsonLines, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._lines = lines
        self._cancelled = cancelled
        self._clock = StageClock()
        self._last_line = -math.inf

    def stage(self, name: str) -> None:
        """Begin a stage; see ``Progress``."""
        self.check()
        self._clock = StageClock()
        self._last_line = -math.inf
        self._lines.write("stage", name=name)

    def step(self, done: int, total: int) -> None:
        """Tell how much of the stage is done; lines that come too fast are left out, the last one never."""
        self.check()
        now = time.monotonic()
        if done >= total or now - self._last_line >= SECONDS_BETWEEN_PROGRESS_LINES:
            self._last_line = now
            self._lines.write("progress", step=done, of=total, seconds_left=self._clock.seconds_left(done, total))

    def log(self, text: str) -> None:
        """Tell a detail; see ``Progress``."""
        self.check()
        self._lines.write("log", text=text)

    def check(self) -> None:
        """Raise ``Cancelled`` when the user asked to stop."""
        if self._cancelled():
            raise Cancelled("Cancelled; nothing half-written was left.")


class StageClock:
    """Estimates the time left of a stage from the time that its done part took."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def seconds_left(self, done: int, total: int) -> float | None:
        """Return the seconds left, or None before the first step is done."""
        if done <= 0:
            return None
        elapsed = time.monotonic() - self._started
        return round(elapsed / done * max(total - done, 0), 1)


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: paths as text, numpy scalars as numbers, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


@contextlib.contextmanager
def only_json_on_stdout() -> Iterator[TextIO]:
    """Yield the real standard output and send all else that is printed, also by libraries in C, to standard error."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(real, "w", encoding="utf-8", newline="\n")
    try:
        # The second redirection matters where Python's own standard output is not the system's (tests, Slicer).
        with contextlib.redirect_stdout(sys.stderr):
            yield stream
    finally:
        # Flushed before, line by line; closing may only repeat a broken pipe that was told already.
        with contextlib.suppress(BrokenPipeError):
            os.dup2(real, 1)
            stream.close()
