"""What calls back the main thread now and then: Qt's timer in Slicer, nothing where there is no Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """Calls a function again and again from the main thread while it runs."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


TimerFactory = Callable[[Callable[[], None], int], Timer]
"""(what to call, milliseconds between calls) -> the timer, not yet started."""


class QtTimer:
    """A ``qt.QTimer``."""

    def __init__(self, callback: Callable[[], None], milliseconds: int) -> None:
        import qt

        self._timer: Any = qt.QTimer()
        self._timer.timeout.connect(lambda *_: callback())
        self._milliseconds = milliseconds

    def start(self) -> None:
        """Call back until stopped."""
        self._timer.start(self._milliseconds)

    def stop(self) -> None:
        """Call back no more."""
        self._timer.stop()


class NoTimer:
    """Never calls back: a run then advances only in ``wait()`` or when its ``poll()`` is called."""

    def __init__(self, callback: Callable[[], None], milliseconds: int) -> None:
        pass

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


def defaultTimer() -> TimerFactory:
    """Qt's timer where the application runs, else none."""
    try:
        import qt  # noqa: F401
    except ImportError:
        return NoTimer
    return QtTimer


def processApplicationEvents() -> None:
    """Let the application redraw and answer while something waits; nothing where there is no application."""
    import slicer

    app = getattr(slicer, "app", None)
    if app is not None:
        app.processEvents()
