"""What a prediction may bring beyond one outcome: maps, shift, plans, days, other sequences, a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from finished_prediction import hierarchy_tree, node_ids
from PostOpPredictorModule.ResultAttributes import ROLE, SYNTHETIC, markedNodes
from PostOpPredictorModule.ResultFiles import readResult
from PostOpPredictorModule.ResultImport import ResultImport
from PostOpPredictorModule.ResultNodes import findResults, removeRun, showInSpace
from standins.mrml_scene import ijk_to_ras, read_scene, write_scene
from written_result import (
    INFLUENCE,
    SHIFT_MM,
    SPREADS,
    TUMOUR_AT,
    WrittenResult,
    distance_to_tumour,
    plain_result,
    written_result,
)

LPS = np.array([-1.0, -1.0, 1.0])
MAPS = {
    "spreadPrecedents": "spread_precedents_mni",
    "spreadNoise": "spread_noise_mni",
    "uncertainty": "uncertainty_mni",
    "cavityAgreement": "cavity_agreement_mni",
    "generated": "generated_mni",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> WrittenResult:
    return written_result(tmp_path_factory.mktemp("written") / "prediction")


@pytest.fixture
def result(scene: Any, written: WrittenResult) -> Any:
    return written.added()


def in_place(node: Any, like: sitk.Image) -> np.ndarray:
    """The voxels of ``node``, which may be cropped, on the grid of a file; 0 elsewhere."""
    values, whole = slicer.util.arrayFromVolume(node), np.zeros(like.GetSize()[::-1], np.float32)
    corner = (np.diag([-1, -1, 1, 1]) @ ijk_to_ras(node))[:3, 3]
    first = np.round(like.TransformPhysicalPointToContinuousIndex(corner.tolist())).astype(int)[::-1]
    box = tuple(slice(start, start + size) for start, size in zip(first, values.shape, strict=True))
    whole[box] = values
    return whole


@pytest.mark.parametrize("role", MAPS)
def test_a_map_holds_the_files_voxels_in_their_place(result: Any, written: WrittenResult, role: str) -> None:
    file = sitk.ReadImage(written.message["files"][MAPS[role]])
    node = getattr(result, role)
    assert (in_place(node, file) == sitk.GetArrayFromImage(file)).all()
    assert node.GetAttribute(SYNTHETIC) == "1" and "synthetic" in node.GetName()
    assert node in result.displayed()


def test_influence_belongs_to_its_precedent(result: Any, written: WrittenResult) -> None:
    for one, extreme in zip(result.precedents, INFLUENCE, strict=True):
        file = sitk.ReadImage(written.message["files"][f"influence_{one.rank}_mni"])
        assert (in_place(one.influence, file) == sitk.GetArrayFromImage(file)).all()
        values = slicer.util.arrayFromVolume(one.influence)
        assert values.flat[np.abs(values).argmax()] == pytest.approx(extreme)
        assert one.influence.GetAttribute(SYNTHETIC) == "1", "it is made by the model, whoever the precedent was"
        assert one.influence in result.displayed()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(one.influence))
        assert hierarchy.GetItemName(folder).startswith(f"Precedent {one.rank} ")


def test_brightness_maps_share_one_range_and_nothing_is_transparent(result: Any) -> None:
    looks = [getattr(result, role).GetDisplayNode() for role in ("spreadPrecedents", "spreadNoise", "uncertainty")]
    assert len({(one.GetWindowLevelMin(), one.GetWindowLevelMax()) for one in looks}) == 1
    assert looks[0].GetWindowLevelMin() == 0
    assert SPREADS["uncertainty_mni"] * 0.5 < looks[0].GetWindowLevelMax() <= SPREADS["uncertainty_mni"]
    colours = looks[0].GetColorNode()
    colour = [0.0] * 4
    colours.GetColor(0, colour)
    assert colour[3] == 0, "the scan is seen where the spread is nothing"
    brightness = []
    for number in (20, 100, 180, 255):
        colours.GetColor(number, colour)
        assert colour[3] == 1
        brightness.append(0.3 * colour[0] + 0.6 * colour[1] + 0.1 * colour[2])
    assert brightness == sorted(brightness) and brightness[-1] - brightness[0] > 0.7, "more is brighter"


def test_what_takes_long_is_done_while_reading(
    scene: Any, written: WrittenResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Percentiles of millions of voxels would stop the application while the nodes are added."""
    files = readResult(written.message)
    monkeypatch.setattr(np, "percentile", lambda *_args: pytest.fail("computed while adding"))
    for _step in ResultImport(scene, files, "run-1", None, None).steps():
        pass


