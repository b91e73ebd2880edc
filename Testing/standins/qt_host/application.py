"""The stand-in for ``slicer.app``: what the panel and Slicer's own Python files ask of the application."""

from __future__ import annotations

import tempfile
from functools import cache
from typing import Any, ClassVar

from PySide6 import QtCore, QtWidgets

from .pythonqt import connects_by_text


@connects_by_text
class ModuleManager(QtCore.QObject):
    """Tells a widget that its module is about to be unloaded."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)
    SIGNATURES: ClassVar[dict[str, str]] = {"moduleAboutToBeUnloaded(QString)": "moduleAboutToBeUnloaded"}


@connects_by_text
class HostApplication(QtCore.QObject):
    """The application; ``inTestingMode`` and ``restarts`` are the test's."""

    startupCompleted = QtCore.Signal()
    applicationName = "Slicer"
    documentationBaseUrl = "https://slicer.readthedocs.io/"

    def __init__(self) -> None:
        super().__init__()
        self._qt = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["qt_host"])
        self._qt.setStyle("Fusion")
        self._manager = ModuleManager()
        self.inTestingMode = False
        self.restarts = 0
        self.useSettingsIn(tempfile.mkdtemp(prefix="qt_host_settings_"))

    def useSettingsIn(self, folder: str) -> None:
        """Keep ``qt.QSettings()`` in a file of ``folder``, away from the person who runs the tests."""
        QtCore.QCoreApplication.setOrganizationName("PostOpPredictorTests")
        QtCore.QCoreApplication.setApplicationName("Slicer")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, folder)

    def moduleManager(self) -> ModuleManager:
        """Return the object that announces unloading."""
        return self._manager

    def layoutManager(self) -> None:
        """There is no main window, so no layout manager."""

    def topLevelWidgets(self) -> list[Any]:
        """Return the windows; Slicer's main window is none of them."""
        return QtWidgets.QApplication.topLevelWidgets()

    def testingEnabled(self) -> bool:
        """Whether Slicer runs with --testing."""
        return self.inTestingMode

    def clipboard(self) -> Any:
        """Return the clipboard."""
        return QtWidgets.QApplication.clipboard()

    def processEvents(self) -> None:
        """Let the event loop run once."""
        self._qt.processEvents()

    def restart(self) -> None:
        """Only counted."""
        self.restarts += 1

    def translate(self, context: str, text: str) -> str:
        """No catalogue is loaded."""
        return text

    def moduleDocumentationUrl(self, module: str) -> str:
        """Return where a module is described."""
        return f"{self.documentationBaseUrl}{module}"

    def settings(self) -> Any:
        """Return the settings."""
        from .pythonqt import Settings

        return Settings()

    userSettings = settings


@cache
def host_application() -> HostApplication:
    """Return the one application of this process."""
    return HostApplication()
