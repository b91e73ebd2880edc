"""The job protocol: JSON in, JSON lines out, a sentence for every bad job, and a cancel that leaves nothing behind."""

from __future__ import annotations

import enum
import io
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from PostOpPredictorLib import __version__, jobs, json_lines, parent_watch
from PostOpPredictorLib.atomic_files import whole_folder
from PostOpPredictorLib.errors import InputError, StorageError
from PostOpPredictorLib.job_options import request_from_options
from PostOpPredictorLib.jobs import run_job
from PostOpPredictorLib.progress import Progress

STAGES, STEPS = 3, 4


class Mode(enum.StrEnum):
    MEAN = "mean"
    SAMPLE = "sample"


@dataclass(frozen=True)
class Box:
    low: tuple[int, int, int]
    margin: float = 1.0


@dataclass(frozen=True)
class FakeRequest:
    out: Path
    samples: int = 1
    strength: float = 0.5
    name: str = ""
    fast: bool = False
    mode: Mode = Mode.MEAN
    start: Literal["noise", "composite", 1] = "noise"
    tumour: Path | None = None
    labels: str | tuple[int, ...] = "brats"
    weights: dict[str, float] = field(default_factory=dict)
    scans: list[Path] = field(default_factory=list)
    box: Box | None = None


def fake_prediction(request: FakeRequest, progress: Progress) -> dict[str, Any]:
    """Write three files, with stages and steps, into a folder that appears whole."""
    with whole_folder(request.out) as temporary:
        for stage in range(STAGES):
            progress.stage(f"Stage {stage}")
            (temporary / f"{stage}.txt").write_text("made")
            for step in range(STEPS):
                progress.step(step + 1, STEPS)
            progress.log(f"stage {stage} is done")
    return {"image": request.out / "0.txt", "samples": request.samples}


def crashing_prediction(request: FakeRequest, progress: Progress) -> dict[str, Any]:
    with whole_folder(request.out) as temporary:
        (temporary / "half.txt").write_text("half")
        raise {"oom": MemoryError(), "storage": StorageError("Full. Free some.")}.get(request.name) or KeyError("x")


@pytest.fixture(autouse=True)
def fake_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(jobs.COMMANDS, "fake", f"{__name__}:fake_prediction")
    monkeypatch.setitem(jobs.COMMANDS, "crash", f"{__name__}:crashing_prediction")
    monkeypatch.setattr(json_lines, "SECONDS_BETWEEN_PROGRESS_LINES", 0.0)


@pytest.fixture
def write_job(tmp_path: Path) -> Callable[..., Path]:
    def write(command: str = "fake", **options: Any) -> Path:
        path = tmp_path / "job.json"
        path.write_text(json.dumps({"schema": 1, "command": command, "options": {"out": "result", **options}}))
        return path

    return write


