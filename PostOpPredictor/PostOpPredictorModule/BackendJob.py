"""A job of the backend: the file that describes it, its process, and its sentences in the words of the user."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import BackendProcess as backend

JOB_SCHEMA = 1


def startJob(
    folder: Path,
    command: str,
    options: Mapping[str, Any],
    startCommand: Callable[[Path], list[str]] | None = None,
    listens: bool = False,
) -> backend.BackendProcess:
    """Write the job into the working ``folder`` and start it; raises ``OSError`` or ``ImportError``.

    ``startCommand(jobFile)``: what runs it in the place of the backend. ``listens``: of the process.
    """
    jobFile = folder / "job.json"
    job = {"schema": JOB_SCHEMA, "command": command, "options": dict(options)}
    jobFile.write_text(json.dumps(job, ensure_ascii=False), encoding="utf-8")
    cancelFile = jobFile.with_name(f"{jobFile.name}.cancel")
    arguments = (startCommand or backend.backendCommand)(jobFile)
    return backend.BackendProcess(arguments, cancelFile, backend.backendEnvironment(), listens)


def inWordsOfTheUser(sentence: str, shownAs: Mapping[str, str]) -> str:
    """``sentence`` with what the user calls them in the place of the paths of exported files."""
    for text, shown in shownAs.items():
        sentence = sentence.replace(text, shown)
    return sentence
