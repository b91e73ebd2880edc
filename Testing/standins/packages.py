"""Stand-in for ``slicer.packaging`` of Slicer 5.12; ``installation`` puts recorders in the place of pip itself."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from packaging.requirements import InvalidRequirement, Requirement

Wanted = str | Requirement | list[str | Requirement]


def load_requirements(path: str | Path) -> list[Requirement]:
    """Return the requirements of a file; comments, empty lines and pip's own options are passed over."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(req: Wanted) -> bool:
    """Whether each requirement is met by what is installed (extras are not looked into here)."""
    return all(_is_met(requirement) for requirement in _as_list(req))


def isPipInstallInProgress() -> bool:
    """Whether an installation in the background is going on; here they end at once."""
    return False


def pip_ensure(
    requirements: Wanted,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Ask pip for what is missing, after asking the user where there is one.

    Raises RuntimeError when the user declines, CalledProcessError when pip fails.
    """
    missing = [requirement for requirement in _as_list(requirements) if not _is_met(requirement)]
    if not missing:
        return None
    names = [str(requirement) for requirement in missing]
    app = getattr(slicer, "app", None)
    if app is None:
        return pip_install(names, constraints=constraints, skip_packages=skip_packages)
    if skip_in_testing and app.testingEnabled():
        return None
    if prompt_install:
        title = f"{requester} - Install Python Packages" if requester else "Install Python Packages"
        question = f"{len(names)} Python package(s) to install. Continue?"
        if not slicer.util.confirmOkCancelDisplay(question, title, detailedText="\n".join(f"- {n}" for n in names)):
            raise RuntimeError("User declined package installation")
    return pip_install(
        names,
        constraints=constraints,
        skip_packages=skip_packages,
        blocking=True,
        show_progress=show_progress,
        requester=requester,
    )


def pip_install(requirements: str | list[str], **options: Any) -> list[str] | None:
    """Replaced by a recorder when the stand-ins are installed."""
    raise NotImplementedError("call standins.install() first")


def pip_uninstall(requirements: str | list[str], **options: Any) -> None:
    """Replaced by a recorder when the stand-ins are installed."""
    raise NotImplementedError("call standins.install() first")


def _as_list(wanted: Wanted) -> list[Requirement]:
    if isinstance(wanted, str):
        try:
            return [Requirement(wanted)]
        except InvalidRequirement:
            return [Requirement(part) for part in wanted.split()]
    items = wanted if isinstance(wanted, list) else [wanted]
    return [Requirement(item) if isinstance(item, str) else item for item in items]


def _is_met(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return version(requirement.name) in requirement.specifier
    except PackageNotFoundError:
        return False
