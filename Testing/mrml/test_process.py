"""A run of the backend always comes to an end that is told, and leaves no process and no folder behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from fake_backend import Told, fake_run, is_running, processes_with, wait_until, working_folders
from PostOpPredictorModule import BackendProcess, WorkingFolder
from PostOpPredictorModule.Errors import PredictionError
from PostOpPredictorModule.PredictionRun import PredictionRun, RunCallbacks
from PostOpPredictorModule.Settings import PredictionSettings

HANG = "time.sleep(600)"
GRACE = 2.0


@pytest.fixture(autouse=True)
def nothing_is_left() -> object:
    before = working_folders()
    yield
    assert working_folders() == before


def failure_of(run: PredictionRun) -> PredictionError:
    with pytest.raises(PredictionError) as caught:
        run.wait()
    assert not is_running(run.processId)
    return caught.value


def test_stages_progress_and_the_result_come_in_order() -> None:
    told = Told()
    run = fake_run(
        """
        say("started", schema=1)
        say("stage", name="Aligning")
        say("progress", step=1, of=4, seconds_left=2.5)
        say("log", text="well aligned")
        say("result", folder="here", eor_percent=93.5)
        """,
        told,
    )
    assert run.wait() == {"folder": "here", "eor_percent": 93.5}
    assert told.events[:3] == [("stage", "Aligning"), ("progress", 1, 4, 2.5), ("log", "well aligned")]
    assert told.events[-1] == ("finished", run.result)
    assert not is_running(run.processId)


def test_lines_that_are_no_protocol_are_log_text() -> None:
    program = r"""
        sys.stdout.buffer.write(b"garbage {\n{\"no\": \"type\"}\n[1, 2]\n\xff\xfe bytes\n\n{broken\n")
        sys.stdout.flush()
        print("a library complains", file=sys.stderr, flush=True)
        say("progress", step="one", of=None)
        sys.stdout.write(json.dumps({"type": "result", "ok": True}))
        """
    told = Told()
    run = fake_run(program, told)
    assert run.wait() == {"ok": True}, "a last line without a line end counts too"
    lines = set(run.logLines)
    assert {"garbage {", '{"no": "type"}', "[1, 2]", "\ufffd\ufffd bytes", "{broken", "a library complains"} <= lines
    assert told.of("progress") == []


def test_a_protocol_object_on_standard_error_is_log_text() -> None:
    assert fake_run("""
        print(json.dumps({"type": "error", "code": "oom", "message": "x"}), file=sys.stderr)
        say("result", ok=1)
    """).wait() == {"ok": 1}


def test_a_crash_is_told_with_the_end_of_its_log() -> None:
    error = failure_of(fake_run("raise KeyError('the reason')"))
    assert error.code == "crashed"
    assert "exit code 1" in str(error)
    assert any("the reason" in line for line in error.logTail)


def test_a_silent_end_is_an_error_even_with_exit_code_0() -> None:
    assert failure_of(fake_run("pass")).code == "crashed"


def test_a_backend_that_the_system_killed_speaks_of_memory() -> None:
    error = failure_of(fake_run("os.kill(os.getpid(), signal.SIGKILL)"))
    assert error.code == "crashed"
    assert "memory" in error.message


def test_a_kill_behind_slicers_launcher_speaks_of_memory_too() -> None:
    """The launcher PythonSlicer survives its Python: it says so and ends with 1."""
    error = failure_of(
        fake_run("""
        killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        if subprocess.run([sys.executable, "-c", killed]).returncode < 0:
            print("error: [" + sys.executable + "] exit abnormally - Report the problem.", file=sys.stderr)
            sys.exit(1)
    """)
    )
    assert (error.code, "exit code 1" in error.message, "memory" in error.message) == ("crashed", True, True)
    assert "memory" not in failure_of(fake_run("sys.exit(1)")).message


def test_a_missing_package_is_named() -> None:
    assert "torch" in failure_of(fake_run("import torch_that_is_not_there.nn")).message
    said = 'say("error", code="internal", message="Something (ModuleNotFoundError: No module named \'diffusers\').")'
    error = failure_of(fake_run(said))
    assert (error.code, "'diffusers'" in error.message, "Set-up" in error.message) == ("missing_package", True, True)


def test_out_of_memory_offers_settings_that_need_less_and_tries_none_by_itself(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    program = f"""
        with open({str(starts)!r}, "a") as file: file.write("x")
        say("error", code="oom", message="There was too little memory. Choose --device cpu.")
        sys.exit(2)
    """
    error = failure_of(fake_run(program, settings=PredictionSettings(mode="average", samples=8, seed=5)))
    assert error.code == "oom"
    assert [proposal.name for proposal in error.proposals] == ["fewer_samples", "mean", "cpu"]
    assert [(p.settings.samples, p.settings.mode, p.settings.device) for p in error.proposals] == [
        (2, "average", "auto"),
        (None, "mean", "auto"),
        (8, "average", "cpu"),
    ]
    assert all(proposal.settings.seed == 5 for proposal in error.proposals)
    assert starts.read_text() == "x"


def test_sentences_of_the_backend_speak_of_the_panel_and_of_the_users_nodes() -> None:
    sentence = "/tmp/x/scan.nrrd is bad. Give a mask with --brain, or --samples."
    program = f'say("error", code="bad_input", message={sentence!r})'
    error = failure_of(fake_run(program, shownAs={"/tmp/x/scan.nrrd": "'T1 of Ms Doe'"}))
    assert error.message == "'T1 of Ms Doe' is bad. Give a mask as a brain segment, or samples."


def test_a_hundred_thousand_lines_neither_block_nor_fill_the_memory() -> None:
    told = Told()
    run = fake_run(
        """
        for number in range(100_000): print("line", number)
        print("x" * 3_000_000)
        say("result", ok=1)
        """,
        told,
    )
    longest = 0.0
    while run.isRunning:
        began = time.monotonic()
        run.poll()
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.001)
    assert run.result == {"ok": 1}
    assert longest < 0.25, "a look must not take much longer than its budget of 15 ms"
    assert len(run.logLines) <= 5000
    assert len(told.of("log")) < 20_000, "lines are handed over in bundles"
    assert sum(len(text.split("\n")) for text in told.of("log")) >= 100_001


def test_a_cooperative_cancel_lets_the_backend_clean_up(tmp_path: Path) -> None:
    trace = tmp_path / "cleaned"
    run = fake_run(f"""
        say("stage", name="ready")
        while not cancelled(): time.sleep(0.01)
        open({str(trace)!r}, "w").close()
        say("error", code="cancelled", message="Cancelled.")
        sys.exit(130)
    """)
    wait_until(lambda: run.poll() or run.stage == "ready")
    run.cancel()
    assert failure_of(run).code == "cancelled"
    assert trace.exists()


def test_a_result_that_comes_after_the_cancel_is_not_shown() -> None:
    run = fake_run("""
        say("stage", name="ready")
        while not cancelled(): time.sleep(0.01)
        say("result", ok=1)
    """)
    wait_until(lambda: run.poll() or run.stage == "ready")
    run.cancel()
    assert failure_of(run).code == "cancelled"


def test_a_backend_that_does_not_look_at_the_cancel_is_asked_to_clean_up_before_it_is_killed(tmp_path: Path) -> None:
    trace = tmp_path / "cleaned"
    run = fake_run(f"""
        def clean_up(*_):
            open({str(trace)!r}, "w").close()
            sys.exit(130)
        signal.signal(signal.SIGTERM, clean_up)
        say("stage", name="ready")
        {HANG}
    """)
    wait_until(lambda: run.poll() or run.stage == "ready")
    run.cancel()
    assert failure_of(run).code == "cancelled"
    assert trace.exists()


@pytest.mark.parametrize("deaf", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_a_backend_that_ignores_the_cancel_is_killed_with_its_children_within_two_seconds(deaf: str) -> None:
    run = fake_run(f"""
        {deaf or "pass"}
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", code])
        time.sleep(0.5)
        say("stage", name=str(child.pid))
        {HANG}
    """)
    wait_until(lambda: run.poll() or run.stage.isdigit())
    child = int(run.stage)
    assert is_running(child)
    began = time.monotonic()
    run.cancel()
    run.cancel()
    assert failure_of(run).code == "cancelled"
    assert time.monotonic() - began < GRACE
    wait_until(lambda: not is_running(child), 1.0)


def test_a_child_that_outlives_the_backend_is_ended_and_does_not_hold_the_run() -> None:
    run = fake_run(f"""
        child = subprocess.Popen([sys.executable, "-c", "import time; {HANG}"])
        say("result", child=child.pid)
    """)
    began = time.monotonic()
    child = run.wait()["child"]
    assert time.monotonic() - began < 10
    wait_until(lambda: not is_running(child), 1.0)


def talking_child(seconds: float, last: str = "pass") -> str:
    """A backend that ends at once, while its child says a line now and then."""
    child = (
        "import json, time\n"
        f"end = time.monotonic() + {seconds}\n"
        "while time.monotonic() < end:\n    time.sleep(0.2); print('still here', flush=True)\n"
        f"{last}\n"
    )
    return f"child = subprocess.Popen([sys.executable, '-c', {child!r}])"


def test_lines_that_come_long_after_the_end_are_waited_for_while_they_come() -> None:
    last = "print(json.dumps({'type': 'result', 'ok': 1}), flush=True)"
    assert fake_run(talking_child(1.5, last)).wait() == {"ok": 1}


def test_a_child_that_talks_without_end_does_not_hold_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BackendProcess, "MOST_SECONDS_FOR_LAST_LINES", 1.0)
    run = fake_run(f'{talking_child(600.0)}\nsay("result", child=child.pid)')
    began = time.monotonic()
    child = run.wait()["child"]
    assert time.monotonic() - began < 10
    wait_until(lambda: not is_running(child), 1.0)


def test_a_look_after_the_end_gives_the_reading_threads_time(tmp_path: Path) -> None:
    """As where threads of Python run only while the main thread waits."""
    process = BackendProcess.BackendProcess([sys.executable, "-c", "pass"], tmp_path / "cancel")
    wait_until(lambda: process._process.poll() is not None)

    class Thread:
        alive = True

        def join(self, _seconds: float) -> None:
            self.alive = False

        def is_alive(self) -> bool:
            return self.alive

    process._readers = [Thread()]
    assert process.poll()


def test_a_group_is_killed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its number may belong to other processes later."""
    killed: list[int] = []
    monkeypatch.setattr(BackendProcess, "_killTree", lambda process: killed.append(process.pid))
    process = BackendProcess.BackendProcess([sys.executable, "-c", "pass"], tmp_path / "cancel")
    wait_until(process.poll)
    process.kill()
    process.kill()
    assert killed == [process.pid]


