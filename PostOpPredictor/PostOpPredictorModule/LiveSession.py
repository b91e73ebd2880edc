"""The backend's live session as the module sees it: plans and slices go in, predicted slices and volumes come out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from .BackendJob import inWordsOfTheUser, startJob
from .BackendProcess import BackendProcess
from .Errors import PredictionError, errorFromBackend, errorOfSilentEnd
from .InputExport import exportInputs
from .PlanExport import SegmentMasks
from .PlanList import ResectionPlan, SegmentReference
from .Settings import PredictionInputs, PredictionSettings
from .WorkingFolder import makeWorkingFolder, removeWorkingFolder

SECONDS_PER_LOOK = 0.015
MOST_LOG_LINES = 400


@dataclass
class LiveCallbacks:
    """Called on the main thread. ``answer``: a line of the types "ready", "slice" or "volume"; ``refused(sentence)``:
    the plan that was asked for cannot be shown; ``stage(name)``; ``ended(error)``: the process is gone (None: it was
    stopped)."""

    answer: Callable[[Mapping[str, Any]], None]
    refused: Callable[[str], None]
    stage: Callable[[str], None]
    ended: Callable[[PredictionError | None], None]


class LiveSession:
    """One process that holds one patient ready. Only ``poll`` needs to be called, now and then.

    At most one request is on its way; while it is, only the newest of the others is kept, so that a slider that is
    dragged neither fills the pipe nor waits for what nobody wants to see any more. Raises ``PredictionError`` when the
    inputs cannot be exported or nothing can be started.
    """

    def __init__(
        self,
        inputs: PredictionInputs,
        settings: PredictionSettings,
        structures: Sequence[SegmentReference],
        callbacks: LiveCallbacks,
        startCommand: Callable[[Path], list[str]] | None = None,
    ) -> None:
        self._callbacks = callbacks
        self._log: list[str] = []
        self._error: PredictionError | None = None
        self._nextId = 1
        self._onItsWay: int | None = None
        self._waiting: tuple[ResectionPlan | None, int] | None = None
        self.isReady = False
        self.isRunning = True
        self._folder = makeWorkingFolder()
        try:
            options = self._options(inputs, settings, structures)
            self._process = self._started(options, startCommand)
        except BaseException:
            removeWorkingFolder(self._folder)
            raise

    @property
    def processId(self) -> int:
        """The id of the session's process."""
        return self._process.pid

    def ask(self, plan: ResectionPlan | None, slice: int) -> None:
        """Ask for ``plan`` (None: no plan), first for its slice ``slice``; a question before that is forgotten."""
        self._waiting = (plan, slice)
        self._send()

    def poll(self) -> None:
        """Take in what the process has said, and tell it what is to be asked next."""
        if not self.isRunning:
            return
        over = self._process.poll()
        for message in self._process.messages(SECONDS_PER_LOOK):
            self._take(message)
            if not self.isRunning:
                return
        self._send()
        if over and self.isRunning:
            self._end(self._error or errorOfSilentEnd(self._process.exitCode, self._log))

    def stop(self) -> None:
        """End the process at once, with all that it started; a second call changes nothing."""
        if self.isRunning:
            self._end(None)

    def _options(
        self, inputs: PredictionInputs, settings: PredictionSettings, structures: Sequence[SegmentReference]
    ) -> dict[str, Any]:
        # What takes long and is not shown here is left out.
        lean = replace(settings, plans=(), structures=(), series=(), uncertainty=False, report=False)
        files = exportInputs(replace(inputs, more={}), self._folder)
        self._shownAs = files.shownAs
        self._masks = SegmentMasks(inputs.volume, self._folder)
        options = {**lean.asJobOptions(), **files.asJobOptions(), "out": str(self._folder / "session")}
        named = [self._masks.structureOption(one) for one in structures]
        return {**options, "structures": named} if named else options

    def _started(self, options: Mapping[str, Any], startCommand: Callable[[Path], list[str]] | None) -> BackendProcess:
        try:
            return startJob(self._folder, "session", options, startCommand, listens=True)
        except (OSError, ImportError) as error:
            sentence = _("The live preview could not be started ({reason}). Install the extension again.")
            raise PredictionError("no_backend", sentence.format(reason=error)) from error

    def _send(self) -> None:
        if not self.isReady or self._onItsWay is not None or self._waiting is None:
            return
        (plan, slice), self._waiting = self._waiting, None
        try:
            option = None if plan is None else self._planOption(plan)
        except PredictionError as error:
            self._callbacks.refused(error.message)
            return
        if self._process.send({"id": self._nextId, "plan": option, "slice": slice}):
            self._onItsWay = self._nextId
            self._nextId += 1

    def _planOption(self, plan: ResectionPlan) -> dict[str, Any]:
        problem = plan.problem()
        if problem:
            raise PredictionError("bad_input", problem)
        return self._masks.planOption(plan)

    def _take(self, message: Mapping[str, Any]) -> None:
        kind = message["type"]
        if kind == "log":
            self._log = [*self._log, *str(message.get("text", "")).splitlines()][-MOST_LOG_LINES:]
        elif kind == "stage":
            self._callbacks.stage(str(message.get("name", "")))
        elif kind == "error":
            sentence = self._inWordsOfTheUser(str(message.get("message", "")))
            self._error = errorFromBackend(str(message.get("code")), sentence, self._log)
        elif kind == "ready":
            self.isReady = True
            self._callbacks.answer(message)
        elif kind in ("slice", "refused"):
            self._answered(message)
        elif kind == "volume" and self._isNewest(message):
            self._callbacks.answer(message)

    def _answered(self, message: Mapping[str, Any]) -> None:
        if message.get("id") != self._onItsWay:
            return
        self._onItsWay = None
        if message["type"] == "slice":
            self._callbacks.answer(message)
        elif self._waiting is None:
            self._callbacks.refused(self._inWordsOfTheUser(str(message.get("message", ""))))

    def _isNewest(self, message: Mapping[str, Any]) -> bool:
        """Whether nothing was asked since; another plan's volume must not cover the newest slice."""
        return self._onItsWay is None and self._waiting is None and message.get("id") == self._nextId - 1

    def _inWordsOfTheUser(self, sentence: str) -> str:
        return inWordsOfTheUser(sentence, {**self._shownAs, **self._masks.shownAs})

    def _end(self, error: PredictionError | None) -> None:
        self.isRunning = self.isReady = False
        with contextlib.suppress(OSError):
            self._process.kill()
        removeWorkingFolder(self._folder)
        self._callbacks.ended(error)
