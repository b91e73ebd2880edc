"""What is installed, what an installation finds, and the commands that the README and continuous integration use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest

from PostOpPredictorLib import __version__, shipped

SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "PostOpPredictorLib")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> Path:
    """A wheel built from a copy of the sources with a small model in it and with folders that must stay out."""
    source = tmp_path_factory.mktemp("source") / "clone"
    source.mkdir()
    for name in SOURCES:
        here, there = project_root / name, source / name
        shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__")) if here.is_dir() else shutil.copy(
            here, there
        )
    for name in ("model_index.json", "unet/config.json", "unet/.hidden"):
        path = source / "Resources" / "models" / "compact" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    configurations = Path("Resources", "configurations")
    shutil.copytree(project_root / configurations, source / configurations)
    for name in ("Testing", "PostOpPredictor", "build_scripts"):
        (source / name).mkdir()
        (source / name / "__init__.py").write_text("")
    out = source.parent / "wheels"
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out)]
    done = subprocess.run([*command, str(source)], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_only_the_backend_is_installed(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    data = f"postoppredictorlib-{__version__}.data/"
    information = f"postoppredictorlib-{__version__}.dist-info/"
    modules = [name for name in names if not name.startswith((data, information))]
    assert "PostOpPredictorLib/cli/app.py" in modules
    assert all(name.startswith("PostOpPredictorLib/") for name in modules)
    assert f"{information}licenses/LICENSE" in names


def test_every_module_of_the_sources_is_in_the_wheel(wheel: Path, project_root: Path) -> None:
    sources = {
        path.relative_to(project_root).as_posix() for path in (project_root / "PostOpPredictorLib").rglob("*.py")
    }
    assert sources <= set(zipfile.ZipFile(wheel).namelist())


def test_an_installed_wheel_finds_its_model_and_its_configurations(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(command, capture_output=True, check=True)
    code = (
        "from PostOpPredictorLib import shipped; print(shipped.__file__); print(shipped.shipped_model_folder());"
        "print(shipped.shipped_configuration('benchmark-small.yaml'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "POSTOP_MODEL"}
    environment["PYTHONPATH"] = str(target)
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, cwd=tmp_path, env=environment
    ).stdout.splitlines()
    assert Path(found[0]).is_relative_to(target)
    folder = Path(found[1])
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "model_index.json",
        "unet/config.json",
    ]
    assert Path(found[2]).is_relative_to(target) and Path(found[2]).is_file()


def test_the_command_and_the_extras_are_declared(project_root: Path) -> None:
    project = tomllib.loads((project_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"postop": "PostOpPredictorLib.cli.app:main"}
    assert {"test", "slicer", "train"} <= set(project["optional-dependencies"])
    everything = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    assert not any(name.startswith(("torchvision", "lpips")) for name in everything)


def test_the_versions_agree(project_root: Path) -> None:
    project = tomllib.loads((project_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__
    assert f"version: {__version__}" in (project_root / "CITATION.cff").read_text(encoding="utf-8")


def test_a_checkout_uses_its_own_model(project_root: Path) -> None:
    assert shipped.model_places()[0] == project_root / "Resources" / "models" / "compact"


def test_places_can_be_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSTOP_MODEL", str(tmp_path / "model"))
    monkeypatch.setenv("POSTOP_CACHE", str(tmp_path / "cache"))
    assert shipped.shipped_model_folder() == tmp_path / "model"
    assert shipped.demonstration_library_folder().is_relative_to(tmp_path / "cache")


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/postoppredictor"),
        ("linux", {}, "/home/me/.cache/postoppredictor"),
        ("darwin", {}, "/home/me/Library/Caches/PostOpPredictor"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/PostOpPredictor/Cache"),
        ("win32", {}, "/home/me/AppData/Local/PostOpPredictor/Cache"),
    ],
)
def test_the_cache_is_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, system: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("POSTOP_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shipped.sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert shipped.user_cache() == Path(expected)


def test_continuous_integration_runs_the_test_command(project_root: Path) -> None:
    script = project_root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert "set -eu" in text and "make test" in text
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["demo", "test", "lint", "evaluate"])
def test_each_command_of_the_makefile_makes_its_own_environment_first(
    project_root: Path, tmp_path: Path, target: str
) -> None:
    command = ["make", "--dry-run", target, f"VENV={tmp_path / 'venv'}"]
    steps = subprocess.run(command, cwd=project_root, capture_output=True, encoding="utf-8", check=True).stdout
    install = steps.index("-m pip install")
    assert "-c constraints.txt" in steps[install:] and '-e ".[test,slicer,train]"' in steps[install:]
    work = {"demo": "postop demo --out demo", "test": "-m pytest", "lint": "mypy", "evaluate": "postop evaluate"}
    assert steps.index(work[target]) > install


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_an_environment_that_is_up_to_date_is_not_installed_again(project_root: Path, tmp_path: Path) -> None:
    (tmp_path / ".installed").touch()
    command = ["make", "--dry-run", "demo", f"VENV={tmp_path}"]
    assert "pip install" not in subprocess.run(command, cwd=project_root, capture_output=True, encoding="utf-8").stdout