def test_the_process_has_a_group_of_its_own_and_the_settings_it_needs() -> None:
    result = fake_run("""
        names = ("PYTHONUNBUFFERED", "PYTHONUTF8", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
        import PostOpPredictorLib
        say("result", group=os.getpgid(0), pid=os.getpid(), session=os.getsid(0), **{n: os.environ[n] for n in names})
    """).wait()
    assert result["group"] == result["pid"] == result["session"]
    assert (result["PYTHONUNBUFFERED"], result["PYTHONUTF8"], result["OMP_WAIT_POLICY"]) == ("1", "1", "PASSIVE")


def test_the_environment_keeps_what_slicer_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/slicers/own")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/slicers/libraries")
    environment = BackendProcess.backendEnvironment()
    assert environment["PYTHONPATH"].split(os.pathsep)[1:] == ["/slicers/own"]
    assert (Path(environment["PYTHONPATH"].split(os.pathsep)[0]) / "PostOpPredictorLib").is_dir()
    assert environment["LD_LIBRARY_PATH"] == "/slicers/libraries"


def test_slicers_own_python_runs_the_backend_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    command = BackendProcess.backendCommand(Path("job.json"))
    assert command[0] == str(launcher)
    assert command[command.index("--parent-pid") + 1] == str(os.getpid())
    launcher.unlink()
    assert BackendProcess.backendCommand(Path("job.json"))[0] == sys.executable


