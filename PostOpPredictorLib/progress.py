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


class SilentProgress:
    """Tells nobody; used by tests and by callers that do not care."""

    def stage(self, name: str) -> None: ...

    def step(self, done: int, total: int) -> None: ...

    def log(self, text: str) -> None: ...
