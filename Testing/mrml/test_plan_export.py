"""What is planned reaches the backend as masks that lie where the user sees the segments in the scene."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
from fake_backend import BEGINNING, working_folders
from PostOpPredictorModule import BackendProcess
from PostOpPredictorModule.Errors import PredictionError
from PostOpPredictorModule.Logic import PostOpPredictorLogic
from PostOpPredictorModule.PlanExport import SegmentMasks, exportPlans
from PostOpPredictorModule.PlanList import ResectionPlan, SegmentReference
from PostOpPredictorModule.Settings import PredictionSettings
from standins.mrml_scene import add_segmentation, place

SHAPE = (20, 24, 28)
IJK_TO_RAS = np.array([[-2.0, 0, 0, 30], [0, -2.0, 0, 25], [0, 0, 2.5, -40], [0, 0, 0, 1]])
MOVED = np.array([[1.0, 0, 0, 4], [0, 1, 0, -6], [0, 0, 1, 5], [0, 0, 0, 1]])
"""Two, three and two voxels."""


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:12, 8:14, 8:14], labels[13:15, 8:14, 8:14] = 1, 2
    return labels


@pytest.fixture
def volume(scene: Any) -> Any:
    return slicer.util.addVolumeFromArray(np.full(SHAPE, 10, np.float32), ijkToRAS=IJK_TO_RAS, name="T1")


@pytest.fixture
def segmentation(volume: Any, labels: np.ndarray) -> Any:
    return add_segmentation(labels, volume, {1: "tumour", 2: "tract"})


def read(path: str) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(path))


def test_a_plan_becomes_what_the_backend_reads(
    tmp_path: Path, volume: Any, segmentation: Any, labels: np.ndarray
) -> None:
    from PostOpPredictorLib.job_options import request_from_options
    from PostOpPredictorLib.prediction.request import PredictionRequest

    tumour, tract = (SegmentReference(segmentation, name) for name in ("tumour", "tract"))
    plans = (ResectionPlan("A").withMargin(4).sparing(tract, 5), ResectionPlan("B").withSegment(tumour))
    exported = exportPlans(plans, (tract,), volume, tmp_path)
    options = {**exported.asJobOptions(), "pre": "a", "tumour": "b", "out": "c"}
    request = request_from_options(PredictionRequest, json.loads(json.dumps(options)), tmp_path)
    first, second = request.plans
    assert (first.name, first.margin_mm, first.mask, first.spare[0].distance_mm) == ("A", 4.0, None, 5.0)
    assert (second.name, second.margin_mm) == ("B", None)
    assert (read(str(second.mask)) == (labels == 1)).all()
    assert (read(str(first.spare[0].mask)) == (labels == 2)).all()
    assert request.structures[0].name == "tract"
    assert request.structures[0].mask == first.spare[0].mask, "written once"
    assert set(exported.shownAs.values()) == {"'tumour'", "'tract'"}


@pytest.mark.parametrize("moved", ["segmentation", "volume", "both"])
def test_parent_transforms_are_respected(
    tmp_path: Path, volume: Any, segmentation: Any, labels: np.ndarray, moved: str
) -> None:
    for name, node in (("volume", volume), ("segmentation", segmentation)):
        if moved in (name, "both"):
            place(node, MOVED)
    (plan,) = exportPlans(
        [ResectionPlan("A").withSegment(SegmentReference(segmentation, "tract"))], (), volume, tmp_path
    ).plans
    mask = sitk.ReadImage(plan["mask"])
    steps = {"segmentation": (2, 3, -2), "volume": (-2, -3, 2), "both": (0, 0, 0)}[moved]
    assert (sitk.GetArrayFromImage(mask) == np.roll(labels == 2, steps, axis=(0, 1, 2))).all()
    if moved != "segmentation":
        assert mask.GetOrigin() == pytest.approx((-34.0, -19.0, -35.0)), "LPS of the hardened scan"


def test_a_segment_that_was_edited_or_moved_is_written_again(
    tmp_path: Path, volume: Any, segmentation: Any, labels: np.ndarray
) -> None:
    masks, tract = SegmentMasks(volume, tmp_path), SegmentReference(segmentation, "tract")
    first = masks.file(tract)
    assert masks.file(tract) == first
    slicer.util.updateSegmentBinaryLabelmapFromArray((labels == 1).astype(np.uint8), segmentation, "tract", volume)
    edited = masks.file(tract)
    assert (read(str(edited)) == (labels == 1)).all()
    transform = place(segmentation, MOVED)
    moved = masks.file(tract)
    slicer.util.updateTransformMatrixFromArray(transform, np.eye(4))
    assert len({first, edited, moved, masks.file(tract)}) == 4
    assert len(list(tmp_path.glob("segment-*"))) == 1, "what nobody is told of any more is removed"


def test_what_cannot_be_planned_is_told_with_the_name_of_the_segment(
    tmp_path: Path, volume: Any, segmentation: Any
) -> None:
    segmentation.GetSegmentation().AddEmptySegment("empty", "Nothing yet")
    empty = SegmentReference(segmentation, "empty")
    for plans, structures in ([[ResectionPlan("A").withSegment(empty)], ()], [[], [empty]]):
        with pytest.raises(PredictionError, match="No voxel of the segment 'Nothing yet'") as error:
            exportPlans(plans, structures, volume, tmp_path)
        assert error.value.code == "bad_input"
    with pytest.raises(PredictionError, match="The plan 'A' needs a segment"):
        exportPlans([ResectionPlan("A", None)], (), volume, tmp_path)
    assert exportPlans((), (), volume, tmp_path).asJobOptions() == {}


def test_plans_and_structures_reach_the_backend_and_its_sentences_speak_of_segments(
    volume: Any, segmentation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
options = json.loads(job.read_text(encoding="utf-8"))["options"]
(job.parent / "seen").write_text(json.dumps(options))
say("error", code="bad_input", message=f"The plan in {options['plans'][0]['mask']} does not touch the tumour.")
sys.exit(2)
"""
    script = tmp_path / "refusing.py"
    script.write_text(BEGINNING + program, encoding="utf-8")
    monkeypatch.setattr(BackendProcess, "backendCommand", lambda job: [sys.executable, str(script), str(job)])
    tract = SegmentReference(segmentation, "tract")
    settings = PredictionSettings(plans=(ResectionPlan("A").withSegment(tract),), structures=(tract,))
    with pytest.raises(PredictionError) as error:
        PostOpPredictorLogic().predict(volume, segmentation, ["tumour"], settings=settings)
    assert error.value.message.startswith("The plan in 'tract' does not touch the tumour.")
    assert working_folders() == set()
