"""A thin PySide6 host for the third ring: what Slicer's PythonQt and its Qt widgets look like from Python.

``install()`` provides the modules ``qt`` and ``ctk``, the qMRML widgets in ``slicer`` and a ``slicer.app``. Properties
of PySide6's classes become attributes for the whole process, as PythonQt has them (``label.text``, never
``label.text()``). ``reason_unavailable()`` says why there is no host: no PySide6, or its system libraries are missing.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

_before: dict[tuple[str, str], Any] = {}
_MISSING = object()


def reason_unavailable() -> str:
    """Return why PySide6 cannot be used here, or an empty string."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    try:
        from PySide6 import QtGui, QtUiTools, QtWidgets  # noqa: F401
    except ImportError as error:
        return (
            f"PySide6 cannot be loaded ({error}). pip install PySide6-Essentials; "
            "on Debian and Ubuntu also: apt-get install libgl1 libegl1 libxkbcommon0 libdbus-1-3 libfontconfig1"
        )
    return ""


def install() -> Any:
    """Put the host in place and return its application; a second call returns the same one."""
    import slicer

    from . import application, ctk_widgets, mrml_widgets, pythonqt

    pythonqt.make_pythonqt_like()
    qt, ctk = pythonqt.qt_module(), ctk_widgets.ctk_module()
    _place("qt", qt)
    _place("ctk", ctk)
    for name, widget in mrml_widgets.WIDGETS.items():
        _set(slicer, name, widget)
    _set(slicer, "app", application.host_application())
    _rebind(qt, ctk)
    return slicer.app


def uninstall() -> None:
    """Take everything away again that later tests without Qt would see."""
    for (owner, name), value in reversed(_before.items()):
        if owner == "sys.modules":
            sys.modules.pop(name, None)
        elif value is _MISSING:
            vars(sys.modules[owner]).pop(name, None)
        else:
            setattr(sys.modules[owner], name, value)
    _before.clear()


def _place(name: str, module: ModuleType) -> None:
    if sys.modules.get(name) is not module:
        _before[("sys.modules", name)] = None
        sys.modules[name] = module


def _set(module: ModuleType, name: str, value: Any) -> None:
    _before.setdefault((module.__name__, name), vars(module).get(name, _MISSING))
    setattr(module, name, value)


def _rebind(qt: ModuleType, ctk: ModuleType) -> None:
    """Files may have been loaded with placeholders in the second ring; from now on they see the real ones."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("slicer.", "PostOpPredictorModule.")) and module is not None:
            for what, real in (("qt", qt), ("ctk", ctk)):
                if isinstance(vars(module).get(what), ModuleType):
                    _set(module, what, real)
