"""One backend process: started with a job file, read without blocking, cancelled, and killed with all its children.

``slicer.util.launchConsoleProcess(blocking=False)`` is not used: it starts no process group, so that a kill would reach
PythonSlicer's launcher only; it decodes by the computer's locale and drops lines that do not fit; and it empties its
queue in one go, which freezes the application when a process prints much.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

KNOWN_LINES = frozenset({"started", "stage", "progress", "log", "result", "error"})
SESSION_LINES = frozenset({"ready", "slice", "volume", "refused"})
"""What a live session says besides."""
LONGEST_LINE = 1_000_000
MOST_WAITING_LINES = 2_000
SECONDS_TO_STOP = 0.5
"""After this the process is asked to end by a signal, because the step it is in does not look at the cancel file."""
SECONDS_TO_CLEAN_UP = 0.5
"""After this too it is killed."""
SECONDS_FOR_LAST_LINES = 0.5
"""How long a process that has ended may say nothing, when a child of it still holds the pipe, until all is over."""
MOST_SECONDS_FOR_LAST_LINES = 10.0
"""After this all is over though a child still talks."""
SECONDS_FOR_READERS = 0.002
SECONDS_FOR_LAST_READERS = 0.008
"""What a look waits for the reading threads. Where the application keeps Python's lock (the GIL) while it handles
events, they get it only now."""


def backendFolder() -> Path:
    """The folder to put on ``PYTHONPATH`` so that the backend can be imported; raises ``ImportError`` without one."""
    import PostOpPredictorLib

    return Path(PostOpPredictorLib.__file__).resolve().parents[1]


def pythonExecutable() -> str:
    """Slicer's own Python (its launcher PythonSlicer, which brings Slicer's libraries), else the running one."""
    return shutil.which("PythonSlicer") or sys.executable


def backendCommand(jobFile: Path) -> list[str]:
    """The command that runs a job; when this process is gone it ends and removes the folder of the job file."""
    return [
        pythonExecutable(),
        *("-m", "PostOpPredictorLib", "run", str(jobFile)),
        *("--parent-pid", str(os.getpid()), "--orphan-folder", str(jobFile.parent)),
    ]


def backendEnvironment() -> dict[str, str]:
    """Slicer's own environment, unbuffered and in UTF-8, with the backend on the path."""
    environment = dict(os.environ)
    others = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([str(backendFolder()), *([others] if others else [])])
    environment.update(PYTHONUNBUFFERED="1", PYTHONUTF8="1")
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("GOMP_SPINCOUNT", "0")
    return environment


