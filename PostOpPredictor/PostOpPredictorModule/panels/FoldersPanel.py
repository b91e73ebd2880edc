"""Model folder and case library: where they are, how big, whether whole; choose another, make, delete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..BackgroundWork import BackgroundWork
from ..ModelFolders import (
    FolderFacts,
    deleteFolder,
    isLibrary,
    libraryFacts,
    libraryOrDemonstration,
    modelFacts,
    modelOrShipped,
    refusalToDelete,
)
from ..ParameterNode import chosenFolder
from .Dialogs import isConfirmed
from .MessagePanel import MessagePanel


class FoldersPanel:
    """An empty line means the shipped model, or the demonstration library.

    ``Path()`` shows as "." in a ``ctkPathLineEdit``, so the lines are connected by hand. ``changed()``: other folders,
    or other things in them. ``makeDemonstration()``: simulate the demonstration library now.
    """

    def __init__(
        self, ui: Any, messages: MessagePanel, changed: Callable[[], None], makeDemonstration: Callable[[], None]
    ) -> None:
        self._ui, self._messages, self._changed, self._make = ui, messages, changed, makeDemonstration
        self._parameters: Any = None
        self._shown: tuple[Path, Path] | None = None
        self._works: dict[str, BackgroundWork] = {}
        self._isLocked = False
        ui.modelPathLineEdit.connect("currentPathChanged(QString)", lambda *_args: self._onPath("modelFolder"))
        ui.libraryPathLineEdit.connect("currentPathChanged(QString)", lambda *_args: self._onPath("libraryFolder"))
        ui.modelShippedButton.connect("clicked(bool)", lambda *_args: self._choose("modelFolder", Path()))
        ui.demonstrationButton.connect("clicked(bool)", self._onDemonstration)
        ui.modelDeleteButton.connect("clicked(bool)", lambda *_args: self._onDelete("modelFolder"))
        ui.libraryDeleteButton.connect("clicked(bool)", lambda *_args: self._onDelete("libraryFolder"))

    def setParameterNode(self, parameters: Any) -> None:
        """Show the folders of another parameter node (None: none)."""
        self._parameters = parameters
        self._shown = None
        self.update()

    def update(self) -> None:
        """The parameter node changed: look at the folders again if they are others."""
        if self._parameters is None:
            return
        folders = self._folders()
        for line, name in (
            (self._ui.modelPathLineEdit, "modelFolder"),
            (self._ui.libraryPathLineEdit, "libraryFolder"),
        ):
            chosen = chosenFolder(getattr(self._parameters, name))
            # Compared as folders: the line has slashes on Windows too, and the user may be about to type on.
            isShown = line.currentPath == "" if chosen is None else Path(line.currentPath) == chosen
            if not isShown:
                line.currentPath = "" if chosen is None else str(chosen)
        if folders != self._shown:
            self._shown = folders
            self.examine()
            self._changed()

    def examine(self) -> None:
        """Read both folders in a thread and show what is in them."""
        model, library = self._folders()
        self._ui.modelFactsLabel.text = _("Checking {folder} ...").format(folder=model)
        self._ui.libraryFactsLabel.text = _("Looking into {folder} ...").format(folder=library)
        self._work("model", lambda: modelFacts(model), self._showModel)
        self._work("library", lambda: libraryFacts(library), self._showLibrary)
        self._showButtons()

    def setLocked(self, locked: bool) -> None:
        """While something runs, nothing that it may read is deleted or changed."""
        self._isLocked = locked
        self._showButtons()

    def cleanup(self) -> None:
        """Wait for nothing any more."""
        for work in self._works.values():
            work.forget()
        self._parameters = None

    def _folders(self) -> tuple[Path, Path]:
        parameters = self._parameters
        model = modelOrShipped(chosenFolder(parameters.modelFolder))
        return model, libraryOrDemonstration(chosenFolder(parameters.libraryFolder))

    def _work(self, name: str, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        if name in self._works:
            self._works[name].forget()
        self._works[name] = BackgroundWork(work, done, lambda error: self._messages.show("error", str(error)))

    def _showModel(self, facts: FolderFacts) -> None:
        states = {
            "verified": _("verified"),
            "changed": _("CHANGED since it was published"),
            "missing": _("not complete"),
        }
        isChosen = self._parameters is not None and chosenFolder(self._parameters.modelFolder) is not None
        text = _("{name}, {size:.0f} MB, {state}") if isChosen else _("Shipped model '{name}', {size:.0f} MB, {state}")
        text = text.format(name=facts.folder.name, size=facts.megabytes, state=states[facts.state])
        self._ui.modelFactsLabel.text = "\n".join([text, *([facts.problem] if facts.problem else [])])
        self._ui.modelFactsLabel.toolTip = str(facts.folder)

    def _showLibrary(self, facts: FolderFacts) -> None:
        isChosen = self._parameters is not None and chosenFolder(self._parameters.libraryFolder) is not None
        if facts.state == "there":
            text = _("{name}, {cases} cases, {size:.0f} MB")
            text = text.format(name=facts.folder.name, cases=facts.cases, size=facts.megabytes)
        elif isChosen:
            text = _("There is no case library in {folder}.").format(folder=facts.folder)
        else:
            text = _("Demonstration library of simulated patients: not made yet. The first prediction makes it.")
        self._ui.libraryFactsLabel.text = text
        self._ui.libraryFactsLabel.toolTip = str(facts.folder)

    def _showButtons(self) -> None:
        if self._parameters is None:
            return
        ui, (model, library) = self._ui, self._folders()
        for button, folder in ((ui.modelDeleteButton, model), (ui.libraryDeleteButton, library)):
            refusal = _("Something is running.") if self._isLocked else refusalToDelete(folder)
            button.enabled = not refusal
            button.toolTip = refusal or _("Deletes {folder} from the disk, after asking.").format(folder=folder)
        ui.modelShippedButton.enabled = chosenFolder(self._parameters.modelFolder) is not None and not self._isLocked
        isDemonstration = chosenFolder(self._parameters.libraryFolder) is None
        isMade = isDemonstration and isLibrary(library)
        ui.demonstrationButton.text = (
            _("Make the demonstration library") if isDemonstration else _("Use the demonstration library")
        )
        ui.demonstrationButton.enabled = not self._isLocked and not isMade
        ui.demonstrationButton.toolTip = (
            _("The demonstration library is there already.") if isMade else _("40 simulated patients; takes minutes.")
        )

    def _onPath(self, name: str) -> None:
        line = self._ui.modelPathLineEdit if name == "modelFolder" else self._ui.libraryPathLineEdit
        self._choose(name, Path(line.currentPath))

    def _choose(self, name: str, folder: Path) -> None:
        if self._parameters is not None and getattr(self._parameters, name) != folder:
            setattr(self._parameters, name, folder)

    def _onDemonstration(self, *_args: Any) -> None:
        if self._parameters is None or self._isLocked:
            return
        if chosenFolder(self._parameters.libraryFolder) is not None:
            self._choose("libraryFolder", Path())
        else:
            self._make()

    def _onDelete(self, name: str) -> None:
        if self._parameters is None or self._isLocked:
            return
        folder = self._folders()[0 if name == "modelFolder" else 1]
        question = _("Delete {folder} and everything in it from the disk? This cannot be undone.").format(folder=folder)
        if not isConfirmed(_("Delete"), question):
            return

        def done(_nothing: Any) -> None:
            self._choose(name, Path())
            self._shown = None
            self.update()

        self._work(f"delete {name}", lambda: deleteFolder(folder), done)
