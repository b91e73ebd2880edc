"""The real installer, with PyTorch's extension and pip replaced by recorders."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import standins
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "PostOpPredictor" / "Resources" / "requirements.txt"
MISSING = "a-package-that-nobody-has>=1.0"


@pytest.fixture
def installer(host: Any, tmp_path: Path) -> Any:
    """The real installer; one of its requirements is missing, one is met."""
    from PostOpPredictorModule.Installation import SlicerInstaller

    file = tmp_path / "requirements.txt"
    file.write_text(f"# what is needed\n{MISSING}\nnumpy>=1.0\n", encoding="utf-8")
    return SlicerInstaller(file)


@pytest.fixture
def torch_extension(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The PyTorch extension; the calls of its ``installTorch`` with the real signature."""
    calls: list[dict[str, Any]] = []

    class PyTorchUtilsLogic:
        def installTorch(
            self,
            askConfirmation: bool = False,
            forceComputationBackend: str | None = None,
            torchVersionRequirement: str | None = None,
            torchvisionVersionRequirement: str | None = None,
        ) -> object:
            calls.append({"askConfirmation": askConfirmation, "torchVersionRequirement": torchVersionRequirement})
            return object()

    module = ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return calls


def fail_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    import slicer.packaging

    def pip_install(*_args: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(slicer.packaging, "pip_install", pip_install)


def test_missing_packages_are_found_without_importing_them(installer: Any) -> None:
    assert installer.missingPackages() == (MISSING,)
    assert installer.torchVersion() == version("torch")


def test_packages_come_through_slicers_packaging_and_never_replace_what_slicer_brings(installer: Any) -> None:
    installer.installPackages()
    (request,) = standins.pip_requests
    assert request["command"] == "install"
    assert request["requirements"] == [MISSING]
    assert {"numpy", "SimpleITK", "vtk", "scipy", "torch", "torchvision"} <= set(request["skip_packages"])
    assert request["requester"] == "PostOpPredictor"


def test_torch_comes_through_its_extension(installer: Any, torch_extension: list[dict[str, Any]]) -> None:
    assert installer.hasTorchExtension()
    installer.installTorch()
    assert torch_extension == [{"askConfirmation": False, "torchVersionRequirement": ">=2.4"}]
    assert standins.pip_requests == []


def test_without_the_extension_torch_is_a_sentence(installer: Any) -> None:
    from PostOpPredictorModule.Installation import InstallationError

    assert not installer.hasTorchExtension()
    with pytest.raises(InstallationError, match="Extensions Manager"):
        installer.installTorch()


def test_extension_that_did_not_install_is_a_sentence(
    installer: Any, torch_extension: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PostOpPredictorModule.Installation import InstallationError

    monkeypatch.setattr(sys.modules["PyTorchUtils"].PyTorchUtilsLogic, "installTorch", lambda *_a, **_o: None)
    with pytest.raises(InstallationError, match="PyTorch Utils"):
        installer.installTorch()


def test_folder_of_wheels_touches_no_network_and_pins_what_slicer_brings(
    installer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer.packaging

    pinned = []
    recorder = slicer.packaging.pip_install

    def reading(requirements: Any, **options: Any) -> Any:
        pinned.extend(Path(options["constraints"]).read_text(encoding="utf-8").split())
        return recorder(requirements, **options)

    monkeypatch.setattr(slicer.packaging, "pip_install", reading)
    folder = tmp_path / "räder und mehr"
    folder.mkdir()
    (folder / "x-1-py3-none-any.whl").touch()
    installer.installFromFolder(folder)
    (request,) = standins.pip_requests
    assert request["requirements"] == ["--no-index", "--find-links", str(folder), MISSING]
    assert f"numpy=={version('numpy')}" in pinned
    assert not Path(request["constraints"]).exists()


def test_torch_comes_from_the_folder_where_it_is_missing(
    installer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(installer), "torchVersion", lambda self: None)
    (tmp_path / "torch-2.9-cp312-none-any.whl").touch()
    installer.installFromFolder(tmp_path)
    assert standins.pip_requests[0]["requirements"][-2:] == ["torch>=2.4", MISSING]


def test_folder_without_wheels_is_refused(installer: Any, tmp_path: Path) -> None:
    from PostOpPredictorModule.Installation import InstallationError

    (tmp_path / "empty").mkdir()
    with pytest.raises(InstallationError, match="no Python wheel"):
        installer.installFromFolder(tmp_path / "empty")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "secure connection was refused"),
        ("Cannot connect to proxy.", "proxy of this network"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("PermissionError: [WinError 5] Access is denied", "cannot be written"),
        ("No matching distribution found for diffusers>=0.35", "not found for this Python"),
        ("Failed to establish a new connection: Temporary failure in name resolution", "cannot be reached"),
        ("something else", "Python console"),
    ],
)
def test_failures_of_pip_are_sentences(
    installer: Any, monkeypatch: pytest.MonkeyPatch, said: str, sentence: str
) -> None:
    from PostOpPredictorModule.Installation import InstallationError

    fail_with(monkeypatch, subprocess.CalledProcessError(1, "pip install", output=said))
    with pytest.raises(InstallationError) as caught:
        installer.installPackages()
    assert sentence in str(caught.value)
    assert "non-zero exit status" not in str(caught.value)
    assert "Install from folder" in str(caught.value)
    assert said in caught.value.details


def test_package_that_was_replaced_while_loaded_needs_a_restart(
    installer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PostOpPredictorModule import Installation

    versions = iter([{"packaging": "1", "rich": "1"}, {"packaging": "2", "rich": "1", "new": "1"}])
    monkeypatch.setattr(Installation, "_installedVersions", lambda: next(versions))
    installer.installPackages()
    assert installer.replacedWhileLoaded() == ("packaging",)


def test_requirements_are_those_of_the_backend_without_what_slicer_brings() -> None:
    from PostOpPredictorModule.Installation import BUNDLED, TORCH

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {str(Requirement(one)) for one in project["dependencies"]}
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    listed = {str(Requirement(line)) for line in lines if line and not line.startswith("#")}
    others = {one for one in wanted if Requirement(one).name in BUNDLED}
    assert listed == wanted - others - {TORCH}
    assert TORCH in wanted


def test_nothing_is_installed_outside_a_click() -> None:
    """Only the set-up panel calls the installer's methods, and it does in slots alone."""

    def callers(name: str) -> list[str]:
        files = (ROOT / "PostOpPredictor").rglob("*.py")
        call = re.compile(rf"(?<!def )\b{name}\(")
        return [path.name for path in files if call.search(path.read_text(encoding="utf-8"))]

    assert callers("pip_ensure") == callers("pip_install") == ["Installation.py"]
    assert callers("installPackages") == ["SetUpPanel.py"]
