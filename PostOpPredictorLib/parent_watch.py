"""Ends a job, or a worker process, whose parent died, so that no orphan keeps computing."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_CLEAN_UP = 30.0
EXIT_CANCELLED = 130


def end_with(parent: int, seconds_to_clean_up: float = SECONDS_TO_CLEAN_UP) -> Callable[[], bool]:
    """Watch process ``parent`` from a thread; when it is gone, end this one like SIGTERM, and insist after a while.

    What is returned says at any time whether the parent is gone: the thread sees it up to a second later.
    """
    direct = hasattr(os, "getppid") and os.getppid() == parent

    def is_gone() -> bool:
        return not is_running(parent) or (direct and os.getppid() != parent)

    arguments = (is_gone, seconds_to_clean_up)
    threading.Thread(target=_watch, args=arguments, name="parent watch", daemon=True).start()
    return is_gone


def _watch(is_gone: Callable[[], bool], seconds_to_clean_up: float) -> None:
    while not is_gone():
        time.sleep(SECONDS_BETWEEN_LOOKS)
    # Not the default SIGINT: it is ignored in programs that a shell started in the background.
    _thread.interrupt_main(signal.SIGTERM)
    time.sleep(seconds_to_clean_up)
    os._exit(EXIT_CANCELLED)


def is_running(process: int) -> bool:
    """Say whether a process with this id runs."""
    if sys.platform == "win32":
        return _is_running_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_running_on_windows(process: int) -> bool:
    # os.kill would end the process there.
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    synchronize, still_waiting = 0x00100000, 0x102
    handle = kernel.OpenProcess(synchronize, False, process)
    if not handle:
        return False
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == still_waiting)
    finally:
        kernel.CloseHandle(handle)
