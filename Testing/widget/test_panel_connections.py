"""Every control of the .ui does something, and the .ui is what Qt Designer and Slicer expect."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "PostOpPredictor"
UIS = sorted((MODULE / "Resources" / "UI").glob("*.ui"))
UI = MODULE / "Resources" / "UI" / "PostOpPredictor.ui"
SIGNAL_OF = {
    "QPushButton": "clicked(bool)",
    "QCheckBox": "stateChanged(int)",
    "QComboBox": "currentIndexChanged(int)",
    "QSpinBox": "valueChanged(int)",
    "QSlider": "valueChanged(int)",
    "QListWidget": "itemChanged(QListWidgetItem*)",
    "QTableWidget": "itemSelectionChanged()",
    "QLineEdit": "editingFinished()",
    "QDoubleSpinBox": "valueChanged(double)",
    "ctkPathLineEdit": "currentPathChanged(QString)",
    "qMRMLNodeComboBox": "currentNodeChanged(PyObject)",
    "qMRMLSegmentSelectorWidget": "currentSegmentChanged(QString)",
}
"""Class of a control -> its signal as the host has it."""
NO_CONTROLS = {"QLabel", "QFrame", "QWidget", "QProgressBar", "QPlainTextEdit", "ctkCollapsibleButton", "qMRMLWidget"}


def widgets_of_the_ui() -> list[tuple[str, str]]:
    found = (one for path in UIS for one in ElementTree.parse(path).iter("widget"))
    return [(one.get("class", ""), one.get("name", "")) for one in found]


CONTROLS = [(kind, name) for kind, name in widgets_of_the_ui() if kind not in NO_CONTROLS]


@pytest.mark.parametrize(("kind", "name"), CONTROLS)
def test_control_is_connected(panel: Any, kind: str, name: str) -> None:
    assert kind in SIGNAL_OF, f"{name} is a {kind}: say here which signal must be connected"
    widget = getattr(panel.ui, name)
    signals = [SIGNAL_OF[kind], "clicked(bool)"] if kind == "QCheckBox" else [SIGNAL_OF[kind]]
    signals += ["cellChanged(int,int)"] if kind == "QTableWidget" else []
    # "2" is how Qt marks a signal.
    assert sum(widget.receivers(f"2{signal}") for signal in signals) > 0, f"{name} does nothing"


def test_every_part_of_the_ui_that_is_used_exists(panel: Any) -> None:
    names = {name for _kind, name in widgets_of_the_ui()}
    for path in (MODULE / "PostOpPredictorModule").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("ui", "self.ui", "self._ui"):
                assert node.attr in names, f"{path.name} uses ui.{node.attr}"


def test_names_are_unique_in_all_files() -> None:
    names = [name for _kind, name in widgets_of_the_ui()]
    assert len(names) == len(set(names)), "the panel finds a widget by its name"


@pytest.mark.parametrize("path", UIS, ids=lambda path: path.stem)
def test_selectors_get_the_scene_by_the_ui(path: Path) -> None:
    tree = ElementTree.parse(path)
    classes = [(one.get("class", ""), one.get("name", "")) for one in tree.iter("widget")]
    selectors = {name for kind, name in classes if kind.startswith("qMRML") and kind != "qMRMLWidget"}
    connected = {
        one.findtext("receiver")
        for one in tree.iterfind("connections/connection")
        if one.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and one.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert connected == selectors


@pytest.mark.parametrize("path", UIS, ids=lambda path: path.stem)
def test_every_class_that_is_not_qt_is_declared(path: Path) -> None:
    tree = ElementTree.parse(path)
    declared = {one.findtext("class") for one in tree.iterfind("customwidgets/customwidget")}
    used = {one.get("class", "") for one in tree.iter("widget") if not one.get("class", "").startswith("Q")}
    assert used <= declared
    assert all(one.findtext("header") for one in tree.iterfind("customwidgets/customwidget"))


def test_parameter_names_are_parameters(panel: Any) -> None:
    named = {
        one.findtext("string")
        for path in UIS
        for one in ElementTree.parse(path).iter("property")
        if one.get("name") == "SlicerParameterName"
    }
    assert named == {
        "inputVolume",
        "tumour",
        "device",
        "precedents",
        "mode",
        "samples",
        "seed",
        "sequence",
        "resultSpace",
        "uncertainty",
        "t2Volume",
        "flairVolume",
        "noiseSamples",
    }
    assert named <= set(panel.logic.getParameterNode().allParameters)


def test_a_choice_in_the_panel_is_a_parameter_and_back(panel: Any) -> None:
    from PostOpPredictorModule.ParameterNode import Mode

    parameters = panel.logic.getParameterNode()
    panel.ui.modeComboBox.currentIndex = 2
    panel.ui.seedSpinBox.value = 11
    assert (parameters.mode, parameters.seed) == (Mode.AVERAGE, 11)
    assert panel.ui.samplesSpinBox.enabled
    parameters.precedents = 5
    parameters.mode = Mode.MEAN
    assert panel.ui.precedentsSpinBox.value == 5
    assert not panel.ui.samplesSpinBox.enabled


def test_texts_can_be_translated() -> None:
    for path in [
        MODULE / "PostOpPredictorModule" / "Widget.py",
        *(MODULE / "PostOpPredictorModule").rglob("panels/*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "_":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}: {ast.unparse(node)}"


def test_nothing_is_asked_started_or_installed_by_opening(panel: Any, questions: Any) -> None:
    from standins import pip_requests

    assert panel._installer.calls == []
    assert panel.logic.runs == []
    assert questions.asked == []
    assert pip_requests == []
