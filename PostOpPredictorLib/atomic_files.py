"""Files and folders that appear whole or not at all: written beside their place under another name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from .errors import StorageError


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path with the target's own suffixes; on success it replaces ``target``, else it vanishes.

    Raises ``StorageError`` when the disk is full or the folder cannot be written.
    """
    target = Path(target)
    temporary = target.with_name(f".{uuid.uuid4().hex}.{target.name}")
    try:
        with _storage_sentences(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``target`` that takes its place on success and vanishes on any failure.

    With ``replace`` an existing ``target`` is set aside first and removed only after the new one stands.
    Raises ``StorageError`` when the disk is full, the folder cannot be written, or ``target`` exists and must stay.
    """
    target = Path(target)
    temporary = target.with_name(f".{uuid.uuid4().hex}.{target.name}")
    aside = target.with_name(f".{uuid.uuid4().hex}.old.{target.name}")
    try:
        with _storage_sentences(target):
            if target.exists() and not replace:
                raise StorageError(f"{target} exists already. Choose another folder or remove it first.")
            temporary.mkdir(parents=True)
            yield temporary
            if target.exists():
                os.replace(target, aside)
            os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        # Also after Ctrl-C between the two renames; what cannot be brought back stays where it is.
        if aside.exists() and not target.exists():
            os.replace(aside, target)
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _storage_sentences(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageError(
                f"The disk is full, so {target} was not written. Free some space and try again."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageError(f"No permission to write {target}. Choose a folder that you may write to.") from error
        raise
