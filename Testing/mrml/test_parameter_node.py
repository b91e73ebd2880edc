"""The parameter node: what it begins with, what it refuses, and that all of it survives in a saved scene."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from PostOpPredictorModule.ParameterNode import (
    Device,
    Mode,
    PostOpPredictorParameterNode,
    ResultSpace,
    Sequence,
    chosenFolder,
)
from slicer.parameterNodeWrapper import isParameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic
from standins.mrml_scene import read_scene, write_scene

from PostOpPredictorLib.prediction.request import DeviceOption, PredictionRequest, SequenceOption
from PostOpPredictorLib.prediction.request import Mode as ModeOption


class PostOpPredictorLogic(ScriptedLoadableModuleLogic):
    """Only its name matters: the node's singleton tag is made of it."""


def parameter_node() -> Any:
    return PostOpPredictorParameterNode(PostOpPredictorLogic().getParameterNode())


def added(class_name: str, name: str) -> Any:
    return slicer.mrmlScene.AddNewNodeByClass(class_name, name)


def test_it_begins_with_what_works_on_the_first_click(scene: Any) -> None:
    parameters = parameter_node()
    assert isParameterNodeWrapper(parameters)
    assert [parameters.inputVolume, parameters.tumour, parameters.brainSegmentation] == [None, None, None]
    assert list(parameters.tumourSegmentIds) == [] and parameters.brainSegmentId == ""
    assert chosenFolder(parameters.modelFolder) is None and chosenFolder(parameters.libraryFolder) is None
    assert (parameters.device, parameters.mode, parameters.sequence) == (Device.AUTO, Mode.MEAN, Sequence.AUTO)
    assert (parameters.precedents, parameters.samples, parameters.seed) == (3, 8, 0)
    assert parameters.resultSpace is ResultSpace.MNI


def test_everything_survives_in_a_scene_file(scene: Any, tmp_path: Path) -> None:
    parameters = parameter_node()
    volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.float32), name="T1")
    parameters.inputVolume = volume
    parameters.tumour = added("vtkMRMLSegmentationNode", "Tumour")
    parameters.tumourSegmentIds = ["core", "Ödem"]
    parameters.brainSegmentation = added("vtkMRMLSegmentationNode", "Brain")
    parameters.brainSegmentId = "brain"
    parameters.modelFolder = tmp_path / "a model"
    parameters.device, parameters.mode, parameters.sequence = Device.CPU, Mode.AVERAGE, Sequence.T1WCE
    parameters.precedents, parameters.samples, parameters.seed = 10, 64, 2**31 - 1
    parameters.resultSpace = ResultSpace.PATIENT
    parameters.followedCase, parameters.excludedCases, parameters.mapOpacity = "case-0002", ["a", "b"], 35
    parameters.uncertainty, parameters.noiseSamples = True, 12
    write_scene(tmp_path / "scene.mrb")
    read_scene(tmp_path / "scene.mrb")
    read = parameter_node()
    assert len(slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")) == 1
    assert (read.inputVolume.GetName(), read.tumour.GetName()) == ("T1", "Tumour")
    assert (read.brainSegmentation.GetName(), read.brainSegmentId) == ("Brain", "brain")
    assert list(read.tumourSegmentIds) == ["core", "Ödem"]
    assert read.modelFolder == tmp_path / "a model" and chosenFolder(read.libraryFolder) is None
    assert (read.device, read.mode, read.sequence) == (Device.CPU, Mode.AVERAGE, Sequence.T1WCE)
    assert (read.precedents, read.samples, read.seed) == (10, 64, 2**31 - 1)
    assert (read.followedCase, list(read.excludedCases), read.mapOpacity) == ("case-0002", ["a", "b"], 35)
    assert (read.uncertainty, read.noiseSamples) == (True, 12)
    assert read.resultSpace is ResultSpace.PATIENT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("precedents", 0),
        ("precedents", 11),
        ("samples", 0),
        ("samples", 65),
        ("seed", -1),
        ("seed", 2**31),
        ("precedents", 2.5),
        ("device", "cuda"),
        ("modelFolder", "/a/string"),
        ("brainSegmentId", None),
    ],
)
def test_what_cannot_be_is_refused_and_the_old_value_stays(scene: Any, name: str, value: Any) -> None:
    parameters = parameter_node()
    before = getattr(parameters, name)
    with pytest.raises((ValueError, TypeError)):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_the_tumour_is_a_segmentation_or_a_label_map_and_nothing_else(scene: Any) -> None:
    parameters = parameter_node()
    for class_name in ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"):
        parameters.tumour = added(class_name, class_name)
        assert parameters.tumour.GetName() == class_name
    with pytest.raises(TypeError):
        parameters.tumour = added("vtkMRMLModelNode", "surface")
    assert parameters.tumour.GetName() == "vtkMRMLLabelMapVolumeNode"
    parameters.tumour = None
    assert parameters.tumour is None


