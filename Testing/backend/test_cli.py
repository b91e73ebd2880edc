"""The command line: quick help, one sentence and a fitting exit code for every failure, JSON lines for programs."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from PostOpPredictorLib import __version__, errors
from PostOpPredictorLib.cli import app as application
from PostOpPredictorLib.cli.console import JsonLines, TerminalProgress, run_command
from PostOpPredictorLib.progress import Progress

HEAVY = (
    "torch",
    "diffusers",
    "SimpleITK",
    "numpy",
    "scipy",
    "nilearn",
    "matplotlib",
    "segment_anything",
    "safetensors",
)


@dataclass(frozen=True)
class Nothing:
    """A request without a choice."""


@pytest.fixture
def a_command() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Add the command ``postop fake`` that does what it is given."""
    before = list(application.app.registered_commands)

    def add(work: Callable[[], object]) -> None:
        @application.app.command("fake")
        def fake(json_lines: JsonLines = False) -> None:
            def do(request: Nothing, progress: Progress) -> dict[str, object]:
                progress.stage("Working")
                progress.step(1, 2)
                return {"out": Path("a") / "b", "made": work()}

            run_command(do, Nothing(), json_lines)

    yield add
    application.app.registered_commands[:] = before


def raising(error: BaseException) -> Callable[[], object]:
    def work() -> object:
        raise error

    return work


def json_lines_of(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


FAILURES = [
    (errors.InputError("The mask is empty. Give another."), 2, "bad_input", "The mask is empty"),
    (errors.RegistrationFailed("It could not be aligned. Strip it."), 2, "registration_failed", "aligned"),
    (errors.LibraryError("No library. Make one."), 2, "bad_library", "No library"),
    (errors.ModelMissing("No model. Train one."), 2, "no_weights", "No model"),
    (errors.ModelTampered("Changed weights. Fetch them."), 2, "bad_weights", "Changed"),
    (errors.StorageError("The disk is full. Free some."), 2, "storage", "disk is full"),
    (errors.OutOfMemory("Too little memory. Take less."), 2, "oom", "memory"),
    (errors.Cancelled("Cancelled; nothing was written."), 130, "cancelled", "Cancelled"),
    (KeyboardInterrupt(), 130, "cancelled", "Cancelled"),
    (MemoryError(), 2, "oom", "memory"),
    (OutOfMemoryError("CUDA"), 2, "oom", "memory"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), 2, "oom", "memory"),
    (RuntimeError("I/O error: No space left on device (os error 28)"), 2, "storage", "disk is full"),
    (OSError(errno.ENOSPC, "No space left on device"), 2, "storage", "disk is full"),
    (PermissionError(errno.EACCES, "denied", "/locked/a.nii"), 2, "storage", "/locked/a.nii"),
    (OSError(errno.EROFS, "read-only", "/cd/a.nii"), 2, "storage", "/cd/a.nii"),
    (FileNotFoundError(errno.ENOENT, "gone", "/no/a.nii"), 2, "bad_input", "/no/a.nii does not exist"),
    (IsADirectoryError(errno.EISDIR, "folder", "/a"), 2, "bad_input", "/a is a folder"),
    (NotADirectoryError(errno.ENOTDIR, "file", "/a/b"), 2, "bad_input", "/a/b lies below"),
    (ZeroDivisionError("division by zero"), 1, "internal", "ZeroDivisionError: division by zero"),
    (OSError(errno.EIO, "broken disk"), 1, "internal", "broken disk"),
]
NAMES = [f"{type(error).__name__}-{number}" for number, (error, *_) in enumerate(FAILURES)]


@pytest.mark.parametrize(("error", "code", "kind", "words"), FAILURES, ids=NAMES)
def test_every_failure_is_one_line_on_stderr_and_an_exit_code(
    a_command: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    kind: str,
    words: str,
) -> None:
    a_command(raising(error))
    assert application.run(["fake"]) == code
    out, err = capfd.readouterr()
    assert out == ""
    stage, sentence = err.splitlines()
    assert stage == "Working"
    assert words in sentence and sentence.endswith((".", "it."))


@pytest.mark.parametrize(("error", "code", "kind", "words"), FAILURES, ids=NAMES)
def test_with_json_every_failure_is_the_last_json_line(
    a_command: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    kind: str,
    words: str,
) -> None:
    a_command(raising(error))
    assert application.run(["fake", "--json"]) == code
    out, err = capfd.readouterr()
    last = json_lines_of(out)[-1]
    assert (last["type"], last["code"]) == ("error", kind)
    assert words in str(last["message"])
    assert err == ""


def test_an_unexpected_error_leaves_where_it_arose_in_a_log_and_no_name(
    a_command: Callable[..., None], capfd: pytest.CaptureFixture[str], a_cache_of_its_own: Path
) -> None:
    cause = KeyError("/data/DOE JANE/pre.nii.gz")
    error = ZeroDivisionError("DOE JANE.nii.gz is odd")
    error.__cause__ = cause
    a_command(raising(error))
    application.run(["fake"])
    sentence = capfd.readouterr().err.splitlines()[-1]
    named = [log for log in (a_cache_of_its_own / "logs").iterdir() if str(log) in sentence]
    assert len(named) == 1
    text = named[0].read_text()
    assert "ZeroDivisionError" in text and "KeyError" in text and "cli/app.py:" in text
    assert "DOE" not in text and "/data" not in text and str(Path(__file__).parents[2]) not in text
    assert "Traceback" not in sentence