def run(job: Path, **options: Any) -> tuple[int, list[dict[str, Any]]]:
    stream = io.StringIO()
    code = run_job(job, stream, **options)
    return code, [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_job_tells_its_stages_and_its_result(write_job: Callable[..., Path], tmp_path: Path) -> None:
    code, lines = run(write_job(samples=3))
    assert code == 0
    assert lines[0] == {
        "type": "started", "schema": 1, "command": "fake", "version": __version__, "pid": os.getpid()
    }  # fmt: skip
    assert [line["name"] for line in lines if line["type"] == "stage"] == ["Stage 0", "Stage 1", "Stage 2"]
    steps = [line for line in lines if line["type"] == "progress"]
    assert [line["step"] for line in steps] == [1, 2, 3, 4] * STAGES
    assert all(line["of"] == STEPS and line["seconds_left"] >= 0 for line in steps)
    assert lines[-1] == {"type": "result", "image": str(tmp_path / "result" / "0.txt"), "samples": 3}


def test_the_result_is_announced_only_when_it_stands(write_job: Callable[..., Path], tmp_path: Path) -> None:
    class Reader(io.StringIO):
        def write(self, text: str) -> int:
            stands = (tmp_path / "result" / "2.txt").exists()
            assert stands == (json.loads(text)["type"] == "result")
            return super().write(text)

    assert run_job(write_job(), Reader()) == 0


def test_fast_steps_are_thinned_but_the_last_one_is_told(
    write_job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "SECONDS_BETWEEN_PROGRESS_LINES", 3600)
    _, lines = run(write_job())
    assert [line["step"] for line in lines if line["type"] == "progress"] == [1, 4] * STAGES


BAD_JOBS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "not valid JSON"),
    "truncated": ('{"schema": 1, "comm', "not valid JSON"),
    "binary": (b"\x1f\x8b\x08\xff\xfe", "not valid JSON"),
    "utf-16": ('{"schema": 1}'.encode("utf-16"), "not valid JSON"),
    "deep": ("[" * 200_000, "not valid JSON"),
    "huge": (" " * 1_000_001, "larger than"),
    "list": ("[]", "no JSON object"),
    "number": ("7", "no JSON object"),
    "null": ("null", "no JSON object"),
    "no schema": ('{"command": "fake", "options": {"out": "r"}}', "schema None"),
    "newer schema": ('{"schema": 2, "command": "fake"}', "schema 2"),
    "schema true": ('{"schema": true, "command": "fake"}', "schema True"),
    "schema text": ('{"schema": "1", "command": "fake"}', "schema '1'"),
    "no command": ('{"schema": 1}', "no command"),
    "command list": ('{"schema": 1, "command": ["fake"]}', "no command"),
    "unknown command": ('{"schema": 1, "command": "operate"}', "'operate' is not known"),
    "code as command": ('{"schema": 1, "command": "os:system"}', "'os:system' is not known"),
    "options list": ('{"schema": 1, "command": "fake", "options": []}', "no JSON object"),
    "options null": ('{"schema": 1, "command": "fake", "options": null}', "no JSON object"),
    "more keys": ('{"schema": 1, "command": "fake", "patient": "x"}', "names patient"),
    "twice": ('{"schema": 1, "command": "fake", "command": "crash"}', "command twice"),
    "NaN": ('{"schema": 1, "command": "fake", "options": {"out": "r", "strength": NaN}}', "NaN is no number"),
}


@pytest.mark.parametrize(("content", "words"), BAD_JOBS.values(), ids=BAD_JOBS)
def test_a_malformed_job_is_refused_with_a_sentence(tmp_path: Path, content: str | bytes, words: str) -> None:
    job = tmp_path / "job.json"
    job.write_bytes(content.encode() if isinstance(content, str) else content)
    code, lines = run(job)
    assert code == 2
    assert [(line["type"], line["code"]) for line in lines] == [("error", "bad_input")]
    assert words in lines[0]["message"] and lines[0]["message"].endswith(".")
    assert list(tmp_path.iterdir()) == [job]


BAD_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({}, "option out is missing"),
    "unknown": ({"out": "r", "colour": "red"}, "option colour is not known. Possible are out, samples"),
    "misspelt": ({"out": "r", "sampels": 2}, "Did you mean samples?"),
    "path number": ({"out": 7}, "out must be text, but is 7"),
    "path empty": ({"out": ""}, "out is no path"),
    "path zero byte": ({"out": "a\0b"}, "out is no path"),
    "path null": ({"out": None}, "out must be text, but is None"),
    "int text": ({"out": "r", "samples": "3"}, "samples must be a whole number, but is '3'"),
    "int true": ({"out": "r", "samples": True}, "samples must be a whole number, but is True"),
    "int fraction": ({"out": "r", "samples": 1.5}, "samples must be a whole number, but is 1.5"),
    "float text": ({"out": "r", "strength": "half"}, "strength must be a number"),
    "bool number": ({"out": "r", "fast": 1}, "fast must be true or false"),
    "enum": ({"out": "r", "mode": "median"}, "mode is 'median', which is none of mean, sample"),
    "enum list": ({"out": "r", "mode": ["mean"]}, "mode is ['mean'], which is none of"),
    "literal": ({"out": "r", "start": "blank"}, "start is 'blank', which is none of noise, composite, 1"),
    "literal true": ({"out": "r", "start": True}, "start is True, which is none of"),
    "union": ({"out": "r", "labels": {"a": 1}}, "labels must be text"),
    "list": ({"out": "r", "scans": "a.nii"}, "scans must be a list"),
    "in a list": ({"out": "r", "scans": ["a.nii", 4]}, "scans[1] must be text"),
    "dict": ({"out": "r", "weights": [1]}, "weights must be an object"),
    "in a dict": ({"out": "r", "weights": {"a": "b"}}, "weights.a must be a number"),
    "nested": ({"out": "r", "box": {"low": [1, 2, 3], "margins": 2}}, "box.margins is not known. Did you mean margin?"),
    "nested length": ({"out": "r", "box": {"low": [1, 2]}}, "box.low needs 3 values, not 2"),
    "long value": ({"out": "r", "samples": "x" * 5000}, "xxx..."),
}


