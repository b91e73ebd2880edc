"""The host is as strict as PythonQt, so that what passes here does not fail in Slicer."""

from __future__ import annotations

import sys
from typing import Any

import pytest


def test_properties_are_attributes_and_no_methods(host: Any) -> None:
    import qt

    button = qt.QPushButton("Predict")
    assert (button.text, button.enabled) == ("Predict", True)
    button.enabled = False
    assert not button.enabled
    with pytest.raises(TypeError):
        button.text()


def test_mistyped_property_is_refused(host: Any) -> None:
    import qt

    with pytest.raises(AttributeError, match="no property txet"):
        qt.QPushButton().txet = "Predict"


def test_unknown_signal_is_refused(host: Any) -> None:
    import qt

    heard = []
    button = qt.QPushButton()
    button.connect("clicked(bool)", lambda *_args: heard.append(1))
    button.click()
    assert heard == [1]
    with pytest.raises(ValueError, match="no signal"):
        button.connect("klicked(bool)", print)


def test_settings_give_back_text(host: Any) -> None:
    import qt

    qt.QSettings().setValue("PostOpPredictor/x", True)
    assert qt.QSettings().value("PostOpPredictor/x") == "true"


def test_collapsed_section_hides_its_contents_and_shows_them_again(host: Any) -> None:
    import ctk
    import qt

    section = ctk.ctkCollapsibleButton()
    layout = qt.QVBoxLayout(section)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    layout.addWidget(shown)
    layout.addWidget(hidden)
    hidden.visible = False
    section.show()
    section.collapsed = True
    assert not shown.visible
    section.collapsed = False
    assert shown.visible
    assert not hidden.visible
    section.close()


def test_selector_follows_the_scene(scene: Any) -> None:
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.showChildNodeTypes = False
    selector.setMRMLScene(scene)
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert selector.currentNode() is None
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")
    assert selector.currentNode() is volume
    scene.RemoveNode(volume)
    assert selector.currentNode() is None
    selector.setMRMLScene(None)


def test_other_rings_see_no_qt_afterwards(host: Any) -> None:
    import slicer
    from standins import qt_host

    qt_host.uninstall()
    assert "qt" not in sys.modules
    assert not hasattr(slicer, "app")
    qt_host.install()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None is immortal")
def test_pyside_does_not_use_up_the_references_to_none(host: Any) -> None:
    assert sys.getrefcount(None) > 1 << 32
