"""Plans: what can be said with them, what is refused, and that they live in the scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from PostOpPredictorModule.PlanList import MOST_PLANS, PlanList, ResectionPlan, SegmentReference, SparedSegment
from PostOpPredictorModule.PlansInScene import keepPlans, plansOf
from standins.mrml_scene import add_segmentation, read_scene, write_scene


@pytest.fixture
def segmentation(scene: Any) -> Any:
    labels = np.zeros((10, 12, 14), np.uint8)
    labels[2:5, 3:6, 3:6], labels[6:8, 3:6, 3:6] = 1, 2
    volume = slicer.util.addVolumeFromArray(labels.astype(np.float32), name="T1")
    return add_segmentation(labels, volume, {1: "tumour", 2: "motor cortex"})


@pytest.fixture
def tumour(segmentation: Any) -> SegmentReference:
    return SegmentReference(segmentation, "tumour")


@pytest.fixture
def motor(segmentation: Any) -> SegmentReference:
    return SegmentReference(segmentation, "motor cortex")


@pytest.fixture
def parameter_node(scene: Any) -> Any:
    return scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "PostOpPredictor")


def test_plans_are_added_copied_renamed_and_removed() -> None:
    plans = PlanList().added().added()
    assert [one.name for one in plans.plans] == ["Plan 1", "Plan 2"]
    plans = plans.changed(0, plans.plans[0].withMargin(3)).duplicated(0)
    assert [(one.name, one.marginMm) for one in plans.plans] == [("Plan 1", 3), ("Plan 1, copy 1", 3), ("Plan 2", 0)]
    plans = plans.renamed(1, "  Wide  margin ")
    assert plans.plans[1].name == "Wide margin"
    assert [one.name for one in plans.removed(0).plans] == ["Wide margin", "Plan 2"]
    assert [one.name for one in plans.removed(0).added().plans] == ["Wide margin", "Plan 2", "Plan 1"]


@pytest.mark.parametrize(("name", "says"), [("  ", "needs a name"), ("PLAN 2", "already")])
def test_names_that_tell_nothing_apart_are_refused(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PlanList().added().added().renamed(0, name)


def test_no_more_plans_than_the_backend_takes() -> None:
    from PostOpPredictorModule import PlanList as limits

    from PostOpPredictorLib.prediction import plan_request, request

    assert (limits.MOST_PLANS, limits.MOST_DAYS) == (request.MOST_PLANS, request.MOST_TIMES)
    assert (limits.FIRST_DAY, limits.LAST_DAY) == (request.FIRST_DAY, request.LAST_DAY)
    assert (limits.LEAST_MARGIN_MM, limits.MOST_MARGIN_MM) == (
        plan_request.LEAST_MARGIN_MM,
        plan_request.MOST_MARGIN_MM,
    )
    assert limits.MOST_SPARED_MM == plan_request.MOST_SPARED_MM
    plans = PlanList()
    for _ in range(MOST_PLANS):
        plans = plans.added()
    for more in (plans.added, lambda: plans.duplicated(0)):
        with pytest.raises(ValueError, match="At most 12 plans"):
            more()


def test_margins_and_distances_stay_within_what_can_be_asked(tumour: SegmentReference) -> None:
    plan = ResectionPlan("Wide")
    assert [plan.withMargin(mm).marginMm for mm in (-9, -5, 0.04, 10, 11.3)] == [-5, -5, 0, 10, 10]
    assert [plan.sparing(tumour, mm).spared[0].distanceMm for mm in (-1, 4.26, 80)] == [0, 4.3, 50]


def test_a_plan_says_what_it_takes_and_leaves(tumour: SegmentReference, motor: SegmentReference) -> None:
    plan = ResectionPlan("A")
    assert plan.description() == "takes the tumour"
    assert plan.withMargin(5).description() == "takes the tumour and 5 mm around it"
    assert plan.withMargin(-2.5).description() == "takes the tumour but 2.5 mm of its rim"
    taking = plan.withSegment(tumour).sparing(motor, 5)
    assert taking.description() == "takes 'tumour', leaves 5 mm around 'motor cortex'"


def test_leaving_a_segment_again_changes_its_distance(motor: SegmentReference) -> None:
    plan = ResectionPlan("A").sparing(motor, 5).sparing(motor, 8)
    assert plan.spared == (SparedSegment(motor, 8),)
    assert plan.notSparing(motor).spared == ()


def test_what_contradicts_itself_is_told(tumour: SegmentReference) -> None:
    plan = ResectionPlan("A").withSegment(tumour).sparing(tumour, 3)
    assert (
        PlanList((plan,)).problem() == "The plan 'A' is to take and to leave the segment 'tumour'. Choose one of them."
    )
    assert "needs a segment" in ResectionPlan("A", None).problem()


def test_a_segment_that_is_gone_is_told(segmentation: Any, tumour: SegmentReference, motor: SegmentReference) -> None:
    taking = PlanList((ResectionPlan("A").withSegment(tumour),))
    sparing = PlanList((ResectionPlan("B").sparing(motor, 2),))
    measuring = PlanList(structures=(motor,))
    segmentation.GetSegmentation().RemoveSegment("motor cortex")
    assert taking.problem() == ""
    assert "'B'" in sparing.problem()
    assert "structure" in measuring.problem()
    slicer.mrmlScene.RemoveNode(segmentation)
    assert taking.problem() == "The segment of the plan 'A' is not in the scene any more. Choose another one."


def test_days_are_sorted_and_within_a_year() -> None:
    assert PlanList().withDays([60, 1, 14, 14.0]).days == (1, 14, 60)
    for days, says in (([366], "from 0 to 365"), ([-1], "from 0 to 365"), (range(30), "At most 24")):
        with pytest.raises(ValueError, match=says):
            PlanList().withDays(days)


@pytest.fixture
def everything(tumour: SegmentReference, motor: SegmentReference) -> PlanList:
    plans = (
        ResectionPlan("A").withMargin(-1.5).sparing(motor, 5),
        ResectionPlan("Größer").withSegment(tumour),
    )
    return PlanList(plans, (motor, tumour), (1.0, 14.0))


def test_plans_are_kept_in_the_parameter_node(parameter_node: Any, everything: PlanList) -> None:
    assert plansOf(parameter_node) == PlanList()
    keepPlans(parameter_node, everything)
    assert plansOf(parameter_node) == everything


def test_keeping_what_is_kept_tells_nobody(parameter_node: Any, everything: PlanList) -> None:
    keepPlans(parameter_node, everything)
    told: list[Any] = []
    parameter_node.AddObserver("ModifiedEvent", lambda *_: told.append(1))
    keepPlans(parameter_node, everything)
    assert told == []
    keepPlans(parameter_node, everything.removed(0))
    assert len(told) == 1


def test_plans_come_back_with_the_scene(
    parameter_node: Any, everything: PlanList, segmentation: Any, tmp_path: Path, scene: Any
) -> None:
    """Also where the segmentation gets another id, because the scene is added to one that has such a node."""
    keepPlans(parameter_node, everything)
    write_scene(tmp_path / "saved.mrb")
    read_scene(tmp_path / "saved.mrb")
    node = slicer.util.getFirstNodeByClassByName("vtkMRMLScriptedModuleNode", "PostOpPredictor")
    back = plansOf(node)
    assert [one.name for one in back.plans] == ["A", "Größer"]
    assert back.problem() == ""
    assert [one.name for one in back.structures] == ["motor cortex", "tumour"]
    assert back.days == (1.0, 14.0)
    assert scene.ReadFromMRB(str(tmp_path / "saved.mrb"), False)
    nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
    segmentations = {plansOf(one).structures[0].segmentation for one in nodes}
    assert len(nodes) == len(segmentations) == 2


def test_a_segmentation_that_was_removed_leaves_the_other_plans(
    parameter_node: Any, everything: PlanList, segmentation: Any
) -> None:
    keepPlans(parameter_node, everything)
    slicer.mrmlScene.RemoveNode(segmentation)
    back = plansOf(parameter_node)
    assert [one.name for one in back.plans] == ["A", "Größer"]
    assert "not in the scene any more" in back.problem()
    keepPlans(parameter_node, back.removed(1))
    assert [one.name for one in plansOf(parameter_node).plans] == ["A"]


@pytest.mark.parametrize("text", ["no json", "[]", '{"plans": [{}]}', '{"plans": 3}', '{"structures": [[1]]}'])
def test_what_is_no_list_of_plans_is_an_empty_one(parameter_node: Any, text: str) -> None:
    parameter_node.SetParameter("PostOpPredictor.Plans", text)
    assert plansOf(parameter_node) == PlanList()