@pytest.mark.parametrize(("options", "words"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_an_option_that_does_not_fit_is_named_in_a_sentence(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"schema": 1, "command": "fake", "options": options}))
    code, lines = run(job)
    assert code == 2 and len(lines) == 1
    assert words in lines[0]["message"] and len(lines[0]["message"]) < 400
    assert list(tmp_path.iterdir()) == [job]


def test_options_become_the_fields_of_the_request(tmp_path: Path) -> None:
    options = {
        "out": "result", "samples": 2, "strength": 1, "mode": "sample", "start": 1, "tumour": None, "labels": [1, 4],
        "weights": {"a": 2}, "scans": ["a.nii", str(tmp_path.parent / "b.nii")], "box": {"low": [1, 2, 3]},
    }  # fmt: skip
    request = request_from_options(FakeRequest, options, tmp_path)
    assert request == FakeRequest(
        out=tmp_path / "result",
        samples=2,
        strength=1.0,
        mode=Mode.SAMPLE,
        start=1,
        labels=(1, 4),
        weights={"a": 2.0},
        scans=[tmp_path / "a.nii", tmp_path.parent / "b.nii"],
        box=Box(low=(1, 2, 3)),
    )
    assert type(request.strength) is float


def test_a_byte_order_mark_and_other_alphabets_are_read(write_job: Callable[..., Path], tmp_path: Path) -> None:
    job = write_job(out="Ergebnis für Müller 测试")
    job.write_bytes(b"\xef\xbb\xbf" + job.read_bytes())
    code, lines = run(job)
    assert code == 0
    assert lines[-1]["image"] == str(tmp_path / "Ergebnis für Müller 测试" / "0.txt")


def test_a_job_file_that_is_missing_or_a_folder_is_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        code, lines = run(path)
        assert code == 2 and "is no file" in lines[0]["message"]


LINES_OF_A_RUN = STAGES * (2 + STEPS) + 1


@pytest.mark.parametrize("after", range(LINES_OF_A_RUN))
def test_a_cancel_at_any_moment_leaves_nothing_behind(
    write_job: Callable[..., Path], tmp_path: Path, after: int
) -> None:
    job = write_job()
    (tmp_path / "earlier").mkdir()

    class Canceller(io.StringIO):
        """A reader that asks for a stop once it has seen so many lines."""

        def write(self, text: str) -> int:
            written = super().write(text)
            if self.getvalue().count("\n") == after:
                jobs.default_cancel_file(job).touch()
            return written

    stream = Canceller()
    if after == 0:
        jobs.default_cancel_file(job).touch()
    code = run_job(job, stream)
    last = json.loads(stream.getvalue().splitlines()[-1])
    assert code == 130
    assert (last["type"], last["code"]) == ("error", "cancelled")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["earlier", "job.json", "job.json.cancel"]


def test_a_cancel_after_the_result_stands_changes_nothing(write_job: Callable[..., Path], tmp_path: Path) -> None:
    job = write_job()
    code, lines = run(job, cancel_file=tmp_path / "never")
    jobs.default_cancel_file(job).touch()
    assert code == 0 and lines[-1]["type"] == "result" and (tmp_path / "result" / "2.txt").exists()


