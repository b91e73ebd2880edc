"""Turns whatever went wrong into one of our errors: a code that machines read and a sentence for people."""

from __future__ import annotations

import errno
import traceback
from datetime import UTC, datetime
from pathlib import Path

from .atomic_files import whole_file
from .errors import Cancelled, InputError, OutOfMemory, PostOpError, StorageError
from .shipped import user_cache

MOST_CAUSES = 10
CANCELLED_SENTENCE = "Cancelled; nothing half-written was left."


def as_postop_error(error: BaseException) -> PostOpError:
    """Return ``error`` itself when it is ours, else one of ours that says the same; unexpected ones get a log file."""
    if isinstance(error, PostOpError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Cancelled(CANCELLED_SENTENCE)
    if is_out_of_memory(error):
        return OutOfMemory(
            "There was not enough memory. Close other programs, or choose fewer samples or a smaller batch."
        )
    if "No space left on device" in str(error):
        # Also from writers that do not raise OSError (safetensors).
        return StorageError("The disk is full. Free some space and try again; nothing half-written was left.")
    if isinstance(error, OSError):
        known = _storage_or_input(error)
        if known is not None:
            return known
    return PostOpError(_internal_sentence(error))


def trace_without_data(error: BaseException) -> str:
    """Where ``error`` and its causes arose: types, places and lines of the program.

    Messages are left out, and so are folders above the program, because paths may hold names of patients.
    """
    told: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(told) < MOST_CAUSES:
        frames = traceback.extract_tb(cause.__traceback__)
        places = [f"  {'/'.join(Path(one.filename).parts[-2:])}:{one.lineno} {one.name}: {one.line}" for one in frames]
        told.append("\n".join([*places, type(cause).__name__]))
        cause = cause.__cause__ or cause.__context__
    return "\nwhile handling\n".join(told)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether Python, torch (any device) or SimpleITK ran out of memory; recognised without importing them."""
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "_ArrayMemoryError"):
        return True
    text = str(error)
    signs = ("out of memory", "can't allocate memory", "std::bad_alloc", "Failed to allocate memory")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


def _storage_or_input(error: OSError) -> PostOpError | None:
    name = error.filename if error.filename is not None else "the file"
    if error.errno == errno.EDQUOT:
        return StorageError("Your disk quota is used up. Free some space and try again; nothing half-written was left.")
    if error.errno == errno.EROFS:
        return StorageError(f"{name} is on a disk that cannot be written. Choose another folder.")
    if isinstance(error, PermissionError):
        return StorageError(f"No permission for {name}. Choose a place that you may read and write.")
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return InputError(f"{name} does not exist. Check the path.")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{name} is a folder where a file was expected. Name the file itself.")
    if isinstance(error, NotADirectoryError):
        return InputError(f"{name} lies below something that is no folder. Check the path.")
    return None


def _internal_sentence(error: BaseException) -> str:
    summary = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    log = _write_log(error)
    where = f"The details are in {log}" if log else "Run it again with --debug for the details"
    return f"Something went wrong inside PostOpPredictor ({summary}). {where}; please report it."


def _write_log(error: BaseException) -> Path | None:
    log = user_cache() / "logs" / f"error-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.log"
    try:
        with whole_file(log) as temporary:
            temporary.write_text(trace_without_data(error) + "\n", encoding="utf-8")
    except (OSError, PostOpError):
        return None
    return log
