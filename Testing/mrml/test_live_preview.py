"""The live preview with a fake session: what is asked, what is shown, and that nothing is left when it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from fake_backend import is_running, wait_until, working_folders
from finished_prediction import node_ids
from live_backend import ANSWERING, SESSION, fake_session, poll_until
from PostOpPredictorModule.Errors import PredictionError
from PostOpPredictorModule.LivePreview import SECONDS_OF_REST, LivePreview
from PostOpPredictorModule.PlanList import ResectionPlan, SegmentReference
from PostOpPredictorModule.ResultAttributes import SYNTHETIC, markedNodes
from PostOpPredictorModule.Settings import PredictionInputs, PredictionSettings
from standins.mrml_scene import add_segmentation, write_scene

PLAN = ResectionPlan("A")


@pytest.fixture
def inputs(scene: Any) -> PredictionInputs:
    labels = np.zeros((12, 14, 16), np.uint8)
    labels[4:8, 4:8, 4:8], labels[9:11, 4:8, 4:8] = 1, 2
    volume = slicer.util.addVolumeFromArray(np.full(labels.shape, 50, np.float32), name="T1")
    tumour = add_segmentation(labels, volume, {1: "tumour", 2: "tract"})
    return PredictionInputs(volume, tumour, ("tumour",))


@pytest.fixture
def tract(inputs: PredictionInputs) -> SegmentReference:
    return SegmentReference(inputs.tumour, "tract")


class Looking:
    """Where the user looks."""

    z: float | None = 1.0


@pytest.fixture
def looking() -> Looking:
    return Looking()


@pytest.fixture
def make(tmp_path: Path, looking: Looking) -> Iterator[Callable[..., LivePreview]]:
    made: list[LivePreview] = []

    def preview(program: str = SESSION + ANSWERING, **more: Any) -> LivePreview:
        made.append(LivePreview(lambda: looking.z, startCommand=fake_session(tmp_path, program), **more))
        return made[-1]

    yield preview
    for one in made:
        one.cleanup()


@pytest.fixture
def preview(make: Callable[..., LivePreview], inputs: PredictionInputs) -> LivePreview:
    """A preview that is ready."""
    one = make()
    one.start(inputs, PredictionSettings())
    poll_until(one, lambda: one.isReady)
    return one


def asked() -> list[dict[str, Any]]:
    """What the session was asked, so far."""
    (folder,) = working_folders()
    path = folder / "asked.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def shown(preview: LivePreview) -> tuple[float, int, float]:
    """(value, number of slices, z of the first) of the preview volume."""
    voxels = slicer.util.arrayFromVolume(preview.nodes.postop)
    return float(voxels.max()), len(voxels), preview.nodes.postop.GetOrigin()[2]


def test_first_the_patient_is_shown_without_a_plan(preview: LivePreview) -> None:
    nodes = preview.nodes
    assert (shown(preview)[0], float(slicer.util.arrayFromVolume(nodes.preop).max())) == (50.0, 90.0)
    assert preview.readOut == {"residual_ml": 9.0}
    assert [node.GetAttribute(SYNTHETIC) for node in (nodes.preop, nodes.tumour, nodes.postop, nodes.cavity)] == [
        "0",
        "0",
        "1",
        "1",
    ]
    assert nodes.tumour.GetSegmentation().GetSegment("core") is not None


def test_a_plan_is_shown_as_a_slice_at_once_and_then_as_a_volume(preview: LivePreview) -> None:
    states = []
    preview.setPlan(PLAN.withMargin(4))
    poll_until(preview, lambda: states.append(shown(preview)) or states[-1][0] == 204.0)
    assert (104.0, 1, 0.0) in states, "the slice nearest to where the user looks"
    assert states[-1][1] == 3
    assert preview.sentence == "The whole brain is up to date."
    assert preview.readOut == {"plan_ml": 34.0, "cavity_ml": 31.0}


def test_the_cavity_follows_the_slice(preview: LivePreview) -> None:
    preview.setPlan(PLAN.withMargin(4))
    poll_until(preview, lambda: shown(preview)[1] == 1)
    labels = slicer.vtkOrientedImageData()
    assert preview.nodes.cavity.GetBinaryLabelmapRepresentation("cavity", labels)
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    labels.GetImageToWorldMatrix(matrix)
    assert labels.GetDimensions()[2] == 1
    assert matrix.GetElement(2, 3) == 0.0


def test_a_slider_that_is_dragged_asks_once_it_rests(preview: LivePreview) -> None:
    for margin in (1, 2, 3, 4, 5):
        preview.setPlan(PLAN.withMargin(margin))
        preview.poll()
    poll_until(preview, lambda: shown(preview)[0] == 205.0)
    assert [one["plan"]["margin_mm"] for one in asked()] == [5.0]


def test_another_slice_is_asked_for_only_until_the_volume_is_there(
    preview: LivePreview, looking: Looking, make: Callable[..., LivePreview]
) -> None:
    preview.setPlan(PLAN)
    poll_until(preview, lambda: shown(preview)[0] == 200.0)
    looking.z = 25.0
    end = time.monotonic() + 2.5 * SECONDS_OF_REST
    while time.monotonic() < end:
        preview.poll()
    assert [one["slice"] for one in asked()] == [20]
    preview.setPlan(PLAN.withMargin(1))
    poll_until(preview, lambda: shown(preview)[0] == 201.0)
    assert [one["slice"] for one in asked()] == [20, 30]


def test_without_an_axial_plane_the_middle_slice_is_shown(preview: LivePreview, looking: Looking) -> None:
    looking.z = None
    preview.setPlan(PLAN)
    poll_until(preview, lambda: asked())
    assert asked()[0]["slice"] == 20


def test_what_is_left_and_named_goes_as_masks_that_are_written_once(
    make: Callable[..., LivePreview], inputs: PredictionInputs, tract: SegmentReference
) -> None:
    one = make()
    one.start(replace(inputs, more={"FLAIR": inputs.volume}), PredictionSettings(), [tract])
    poll_until(one, lambda: one.isReady)
    job = json.loads((next(iter(working_folders())) / "job.json").read_text(encoding="utf-8"))
    assert job["command"] == "session"
    assert "more" not in job["options"], "the session shows no other sequence"
    assert [structure["name"] for structure in job["options"]["structures"]] == ["tract"]
    one.setPlan(PLAN.sparing(tract, 5))
    poll_until(one, lambda: len(asked()) == 1)
    one.setPlan(PLAN.withMargin(2).sparing(tract, 6))
    poll_until(one, lambda: len(asked()) == 2)
    masks = {one_["plan"]["spare"][0]["mask"] for one_ in asked()} | {job["options"]["structures"][0]["mask"]}
    assert len(masks) == 1
    assert [one_["plan"]["spare"][0]["distance_mm"] for one_ in asked()] == [5.0, 6.0]


def test_editing_a_segment_of_the_plan_asks_again(preview: LivePreview, inputs: PredictionInputs) -> None:
    tract = SegmentReference(inputs.tumour, "tract")
    preview.setPlan(PLAN.withSegment(tract))
    poll_until(preview, lambda: len(asked()) == 1)
    labels = np.zeros((12, 14, 16), np.uint8)
    labels[2:4, 2:5, 2:5] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(labels, inputs.tumour, "tract", inputs.volume)
    poll_until(preview, lambda: len(asked()) == 2)
    before, now = (Path(request["plan"]["mask"]) for request in asked())
    assert before != now
    assert now.is_file() and not before.exists(), "masks of earlier edits would fill the disk"


def test_a_plan_that_cannot_be_exported_is_told_and_the_preview_lives_on(
    preview: LivePreview, inputs: PredictionInputs
) -> None:
    preview.setPlan(PLAN.withSegment(SegmentReference(inputs.tumour, "gone")))
    poll_until(preview, lambda: "not in the scene any more" in preview.sentence)
    preview.setPlan(PLAN)
    poll_until(preview, lambda: shown(preview)[0] == 200.0)


def test_what_the_session_refuses_is_told_in_the_users_words(
    make: Callable[..., LivePreview], inputs: PredictionInputs, tract: SegmentReference
) -> None:
    refusing = """
