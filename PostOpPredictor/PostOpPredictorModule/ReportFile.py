"""The report of a prediction, which the scene holds as a text, as a file for the web browser."""

from __future__ import annotations

from pathlib import Path

import slicer

from .WorkingFolder import makeWorkingFolder, removeWorkingFolder


class ReportFile:
    """One folder for all reports that are opened, made for the first one; ``cleanup()`` removes it."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def written(self, report: slicer.vtkMRMLTextNode, runId: str) -> Path:
        """The file that shows ``report``; raises ``OSError`` where it cannot be written."""
        if self._folder is None or not self._folder.is_dir():
            self._folder = makeWorkingFolder()
        path = self._folder / f"report-{runId}.html"
        path.write_text(report.GetText(), encoding="utf-8")
        return path

    def cleanup(self) -> None:
        """Remove what was written; a browser that shows it keeps showing it."""
        if self._folder is not None:
            removeWorkingFolder(self._folder)
            self._folder = None
