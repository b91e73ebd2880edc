"""Silence for the image libraries, whose own warnings are no sentences for our users."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import SimpleITK as sitk


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within this block nothing that ITK, GDCM or the NIfTI library print to stderr is seen.

    The C libraries write to file descriptor 2 itself, so it is turned away for the moment; exceptions pass as ever.
    """
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    try:
        own = os.dup(2)
    except OSError:  # a windowed program without a stderr
        own = None
    try:
        if own is None:
            yield
            return
        with open(os.devnull, "wb") as sink:
            os.dup2(sink.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(own, 2)
    finally:
        if own is not None:
            os.close(own)
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
