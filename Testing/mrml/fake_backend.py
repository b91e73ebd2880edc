"""Small programs that speak the job protocol well or badly, in the place of the backend."""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PostOpPredictorModule.PredictionRun import PredictionRun, RunCallbacks
from PostOpPredictorModule.WorkingFolder import makeWorkingFolder

BEGINNING = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
job = Path(sys.argv[1])
cancelled = job.with_name(job.name + ".cancel").exists
def say(kind, **fields):
    print(json.dumps({"type": kind, **fields}), flush=True)
"""


class Told:
    """What the callbacks of a run were given, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        names = ("stage", "progress", "log", "finished", "failed")
        self.callbacks = RunCallbacks(**{name: self._noting(name) for name in names})

    def of(self, kind: str) -> list[Any]:
        return [event[1] if len(event) == 2 else event[1:] for event in self.events if event[0] == kind]

    def _noting(self, name: str) -> Callable[..., None]:
        return lambda *values: self.events.append((name, *values))


def fake_run(program: str, told: Told | None = None, **more: Any) -> PredictionRun:
    """Start ``program`` (Python, after ``BEGINNING``) as a run; its result comes back as it was said."""
    folder = makeWorkingFolder()
    script = folder / "fake.py"
    script.write_text(BEGINNING + textwrap.dedent(program), encoding="utf-8")
    callbacks = (told or Told()).callbacks

    def finish(message: dict[str, Any]) -> Any:
        yield
        return message

    more.setdefault("startCommand", lambda job: [sys.executable, str(script), str(job)])
    return PredictionRun(folder, "predict", {}, more.pop("finish", finish), callbacks, **more)


def working_folders() -> set[Path]:
    """The working folders of this process that exist now."""
    return set(Path(tempfile.gettempdir()).glob(f"PostOpPredictor-{os.getpid()}-*"))


def is_running(process: int) -> bool:
    """Whether a process runs and is no zombie."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait for something that comes about by itself."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.01)
    return value


def processes_with(text: str) -> Mapping[int, str]:
    """Process ids -> command lines, of the processes whose command line holds ``text``."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in command and is_running(int(entry.name)):
                found[int(entry.name)] = command
    return found