def test_another_cancel_file_can_be_named(write_job: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    code, lines = run(write_job(), cancel_file=tmp_path / "stop")
    assert code == 130 and lines[-1]["code"] == "cancelled"


@pytest.mark.parametrize(("name", "kind", "code"), [("oom", "oom", 2), ("storage", "storage", 2), ("", "internal", 1)])
def test_a_crash_is_an_error_line_and_leaves_nothing(
    write_job: Callable[..., Path], tmp_path: Path, name: str, kind: str, code: int
) -> None:
    job = write_job("crash", name=name)
    found, lines = run(job)
    assert found == code
    assert (lines[-1]["type"], lines[-1]["code"]) == ("error", kind)
    assert list(tmp_path.iterdir()) == [job]


def test_every_command_of_the_software_can_be_found_by_a_job() -> None:
    import dataclasses

    shipped = set(jobs.COMMANDS) - {"fake", "crash"}
    assert {"predict", "register", "retrieve", "demo", "doctor"} <= shipped
    for name in shipped:
        work, request_type = jobs.find_command(name)
        assert callable(work) and dataclasses.is_dataclass(request_type), name
        with pytest.raises(InputError, match="not known"):
            request_from_options(request_type, {"no_such_option": 1}, Path())


# What follows starts real processes, as 3D Slicer does.

SCRIPT = """
import os, subprocess, sys, time
from dataclasses import dataclass
from pathlib import Path
from PostOpPredictorLib import jobs
from PostOpPredictorLib.atomic_files import whole_folder
from PostOpPredictorLib.cli.app import main

@dataclass(frozen=True)
class Request:
    out: Path
    seconds: float = 0.0

def work(request: Request, progress) -> dict:
    with whole_folder(request.out) as temporary:
        progress.stage("Working")
        (temporary / "half.txt").write_text("half")
        print("a stray print")
        os.write(1, b"a stray write\\n")
        subprocess.run([sys.executable, "-c", "print('a stray child')"])
        end = time.monotonic() + request.seconds
        while time.monotonic() < end:
            time.sleep(0.05)
            progress.step(1, 2)
    return {"out": request.out}

jobs.COMMANDS["fake"] = "__main__:work"
if __name__ == "__main__":
    main()
"""


@pytest.fixture
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``postop`` with one more command."""
    path = tmp_path_factory.mktemp("script") / "fake_postop.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def start(script: Path) -> Callable[..., subprocess.Popen[str]]:
    def begin(job: Path, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), "run", str(job), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")

    return begin


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def test_stray_prints_do_not_corrupt_the_lines(
    start: Callable[..., subprocess.Popen[str]], write_job: Callable[..., Path], tmp_path: Path
) -> None:
    process = start(write_job())
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["started", "stage", "result"]
    for words in ("a stray print", "a stray write", "a stray child"):
        assert words in err
    assert (tmp_path / "result" / "half.txt").exists()


def test_a_running_process_is_cancelled_by_the_file(
    start: Callable[..., subprocess.Popen[str]], write_job: Callable[..., Path], tmp_path: Path
) -> None:
    job = write_job(seconds=300)
    process = start(job)
    wait_until(lambda: any(tmp_path.glob(".*/half.txt")))
    (tmp_path / "job.json.cancel").touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out.splitlines()[-1])["code"] == "cancelled"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.json", "job.json.cancel"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process at once there")
def test_a_terminated_process_cleans_up_and_says_so(
    start: Callable[..., subprocess.Popen[str]], write_job: Callable[..., Path], tmp_path: Path
) -> None:
    process = start(write_job(seconds=300))
    wait_until(lambda: any(tmp_path.glob(".*/half.txt")))
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out.splitlines()[-1])["code"] == "cancelled"
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_a_reader_that_went_away_ends_the_work(
    start: Callable[..., subprocess.Popen[str]], write_job: Callable[..., Path], tmp_path: Path
) -> None:
    process = start(write_job(seconds=300))
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=60) == 130, err
    assert "Traceback" not in err and "Exception ignored" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_the_job_ends_when_its_parent_dies(script: Path, write_job: Callable[..., Path], tmp_path: Path) -> None:
    job = write_job(seconds=300)
    log = script.with_name("lines.log")
    parent = textwrap.dedent(f"""
        import os, subprocess, sys
        with open({str(log)!r}, "w") as log:
            command = [sys.executable, {str(script)!r}, "run", {str(job)!r}, "--parent-pid", str(os.getpid())]
            subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL)
        sys.stdin.read()
    """)
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE)
    wait_until(lambda: "Working" in log.read_text() if log.exists() else False)
    child = json.loads(log.read_text().splitlines()[0])["pid"]
    assert parent_watch.is_running(child)
    process.kill()
    process.wait()
    wait_until(lambda: not parent_watch.is_running(child))
    assert json.loads(log.read_text().splitlines()[-1])["code"] == "cancelled"
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_a_parent_that_is_gone_already_ends_the_job(
    start: Callable[..., subprocess.Popen[str]], write_job: Callable[..., Path], tmp_path: Path
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    process = start(write_job(seconds=300), "--parent-pid", str(gone.pid))
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_the_workers_of_a_killed_process_end_too(tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(
        textwrap.dedent("""
            import os, time
            from concurrent.futures import ProcessPoolExecutor
            from functools import partial
            from multiprocessing import get_context
            from PostOpPredictorLib.parent_watch import end_with

            if __name__ == "__main__":
                watch = partial(end_with, os.getpid(), seconds_to_clean_up=0.0)
                with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=watch) as pool:
                    print(pool.submit(os.getpid).result(), flush=True)
                    time.sleep(300)
        """)
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    assert parent_watch.is_running(worker)
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: not parent_watch.is_running(worker))