def test_a_program_that_cannot_be_started_is_an_error_at_once() -> None:
    with pytest.raises(PredictionError) as caught:
        fake_run("pass", startCommand=lambda job: ["/no/such/python", str(job)])
    assert caught.value.code == "no_backend"


def test_a_callback_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*values: object) -> None:
        raise ValueError("a bug of the panel")

    told = Told()
    told.callbacks = RunCallbacks(stage=broken, log=broken, progress=broken, finished=broken)
    run = fake_run('say("stage", name="x"); say("log", text="y"); say("result", ok=1)', told)
    assert run.wait() == {"ok": 1}
    assert "a bug of the panel" in caplog.text


def test_a_new_run_may_be_started_in_the_callback_of_the_end() -> None:
    second = []
    told = Told()
    told.callbacks.finished = lambda _result: second.append(fake_run('say("result", number=2)'))
    fake_run('say("result", number=1)', told).wait()
    assert second[0].wait() == {"number": 2}


def test_an_interrupted_wait_stops_the_run() -> None:
    told = Told()

    def interrupt(_name: str) -> None:
        raise KeyboardInterrupt

    told.callbacks.stage = interrupt
    run = fake_run(f'say("stage", name="x"); {HANG}', told)
    with pytest.raises(KeyboardInterrupt):
        run.wait()
    assert not run.isRunning
    assert not is_running(run.processId)


