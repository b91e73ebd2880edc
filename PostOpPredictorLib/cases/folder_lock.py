"""A lock that lets one process at a time change a folder; the system releases it when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import StorageError

_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder`` (its file ``.lock``), after waiting for whoever holds it; not to be nested.

    Raises ``StorageError`` when the folder cannot be written.
    """
    try:
        file = (folder / ".lock").open("ab")
    except OSError as error:
        if error.errno not in _NO_PERMISSION:
            raise
        raise StorageError(f"No permission to write {folder}. Choose a folder that you may write to.") from error
    with file:
        _acquire(file)
        yield


if sys.platform == "win32":
    import msvcrt

    def _acquire(file: BinaryIO) -> None:
        while True:
            file.seek(0)
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                return
            except OSError:
                time.sleep(0.05)

else:
    import fcntl

    def _acquire(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
