"""The stand-ins keep their promises: the same with Slicer's own files, no Qt, nothing installed, nothing shadowed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import slicer
import slicer.util
import standins
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest


def test_slicers_own_files_are_used_exactly_when_they_are_named() -> None:
    own = standins.source_folder()
    for name in ("i18n", "packaging", "ScriptedLoadableModule", "parameterNodeWrapper"):
        file = Path(importlib.import_module(f"slicer.{name}").__file__ or "")
        expected = own if own is not None else Path(standins.__file__).parent
        assert expected in file.parents, name


def test_a_wrong_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(standins.SOURCE_VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="Base/Python"):
        standins.source_folder()


def test_there_is_no_qt_in_this_ring() -> None:
    for name in ("qt", "ctk"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    assert not hasattr(slicer, "app") and not hasattr(slicer, "qMRMLNodeComboBox")


def test_no_folder_on_the_path_is_called_slicer_but_its_own() -> None:
    installed = Path(slicer.__file__).parent
    found = {Path(entry) / "slicer" for entry in sys.path if (Path(entry) / "slicer").is_dir()}
    assert found <= {installed}


def test_what_pip_is_asked_for_is_only_written_down(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# a comment\n\n--no-deps\nno-such-package>=1.0\nnumpy\n", encoding="utf-8")
    wanted = slicer.packaging.load_requirements(requirements)
    assert [str(one) for one in wanted] == ["no-such-package>=1.0", "numpy"]
    assert slicer.packaging.pip_check("numpy") and not slicer.packaging.pip_check(wanted)
    slicer.packaging.pip_ensure(wanted, requester="PostOpPredictor", skip_packages=["torch"])
    slicer.util.pip_uninstall("no-such-package")
    commands = [(request["command"], request["requirements"]) for request in standins.pip_requests]
    assert commands == [("install", ["no-such-package>=1.0"]), ("uninstall", "no-such-package")]
    assert standins.pip_requests[0]["skip_packages"] == ["torch"]


def test_what_is_there_already_is_not_asked_for() -> None:
    slicer.packaging.pip_ensure(["numpy", "no-such-package; python_version < '3'"])
    assert standins.pip_requests == []


def test_an_installation_in_the_background_tells_its_end() -> None:
    codes: list[int] = []
    slicer.packaging.pip_install("no-such-package", blocking=False, completedCallback=codes.append)
    assert codes == [0]


def test_texts_stay_english() -> None:
    assert _("{count} cases").format(count=3) == "3 cases"


class PostOpPredictorLogic(ScriptedLoadableModuleLogic):
    """The module's name is what stands before "Logic"."""


def test_the_parameter_node_is_one_for_the_scene_and_carries_the_modules_name(scene: Any) -> None:
    logic = PostOpPredictorLogic()
    node = logic.getParameterNode()
    assert logic.moduleName == node.GetAttribute("ModuleName") == node.GetSingletonTag() == "PostOpPredictor"
    assert PostOpPredictorLogic().getParameterNode() is node
    node.RemoveAttribute("ModuleName")
    assert logic.getParameterNode().GetAttribute("ModuleName") == "PostOpPredictor"
    assert [found.GetID() for found in logic.getAllParameterNodes()] == [node.GetID()]


def test_several_parameter_nodes_are_possible(scene: Any) -> None:
    logic = PostOpPredictorLogic()
    logic.isSingletonParameterNode = False
    first = logic.getParameterNode()
    slicer.mrmlScene.AddNode(logic.createParameterNode())
    assert logic.getParameterNode() is first and len(logic.getAllParameterNodes()) == 2


def test_a_self_test_runs_all_that_is_called_test() -> None:
    ran: list[str] = []

    class SomethingTest(ScriptedLoadableModuleTest):
        def setUp(self) -> None:
            ran.append("setUp")

        def test_a(self) -> None:
            ran.append("a")

        def test_b(self) -> None:
            ran.append("b")

    SomethingTest().runTest()
    assert ran == ["setUp", "a", "setUp", "b"]