def test_influence_is_shown_with_its_sign(result: Any) -> None:
    display = result.precedents[0].influence.GetDisplayNode()
    assert display.GetWindowLevelMin() == -display.GetWindowLevelMax() < 0
    assert display.GetWindowLevelMax() == pytest.approx(max(map(abs, INFLUENCE)))
    colour = {}
    for number in (10, 127, 245):
        held = [0.0] * 4
        display.GetColorNode().GetColor(number, held)
        colour[number] = held
    assert colour[127][3] == 0
    assert colour[10][2] > colour[10][0] and colour[245][0] > colour[245][2], "less is blue, more is red"


def test_shift_moves_tissue_from_where_it_was_to_where_it_is_after_surgery(result: Any) -> None:
    """after(p) = before(p + shift(p)): what is at p after surgery was at p + shift before."""
    after = TUMOUR_AT * LPS
    before = (TUMOUR_AT + SHIFT_MM) * LPS
    general = vtk.vtkGeneralTransform()
    result.shift.GetTransformFromWorld(general)
    assert general.TransformPoint(after) == pytest.approx(before, abs=0.01)
    result.shift.GetTransformToWorld(general)
    assert general.TransformPoint(before) == pytest.approx(after, abs=0.05)
    far = (-60.0, 80.0, 60.0)
    assert general.TransformPoint(far) == pytest.approx(far, abs=1e-3)


def test_a_scan_under_the_shift_lies_as_after_surgery(scene: Any, result: Any) -> None:
    """Slicer's own resampling agrees: a marker of the scan before surgery moves against the pull-back."""
    marker = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    marker.AddControlPoint(vtk.vtkVector3d(*((TUMOUR_AT + SHIFT_MM) * LPS)))
    marker.SetAndObserveTransformNodeID(result.shift.GetID())
    world = [0.0] * 3
    marker.GetNthControlPointPositionWorld(0, world)
    assert world == pytest.approx(TUMOUR_AT * LPS, abs=0.05)


def test_plans_lie_in_folders_of_their_own(result: Any, written: WrittenResult) -> None:
    assert [(one.number, one.name) for one in result.plans] == [(1, "careful"), (2, "")]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for plan, folder_name in zip(result.plans, ("Plan 1: careful", "Plan 2: Plan 2"), strict=True):
        for node in (plan.postop, plan.plan, plan.cavity, plan.residual):
            folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
            assert hierarchy.GetItemName(folder) == folder_name
            assert hierarchy.GetItemParent(folder) == result.folderItem
            assert node in result.displayed()
        synthetic = [one.GetAttribute(SYNTHETIC) for one in (plan.postop, plan.plan, plan.cavity, plan.residual)]
        assert synthetic == ["1", "0", "1", "1"]
    assert result.plans[0].record["read_out"]["eor_percent"] == 83.0
    assert "files" not in result.plans[0].record
    taken = sitk.GetArrayFromImage(sitk.ReadImage(written.message["files"]["plan-2/plan_mni"]))
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(result.plans[1].plan, "plan", result.preop)
    assert ((mask > 0) == (taken > 0)).all() and taken.any()
    left = slicer.util.arrayFromSegmentBinaryLabelmap(result.plans[0].residual, "residual", result.preop)
    distance = distance_to_tumour()
    assert ((left > 0) == ((distance < 26) & ~(distance < 18))).all()


def test_other_sequences_have_grey_levels_of_their_own(result: Any) -> None:
    (flair,) = result.more
    assert flair.sequence == "FLAIR"
    assert (flair.preop.GetAttribute(SYNTHETIC), flair.postop.GetAttribute(SYNTHETIC)) == ("0", "1")
    looks = [node.GetDisplayNode().GetWindowLevelMax() for node in (flair.preop, flair.postop)]
    assert looks[0] == looks[1] > 1.5 * result.preop.GetDisplayNode().GetWindowLevelMax()


