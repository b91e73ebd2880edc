"""What a prediction needs and what of it is there; nothing heavy is imported and nothing is changed to find out."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import qt
import slicer
from packaging.requirements import Requirement
from slicer.i18n import tr as _

from .Installation import Installer, torchExtensionSentence
from .ModelFolders import isLibrary, isModel, libraryOrDemonstration, modelOrShipped


@dataclass(frozen=True)
class SetUpItem:
    """One thing that is needed: its name, whether it is there, and what is said of it."""

    name: str
    isThere: bool
    text: str


@dataclass(frozen=True)
class SetUpState:
    """What was found. ``toInstall``: what a click would install; ``blocked``: why it cannot."""

    items: tuple[SetUpItem, ...]
    toInstall: tuple[str, ...] = ()
    blocked: str = ""

    @property
    def isReady(self) -> bool:
        """Whether a prediction can be made."""
        return all(item.isThere for item in self.items)

    def missing(self) -> str:
        """The names of what is missing; empty when all is there."""
        return ", ".join(item.name for item in self.items if not item.isThere)

    def plan(self) -> str:
        """What a click on the button will do."""
        if self.blocked or not self.toInstall:
            return ""
        return _(
            "Will install into Slicer's Python, from the internet: {names}. numpy, scipy, SimpleITK and VTK stay as "
            "they are. PyTorch may be a download of up to 3 GB."
        ).format(names=", ".join(self.toInstall))


def examineSetUp(installer: Installer, modelFolder: Path | None, libraryFolder: Path | None) -> SetUpState:
    """Look at the packages and folders (None: the shipped model, the demonstration library)."""
    torch, packages = installer.torchVersion(), installer.missingPackages()
    items = (
        _torchItem(torch, installer),
        _packagesItem(packages),
        _modelItem(modelFolder),
        _libraryItem(libraryFolder),
    )
    needsExtension = torch is None and not installer.hasTorchExtension()
    toInstall = (*(() if torch else (_("PyTorch"),)), *_names(packages))
    return SetUpState(items, toInstall, torchExtensionSentence() if needsExtension else "")


def _names(requirements: tuple[str, ...]) -> list[str]:
    return [str(Requirement(one).name) for one in requirements]


def _torchItem(version: str | None, installer: Installer) -> SetUpItem:
    name = _("PyTorch")
    if version is not None:
        return SetUpItem(name, True, version)
    if installer.hasTorchExtension():
        return SetUpItem(name, False, _("not installed yet"))
    return SetUpItem(name, False, torchExtensionSentence())


def _packagesItem(missing: tuple[str, ...]) -> SetUpItem:
    text = _("not installed yet: {names}").format(names=", ".join(_names(missing))) if missing else _("all there")
    return SetUpItem(_("Python packages"), not missing, text)


def _modelItem(folder: Path | None) -> SetUpItem:
    place = modelOrShipped(folder)
    if isModel(place):
        return SetUpItem(_("Model"), True, _("the one that comes with the extension") if folder is None else place.name)
    text = _("there is no model in {folder}. Choose another folder below, or use Install from folder.")
    return SetUpItem(_("Model"), False, text.format(folder=place))


def _libraryItem(folder: Path | None) -> SetUpItem:
    place = libraryOrDemonstration(folder)
    if folder is None:
        text = (
            _("demonstration library") if isLibrary(place) else _("demonstration library, made at the first prediction")
        )
        return SetUpItem(_("Case library"), True, text)
    text = place.name if isLibrary(place) else _("there is no case library in {folder}.").format(folder=place)
    return SetUpItem(_("Case library"), isLibrary(place), text)


class SetUpMemory:
    """What must be known after a restart of Slicer, kept in its settings as text."""

    _RESTART, _BEGUN = "PostOpPredictor/SetUp/restartNeededIn", "PostOpPredictor/SetUp/installationBegunIn"
    _NAMES = "PostOpPredictor/SetUp/replacedPackages"

    def begin(self) -> None:
        """An installation begins in this session."""
        qt.QSettings().setValue(self._BEGUN, _session())

    def end(self, replaced: tuple[str, ...]) -> None:
        """It has ended; ``replaced``: packages that Slicer has still loaded in their old version."""
        qt.QSettings().setValue(self._BEGUN, "")
        if replaced:
            qt.QSettings().setValue(self._RESTART, _session())
            qt.QSettings().setValue(self._NAMES, ", ".join(replaced))

    def replacedPackages(self) -> str:
        """The packages for which this session needs a restart; empty after the restart."""
        settings = qt.QSettings()
        return str(settings.value(self._NAMES, "")) if settings.value(self._RESTART, "") == _session() else ""

    def wasInterrupted(self) -> bool:
        """Whether an installation of an earlier session never came to its end."""
        return qt.QSettings().value(self._BEGUN, "") not in ("", None, _session())


def _session() -> str:
    """A name of this run of Slicer, the same after the module was reloaded."""
    return str(vars(slicer).setdefault("_postOpPredictorSession", uuid.uuid4().hex))
