"""Installs what the backend needs into Slicer's Python: only on a click, and never what Slicer itself brings."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from slicer.i18n import tr as _

TORCH = "torch>=2.4"
BUNDLED = ("numpy", "scipy", "SimpleITK", "vtk")
"""Slicer brings these in builds of its own; a version from elsewhere breaks it."""
NEVER_INSTALLED = (*BUNDLED, "torch", "torchvision")
"""What a dependency must not pull in; PyTorch comes through its extension, or on purpose from a folder."""
REQUESTER = "PostOpPredictor"


class InstallationError(Exception):
    """The message is a sentence that says what to do; ``details`` is what pip said, where it is known."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class Installer(Protocol):
    """What the set-up asks of whoever installs; tests record it instead. Installing raises ``InstallationError``."""

    def torchVersion(self) -> str | None: ...

    def hasTorchExtension(self) -> bool: ...

    def missingPackages(self) -> tuple[str, ...]: ...

    def installTorch(self) -> None: ...

    def installPackages(self) -> None: ...

    def installFromFolder(self, folder: Path) -> None: ...

    def replacedWhileLoaded(self) -> tuple[str, ...]: ...


def requirementsFile() -> Path:
    """The list of packages, in the module's resources."""
    return Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"


def hasWheels(folder: Path) -> bool:
    """Whether ``folder`` holds Python packages."""
    return any(folder.glob("*.whl"))


class SlicerInstaller:
    """Installs through PyTorch's extension and ``slicer.packaging``; both open Slicer's own progress dialogs."""

    def __init__(self, requirements: Path | None = None) -> None:
        self._requirements = requirements or requirementsFile()
        self._replaced: tuple[str, ...] = ()

    def torchVersion(self) -> str | None:
        """The installed version if it is new enough; PyTorch is not imported."""
        import slicer.packaging

        return importlib.metadata.version("torch") if slicer.packaging.pip_check(TORCH) else None

    def hasTorchExtension(self) -> bool:
        """Whether the extension "PyTorch" is installed."""
        return "PyTorchUtils" in sys.modules or importlib.util.find_spec("PyTorchUtils") is not None

    def missingPackages(self) -> tuple[str, ...]:
        """The requirements that are not met, PyTorch not among them; nothing is imported."""
        import slicer.packaging

        wanted = slicer.packaging.load_requirements(self._requirements)
        return tuple(str(one) for one in wanted if not slicer.packaging.pip_check(one))

    def installTorch(self) -> None:
        """Let the PyTorch extension choose and install the build for this computer."""
        if not self.hasTorchExtension():
            raise InstallationError(torchExtensionSentence())

        def install() -> None:
            import PyTorchUtils

            torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
                askConfirmation=False, torchVersionRequirement=TORCH.removeprefix("torch")
            )
            if torch is None:
                raise InstallationError(
                    _("The PyTorch extension did not install PyTorch. Open its module PyTorch Utils.")
                )

        self._installing(install)

    def installPackages(self) -> None:
        """Install the missing packages and what they need, except ``NEVER_INSTALLED``."""
        import slicer.packaging

        wanted = slicer.packaging.load_requirements(self._requirements)
        self._installing(
            lambda: slicer.packaging.pip_ensure(
                wanted,
                requester=REQUESTER,
                skip_packages=list(NEVER_INSTALLED),
                prompt_install=False,
                prompt_restart=False,
            )
        )

    def installFromFolder(self, folder: Path) -> None:
        """Install what is missing from the wheels in ``folder`` alone: no network is touched."""
        import slicer.packaging

        if not hasWheels(folder):
            raise InstallationError(_("There is no Python wheel (.whl) in {folder}.").format(folder=folder))
        wanted = [*([] if self.torchVersion() else [TORCH]), *self.missingPackages()]
        if not wanted:
            return
        with _bundledVersionsPinned() as constraints:
            self._installing(
                lambda: slicer.packaging.pip_install(
                    ["--no-index", "--find-links", str(folder), *wanted], constraints=constraints, requester=REQUESTER
                )
            )

    def replacedWhileLoaded(self) -> tuple[str, ...]:
        """Packages that the last installation replaced although Slicer had loaded them: it needs a restart."""
        return self._replaced

    def _installing(self, install: Callable[[], Any]) -> None:
        before = _installedVersions()
        try:
            install()
        except InstallationError:
            raise
        except Exception as error:
            details = _detailsOf(error)
            raise InstallationError(failureSentence(details), details) from error
        finally:
            importlib.invalidate_caches()
            found = {*self._replaced, *_replaced(before, _installedVersions())}
            self._replaced = tuple(sorted(found))


def torchExtensionSentence() -> str:
    """What to do where the extension that brings PyTorch is not installed."""
    return _(
        "The extension PyTorch is not installed. Open View > Extensions Manager, install PyTorch, restart Slicer and "
        "come back here. On a computer without internet use Install from folder."
    )


def failureSentence(details: str) -> str:
    """What to do about an installation that failed, from what pip said."""
    reasons = (
        (r"SSL|CERTIFICATE_VERIFY", _("The secure connection was refused, often by a hospital's proxy.")),
        (r"[Pp]roxy", _("The proxy of this network refused the connection.")),
        (r"No space left|disk quota", _("The disk is full: free some space and click again.")),
        (
            r"Permission denied|Access is denied|WinError 5",
            _("Slicer's folder cannot be written: start Slicer as its owner."),
        ),
        (r"No matching distribution|Could not find a version", _("A package was not found for this Python version.")),
        (r"(?i)name resolution|resolve|timed out|unreachable|connection", _("The package server cannot be reached.")),
    )
    found = next((sentence for sign, sentence in reasons if re.search(sign, details)), None)
    offline = _("Without internet use Install from folder; Copy details gives the lines for your IT department.")
    return " ".join((_("The installation failed."), found or _("See the Python console for the reason."), offline))


def _detailsOf(error: Exception) -> str:
    said = [getattr(error, name, None) for name in ("output", "stderr")]
    return "\n".join([str(error), *(str(one) for one in said if one)])


def _installedVersions() -> dict[str, str]:
    return {one.metadata["Name"]: one.version for one in importlib.metadata.distributions() if one.metadata["Name"]}


def _replaced(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    changed = {name for name, version in before.items() if after.get(name) != version}
    if changed:
        for module, names in importlib.metadata.packages_distributions().items():
            if module in sys.modules:
                yield from changed.intersection(names)


@contextlib.contextmanager
def _bundledVersionsPinned() -> Iterator[str]:
    """A constraints file that keeps pip from touching what Slicer brings."""
    pins = []
    for name in BUNDLED:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            pins.append(f"{name}=={importlib.metadata.version(name)}")
    with tempfile.TemporaryDirectory(prefix="postop-") as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("\n".join(pins) + "\n", encoding="utf-8")
        yield str(path)
