"""Adds the shipped models and configurations to the wheel (``share/postoppredictor``); the rest: pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
RESOURCES = ROOT / "Resources"


def shipped_files() -> list[tuple[str, list[str]]]:
    """Return (folder in the installation, files relative to this one) for every folder of models and configurations."""
    shipped = [*(RESOURCES / "models").rglob("*"), *(RESOURCES / "configurations").rglob("*")]
    files = sorted(path for path in shipped if path.is_file() and not path.name.startswith("."))
    folders = sorted({path.parent for path in files})
    return [
        (
            (Path("share/postoppredictor") / folder.relative_to(RESOURCES)).as_posix(),
            [path.relative_to(ROOT).as_posix() for path in files if path.parent == folder],
        )
        for folder in folders
    ]


# An editable installation finds them in the checkout; a second copy of them would only go stale.
setup(data_files=[] if "editable_wheel" in sys.argv else shipped_files())
