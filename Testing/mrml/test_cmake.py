"""The extension is really configured and installed by CMake, against stand-ins of Slicer's macros (Testing/cmake).

With SLICER_SOURCE_PYTHON in a whole checkout of Slicer its own slicerMacroBuildScriptedModule is used.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPTED_MODULES = Path("lib") / "Slicer-5.12" / "qt-scripted-modules"
SHIPPED_RESOURCES = ("Batch", "configurations", "models")


def cmake(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run CMake: that of the Python environment, else the system's."""
    beside = shutil.which("cmake", path=str(Path(sys.executable).parent))
    program = beside or shutil.which("cmake")
    assert program is not None, "these tests need CMake: pip install cmake"
    command = [program, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def configured(source: Path, build: Path, *options: str) -> subprocess.CompletedProcess[str]:
    macros = Path(__file__).resolve().parents[1] / "cmake"
    return cmake("-S", source, "-B", build, f"-DSlicer_DIR={macros}", *options)


def installed(source: Path, folder: Path, *options: str) -> Path:
    """Configure and install ``source`` and return the folder that Slicer would find its modules in."""
    found = configured(source, folder / "build", *options)
    assert found.returncode == 0, found.stderr
    done = cmake("--install", folder / "build", "--prefix", folder / "installed")
    assert done.returncode == 0, done.stderr
    return folder / "installed" / SCRIPTED_MODULES


def files_in(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in found}


def files_to_ship(source: Path) -> set[str]:
    """What must lie in Slicer's folder of scripted modules, by what is on disk."""
    module = {name for name in files_in(source / "PostOpPredictor") if Path(name).name != "CMakeLists.txt"}
    backend = {name for name in files_in(source / "PostOpPredictorLib") if name != "CMakeLists.txt"}
    library = {f"PostOpPredictorLib/{name}" for name in backend}
    shared = {
        f"Resources/{folder}/{name}" for folder in SHIPPED_RESOURCES for name in files_in(source / "Resources" / folder)
    }
    return module | library | {name for name in shared if not Path(name).name.startswith(".")}


@pytest.fixture(scope="module")
def extension(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slicer's folder of scripted modules after the installation."""
    return installed(project_root, tmp_path_factory.mktemp("extension"), "-DBUILD_TESTING=ON")


def test_every_file_is_listed_and_arrives_at_its_place(extension: Path, project_root: Path) -> None:
    wanted, found = files_to_ship(project_root), files_in(extension)
    assert wanted - found == set(), "on disk, but not in the lists of CMake"
    assert found - wanted == set()
    assert {"PostOpPredictor.py", "PostOpPredictorLib/__main__.py", "Resources/Batch/predict_cases.py"} <= found


def test_nothing_of_the_tests_and_nothing_else_is_installed(extension: Path) -> None:
    top = extension.parents[2]
    assert {path.name for path in top.iterdir()} == {"lib"}
    assert files_in(top) == {(SCRIPTED_MODULES / name).as_posix() for name in files_in(extension)}
    assert not [name for name in files_in(top) if "test" in Path(name).name.lower() and "SelfTest" not in name]


def test_the_test_of_the_application_is_registered_only_with_build_testing(
    extension: Path, project_root: Path, tmp_path: Path
) -> None:
    registered = (extension.parents[3] / "build" / "Testing" / "CTestTestfile.cmake").read_text(encoding="utf-8")
    assert "py_PostOpPredictor" in registered and "PostOpPredictor.py" in registered
    assert configured(project_root, tmp_path, "-DBUILD_TESTING=OFF").returncode == 0
    assert not (tmp_path / "Testing" / "CTestTestfile.cmake").exists()


IN_SLICER = """
import json
import standins
standins.install()
standins.pretend_qt()
import PostOpPredictor, PostOpPredictorLib
from PostOpPredictorLib import shipped
from PostOpPredictorModule.BackendProcess import backendFolder
print(json.dumps({
    "module": PostOpPredictor.__file__,
    "library": PostOpPredictorLib.__file__,
    "model": str(shipped.shipped_model_folder()),
    "backend": str(backendFolder()),
}))
"""


def test_the_installed_module_finds_its_backend_and_its_model(extension: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POSTOP_")}
    testing = Path(__file__).resolve().parents[1]
    environment["PYTHONPATH"] = os.pathsep.join([str(extension), str(testing)])
    # The model of a wheel that was installed for this user may be another one.
    (tmp_path / "share" / "postoppredictor" / "models" / "compact").mkdir(parents=True)
    environment["PYTHONUSERBASE"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", IN_SLICER], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {name: Path(path) for name, path in json.loads(done.stdout.splitlines()[-1]).items()}
    assert found["module"] == extension / "PostOpPredictor.py"
    assert found["library"] == extension / "PostOpPredictorLib" / "__init__.py"
    assert found["model"] == extension / "Resources" / "models" / "compact"
    assert found["backend"] == extension


def test_the_installed_model_is_whole(extension: Path) -> None:
    from PostOpPredictorLib.model.weights import verify

    verify(extension / "Resources" / "models" / "compact")


def test_the_description_says_what_the_index_says(extension: Path, project_root: Path) -> None:
    lines = (extension.parents[3] / "build" / "PostOpPredictor.s4ext").read_text(encoding="utf-8").splitlines()
    description = dict(line.split(" ", 1) for line in lines)
    index = project_root / "Resources" / "ExtensionsIndex" / "PostOpPredictor.json"
    entry = json.loads(index.read_text(encoding="utf-8"))
    assert description["NAME"] == index.stem == "PostOpPredictor"
    assert description["CATEGORY"] == entry["category"] == "Image Synthesis"
    assert description["DEPENDS"].split() == entry["build_dependencies"] == ["PyTorch"]
    assert description["HOMEPAGE"].startswith(entry["scm_url"])
    repository = entry["scm_url"].removeprefix("https://github.com/")
    raw = f"https://raw.githubusercontent.com/{repository}/{entry['scm_revision']}/"
    for url in [description["ICONURL"], *description["SCREENSHOTURLS"].split()]:
        assert url.startswith(raw), "the raw file, not the page about it"
        assert (project_root / url.removeprefix(raw)).is_file(), url


# What follows makes a mistake in a copy of the project and sees that it is found.


@pytest.fixture
def a_copy(project_root: Path, tmp_path: Path) -> Path:
    """The files that CMake needs, to be spoilt."""
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("PostOpPredictor", "PostOpPredictorLib", "Resources"):
        shutil.copytree(project_root / name, copy / name, ignore=ignored)
    (copy / "Testing").mkdir()
    for name in ("CMakeLists.txt", "LICENSE", "README.md", "Testing/CMakeLists.txt"):
        shutil.copy(project_root / name, copy / name)
    return copy


def edit(file: Path, pattern: str, replacement: str) -> None:
    text = file.read_text(encoding="utf-8")
    changed = re.sub(pattern, replacement, text, count=1)
    assert changed != text, f"{pattern} is not in {file}"
    file.write_text(changed, encoding="utf-8")


def module_list(copy: Path) -> Path:
    return copy / "PostOpPredictor" / "CMakeLists.txt"


FAILS_AT_ONCE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a listed script is gone": (
        lambda copy: (copy / "PostOpPredictor/PostOpPredictorModule/Settings.py").unlink(),
        "Settings.py",
    ),
    "a listed resource is gone": (
        lambda copy: (copy / "Resources/models/compact/model_index.json").unlink(),
        "model_index.json",
    ),
    "a misspelt path": (lambda copy: edit(module_list(copy), r"Resources/UI/", "Resources/Ui/"), "Resources/Ui/"),
    "an unknown keyword": (lambda copy: edit(module_list(copy), r"WITH_GENERIC_TESTS", "WITH_TESTS"), "WITH_TESTS"),
    "no license file": (lambda copy: (copy / "LICENSE").unlink(), "LICENSE"),
    "a folder that is not there": (
        lambda copy: edit(copy / "CMakeLists.txt", r"\(PostOpPredictorLib\)", "(PostOpLib)"),
        "PostOpLib",
    ),
}


@pytest.mark.parametrize("mistake", FAILS_AT_ONCE)
def test_a_mistake_stops_the_configuration(a_copy: Path, tmp_path: Path, mistake: str) -> None:
    spoil, named = FAILS_AT_ONCE[mistake]
    spoil(a_copy)
    found = configured(a_copy, tmp_path / "build")
    assert found.returncode != 0 and named in found.stderr


def new_file(copy: Path) -> None:
    (copy / "PostOpPredictor" / "PostOpPredictorModule" / "Forgotten.py").touch()


def test_the_copy_is_without_a_mistake_at_first(a_copy: Path, tmp_path: Path) -> None:
    assert files_in(installed(a_copy, tmp_path)) == files_to_ship(a_copy)


SHIPS_SOMETHING_ELSE: dict[str, Callable[[Path], Any]] = {
    "a new script that is not listed": new_file,
    "a script that fell out of the list": lambda copy: edit(module_list(copy), r"\n.*Settings\.py", ""),
    "a part of the model that fell out of the list": lambda copy: edit(
        copy / "Resources" / "CMakeLists.txt", r"\n.*checksums\.json", ""
    ),
    "no folder of its own for the backend": lambda copy: edit(
        copy / "PostOpPredictorLib" / "CMakeLists.txt", r"WITH_SUBDIR", ""
    ),
    "a path that leads out of the module's folder": lambda copy: (
        edit(copy / "PostOpPredictorLib" / "CMakeLists.txt", r"\n  errors\.py", ""),
        edit(module_list(copy), r"\n(?=  PostOpPredictorModule/Settings)", "\n  ../PostOpPredictorLib/errors.py\n"),
    ),
    "the tests are installed": lambda copy: (copy / "Testing" / "CMakeLists.txt").write_text(
        f"install(FILES CMakeLists.txt DESTINATION {SCRIPTED_MODULES.as_posix()}/Testing)\n", encoding="utf-8"
    ),
}


@pytest.mark.parametrize("mistake", SHIPS_SOMETHING_ELSE)
def test_a_mistake_shows_in_what_is_installed(a_copy: Path, tmp_path: Path, mistake: str) -> None:
    SHIPS_SOMETHING_ELSE[mistake](a_copy)
    assert files_in(installed(a_copy, tmp_path)) != files_to_ship(a_copy)