@pytest.mark.parametrize("arguments", [["--debug", "fake"], ["fake", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(
    a_command: Callable[..., None], capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    a_command(raising(ZeroDivisionError("unforeseen")))
    assert application.run(arguments) == 1
    assert "Traceback" in capfd.readouterr().err


def test_a_log_that_cannot_be_written_does_not_hide_the_error(
    a_command: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("POSTOP_CACHE", str(tmp_path / "file"))
    a_command(raising(ZeroDivisionError("unforeseen")))
    assert application.run(["fake"]) == 1
    assert "unforeseen" in capfd.readouterr().err


def test_json_holds_stage_progress_and_result_and_nothing_else(
    a_command: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    def noisy() -> float:
        print("a library talks")
        os.write(1, b"and so does its C part\n")
        return float("nan")

    a_command(noisy)
    assert application.run(["fake", "--json"]) == 0
    out, err = capfd.readouterr()
    stage, progress, result = json_lines_of(out)
    assert stage == {"type": "stage", "name": "Working"}
    assert (progress["type"], progress["step"], progress["of"]) == ("progress", 1, 2)
    assert result == {"type": "result", "out": str(Path("a") / "b"), "made": None}
    assert "a library talks" in err and "C part" in err
    os.write(1, b"standard output works again\n")
    assert capfd.readouterr().out == "standard output works again\n"


def test_without_json_the_result_is_text_on_stdout(
    a_command: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    a_command(lambda: 42)
    assert application.run(["fake"]) == 0
    out, err = capfd.readouterr()
    assert "made: 42" in out
    assert err == "Working\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "nonsense"),
        (["fake", "--nonsense"], "--nonsense"),
        (["run"], "job"),
        (["run", "job.json", "--parent-pid", "many"], "--parent-pid"),
    ],
)
def test_a_wrong_command_line_is_a_sentence_with_exit_code_2(
    a_command: Callable[..., None], capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    a_command(lambda: 0)
    assert application.run(arguments) == 2
    out, err = capfd.readouterr()
    assert words in err and "--help" in err
    assert out == ""
    assert application.run([*arguments, "--json"]) == 2
    assert json_lines_of(capfd.readouterr().out)[-1]["code"] == "bad_input"


def test_an_exit_code_chosen_by_a_command_is_kept(a_command: Callable[..., None]) -> None:
    a_command(raising(typer.Exit(7)))
    assert application.run(["fake"]) == 7


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert application.run(["--version"]) == 0
    assert capfd.readouterr().out == f"postop {__version__}\n"


def test_help_of_every_command_imports_nothing_heavy() -> None:
    code = f"""
        import sys
        from PostOpPredictorLib.cli import app
        for arguments in [["--help"], *([command, "--help"] for command in app.COMMANDS)]:
            assert app.run(arguments) == 0, arguments
        print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stderr == "[]\n"
    for command in application.COMMANDS:
        assert command in done.stdout


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "PostOpPredictorLib", "--version"], capture_output=True, encoding="utf-8"
    )
    assert done.stdout == f"postop {__version__}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are those of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_and_leaves_nothing_half_written(tmp_path: Path, number: int) -> None:
    code = f"""
        import time
        from pathlib import Path
        from PostOpPredictorLib.atomic_files import whole_file
        from PostOpPredictorLib.cli import app

        @app.app.command("fake")
        def fake() -> None:
            with whole_file(Path({str(tmp_path / "out.txt")!r})) as temporary:
                temporary.write_text("half")
                time.sleep(60)

        app.main(["fake"])
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    wait_until(lambda: any(path.read_text() == "half" for path in tmp_path.iterdir()))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("Cancelled") and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break differently there")
def test_a_reader_of_json_that_went_away_ends_the_work_quietly() -> None:
    code = """
        import time
        from dataclasses import dataclass
        from PostOpPredictorLib.cli import app
        from PostOpPredictorLib.cli.console import JsonLines, run_command

        @dataclass
        class Request: ...

        def work(request: Request, progress) -> dict:
            for _ in range(3000):
                progress.stage("Working")
                time.sleep(0.02)
            return {}

        @app.app.command("fake")
        def fake(json_lines: JsonLines = False) -> None:
            run_command(work, Request(), json_lines)

        app.main(["fake", "--json"])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 130


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def test_terminal_bars_show_each_stage_and_survive_odd_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen:
        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> int:
            self.text += text
            return len(text)

        def flush(self) -> None: ...

        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with TerminalProgress() as progress:
        progress.step(0, 0)
        progress.stage("Aligning [to MNI]")
        progress.stage("Denoising")
        progress.step(1, 3)
        progress.log("a detail [in brackets]")
    for words in ("Aligning [to MNI]", "Denoising", "3/3", "a detail [in brackets]"):
        assert words in screen.text


def test_doctor_names_what_is_missing_and_what_to_do(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("POSTOP_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("POSTOP_MODEL", str(tmp_path / "no model"))
    assert application.run(["doctor", "--json"]) == 1
    result = json_lines_of(capfd.readouterr().out)[-1]
    findings = {finding["name"]: finding for finding in result["findings"]}
    assert findings["Cache"]["state"] == "problem" and "POSTOP_CACHE" in findings["Cache"]["advice"]
    assert findings["Model"]["state"] == "problem" and "no model" in findings["Model"]["advice"]
    for name in ("Python", "torch", "SimpleITK", "segment_anything", "Device"):
        assert findings[name]["state"] == "ok"
    assert all(finding["advice"] for finding in result["findings"] if finding["state"] != "ok")


def test_doctor_writes_nothing_but_its_probe(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POSTOP_CACHE", str(tmp_path / "cache"))
    application.run(["doctor"])
    assert list((tmp_path / "cache").iterdir()) == []
    assert "Python" in capfd.readouterr().out
