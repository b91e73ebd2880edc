"""Where the things are that come with the software, and where it may keep what it makes for itself."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]
_IN_AN_INSTALLATION = Path("share") / "postoppredictor"
COMPACT, FOLLOW_UP = "compact", "follow-up"
"""The shipped models: of early scans in T1w and T1wCE; and of any time since surgery, T2w and FLAIR too."""


def shipped_model_folder(name: str = COMPACT) -> Path:
    """Return the folder of the shipped model ``name``, which is used when none is named.

    ``POSTOP_MODEL`` wins, then ``Resources/models`` of a source checkout or of the extension installed in
    Slicer, then an installed wheel's data files.
    When there is none at all, the place where it should have been is returned; loading it says so.
    """
    named = os.environ.get("POSTOP_MODEL")
    if named:
        return Path(named).expanduser()
    places = model_places(name)
    return next((place for place in places if place.is_dir()), places[0])


def model_places(name: str = COMPACT) -> tuple[Path, ...]:
    """Return where the shipped model ``name`` is looked for, in this order."""
    return _places("models", name)


def shipped_configuration(name: str) -> Path:
    """Return a YAML file of ``Resources/configurations``, wherever it is installed; like a model it may be missing."""
    places = _places("configurations", name)
    return next((place for place in places if place.is_file()), places[0])


def _places(kind: str, name: str) -> tuple[Path, ...]:
    # pip install --target and --user put the data files elsewhere than the interpreter's own prefix.
    prefixes = (Path(sysconfig.get_path("data")), Path(site.getuserbase()), _CHECKOUT)
    checkout = _CHECKOUT / "Resources" / kind / name
    installed = tuple(prefix / _IN_AN_INSTALLATION / kind / name for prefix in prefixes)
    # In Slicer the backend lies beside the module's file, and the model of a wheel may be of another version.
    first = any((_CHECKOUT / name).is_file() for name in ("pyproject.toml", "PostOpPredictor.py"))
    return (checkout, *installed) if first else (*installed, checkout)


def user_cache() -> Path:
    """Return the folder for what can be made again (demonstration library, logs); it need not exist yet.

    ``POSTOP_CACHE`` wins, then the place that the operating system gives to caches.
    """
    named = os.environ.get("POSTOP_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "PostOpPredictor" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "PostOpPredictor"
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "postoppredictor"


def demonstration_library_folder() -> Path:
    """Return where the phantom cohort of the demonstration is kept; made on first use."""
    return user_cache() / "demonstration-library"
