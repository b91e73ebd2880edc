"""Adds the shipped models to the wheel (``share/postoppredictor/models``); everything else is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
MODELS = ROOT / "Resources" / "models"


def shipped_files() -> list[tuple[str, list[str]]]:
    """Return (folder in the installation, files relative to this one) for every folder below ``Resources/models``."""
    files = sorted(path for path in MODELS.rglob("*") if path.is_file() and not path.name.startswith("."))
    folders = sorted({path.parent for path in files})
    return [
        (
            (Path("share/postoppredictor/models") / folder.relative_to(MODELS)).as_posix(),
            [path.relative_to(ROOT).as_posix() for path in files if path.parent == folder],
        )
        for folder in folders
    ]


# An editable installation finds the models in the checkout; a second copy of them would only go stale.
setup(data_files=[] if "editable_wheel" in sys.argv else shipped_files())