class BackendProcess:
    """A running command that speaks JSON lines on its standard output.

    Only ``messages`` and ``poll`` need to be called, now and then, from the main thread. With ``listens`` the process
    is told more through ``send``. Raises ``OSError`` when the command cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        cancelFile: Path,
        environment: Mapping[str, str] | None = None,
        listens: bool = False,
    ) -> None:
        self._cancelFile = cancelFile
        self._lines: queue.Queue[tuple[bool, bytes]] = queue.Queue(MOST_WAITING_LINES)
        self._abandoned = threading.Event()
        self._cancelledAt: float | None = None
        self._signalled = False
        self._killed = False
        self._endedAt: float | None = None
        self._lastLineAt = 0.0
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if environment is None else dict(environment),
            **_ownGroup(),
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self._readers = [self._reader(self._process.stdout, True), self._reader(self._process.stderr, False)]

    @property
    def pid(self) -> int:
        """The process id, which on POSIX is also that of its group."""
        return self._process.pid

    @property
    def exitCode(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    def messages(self, seconds: float) -> Iterator[dict[str, Any]]:
        """The lines that came in, as the protocol's objects; stops after ``seconds`` though more may wait.

        What is no object of the protocol comes as ``{"type": "log", "text": ...}``.
        """
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            try:
                fromStdout, line = self._lines.get(timeout=SECONDS_FOR_READERS)
            except queue.Empty:
                return
            self._lastLineAt = now
            message = parsedLine(line, fromStdout)
            if message is not None:
                yield message

    def send(self, message: Mapping[str, Any]) -> bool:
        """Write one JSON line to the process; False when it does not listen any more.

        Short lines only, and not many that wait for an answer: a full pipe would block the main thread.
        """
        pipe = self._process.stdin
        if pipe is None or pipe.closed:
            return False
        try:
            pipe.write(json.dumps(dict(message), ensure_ascii=False).encode("utf-8") + b"\n")
            pipe.flush()
        except (OSError, ValueError):
            return False
        return True

    def poll(self) -> bool:
        """Push a cancel on, and say whether all is over: the process has ended and its lines have been read."""
        self._pushCancel()
        if self._process.poll() is None:
            return False
        if self._endedAt is None:
            self._endedAt = time.monotonic()
        if not self._killed and not self._allRead(self._endedAt):
            return False
        self.kill()
        return True

    def _allRead(self, endedAt: float) -> bool:
        for reader in self._readers:
            reader.join(SECONDS_FOR_LAST_READERS)
        now = time.monotonic()
        if now - endedAt > MOST_SECONDS_FOR_LAST_LINES:
            return True
        reading = any(reader.is_alive() for reader in self._readers)
        late = now - max(endedAt, self._lastLineAt) > SECONDS_FOR_LAST_LINES
        return (late or not reading) and self._lines.empty()

    def cancel(self) -> None:
        """Ask the process to stop; ``poll`` insists when it does not. A second call changes nothing."""
        if self._cancelledAt is None:
            self._cancelledAt = time.monotonic()
            with contextlib.suppress(OSError):
                self._cancelFile.touch()

    def kill(self) -> None:
        """End the process and everything it started, at once, and wait until it is gone.

        A second call does nothing: the number of a group that is gone may belong to somebody else's processes by then.
        """
        self._abandoned.set()
        if self._killed and self._process.returncode is not None:
            return
        self._killed = True
        _killTree(self._process)
        if self._process.stdin is not None:
            # What is still in its buffer has nobody to read it.
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)

    def _pushCancel(self) -> None:
        if self._cancelledAt is None or self._process.poll() is not None:
            return
        waited = time.monotonic() - self._cancelledAt
        if waited > SECONDS_TO_STOP + SECONDS_TO_CLEAN_UP:
            self.kill()
        elif waited > SECONDS_TO_STOP and not self._signalled:
            self._signalled = True
            _askToEnd(self._process)

    def _reader(self, stream: IO[bytes], fromStdout: bool) -> threading.Thread:
        def read() -> None:
            with stream, contextlib.suppress(OSError, ValueError):
                for line in iter(lambda: stream.readline(LONGEST_LINE), b""):
                    self._hand(fromStdout, line)

        thread = threading.Thread(target=read, name="PostOpPredictor output", daemon=True)
        thread.start()
        return thread

    def _hand(self, fromStdout: bool, line: bytes) -> None:
        """Wait for room, so that a process that prints without end is slowed down and fills no memory."""
        while not self._abandoned.is_set():
            with contextlib.suppress(queue.Full):
                self._lines.put((fromStdout, line), timeout=0.1)
                return


def parsedLine(line: bytes, fromStdout: bool = True) -> dict[str, Any] | None:
    """The protocol's object in ``line``, or its text as a log message; None for an empty line."""
    text = line.decode("utf-8", errors="replace").rstrip()
    if not text:
        return None
    if fromStdout and text.startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):
            message = json.loads(text)
            if message.get("type") in KNOWN_LINES | SESSION_LINES:
                return dict(message)
    return {"type": "log", "text": text}


def _ownGroup() -> dict[str, Any]:
    if sys.platform != "win32":
        return {"start_new_session": True}
    hidden = subprocess.STARTUPINFO()
    hidden.dwFlags |= subprocess.STARTF_USESHOWWINDOW
    return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP, "startupinfo": hidden}


def _askToEnd(process: subprocess.Popen[bytes]) -> None:
    # Windows has no signal that a process without a console could receive.
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)


def _killTree(process: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32":
        # The group is addressed even after its first process ended: children of it may still run.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return
    if process.poll() is None:
        command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=5, check=False, **_ownGroup())
        process.kill()
