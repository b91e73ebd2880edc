"""The few questions that the panel asks, always after a click of the user on a button that says so."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer.util


def isConfirmed(title: str, question: str) -> bool:
    """Whether the user said OK. Compared explicitly: a dialog's answer is no truth value (a "No" is not zero)."""
    return slicer.util.confirmOkCancelDisplay(question, title) is True


def askedForFolder(title: str) -> Path | None:
    """The folder that the user chose; None when the dialog was closed."""
    chosen = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title)
    return Path(chosen) if chosen else None
