"""The temporary folder of one run: it holds the patient's exported images, so it must not outlive the run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

PREFIX = "PostOpPredictor"


def makeWorkingFolder() -> Path:
    """Make an empty folder that only this user can read; what runs of applications that died left is removed first."""
    removeLeftFolders()
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-"))


def removeWorkingFolder(folder: Path) -> None:
    """Remove ``folder`` and all in it, as far as the system lets us; a second call changes nothing."""
    shutil.rmtree(folder, ignore_errors=True)


def removeLeftFolders() -> None:
    """Remove the working folders of applications that are gone (killed, crashed, or a computer that lost power)."""
    from PostOpPredictorLib.parent_watch import is_running

    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
            owner = re.fullmatch(rf"{PREFIX}-(\d+)-\w+", folder.name)
            if owner and not is_running(int(owner[1])):
                removeWorkingFolder(folder)
