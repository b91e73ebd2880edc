"""How long work tells what it is doing, and learns that it should stop."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What every long function of the backend takes; the command line and the job protocol implement it."""

    def stage(self, name: str) -> None:
        """Begin a stage, named by a short sentence that a user may read ("Aligning to MNI space")."""

    def step(self, done: int, total: int) -> None:
        """Tell how much of the stage is done, and raise ``Cancelled`` when the user asked to stop."""

    def log(self, text: str) -> None:
        """Tell a detail that goes to the log; never a patient identifier."""


class PartOf:
    """Progress of part ``number`` (from 0) of the ``count`` parts of a stage; its own stages are not told.

    ``fine``: its steps are steps of the whole; else the whole stands where the part begins, and a cancel still reaches
    it at every step. ``logs``: whether its details are told.
    """

    def __init__(self, whole: Progress, number: int, count: int, *, fine: bool = False, logs: bool = False) -> None:
        self._whole, self._number, self._count, self._fine, self._logs = whole, number, count, fine, logs

    def stage(self, name: str) -> None:
        """Tell nothing."""

    def step(self, done: int, total: int) -> None:
        """Pass the step on as one of the whole; raises what that raises."""
        if self._fine:
            self._whole.step(self._number * total + done, self._count * total)
        else:
            self._whole.step(self._number, self._count)

    def log(self, text: str) -> None:
        """Pass the detail on where it is wanted."""
        if self._logs:
            self._whole.log(text)


class SilentProgress:
    """Tells nobody; used by tests and by callers that do not care."""

    def stage(self, name: str) -> None: ...

    def step(self, done: int, total: int) -> None: ...

    def log(self, text: str) -> None: ...
