"""The job protocol: one JSON file in, JSON lines out, a file beside the job to cancel.

``job.json`` holds ``{"schema": 1, "command": "predict", "options": {...}}``; relative paths in it start at its folder.
The lines are those of ``json_lines``. Creating ``<job file>.cancel`` stops the work at its next step with the error
``cancelled``.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from . import __version__
from .conversation import Conversation
from .errors import InputError
from .failures import as_postop_error
from .job_options import request_from_options
from .json_lines import JsonLines, JsonProgress

SCHEMA = 1
LARGEST_JOB_FILE = 1_000_000

# command -> "module:function(request: its dataclass, progress) -> dict"; imported only when a job asks for it.
COMMANDS: dict[str, str] = {
    "predict": "PostOpPredictorLib.prediction.predictor:predict_command",
    "register": "PostOpPredictorLib.imaging.registration_files:register_files",
    "retrieve": "PostOpPredictorLib.prediction.similar_cases:find_similar_cases",
    "demonstration_library": "PostOpPredictorLib.prediction.demonstration_library:make_demonstration_library",
    "demo": "PostOpPredictorLib.evaluation.demo:run_demo",
    "sample": "PostOpPredictorLib.evaluation.sample_patient:write_sample",
    "evaluate": "PostOpPredictorLib.evaluation.evaluate:evaluate",
    "train": "PostOpPredictorLib.training.run:train",
    "doctor": "PostOpPredictorLib.doctor:examine",
    "session": "PostOpPredictorLib.prediction.live.session:live_session",
}
TALKING = frozenset({"session"})
"""Commands that take requests from standard input while they run; a ``Conversation`` is their third argument."""

Command = Callable[..., Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Job:
    """What a job file asks for; ``folder`` is where its relative paths start."""

    command: str
    options: Mapping[str, Any]
    folder: Path


def run_job(job_file: Path, stream: TextIO, cancel_file: Path | None = None, requests: BinaryIO | None = None) -> int:
    """Run one job, write its JSON lines to ``stream`` and return the exit code (0, or that of the error).

    ``requests``: where a command that talks reads; standard input when left out.
    """
    lines = JsonLines(stream)
    cancel_file = cancel_file or default_cancel_file(job_file)
    progress = JsonProgress(lines, cancelled=cancel_file.exists)
    try:
        job = read_job(job_file)
        work, request_type = find_command(job.command)
        request = request_from_options(request_type, job.options, job.folder)
        lines.write("started", schema=SCHEMA, command=job.command, version=__version__, pid=os.getpid())
        progress.check()
        if job.command in TALKING:
            talk = Conversation(lines.write, progress.check, requests or sys.stdin.buffer, job.folder)
            result = work(request, progress, talk)
        else:
            result = work(request, progress)
        lines.result(result)
    except BaseException as error:
        ours = as_postop_error(error)
        lines.error(ours)
        return ours.exit_code
    return 0


def default_cancel_file(job_file: Path) -> Path:
    """Return the file whose existence cancels the job."""
    return job_file.with_name(f"{job_file.name}.cancel")


def read_job(job_file: Path) -> Job:
    """Read and check a job file; raises ``InputError`` with what is wrong with it."""
    content = _parse(job_file)
    if not isinstance(content, dict):
        raise InputError(f"{job_file} holds no JSON object. A job is {{schema, command, options}}.")
    unknown = sorted(set(content) - {"schema", "command", "options"})
    if unknown:
        raise InputError(
            f"{job_file} names {', '.join(unknown)}, which no job has. It is {{schema, command, options}}."
        )
    schema = content.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise InputError(
            f"{job_file} has the schema {schema!r}, but this version reads {SCHEMA}. Use matching versions."
        )
    command, options = content.get("command"), content.get("options", {})
    if not isinstance(command, str):
        raise InputError(f"{job_file} names no command. Possible are {', '.join(COMMANDS)}.")
    if not isinstance(options, dict):
        raise InputError(f"The options in {job_file} are no JSON object. Write them as {{name: value}}.")
    return Job(command, options, job_file.resolve().parent)


def _parse(job_file: Path) -> Any:
    if not job_file.is_file():
        raise InputError(f"{job_file} is no file. Name the job file itself.")
    if job_file.stat().st_size > LARGEST_JOB_FILE:
        raise InputError(f"{job_file} is larger than {LARGEST_JOB_FILE} bytes, so it is no job file. Check the path.")
    try:
        # utf-8-sig: Windows editors put a byte order mark in front.
        text = job_file.read_text(encoding="utf-8-sig")
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{job_file} is not valid JSON ({str(error)[:200]}). Write it again.") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} twice in one object")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def find_command(name: str) -> tuple[Command, type[Any]]:
    """Return the function behind a job's command and the dataclass that its first argument is."""
    if name not in COMMANDS:
        raise InputError(f"The command {name!r} is not known. Possible are {', '.join(COMMANDS)}.")
    module, _, function_name = COMMANDS[name].partition(":")
    function: Command = getattr(importlib.import_module(module), function_name)
    hints = typing.get_type_hints(function)
    first = next(iter(hints))
    return function, hints[first]