def test_the_list_of_segments_writes_itself_back(scene: Any) -> None:
    parameters = parameter_node()
    parameters.tumourSegmentIds = ["a", "b"]
    parameters.tumourSegmentIds.append("c")
    assert list(parameter_node().tumourSegmentIds) == ["a", "b", "c"]
    parameters.tumourSegmentIds = []
    assert list(parameter_node().tumourSegmentIds) == []


def test_a_change_is_announced_once_and_only_once(scene: Any) -> None:
    parameters = parameter_node()
    seen: list[int] = []
    tag = parameters.AddObserver("ModifiedEvent", lambda *_: seen.append(parameters.precedents))
    parameters.precedents = 5
    assert seen == [5]
    with slicer.util.NodeModify(parameters):
        parameters.precedents, parameters.samples = 6, 9
        assert seen == [5]
    assert seen == [5, 6]
    parameters.RemoveObserver(tag)
    parameters.precedents = 7
    assert seen == [5, 6]


def test_a_node_that_leaves_the_scene_leaves_the_parameters(scene: Any) -> None:
    parameters = parameter_node()
    volume, tumour = added("vtkMRMLScalarVolumeNode", "T1"), added("vtkMRMLSegmentationNode", "Tumour")
    parameters.inputVolume, parameters.tumour = volume, tumour
    scene.RemoveNode(volume)
    scene.RemoveNode(tumour)
    assert parameters.inputVolume is None and parameters.tumour is None


def test_two_views_of_the_node_agree_and_leave_nothing_behind(scene: Any) -> None:
    first, second = parameter_node(), parameter_node()
    first.mode = Mode.SAMPLE
    assert second.mode is Mode.SAMPLE
    node = first.parameterNode
    del first
    gc.collect()
    node.SetParameter("mode", "AVERAGE")
    assert second.mode is Mode.AVERAGE


class Box:
    """A spin box without Qt: a value, a range, one signal."""

    def __init__(self) -> None:
        self.value = -1
        self.slots: list[Any] = []

    def connect(self, slot: Any) -> None:
        self.slots.append(slot)


def test_a_connector_carries_values_both_ways(scene: Any) -> None:
    from slicer.parameterNodeWrapper import GuiConnector

    class BoxConnector(GuiConnector):
        """Between the box and a whole number."""

        def __init__(self, box: Box) -> None:
            self.box = box
            self._callback = None

        canRepresent = create = staticmethod(lambda *_: None)

        def widget(self) -> Any:
            return self.box

        def read(self) -> int:
            return self.box.value

        def write(self, value: int) -> None:
            self.box.value = value

        def onChanged(self, callback: Any) -> None:
            self.box.slots = [] if callback is None else [callback]

        _connect = _disconnect = lambda self: None

    parameters, box = parameter_node(), Box()
    tag = parameters.connectParametersToGui({"precedents": BoxConnector(box)})
    assert box.value == 3
    parameters.precedents = 4
    assert box.value == 4
    box.value = 7
    for slot in box.slots:
        slot()
    assert parameters.precedents == 7
    parameters.disconnectGui(tag)
    parameters.precedents = 8
    assert box.value == 7 and box.slots == []


def test_the_choices_are_those_of_the_backend() -> None:
    from typing import get_args

    assert {member.value for member in Device} == set(get_args(DeviceOption))
    assert {member.value for member in Mode} == set(get_args(ModeOption))
    assert {member.value for member in Sequence} == set(get_args(SequenceOption))
    for kind in (Device, Mode, Sequence, ResultSpace):
        labels = [member.label() for member in kind]
        assert all(labels) and len(set(labels)) == len(labels)
    largest = {"seed": 2**31 - 1, "samples": 64, "k": 10, "noise_samples": 64}
    PredictionRequest(pre=Path("a"), tumour=Path("b"), out=Path("c"), **largest)
