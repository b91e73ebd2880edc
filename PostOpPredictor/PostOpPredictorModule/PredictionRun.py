"""A run of the backend as the rest of the module sees it: callbacks on the main thread, a cancel, and always an end."""

from __future__ import annotations

import collections
import logging
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from .BackendJob import inWordsOfTheUser, startJob
from .BackendProcess import BackendProcess
from .Errors import PredictionError, errorFromBackend, errorOfSilentEnd
from .Settings import PredictionSettings
from .Timers import TimerFactory, defaultTimer, processApplicationEvents
from .WorkingFolder import removeWorkingFolder

MILLISECONDS_BETWEEN_LOOKS = 50
SECONDS_PER_LOOK = 0.015
SECONDS_OF_ADDING_PER_LOOK = 0.005
"""The most that one look takes from the application; one step of adding the result may take some 30 ms longer."""
MOST_LOG_LINES = 5_000
SECONDS_BETWEEN_LOOKS_WHEN_WAITING = 0.02

Finish = Callable[[dict[str, Any]], Generator[None, None, Any]]
"""Takes the backend's result and makes of it, step by step, what the run returns."""


@dataclass
class RunCallbacks:
    """Called on the main thread; an exception in one is logged and changes nothing about the run.

    ``stage(name)``; ``progress(step, of, secondsLeft or None)``; ``log(text)``, one or more lines; and at the end, when
    a new run may be started already, ``finished(PredictionNodes, or the doctor's dict)`` or
    ``failed(PredictionError)``.
    """

    stage: Callable[[str], None] | None = None
    progress: Callable[[int, int, float | None], None] | None = None
    log: Callable[[str], None] | None = None
    finished: Callable[[Any], None] | None = None
    failed: Callable[[PredictionError], None] | None = None


