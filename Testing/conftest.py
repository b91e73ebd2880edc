"""Fixtures for every ring of tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# The second and third ring need Slicer's own libraries: pip install -c constraints.txt -e ".[test,slicer,train]"
collect_ignore = [] if importlib.util.find_spec("slicer") else ["mrml", "widget"]

# Two test processes on two cores: threads that spin would make each ten times slower. Sub-processes inherit these.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("MPLBACKEND", "Agg")
# The programs that tests start are timed as their users have them: compiled once, not at every start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans, which are never part of the project."""
    folder = Path(os.environ.get("POSTOP_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real scans are not at {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def a_cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the tests away from the cache of the person who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("POSTOP_CACHE", str(cache))
        patch.delenv("POSTOP_MODEL", raising=False)
        yield cache


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_simpleitk_and_torch() -> None:
    """Keep each test process on one core, whatever imported these before the settings above."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "SimpleITK" in sys.modules:
        sys.modules["SimpleITK"].ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def pytest_report_header() -> str | None:
    """Say that two rings are missing: a skip for each of their tests would need Slicer's libraries, too."""
    if not collect_ignore:
        return None
    return "Testing/mrml and Testing/widget are left out: slicer-core is not installed (extra 'slicer')."