def test_a_failure_while_the_result_is_taken_over_is_told() -> None:
    def broken(message: dict[str, object]) -> object:
        yield
        raise RuntimeError("no room")

    error = failure_of(fake_run('say("result", ok=1)', finish=broken))
    assert error.code == "bad_result"
    assert "no room" in error.message


def test_stop_while_the_result_is_taken_over_closes_it() -> None:
    closed = []

    def slow(message: dict[str, object]) -> object:
        try:
            while True:
                yield
        finally:
            closed.append(True)

    run = fake_run('say("result", ok=1)', finish=slow)
    wait_until(lambda: run.poll() or run._steps is not None)
    run.poll()
    run.stop(PredictionError("scene_closed", "Closed."))
    assert closed and run.error.code == "scene_closed"


@pytest.mark.parametrize("ending", ["sys.exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_tree_goes_with_slicer(ending: str, project_root: Path) -> None:
    """A whole application in small: it starts a run of the real backend and ends, in order or killed."""
    mark = f"parent-{os.getpid()}-{time.monotonic_ns()}"
    program = textwrap.dedent(f"""
        import os, signal, sys, time
        sys.path[:0] = [{str(project_root)!r}, {str(project_root / "Testing")!r},
                        {str(project_root / "Testing/mrml")!r}, {str(project_root / "PostOpPredictor")!r}]
        import standins; standins.install()
        from standins.mrml_scene import SceneWithLogics
        from pathlib import Path
        import tempfile
        tempfile.tempdir = tempfile.mkdtemp(prefix="{mark}-")
        scene = SceneWithLogics(Path(tempfile.mkdtemp()))
        from PostOpPredictorModule.Logic import PostOpPredictorLogic
        from PostOpPredictorModule.PredictionRun import RunCallbacks
        logic = PostOpPredictorLogic()
        run = logic.runDoctor(RunCallbacks())
        while run.stage != "Examining this computer":
            run.poll()
        os.kill(run.processId, signal.SIGSTOP)  # so that it cannot end before the application does
        print(run.processId, tempfile.tempdir, flush=True)
        {ending}
    """)
    application = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert application.stdout is not None
    process, _, temporary = application.stdout.readline().strip().partition(" ")
    try:
        application.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGCONT)
        wait_until(lambda: not is_running(int(process)), 15)
        wait_until(lambda: not processes_with(mark), 5)
        assert not list(Path(temporary).glob("PostOpPredictor-*")), "the patient's files are gone too"
    finally:
        for left in processes_with(mark):
            os.kill(left, signal.SIGKILL)
        WorkingFolder.removeWorkingFolder(Path(temporary))


def test_folders_of_applications_that_died_are_removed_at_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Outside the sight of the fixture, which has looked into the usual folder.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    left, mine = tmp_path / f"PostOpPredictor-{gone.pid}-abc", tmp_path / f"PostOpPredictor-{os.getpid()}-abc"
    other = tmp_path / "PostOpPredictor-notes"
    for folder in (left, mine, other):
        folder.mkdir()
        (folder / "scan.nrrd").touch()
    made = WorkingFolder.makeWorkingFolder()
    monkeypatch.undo()
    assert not left.exists()
    assert mine.is_dir() and other.is_dir() and made.is_dir()
    assert made.stat().st_mode & 0o077 == 0, "other people's eyes"