class PredictionRun:
    """One run of the backend in its own process.

    ``folder``: a working folder, removed at every end. ``command`` and ``options``: the job. ``finish`` is called with
    the backend's result. ``ended`` is called first at the end, before the callbacks. ``shownAs``: texts of the backend
    (paths of exported files) -> what the user calls them.
    """

    def __init__(
        self,
        folder: Path,
        command: str,
        options: Mapping[str, Any],
        finish: Finish,
        callbacks: RunCallbacks,
        *,
        settings: PredictionSettings | None = None,
        ended: Callable[[PredictionRun], None] = lambda run: None,
        shownAs: Mapping[str, str] | None = None,
        timer: TimerFactory | None = None,
        startCommand: Callable[[Path], list[str]] | None = None,
    ) -> None:
        self.stage = _("Starting")
        self.result: Any = None
        self.error: PredictionError | None = None
        self._callbacks, self._finish, self._ended = callbacks, finish, ended
        self._settings, self._shownAs, self._folder = settings, dict(shownAs or {}), folder
        self._log: collections.deque[str] = collections.deque(maxlen=MOST_LOG_LINES)
        self._answer: dict[str, Any] | None = None
        self._steps: Generator[None, None, Any] | None = None
        self._cancelled = self._looking = False
        self.isRunning = True
        self._process = self._started(command, options, startCommand)
        self._timer = (timer or defaultTimer())(self.poll, MILLISECONDS_BETWEEN_LOOKS)
        self._timer.start()

    @property
    def logLines(self) -> list[str]:
        """The last lines of the log."""
        return list(self._log)

    @property
    def processId(self) -> int:
        """The id of the backend's process."""
        return self._process.pid

    def cancel(self) -> None:
        """Stop the run: in step with the backend if it answers at once, else by a kill; it ends within 2 seconds."""
        if self.isRunning and not self._cancelled:
            self._cancelled = True
            self._process.cancel()

    def stop(self, error: PredictionError) -> None:
        """End the run at once, whatever it is doing, with ``error``; nothing happens when it has ended."""
        if self.isRunning:
            self._end(error=error)

    def wait(self) -> Any:
        """Wait for the end and return the result, the application staying usable; raises ``PredictionError``.

        An interruption (Ctrl-C) stops the run.
        """
        try:
            while self.isRunning:
                self.poll()
                processApplicationEvents()
                if self.isRunning and self._steps is None:
                    time.sleep(SECONDS_BETWEEN_LOOKS_WHEN_WAITING)
        except BaseException:
            self.stop(errorFromBackend("cancelled", "", self.logLines))
            raise
        if self.error is not None:
            raise self.error
        return self.result

    def poll(self) -> None:
        """Take in what the process has said and move on; the timer calls it."""
        # A callback may let the application handle events, and so the timer call again.
        if not self.isRunning or self._looking:
            return
        self._looking = True
        try:
            if self._steps is not None:
                self._finishSome()
            else:
                self._listen()
        finally:
            self._looking = False

    def _started(
        self, command: str, options: Mapping[str, Any], startCommand: Callable[[Path], list[str]] | None
    ) -> BackendProcess:
        try:
            return startJob(self._folder, command, options, startCommand)
        except (OSError, ImportError) as error:
            removeWorkingFolder(self._folder)
            self.isRunning = False
            sentence = _("The prediction could not be started ({reason}). Install the extension again.")
            raise PredictionError("no_backend", sentence.format(reason=error)) from error

    def _listen(self) -> None:
        over = self._process.poll()
        lines: list[str] = []
        for message in self._process.messages(SECONDS_PER_LOOK):
            if message["type"] == "log":
                lines += str(message.get("text", "")).splitlines()
                continue
            self._tellLog(lines)
            self._take(message)
            if not self.isRunning:
                return
        self._tellLog(lines)
        if over and self.isRunning:
            self._processEnded()

    def _tellLog(self, lines: list[str]) -> None:
        """Many lines in one call: a text view takes a hundred lines at once far quicker than one by one."""
        if lines:
            self._log.extend(lines)
            self._tell(self._callbacks.log, "\n".join(lines))
            lines.clear()

    def _take(self, message: Mapping[str, Any]) -> None:
        kind = message["type"]
        if kind in ("result", "error"):
            self._answer = dict(message)
        elif kind == "stage":
            self.stage = str(message.get("name", ""))
            self._tell(self._callbacks.stage, self.stage)
        elif kind == "progress":
            step, of = message.get("step"), message.get("of")
            if isinstance(step, int) and isinstance(of, int):
                left = message.get("seconds_left")
                self._tell(self._callbacks.progress, step, of, left if isinstance(left, (int, float)) else None)

    def _processEnded(self) -> None:
        answer = self._answer
        if self._cancelled:
            self._end(error=errorFromBackend("cancelled", "", self.logLines))
        elif answer is None:
            self._end(error=errorOfSilentEnd(self._process.exitCode, self.logLines))
        elif answer["type"] == "error":
            sentence = inWordsOfTheUser(str(answer.get("message", "")), self._shownAs)
            self._end(error=errorFromBackend(str(answer.get("code")), sentence, self.logLines, self._settings))
        else:
            self.stage = _("Adding the result to the scene")
            self._tell(self._callbacks.stage, self.stage)
            if self.isRunning:
                self._steps = self._finish({name: value for name, value in answer.items() if name != "type"})

    def _finishSome(self) -> None:
        assert self._steps is not None
        end = time.monotonic() + SECONDS_OF_ADDING_PER_LOOK
        if self._cancelled:
            self._end(error=errorFromBackend("cancelled", "", self.logLines))
            return
        try:
            next(self._steps)
            while self.isRunning and time.monotonic() < end:
                next(self._steps)
        except StopIteration as finished:
            self._end(result=finished.value)
        except PredictionError as error:
            self._end(error=error)
        except Exception as error:
            logging.exception("PostOpPredictor: the result could not be added to the scene")
            sentence = _("The prediction was made, but could not be added to the scene ({reason}). Predict again.")
            self._end(error=PredictionError("bad_result", sentence.format(reason=error), self.logLines))

    def _end(self, result: Any = None, error: PredictionError | None = None) -> None:
        self.isRunning = False
        self._timer.stop()
        self._process.kill()
        if self._steps is not None:
            # A half-added result is taken out again here.
            self._steps.close()
        removeWorkingFolder(self._folder)
        self.result, self.error = result, error
        self._ended(self)
        if error is None:
            self._tell(self._callbacks.finished, result)
        else:
            self._tell(self._callbacks.failed, error)

    @staticmethod
    def _tell(callback: Callable[..., None] | None, *values: Any) -> None:
        if callback is None:
            return
        try:
            callback(*values)
        except Exception:
            logging.exception("PostOpPredictor: a callback of the run failed")
