"""The section Set-up: what is missing, and its installation after the user has read and agreed to what will happen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from ..BackgroundWork import BackgroundWork
from ..Installation import InstallationError, Installer, hasWheels
from ..ModelFolders import copyModel, modelsAndLibrariesIn, ownModels
from ..ParameterNode import chosenFolder
from ..SetUp import SetUpMemory, SetUpState, examineSetUp
from .Dialogs import askedForFolder, isConfirmed
from .MessagePanel import MessagePanel

_COLOURS = {"ready": "#2e9e4f", "missing": "#d98200"}


class SetUpPanel:
    """Nothing is done before a click. ``changed()``: what is installed, or which folders are used, has changed.

    ``installed()``: packages have just been installed; pip does not tell of a dependency that failed, so try them.
    """

    def __init__(
        self,
        ui: Any,
        installer: Installer,
        messages: MessagePanel,
        changed: Callable[[], None],
        installed: Callable[[], None],
    ) -> None:
        self._ui, self._installer, self._messages, self._changed = ui, installer, messages, changed
        self._installed = installed
        self._memory = SetUpMemory()
        self._parameters: Any = None
        self._copying: BackgroundWork | None = None
        self._wasReady: bool | None = None
        self.isBusy = False
        self.state = SetUpState(())
        ui.installButton.connect("clicked(bool)", self._onInstall)
        ui.installFromFolderButton.connect("clicked(bool)", self._onInstallFromFolder)
        ui.restartButton.connect("clicked(bool)", self._onRestart)

    def setParameterNode(self, parameters: Any) -> None:
        """The folders of another parameter node (None: none) decide what is needed."""
        self._parameters = parameters
        if parameters is not None:
            self.examine()

    def examine(self) -> None:
        """Look again at what is there."""
        folders = (None, None)
        if self._parameters is not None:
            folders = (chosenFolder(self._parameters.modelFolder), chosenFolder(self._parameters.libraryFolder))
        self.state = examineSetUp(self._installer, *folders)
        self._show()

    def reason(self) -> str:
        """Why nothing can be predicted yet; empty when all is there."""
        if self.isBusy:
            return _("Something is being installed.")
        if self.state.isReady:
            return ""
        return _("Complete the set-up first. Missing: {names}").format(names=self.state.missing())

    def cleanup(self) -> None:
        """Wait for nothing any more."""
        if self._copying is not None:
            self._copying.forget()

    def _show(self) -> None:
        ready, ui = self.state.isReady, self._ui
        ui.setUpSummaryLabel.text = self._summary()
        colour = _COLOURS["ready" if ready and not self._memory.replacedPackages() else "missing"]
        ui.setUpSummaryLabel.styleSheet = f"color: {colour}; font-weight: bold;"
        ui.setUpListLabel.text = "<br>".join(_itemText(item) for item in self.state.items)
        ui.setUpPlanLabel.text = self.state.plan()
        ui.setUpPlanLabel.visible = bool(self.state.plan())
        ui.installButton.enabled = bool(self.state.toInstall) and not self.state.blocked and not self.isBusy
        ui.installButton.toolTip = (
            self.state.blocked or self.state.plan() or _("Everything that can be installed is there already.")
        )
        ui.installFromFolderButton.enabled = not self.isBusy
        ui.restartButton.visible = bool(self._memory.replacedPackages())
        if ready != self._wasReady:
            ui.setUpCollapsibleButton.collapsed = ready
            self._wasReady = ready

    def _summary(self) -> str:
        replaced = self._memory.replacedPackages()
        if not self.state.isReady:
            begin = _("The last installation was interrupted. ") if self._memory.wasInterrupted() else ""
            return begin + _("Missing before the first prediction: {names}").format(names=self.state.missing())
        if replaced:
            return _("Restart Slicer soon: {names} were replaced while loaded.").format(names=replaced)
        return _("Set-up is complete")

    def _onInstall(self, *_args: Any) -> None:
        if self.isBusy or not self.state.toInstall or self.state.blocked:
            return
        if not isConfirmed(_("Install what is missing"), self.state.plan()):
            return

        def install() -> None:
            if self._installer.torchVersion() is None:
                self._installer.installTorch()
            self._installer.installPackages()

        self._install(install)

    def _onInstallFromFolder(self, *_args: Any) -> None:
        if self.isBusy:
            return
        folder = askedForFolder(_("Folder with Python wheels, a model or a case library"))
        if folder is None:
            return
        models, libraries = modelsAndLibrariesIn(folder)
        plan = _folderPlan(folder, models, libraries)
        if not plan:
            text = _("{folder} holds neither Python wheels (.whl) nor a model nor a case library.")
            self._messages.show("error", text.format(folder=folder))
            return
        if not isConfirmed(_("Install from folder"), plan):
            return
        if libraries and self._parameters is not None:
            self._parameters.libraryFolder = libraries[0]
        if models:
            self._copy(models[0])
        if hasWheels(folder):
            self._install(lambda: self._installer.installFromFolder(folder))
        else:
            self._ended()

    def _install(self, install: Callable[[], None]) -> None:
        self.isBusy = True
        self._memory.begin()
        self._messages.clear()
        self._ended()
        try:
            install()
        except InstallationError as error:
            self._messages.show("error", str(error), error.details.splitlines())
        finally:
            self.isBusy = False
            self._memory.end(self._installer.replacedWhileLoaded())
            self._ended()
        if self.state.toInstall and not self._messages.text:
            text = _("The installation ended, but {names} is still missing. The Python console shows what pip said.")
            self._messages.show("error", text.format(names=", ".join(self.state.toInstall)))
        elif not self._messages.text:
            self._installed()

    def _copy(self, model: Path) -> None:
        target = ownModels()
        self._messages.show("note", _("The model {name} is being copied.").format(name=model.name))
        self._copying = BackgroundWork(lambda: copyModel(model, target), self._copied, self._copyFailed)

    def _copied(self, folder: Path) -> None:
        self._copying = None
        self._messages.clear()
        if self._parameters is not None:
            self._parameters.modelFolder = folder
        self._ended()

    def _copyFailed(self, error: Exception) -> None:
        self._copying = None
        self._messages.show("error", str(error))
        self._ended()

    def _ended(self) -> None:
        self.examine()
        self._changed()

    def _onRestart(self, *_args: Any) -> None:
        if isConfirmed(_("Restart Slicer"), _("Slicer closes and opens again. Save your scene before you go on.")):
            slicer.util.restart()


def _itemText(item: Any) -> str:
    colour, sign = (_COLOURS["ready"], "&#10003;") if item.isThere else (_COLOURS["missing"], "&#10007;")
    text = _("{name}: {text}").format(name=f"<b>{item.name}</b>", text=item.text)
    return f'<span style="color:{colour};">{sign}</span> {text}'


def _folderPlan(folder: Path, models: list[Path], libraries: list[Path]) -> str:
    parts = []
    if hasWheels(folder):
        text = _("Install the missing Python packages from the wheels in {folder}, without the internet.")
        parts.append(text.format(folder=folder))
    if models:
        text = _("Check the model {name} and copy it to {target}.")
        parts.append(text.format(name=models[0].name, target=ownModels()))
    if libraries:
        parts.append(_("Use the case library {name} where it lies.").format(name=libraries[0].name))
    return "\n".join(parts)
