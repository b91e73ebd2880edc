"""How long a live session takes for a slice: ``python -m PostOpPredictorLib.prediction.live.benchmark scan tumour``.

A session is started as 3D Slicer starts it, and asked for one plan after the other, each on another slice. Told are the
seconds from writing a request to reading its answer, and the processor seconds that the session needed for it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import IO, Any

CHANGES = 20
MARGINS_MM = (-2.0, 0.0, 2.5, 5.0, 7.5, 10.0)
SECONDS_ALLOWED = 0.5


@dataclass(frozen=True)
class Measured:
    """``waited``: seconds from the request to its answer; ``session``: seconds and ``cpu``: processor seconds within
    the session; one value for each plan. ``volume``: seconds of a volume; ``ready``: seconds until the first request.
    """

    waited: tuple[float, ...]
    session: tuple[float, ...]
    cpu: tuple[float, ...]
    volume: float
    ready: float


@contextmanager
def running_session(folder: Path, options: Mapping[str, Any]) -> Iterator[tuple[IO[str], IO[str]]]:
    """Start a session with ``options`` in ``folder``; yields where to write requests and where to read answers."""
    job = folder / "job.json"
    content = {"schema": 1, "command": "session", "options": {**options, "out": str(folder / "session")}}
    job.write_text(json.dumps(content), encoding="utf-8")
    command = [sys.executable, "-m", "PostOpPredictorLib", "run", str(job)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield process.stdin, process.stdout
        finally:
            process.stdin.close()


def next_answer(stream: IO[str], *kinds: str) -> dict[str, Any]:
    """The next line of one of ``kinds``. Raises ``RuntimeError`` with the sentence of a refusal or an error."""
    for line in stream:
        answer: dict[str, Any] = json.loads(line)
        if answer["type"] in kinds:
            return answer
        if answer["type"] in ("refused", "error"):
            raise RuntimeError(answer["message"])
    raise RuntimeError("The session ended without an answer.")


def measure(options: Mapping[str, Any], changes: int = CHANGES, *, behind_volumes: bool = False) -> Measured:
    """Change the plan ``changes`` times; with ``behind_volumes`` each while the volume before is still being made."""
    answers, waited, volume = [], [], 0.0
    with tempfile.TemporaryDirectory() as folder, running_session(Path(folder), options) as (requests, lines):
        ready = next_answer(lines, "ready")
        slices: Sequence[int] = ready["slices"]
        for number in range(changes):
            margin = MARGINS_MM[number % len(MARGINS_MM)] + 0.01 * (number // len(MARGINS_MM))
            at = slices[len(slices) // 4 + number * 7 % (len(slices) // 2)]
            request = {"id": number, "plan": {"margin_mm": round(min(margin, 10.0) - 0.2, 2)}, "slice": at}
            began = perf_counter()
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            answers.append(next_answer(lines, "slice"))
            waited.append(perf_counter() - began)
            if not behind_volumes or number == changes - 1:
                volume = float(next_answer(lines, "volume")["seconds"])
        requests.write('{"quit": true}\n')
        requests.flush()
        next_answer(lines, "result")
    session, cpu = (tuple(float(answer[name]) for answer in answers) for name in ("seconds", "cpu_seconds"))
    return Measured(tuple(waited), session, cpu, volume, float(ready["seconds"]))


def told(measured: Measured) -> str:
    """The figures in a few lines."""
    rows = (
        ("from request to answer", measured.waited),
        ("within the session", measured.session),
        ("processor seconds", measured.cpu),
    )
    lines = [
        f"{name:24} median {statistics.median(values):.3f} s   slowest {max(values):.3f} s" for name, values in rows
    ]
    within = sum(one <= SECONDS_ALLOWED for one in measured.waited)
    lines.append(f"{within} of {len(measured.waited)} answers came within {SECONDS_ALLOWED} s")
    lines.append(f"ready after {measured.ready:.1f} s, the last volume took {measured.volume:.1f} s")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the session of one patient and print the figures."""
    parser = argparse.ArgumentParser(description="Seconds that a live session takes for a slice.")
    parser.add_argument("pre", type=Path, help="pre-operative scan")
    parser.add_argument("tumour", type=Path, help="tumour label map")
    parser.add_argument("--library", type=Path, default=None, help="folder of a library; default: the demonstration's")
    parser.add_argument("--model", type=Path, default=None, help="folder of a model; default: the shipped one")
    parser.add_argument("--changes", type=int, default=CHANGES, help="how many plans are asked for")
    parser.add_argument("--behind-volumes", action="store_true", help="ask again while a volume is still being made")
    given = parser.parse_args(arguments)
    options = {
        name: str(path.resolve())
        for name, path in (
            ("pre", given.pre),
            ("tumour", given.tumour),
            ("library", given.library),
            ("model", given.model),
        )
        if path is not None
    }
    print(told(measure(options, given.changes, behind_volumes=given.behind_volumes)))


if __name__ == "__main__":
    main()