for line in sys.stdin:
    request = json.loads(line)
    say("refused", id=request["id"], message=f"{request['plan']['mask']} does not touch the tumour.")
"""
    one = make(SESSION + refusing)
    one.start(inputs, PredictionSettings())
    poll_until(one, lambda: one.isReady)
    one.setPlan(PLAN.withSegment(tract))
    poll_until(one, lambda: "touch" in one.sentence)
    assert one.sentence == "'tract' does not touch the tumour."
    assert one.isReady


def test_what_the_session_says_of_the_scan_is_told_in_the_users_words(
    make: Callable[..., LivePreview], inputs: PredictionInputs
) -> None:
    failing = """
options = json.loads(job.read_text(encoding="utf-8"))["options"]
say("error", code="bad_input", message=f"{options['pre']} shows no head.")
"""
    one = make(failing)
    one.start(inputs, PredictionSettings())
    poll_until(one, lambda: not one.isRunning)
    assert one.sentence == "'T1' shows no head."


def test_warnings_are_told(preview: LivePreview) -> None:
    preview.setPlan(PLAN.withMargin(9))
    said: list[str] = []
    poll_until(preview, lambda: said.append(preview.sentence) or shown(preview)[0] == 209.0)
    assert any("The plan is large." in one for one in said)


def test_the_sentences_say_what_goes_on(make: Callable[..., LivePreview], inputs: PredictionInputs) -> None:
    said: list[str] = []
    one = make(changed=lambda: said.append(one.sentence))
    one.start(inputs, PredictionSettings())
    poll_until(one, lambda: one.isReady)
    assert said[:2] == ["Getting the patient ready ...", "Getting the patient ready: Aligning to MNI space ..."]
    assert said[-1] == "Ready. Move the margin, or choose a plan."


@pytest.mark.parametrize("how", ["stop", "scene", "cleanup", "removed"])
def test_nothing_is_left_when_it_ends(preview: LivePreview, inputs: PredictionInputs, how: str) -> None:
    before = node_ids() - {
        node.GetID() for node in (preview.nodes.preop, preview.nodes.postop, preview.nodes.tumour, preview.nodes.cavity)
    }
    preview.setPlan(PLAN)
    poll_until(preview, lambda: shown(preview)[1] == 1)
    process = preview.processId
    if how == "removed":
        slicer.mrmlScene.RemoveNode(preview.nodes.postop)
        poll_until(preview, lambda: not preview.isRunning)
        assert "removed from the scene" in preview.sentence
    elif how == "scene":
        slicer.mrmlScene.Clear(False)
    else:
        getattr(preview, how)()
    assert not preview.isRunning
    assert preview.nodes is None
    wait_until(lambda: not is_running(process))
    assert working_folders() == set()
    if how != "scene":
        assert node_ids() - before == set()
    assert not [one for one in slicer.util.getNodesByClass("vtkMRMLNode") if "Live" in (one.GetName() or "")]


def test_the_preview_is_never_saved_with_the_scene(preview: LivePreview, tmp_path: Path, scene: Any) -> None:
    write_scene(tmp_path / "saved.mrb")
    preview.cleanup()
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "saved.mrb"))
    assert not [one for one in slicer.util.getNodesByClass("vtkMRMLVolumeNode") if "Live" in one.GetName()]
    for kind in ("Segmentation", "ScalarVolume"):
        displays = slicer.util.getNodesByClass(f"vtkMRML{kind}DisplayNode")
        assert len(displays) == 1, "only the user's own"
        assert displays[0].GetDisplayableNode() is not None


def test_a_session_that_dies_is_told_and_cleaned_up(make: Callable[..., LivePreview], inputs: PredictionInputs) -> None:
    one = make('say("error", code="bad_weights", message="The model knows no plan.")\nsys.exit(3)\n')
    one.start(inputs, PredictionSettings())
    poll_until(one, lambda: not one.isRunning)
    assert "The model knows no plan." in one.sentence
    assert working_folders() == set()
    one = make(SESSION + "os.kill(os.getpid(), 9)\n")
    one.start(inputs, PredictionSettings())
    poll_until(one, lambda: not one.isRunning)
    assert "exit code -9" in one.sentence
    assert one.nodes is None


def test_inputs_that_cannot_be_exported_are_told_and_nothing_is_started(
    make: Callable[..., LivePreview], inputs: PredictionInputs
) -> None:
    one = make()
    with pytest.raises(PredictionError, match="Choose a pre-operative volume"):
        one.start(PredictionInputs(None, inputs.tumour), PredictionSettings())
    assert not one.isRunning
    assert working_folders() == set()


def test_the_preview_is_no_result_and_no_input(preview: LivePreview) -> None:
    from PostOpPredictorModule.InputExport import checkInputs

    assert markedNodes(slicer.mrmlScene) == []
    with pytest.raises(PredictionError, match="belongs to the result"):
        checkInputs(PredictionInputs(preview.nodes.preop, preview.nodes.tumour))


def test_a_session_that_is_slow_is_asked_only_for_the_newest(
    make: Callable[..., LivePreview], inputs: PredictionInputs
) -> None:
    """While one slice is drawn the slider may rest in many places."""
    slow = """
for line in sys.stdin:
    asked.write(line)
    asked.flush()
    time.sleep(1.0)
    answer(json.loads(line))
"""
    one = make(SESSION + slow)
    one.start(inputs, PredictionSettings())
    poll_until(one, lambda: one.isReady)
    one.setPlan(PLAN.withMargin(1))
    poll_until(one, lambda: len(asked()) == 1)
    for margin in (2, 3, 4):
        one.setPlan(PLAN.withMargin(margin))
        start = len(asked())
        poll_until(one, lambda margin=margin: one._asked is not None and one._asked[0][0].marginMm == margin)
        assert len(asked()) == start
    poll_until(one, lambda: shown(one)[0] == 204.0)
    assert [request["plan"]["margin_mm"] for request in asked()] in ([1.0, 4.0], [1.0, 3.0, 4.0])
