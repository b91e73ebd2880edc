"""Puts the stand-ins, or Slicer's own files, into the package ``slicer``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
import slicer.util

from . import no_qt

SOURCE_VARIABLE = "SLICER_SOURCE_PYTHON"
MODULES = ("i18n", "packaging", "ScriptedLoadableModule", "parameterNodeWrapper")
"""In the order in which Slicer's own files need each other."""
_STAND_INS = {
    "i18n": "translation",
    "packaging": "packages",
    "ScriptedLoadableModule": "scripted_module",
    "parameterNodeWrapper": "parameter_node",
}
_QMRML_WIDGETS = ("qMRMLNodeComboBox", "qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLWidget", "qMRMLScreenShotDialog")

pip_requests: list[dict[str, Any]] = []
"""What pip was asked to do, oldest first: ``{"command": "install", "requirements": [...], ...}``."""


def source_folder() -> Path | None:
    """Return the ``Base/Python`` folder of Slicer that the environment names; None when it names none."""
    named = os.environ.get(SOURCE_VARIABLE)
    if not named:
        return None
    folder = Path(named) / "slicer"
    if not (folder / "ScriptedLoadableModule.py").is_file():
        raise FileNotFoundError(f"{SOURCE_VARIABLE} should name Slicer's Base/Python folder, but {folder} is not there")
    return folder


def install() -> None:
    """Make ``import slicer.i18n`` and the other three work.

    Call it again after a ``qt`` module came or went: Slicer's own files then use that one.
    """
    folder = source_folder()
    with _placeholders_while_there_is_no_qt():
        for name in MODULES:
            if f"slicer.{name}" in sys.modules:
                continue
            module = _stand_in(name) if folder is None else _own_file(folder, name)
            setattr(slicer, name, module)
    _use_the_qt_of_now()
    _record_pip(slicer.packaging)


def _stand_in(name: str) -> ModuleType:
    module = importlib.import_module(f"{__package__}.{_STAND_INS[name]}")
    sys.modules[f"slicer.{name}"] = module
    return module


def _own_file(folder: Path, name: str) -> ModuleType:
    """Load one of Slicer's files under its real name, without putting its folder on ``sys.path``."""
    package = folder / name / "__init__.py"
    path = package if package.is_file() else folder / f"{name}.py"
    inside = [str(package.parent)] if package.is_file() else None
    spec = importlib.util.spec_from_file_location(f"slicer.{name}", path, submodule_search_locations=inside)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


@contextmanager
def _placeholders_while_there_is_no_qt() -> Iterator[None]:
    """Slicer's own files name classes of qt, ctk and qMRML at import; afterwards there must be no Qt to see again."""
    modules = [name for name in ("qt", "ctk") if name not in sys.modules]
    widgets = [name for name in _QMRML_WIDGETS if not hasattr(slicer, name)]
    sys.modules.update({name: getattr(no_qt, name) for name in modules})
    for name in widgets:
        setattr(slicer, name, no_qt.missing_class(f"slicer.{name}"))
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        for name in widgets:
            delattr(slicer, name)


def pretend_qt() -> None:
    """Let ``import qt`` and ``import ctk`` succeed, for a process that only loads the module and makes no widget."""
    sys.modules.update(qt=no_qt.qt, ctk=no_qt.ctk)


def _use_the_qt_of_now() -> None:
    """Slicer's own files keep the ``qt`` they were loaded with: give them the one that is there now."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(tuple(f"slicer.{name}" for name in MODULES)):
            for name in ("qt", "ctk"):
                if hasattr(module, name):
                    setattr(module, name, sys.modules.get(name, getattr(no_qt, name)))


def _record_pip(packaging: Any) -> None:
    """A test must not change the Python it runs in: both ways of calling pip only leave a note."""

    def pip_install(requirements: Any, *args: Any, **options: Any) -> list[str] | None:
        pip_requests.append({"command": "install", "requirements": requirements, "args": args, **options})
        completed = options.get("completedCallback")
        if options.get("blocking", True) is False and completed is not None:
            completed(0)
        return [] if options.get("skip_packages") is not None else None

    def pip_uninstall(requirements: Any, *args: Any, **options: Any) -> None:
        pip_requests.append({"command": "uninstall", "requirements": requirements, "args": args, **options})

    for place in (packaging, slicer.util):
        place.pip_install = pip_install
        place.pip_uninstall = pip_uninstall
