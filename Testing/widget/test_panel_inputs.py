"""The section Inputs: what is chosen by itself, and why the button is disabled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import panel_host
import pytest


def ticked(panel: Any) -> list[str]:
    import qt

    items = [panel.ui.segmentList.item(row) for row in range(panel.ui.segmentList.count)]
    return [item.text() for item in items if item.checkState() == qt.Qt.Checked]


def tick(panel: Any, name: str, on: bool) -> None:
    import qt

    for row in range(panel.ui.segmentList.count):
        item = panel.ui.segmentList.item(row)
        if item.text() == name:
            item.setCheckState(qt.Qt.Checked if on else qt.Qt.Unchecked)


def test_empty_scene_says_what_to_choose(open_panel: Callable[[], Any]) -> None:
    panel = open_panel()
    assert not panel.ui.predictButton.enabled
    assert panel.ui.predictButton.toolTip == "Choose the scan before surgery under Inputs."
    assert panel.ui.reasonLabel.text == panel.ui.predictButton.toolTip


def test_the_only_patient_is_chosen_and_the_tumour_core_is_ticked(panel: Any, patient: Any) -> None:
    assert panel.ui.volumeSelector.currentNode() is patient.volume
    assert panel.ui.tumourSelector.currentNode() is patient.tumour
    assert ticked(panel) == ["Necrotic core", "Enhancing tumour"]
    assert panel.ui.predictButton.enabled
    assert panel.ui.reasonLabel.text == ""


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Tumor", "Edema"], [True, False]),
        (["Non-enhancing tumour core", "Peritumoral oedema", "Brain"], [True, False, False]),
        (["Segment_1"], [True]),
        (["Resektion", "Brain"], [True, False]),
        (["Whole tumour", "GTV"], [False, True]),
    ],
)
def test_default_ticks_are_the_tumour_core(host: Any, names: list[str], expected: list[bool]) -> None:
    from PostOpPredictorModule.panels.SegmentList import defaultTicks

    assert defaultTicks(names) == expected


def test_the_ticked_segments_are_predicted_from(panel: Any, logic: Any) -> None:
    tick(panel, "Enhancing tumour", False)
    tick(panel, "Oedema", True)
    panel.ui.predictButton.click()
    ((inputs, _settings),) = logic.starts
    names = [inputs.tumour.GetSegmentation().GetSegment(one).GetName() for one in inputs.segmentIds]
    assert names == ["Necrotic core", "Oedema"]


def test_no_tick_is_no_prediction(panel: Any) -> None:
    tick(panel, "Necrotic core", False)
    tick(panel, "Enhancing tumour", False)
    assert not panel.ui.predictButton.enabled
    assert "Tick at least one segment" in panel.ui.predictButton.toolTip


def test_another_segmentation_brings_its_own_ticks(panel: Any, patient: Any) -> None:
    tick(panel, "Oedema", True)
    other = panel_host.add_patient("Other scan", "Other tumour")
    panel.ui.tumourSelector.setCurrentNode(other.tumour)
    assert ticked(panel) == ["Necrotic core", "Enhancing tumour"]


def test_ticks_are_remembered_with_the_scene(panel: Any) -> None:
    tick(panel, "Enhancing tumour", False)
    panel.exit()
    panel.enter()
    assert ticked(panel) == ["Necrotic core"]


def test_a_segment_that_is_drawn_or_renamed_appears(panel: Any, patient: Any) -> None:
    patient.tumour.GetSegmentation().AddEmptySegment("late", "Satellite")
    names = [panel.ui.segmentList.item(row).text() for row in range(panel.ui.segmentList.count)]
    assert names[-1] == "Satellite"
    assert ticked(panel) == ["Necrotic core", "Enhancing tumour"]
    patient.tumour.GetSegmentation().GetSegment("late").SetName("Satellite lesion")
    assert panel.ui.segmentList.item(4).text() == "Satellite lesion"


def test_segments_that_are_removed_disable_the_button(panel: Any, patient: Any) -> None:
    patient.tumour.GetSegmentation().RemoveAllSegments()
    assert "has no segments" in panel.ui.predictButton.toolTip


def test_label_map_lists_its_labels(panel: Any, patient: Any, logic: Any) -> None:
    import slicer.util

    labels = np.zeros(panel_host.SHAPE, np.uint8)
    labels[2:4], labels[5:7], labels[8:10] = 1, 2, 4
    node = slicer.util.addVolumeFromArray(labels, name="BraTS", nodeClassName="vtkMRMLLabelMapVolumeNode")
    panel.ui.tumourSelector.setCurrentNode(node)
    assert [panel.ui.segmentList.item(row).text()[:7] for row in range(3)] == ["Label 1", "Label 2", "Label 4"]
    panel.ui.predictButton.click()
    ((inputs, _settings),) = logic.starts
    assert (inputs.tumour, inputs.segmentIds) == (node, ("1", "4"))


def test_label_that_is_drawn_or_erased_in_a_label_map_appears_or_goes(panel: Any, patient: Any) -> None:
    import slicer.util

    labels = np.zeros(panel_host.SHAPE, np.uint8)
    labels[2:4] = 1
    node = slicer.util.addVolumeFromArray(labels, name="Labels", nodeClassName="vtkMRMLLabelMapVolumeNode")
    panel.ui.tumourSelector.setCurrentNode(node)
    for value, expected in ((7, ["Label 1", "Label 7"]), (0, ["Label 1"])):
        labels[8:10] = value
        slicer.util.updateVolumeFromArray(node, labels)
        shown = panel.ui.segmentList
        assert [shown.item(row).text()[:7] for row in range(shown.count)] == expected
    labels[:] = 0
    slicer.util.arrayFromVolume(node)[8:10] = 4
    node.GetImageData().Modified()
    assert panel.ui.segmentList.count == 2, "a filter that works on the image"
    slicer.util.arrayFromVolume(node)[:] = labels
    slicer.util.arrayFromVolumeModified(node)
    assert panel.ui.segmentList.count == 0, "a script that works on the array"
    assert not panel.ui.predictButton.enabled


def test_labels_of_a_whole_scan_are_found_without_a_pause(host: Any, scene: Any) -> None:
    import time

    import slicer.util
    from PostOpPredictorModule.TumourSegments import segmentsOf

    labels = np.zeros((155, 240, 240), np.int16)
    labels[60:80, 90:130, 90:130] = 4
    node = slicer.util.addVolumeFromArray(labels, name="BraTS", nodeClassName="vtkMRMLLabelMapVolumeNode")
    seconds = []
    for _ in range(5):
        start = time.thread_time()
        assert [identity for identity, _name in segmentsOf(node)] == ["4"]
        seconds.append(time.thread_time() - start)
    assert min(seconds) < 0.05


def test_brain_mask_is_a_segment_or_nothing(panel: Any, patient: Any, logic: Any) -> None:
    parameters = panel.logic.getParameterNode()
    panel.ui.brainSelector.setCurrentNode(patient.tumour)
    panel.ui.brainSelector.setCurrentSegmentID("Brain")
    assert (parameters.brainSegmentation, parameters.brainSegmentId) == (patient.tumour, "Brain")
    panel.ui.brainSelector.setCurrentSegmentID("")
    assert "segment of the brain" in panel.ui.predictButton.toolTip
    panel.ui.brainSelector.setCurrentNode(None)
    panel.ui.predictButton.click()
    ((inputs, _settings),) = logic.starts
    assert (inputs.brainSegmentation, inputs.brainSegmentId) == (None, "")


def test_a_synthetic_image_is_no_input(panel: Any, patient: Any) -> None:
    patient.volume.SetAttribute("PostOpPredictor.Synthetic", "1")
    panel._updateReason()
    assert "synthetic image" in panel.ui.predictButton.toolTip


@pytest.mark.parametrize("part", ["volume", "tumour"])
def test_what_a_prediction_added_is_no_input(panel: Any, patient: Any, part: str) -> None:
    node = getattr(patient, part)
    node.SetAttribute("PostOpPredictor.Role", "preop")
    panel._updateReason()
    assert f"'{node.GetName()}' belongs to the result" in panel.ui.predictButton.toolTip


def test_results_are_not_chosen_by_themselves(scene: Any, open_panel: Callable[[], Any]) -> None:
    from panel_fakes import fake_result

    fake_result()
    assert open_panel().ui.volumeSelector.currentNode() is None


def test_removed_node_disables_the_button(panel: Any, patient: Any, scene: Any) -> None:
    scene.RemoveNode(patient.volume)
    assert panel.ui.volumeSelector.currentNode() is None
    assert not panel.ui.predictButton.enabled
    scene.RemoveNode(patient.tumour)
    assert panel.ui.segmentList.count == 0


def test_other_scans_of_the_session_go_along(panel: Any, patient: Any, logic: Any) -> None:
    from panel_fakes import fake_result

    flair = panel_host.add_patient("FLAIR", "Other").volume
    panel.ui.flairVolumeSelector.setCurrentNode(flair)
    panel.ui.predictButton.click()
    assert dict(logic.starts[-1][0].more) == {"FLAIR": flair}
    logic.runs[-1].finish(fake_result())
    panel.ui.t2VolumeSelector.setCurrentNode(patient.volume)
    assert not panel.ui.predictButton.enabled and "already" in panel.ui.reasonLabel.text