def test_the_report_is_a_text_of_the_scene(result: Any, written: WrittenResult) -> None:
    assert result.report.GetText() == (written.folder / "report.html").read_text(encoding="utf-8")


def test_the_table_tells_the_influence(result: Any) -> None:
    columns = result.table.GetTable()
    assert [columns.GetColumnByName("influence").GetValue(row) for row in (0, 1)] == [75.0, 25.0]
    assert result.table.GetColumnUnitLabel("influence_volume") == "ml"


def test_everything_goes_along_to_the_patient(result: Any) -> None:
    showInSpace(result, "patient")
    for node in (result.spreadNoise, result.precedents[0].influence, result.plans[1].cavity, result.more[0].postop):
        assert node.GetTransformNodeID() == result.transformToPatient.GetID(), node.GetName()


def test_removing_it_leaves_the_scene_as_it_was(scene: Any, written: WrittenResult) -> None:
    nodes, tree = node_ids(), hierarchy_tree()
    result = written.added()
    assert result.plans and result.shift is not None
    removeRun(slicer.mrmlScene, result.runId)
    assert (node_ids(), hierarchy_tree()) == (nodes, tree)


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
def test_an_import_that_stops_midway_leaves_nothing(scene: Any, written: WrittenResult, fraction: float) -> None:
    nodes, tree = node_ids(), hierarchy_tree()
    files = readResult(written.message)
    count = sum(1 for _ in ResultImport(slicer.mrmlScene, files, "run-0", None, None).steps())
    removeRun(slicer.mrmlScene, "run-0")
    steps = ResultImport(slicer.mrmlScene, files, "run-1", None, None).steps()
    for _ in range(round(count * fraction)):
        next(steps)
    steps.close()
    assert (node_ids(), hierarchy_tree()) == (nodes, tree)


def test_all_of_it_is_found_again_in_a_saved_scene(tmp_path: Path, result: Any) -> None:
    spread = slicer.util.arrayFromVolume(result.spreadPrecedents).copy()
    names = sorted(node.GetName() for node in markedNodes(slicer.mrmlScene))
    write_scene(tmp_path / "scene.mrb")
    read_scene(tmp_path / "scene.mrb")
    (found,) = findResults(slicer.mrmlScene)
    assert sorted(node.GetName() for node in markedNodes(slicer.mrmlScene)) == names
    assert (slicer.util.arrayFromVolume(found.spreadPrecedents) == spread).all()
    held = [0.0] * 4
    found.spreadPrecedents.GetDisplayNode().GetColorNode().GetColor(0, held)
    assert held[3] == 0, "what is nothing stays transparent"
    general = vtk.vtkGeneralTransform()
    found.shift.GetTransformFromWorld(general)
    assert general.TransformPoint(TUMOUR_AT * LPS) == pytest.approx((TUMOUR_AT + SHIFT_MM) * LPS, abs=0.01)
    assert found.report.GetText().startswith("<!doctype html><title>Report \u00e4")
    assert [one.name for one in found.plans] == ["careful", ""]
    assert found.precedents[1].influence is not None
    assert found.summary["uncertainty"]["calibrated"] is True
    assert found.more[0].sequence == "FLAIR"


def test_a_result_without_any_of_it_is_added_as_before(scene: Any, tmp_path: Path) -> None:
    result = plain_result(tmp_path / "plain").added()
    assert (result.plans, result.more, result.series, result.shift, result.report) == ((), (), None, None, None)
    assert all(getattr(result, role) is None for role in MAPS)
    assert [one.influence for one in result.precedents] == [None, None]
    assert not any(node.GetAttribute(ROLE) == "colours" for node in markedNodes(slicer.mrmlScene))


def test_files_that_do_not_fit_the_figures_are_refused(scene: Any, tmp_path: Path) -> None:
    written = written_result(tmp_path / "bad", series=[{"days": 1.0, "cavity_ml": 3.0}])
    with pytest.raises(ValueError):
        readResult(written.message)
    written = written_result(tmp_path / "worse", ("plan-2/cavity_mask_mni",))
    with pytest.raises(KeyError, match="plan-2"):
        readResult(written.message)
