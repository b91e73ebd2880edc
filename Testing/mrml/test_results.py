"""What a prediction adds to the scene: everything marked, in one folder, and removed without a trace."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from finished_prediction import (
    CORE,
    FinishedPrediction,
    add_result,
    centroid,
    finished_prediction,
    hierarchy_tree,
    import_of,
    load_patient,
    node_ids,
    through,
)
from PostOpPredictorModule import NodeAdder as node_adder
from PostOpPredictorModule import ResultImport as result_import
from PostOpPredictorModule.ImageFiles import readImage, readLinearTransform
from PostOpPredictorModule.NodeBuilding import filledImage, fillingImage
from PostOpPredictorModule.ResultAttributes import PROVENANCE, ROLE, RUN_ID, SOURCE, SYNTHETIC, markedNodes
from PostOpPredictorModule.ResultFiles import precedentFiles
from PostOpPredictorModule.ResultNodes import findResults, removeRun, showInSpace, spaceOf
from PostOpPredictorModule.WindowLevel import GreyWindow
from standins.mrml_scene import ijk_to_ras, read_scene, write_scene
from vtk.util.numpy_support import vtk_to_numpy

pytestmark = pytest.mark.timeout(900)
"""The real backend shares this machine with other work."""

OUTCOMES = {"cavity": 1, "residual": 2, "blood": 3, "oedema": 4, "air": 5}


@pytest.fixture(scope="session")
def prediction(made_once: Any) -> FinishedPrediction:
    """A prediction of the real backend."""
    return finished_prediction(made_once)


@pytest.fixture
def patient(scene: Any, prediction: FinishedPrediction) -> tuple[Any, Any]:
    """Scan and tumour in the scene."""
    return load_patient(prediction)


@pytest.fixture
def result(prediction: FinishedPrediction, patient: tuple[Any, Any]) -> Any:
    """The prediction in the scene."""
    return add_result(prediction, patient[0])


def values(node: Any) -> np.ndarray:
    return slicer.util.arrayFromVolume(node)


def segment_mask(segmentation: Any, segment: str, reference: Any) -> np.ndarray:
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, reference) > 0


def test_volumes_hold_the_files_voxels_in_their_place(result: Any, prediction: FinishedPrediction) -> None:
    for node, name in ((result.postop, "postop_mni"), (result.preop, "preop_mni")):
        image = sitk.ReadImage(prediction.message["files"][name])
        assert (values(node) == sitk.GetArrayFromImage(image)).all()
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_ras(node)
        assert np.allclose(lps[:3, 3], image.GetOrigin())
        assert np.allclose(lps[:3, :3], np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())
        assert node.GetParentTransformNode() is None
    assert values(result.cavityProbability).max() <= 1.0


def test_segmentations_hold_the_files_labels(result: Any, prediction: FinishedPrediction) -> None:
    outcome = sitk.GetArrayFromImage(sitk.ReadImage(prediction.message["files"]["outcome_mni"]))
    for segment, label in OUTCOMES.items():
        assert (segment_mask(result.outcome, segment, result.postop) == (outcome == label)).all(), segment
    assert (outcome > 0).any()
    cavity = sitk.GetArrayFromImage(sitk.ReadImage(prediction.message["files"]["cavity_mask_mni"]))
    assert (segment_mask(result.cavity, "cavity", result.postop) == (cavity > 0)).all()
    tumour = sitk.GetArrayFromImage(sitk.ReadImage(prediction.message["files"]["tumour_mni"]))
    assert (segment_mask(result.tumour, "core", result.preop) == (tumour == 1)).all()


def test_precedents_come_with_their_volumes_and_segmentations(result: Any, prediction: FinishedPrediction) -> None:
    records = json.loads(Path(prediction.message["files"]["precedents"]).read_text(encoding="utf-8"))["precedents"]
    assert len(records) == len(result.precedents) == 2
    for record, one in zip(records, result.precedents, strict=True):
        assert (one.rank, one.iou) == (record["rank"], record["iou"])
        assert one.attributes["case_id"] == record["case_id"]
        outcome = sitk.GetArrayFromImage(sitk.ReadImage(record["files"]["outcome"]))
        assert (segment_mask(one.cavity, "cavity", one.post) == np.isin(outcome, (1, 3, 5))).all()
        tumour = sitk.GetArrayFromImage(sitk.ReadImage(record["files"]["tumour"]))
        assert (segment_mask(one.tumour, "core", one.pre) == (tumour == 1)).all()
        assert (values(one.pre) == sitk.GetArrayFromImage(sitk.ReadImage(record["files"]["pre"]))).all()
        assert (values(one.post) == sitk.GetArrayFromImage(sitk.ReadImage(record["files"]["post"]))).all()


def test_everything_lies_in_one_folder_beside_the_scan(result: Any, patient: tuple[Any, Any]) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(patient[0]))
    assert hierarchy.GetItemName(study) == "MRI before surgery"
    assert hierarchy.GetItemParent(result.folderItem) == study
    assert "synthetic" in hierarchy.GetItemName(result.folderItem)
    for node in markedNodes(slicer.mrmlScene):
        item = hierarchy.GetItemByDataNode(node)
        while item not in (result.folderItem, hierarchy.GetSceneItemID()):
            item = hierarchy.GetItemParent(item)
        assert item == result.folderItem, node.GetName()


def test_without_a_study_the_folder_lies_at_the_top(scene: Any, prediction: FinishedPrediction) -> None:
    nodes = add_result(prediction)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert hierarchy.GetItemParent(nodes.folderItem) == hierarchy.GetSceneItemID()
    assert nodes.source is None


def test_synthetic_nodes_say_so_in_name_and_attribute(result: Any) -> None:
    synthetic = [result.postop, result.cavity, result.outcome, result.cavityProbability, result.shift]
    synthetic += [result.report, result.generated]
    own = [node for node in markedNodes(slicer.mrmlScene) if not node.GetAttribute(ROLE).startswith("precedent-")]
    assert len(own) > len(synthetic)
    for node in own:
        expected = node in synthetic
        assert node.GetAttribute(SYNTHETIC) == ("1" if expected else "0"), node.GetName()
        assert ("synthetic" in node.GetName()) == expected


@pytest.mark.parametrize(
    ("source", "simulated"),
    [
        ("phantom", {"pre", "post", "tumour", "cavity"}),
        ("semi-real", {"post", "cavity"}),
        ("real", set()),
        ("", set()),
    ],
)
def test_what_is_simulated_of_a_precedent_is_said_in_name_and_attribute(
    scene: Any, prediction: FinishedPrediction, source: str, simulated: set[str]
) -> None:
    adding = import_of(prediction)
    first = adding.files.precedents[0]
    first = dataclasses.replace(first, record=dict(first.record) | {"source": source})
    adding.files = dataclasses.replace(adding.files, precedents=(first,))
    (precedent,) = through(adding.steps()).precedents
    for part in ("pre", "post", "tumour", "cavity"):
        node = getattr(precedent, part)
        assert node.GetAttribute(SYNTHETIC) == ("1" if part in simulated else "0"), part
        assert ("(simulated)" in node.GetName()) == (part in simulated), part


def test_provenance_tells_how_and_not_who(
    result: Any, patient: tuple[Any, Any], prediction: FinishedPrediction
) -> None:
    record = json.loads(result.postop.GetAttribute(PROVENANCE))
    assert record["settings"]["seed"] == 0 and record["model"]["checksum"] and record["software"]["torch"]
    assert record["statement"].startswith("Synthetic")
    assert result.summary["tumour_ml"] == prediction.message["tumour_ml"]
    for node in markedNodes(slicer.mrmlScene):
        text = " ".join([node.GetName(), *(node.GetAttribute(name) or "" for name in node.GetAttributeNames())])
        for secret in ("DOE", str(prediction.folder), "/tmp", ".nii"):
            assert secret not in text, node.GetName()
        assert node.GetNodeReference(SOURCE) is patient[0]


def test_segments_have_terms_that_slicer_and_dicom_know(result: Any) -> None:
    def entry(node: Any, segment: str) -> list[str]:
        text = vtk.reference("")
        assert node.GetSegmentation().GetSegment(segment).GetTag("TerminologyEntry", text)
        return str(text).split("~")

    assert entry(result.cavity, "cavity")[1:3] == [
        "SCT^49755003^Morphologically Altered Structure",
        "99POSTOP^resection-cavity^Resection cavity",
    ]
    assert entry(result.outcome, "blood")[2] == "SCT^50960005^Hemorrhage"
    assert entry(result.outcome, "air")[1] == "SCT^91720002^Body Substance"
    assert len(entry(result.outcome, "oedema")) == 7
    assert entry(result.outcome, "residual")[5] == "SCT^12738006^Brain"
    colours = {result.outcome.GetSegmentation().GetSegment(one).GetColor() for one in OUTCOMES}
    assert len(colours) == len(OUTCOMES)


def test_the_cavity_probability_is_coloured_and_cut_off(result: Any) -> None:
    display = result.cavityProbability.GetDisplayNode()
    assert display.GetColorNode().GetName() == "Iron"
    assert display.GetApplyThreshold() and display.GetLowerThreshold() == pytest.approx(0.1)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)


def test_transforms_lead_to_mni_and_back(result: Any, prediction: FinishedPrediction) -> None:
    there, back = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    result.transform.GetMatrixTransformToParent(there)
    result.transformToPatient.GetMatrixTransformToParent(back)
    there, back = slicer.util.arrayFromVTKMatrix(there), slicer.util.arrayFromVTKMatrix(back)
    assert np.allclose(there @ back, np.eye(4), atol=1e-9)
    itk = sitk.ReadTransform(prediction.message["files"]["patient_to_mni"])
    point = np.array([21.0, -34.0, 55.0])
    expected = np.array(itk.TransformPoint((point * (-1, -1, 1)).tolist())) * (-1, -1, 1)
    assert np.allclose((there @ [*point, 1.0])[:3], expected, atol=1e-6)
    assert not np.allclose(there, np.eye(4), atol=1.0), "this patient lay turned in the scanner"


def test_in_patient_space_the_tumour_lies_on_the_patients_tumour(result: Any, patient: tuple[Any, Any]) -> None:
    own = centroid(patient[1], CORE, patient[0])
    in_mni = centroid(result.tumour, ("core",), result.preop)
    assert spaceOf(result) == "mni" and np.linalg.norm(in_mni - own) > 10
    showInSpace(result, "patient")
    assert spaceOf(result) == "patient"
    shown = [0.0, 0.0, 0.0]
    result.tumour.TransformPointToWorld(in_mni, shown)
    assert np.linalg.norm(shown - own) < 2.0, "within the registration's error"
    for node in result.displayed():
        assert node.GetParentTransformNode() is result.transformToPatient
    showInSpace(result, "mni")
    assert all(node.GetParentTransformNode() is None for node in result.displayed())
    with pytest.raises(ValueError, match="no space 'talairach'"):
        showInSpace(result, "talairach")


def test_all_scans_are_shown_with_the_window_of_the_patients_scan(
    scene: Any, patient: tuple[Any, Any], prediction: FinishedPrediction
) -> None:
    display = patient[0].GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(120.0, 700.0)
    result = add_result(prediction, patient[0])
    for node in (result.postop, result.preop):
        shown = node.GetDisplayNode()
        assert (shown.GetWindowLevelMin(), shown.GetWindowLevelMax()) == pytest.approx((120.0, 700.0))
        assert not shown.GetAutoWindowLevel()
    for one in result.precedents:
        looks = [GreyWindow.ofNode(node) for node in (one.pre, one.post)]
        assert looks[0] == looks[1], "before and after surgery compare"
        assert -60 < looks[0].black < looks[0].white < 300, "its scale is 0 to 255"
        expected = places_in_range(result.preop, GreyWindow(120.0, 700.0))
        assert places_in_range(one.pre, looks[0]) == pytest.approx(expected)


def places_in_range(volume: Any, window: GreyWindow) -> tuple[float, float]:
    """Where black and white lie between the darkest (0) and the brightest (1) of the brain."""
    brain = values(volume)[values(volume) != 0]
    dark, bright = np.percentile(brain, (0.5, 99.5))
    return (window.black - dark) / (bright - dark), (window.white - dark) / (bright - dark)


def test_a_scan_without_a_display_gets_a_window_from_its_brain(
    patient: tuple[Any, Any], prediction: FinishedPrediction
) -> None:
    slicer.mrmlScene.RemoveNode(patient[0].GetDisplayNode())
    result = add_result(prediction, patient[0])
    window = GreyWindow.ofNode(result.postop)
    assert places_in_range(result.preop, window) == pytest.approx((0.0, 1.0), abs=1e-6)


def test_the_users_views_stay_as_they_are(
    scene_with_logics: Any, patient: tuple[Any, Any], prediction: FinishedPrediction
) -> None:
    slice_logic = slicer.vtkMRMLSliceLogic()
    slice_logic.SetMRMLScene(slicer.mrmlScene)
    slice_logic.AddSliceNode("Red")
    slice_logic.GetSliceCompositeNode().SetBackgroundVolumeID(patient[0].GetID())
    selection = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    composite = slice_logic.GetSliceCompositeNode()

    def state() -> tuple[Any, ...]:
        return composite.GetMTime(), slice_logic.GetSliceNode().GetMTime(), selection and selection.GetMTime()

    before = state()
    result = add_result(prediction, patient[0])
    assert state() == before
    segmentations = [result.tumour, result.cavity, result.outcome]
    segmentations += [node for one in result.precedents for node in (one.tumour, one.cavity)]
    assert all(not node.GetDisplayNode().GetVisibility() for node in segmentations)


def test_the_table_lists_the_precedents_with_types_and_units(result: Any) -> None:
    table = result.table
    columns = [table.GetColumnName(number) for number in range(table.GetNumberOfColumns())]
    assert columns[:3] == ["rank", "case", "iou"] and table.GetNumberOfRows() == 2
    of = {name: table.GetTable().GetColumnByName(name) for name in columns}
    assert [of["rank"].GetValue(row) for row in (0, 1)] == [1, 2]
    assert of["iou"].GetValue(0) == result.precedents[0].iou > of["iou"].GetValue(1)
    assert isinstance(of["case"], vtk.vtkStringArray) and of["case"].GetValue(0) == "0001"
    assert of["institution"].GetValue(0) == "north"
    assert [of["followed"].GetValue(row) for row in (0, 1)] == [1, 0]
    assert np.isnan(of["eor"].GetValue(0)), "this library does not tell"
    assert table.GetColumnUnitLabel("eor") == "%" and table.GetColumnUnitLabel("tumour") == "ml"


def test_removing_the_result_leaves_the_scene_as_it_was(
    patient: tuple[Any, Any], prediction: FinishedPrediction
) -> None:
    nodes, tree = node_ids(), hierarchy_tree()
    result = add_result(prediction, patient[0])
    extra = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationDisplayNode")
    result.cavity.AddAndObserveDisplayNodeID(extra.GetID())
    showInSpace(result, "patient")
    assert len(node_ids() - nodes) > 20
    removeRun(slicer.mrmlScene, result.runId)
    assert node_ids() == nodes
    assert hierarchy_tree() == tree
    assert findResults(slicer.mrmlScene) == []


def test_removing_one_result_leaves_the_others(patient: tuple[Any, Any], prediction: FinishedPrediction) -> None:
    first = add_result(prediction, patient[0], "run-1")
    nodes, tree = node_ids(), hierarchy_tree()
    second = add_result(prediction, patient[0], "run-2")
    assert [one.runId for one in findResults(slicer.mrmlScene)] == ["run-2", "run-1"], "newest first"
    assert second.postop.GetName() != first.postop.GetName()
    removeRun(slicer.mrmlScene, "run-2")
    assert (node_ids(), hierarchy_tree()) == (nodes, tree)
    assert [one.runId for one in findResults(slicer.mrmlScene)] == ["run-1"]


def test_what_the_user_put_into_the_folder_stays(patient: tuple[Any, Any], prediction: FinishedPrediction) -> None:
    result = add_result(prediction, patient[0])
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "my notes")
    hierarchy.CreateItem(result.folderItem, own)
    removeRun(slicer.mrmlScene, result.runId)
    item = hierarchy.GetItemByDataNode(own)
    assert own.GetScene() is slicer.mrmlScene and item
    assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "MRI before surgery"


def test_results_are_found_again_in_a_saved_scene(
    tmp_path: Path, patient: tuple[Any, Any], prediction: FinishedPrediction
) -> None:
    saved = add_result(prediction, patient[0], warnings=("Careful.",))
    showInSpace(saved, "patient")
    iou, voxels = saved.precedents[1].iou, values(saved.postop).copy()
    tree, names = hierarchy_tree(), {node.GetName() for node in markedNodes(slicer.mrmlScene)}
    write_scene(tmp_path / "scene.mrb")
    read_scene(tmp_path / "scene.mrb")
    assert hierarchy_tree() == tree
    (found,) = findResults(slicer.mrmlScene)
    assert {node.GetName() for node in markedNodes(slicer.mrmlScene)} == names
    assert (found.runId, found.warnings, spaceOf(found)) == (saved.runId, ("Careful.",), "patient")
    assert found.source.GetName() == "T1 DOE^JANE"
    assert found.precedents[1].iou == iou
    assert (values(found.postop) == voxels).all()
    assert found.summary["eor_percent"] == prediction.message["eor_percent"]
    assert found.table.GetNumberOfRows() == 2
    removeRun(slicer.mrmlScene, found.runId)
    assert not markedNodes(slicer.mrmlScene)
    left = {slicer.mrmlScene.GetNthNode(n).GetName() for n in range(slicer.mrmlScene.GetNumberOfNodes())}
    assert not names & left


def test_nodes_that_the_user_removed_are_none(result: Any) -> None:
    slicer.mrmlScene.RemoveNode(result.outcome)
    slicer.mrmlScene.RemoveNode(result.precedents[0].post)
    (found,) = findResults(slicer.mrmlScene)
    assert found.outcome is None and found.precedents[0].post is None and found.cavity is not None
    showInSpace(found, "patient")
    showInSpace(found, "mni")
    slicer.mrmlScene.RemoveNode(found.transformToPatient)
    with pytest.raises(ValueError, match="transform"):
        showInSpace(found, "patient")
    (found,) = findResults(slicer.mrmlScene)
    with pytest.raises(ValueError, match="transform"):
        showInSpace(found, "patient")


@pytest.mark.parametrize("added", [0, 1, 3, 7, 12])
def test_an_import_that_stops_midway_leaves_nothing(
    patient: tuple[Any, Any], prediction: FinishedPrediction, added: int
) -> None:
    nodes, tree = node_ids(), hierarchy_tree()
    steps = import_of(prediction, patient[0]).steps()
    next(steps)
    while len(node_ids() - nodes) < added:
        next(steps)
    steps.close()
    assert (node_ids(), hierarchy_tree()) == (nodes, tree)


def test_no_step_copies_more_than_a_few_megabytes() -> None:
    array = np.arange(3 * 120 * 130 * 140, dtype=np.float32).reshape(120, 130, 140, 3)
    filling, written = fillingImage(vtk.vtkImageData(), array), []
    while True:
        try:
            next(filling)
        except StopIteration as finished:
            image = finished.value
            break
        written.append(1)
    assert len(written) >= array.nbytes // 5_000_000
    assert np.array_equal(vtk_to_numpy(image.GetPointData().GetScalars()), array.reshape(-1, 3))
    whole = filledImage(vtk.vtkImageData(), array)
    assert np.array_equal(vtk_to_numpy(whole.GetPointData().GetScalars()), array.reshape(-1, 3))


@pytest.mark.parametrize("broken", ["placeVoxels", "fillSegmentation", "fillPrecedentsTable"])
def test_an_import_that_fails_leaves_nothing(
    patient: tuple[Any, Any], prediction: FinishedPrediction, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    nodes, tree = node_ids(), hierarchy_tree()
    place = result_import if broken == "fillPrecedentsTable" else node_adder
    works, calls = getattr(place, broken), []

    def fails_at_last(node: Any, *values: Any) -> None:
        calls.append(node)
        works(node, *values)
        if len(calls) == (1 if broken == "fillPrecedentsTable" else 4):
            raise MemoryError("no room")

    monkeypatch.setattr(place, broken, fails_at_last)
    with pytest.raises(MemoryError):
        add_result(prediction, patient[0])
    assert (node_ids(), hierarchy_tree()) == (nodes, tree)


def test_an_uncertainty_volume_is_shown_where_the_model_gives_one(
    patient: tuple[Any, Any], prediction: FinishedPrediction
) -> None:
    importing = import_of(prediction, patient[0])
    images = {**importing.files.images, "uncertainty": importing.files.images["cavityProbability"]}
    importing.files = dataclasses.replace(importing.files, images=images)
    result = through(importing.steps())
    assert "synthetic" in result.uncertainty.GetName()
    assert result.uncertainty in result.displayed()


def test_a_prediction_without_precedent_has_an_empty_table(
    patient: tuple[Any, Any], prediction: FinishedPrediction
) -> None:
    importing = import_of(prediction, patient[0])
    importing.files = dataclasses.replace(importing.files, precedents=())
    result = through(importing.steps())
    assert result.precedents == () and result.table.GetNumberOfRows() == 0


def test_attributes_that_somebody_spoilt_do_no_harm(result: Any) -> None:
    result.postop.SetAttribute(PROVENANCE, "{broken")
    (found,) = findResults(slicer.mrmlScene)
    assert found.summary == {} and found.warnings == ()
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    other.SetAttribute(ROLE, "postop")
    assert other.GetAttribute(RUN_ID) is None
    assert len(findResults(slicer.mrmlScene)) == 1


def test_files_that_are_no_prediction_are_refused(tmp_path: Path) -> None:
    bent = sitk.Image([8, 8, 8], sitk.sitkVectorFloat64, 3)
    bent[2, 2, 2] = (5.0, 0.0, 0.0)
    bent.SetOrigin((35.0, -60.0, 69.0))
    shift = sitk.DisplacementFieldTransform(bent)
    sitk.WriteTransform(shift, str(tmp_path / "shift.h5"))
    with pytest.raises(ValueError, match="affine"):
        readLinearTransform(tmp_path / "shift.h5")
    sitk.WriteImage(sitk.Image([8, 8, 8], sitk.sitkVectorFloat32, 3), str(tmp_path / "vector.nrrd"))
    with pytest.raises(ValueError, match="one value"):
        readImage(tmp_path / "vector.nrrd")


def test_blood_and_air_belong_to_a_precedents_cavity_and_residual_tumour_does_not(tmp_path: Path) -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2, 2, 1:6] = (1, 2, 3, 4, 5)
    files = {}
    for name in ("pre", "post", "tumour", "outcome"):
        files[name] = str(tmp_path / f"{name}.nrrd")
        sitk.WriteImage(sitk.GetImageFromArray(labels), files[name])
    cavity = precedentFiles({"rank": 1, "files": files}).images["cavity"]
    assert cavity.array.tolist() == [[[1, 0, 1, 0, 1]]]
    assert cavity.ijkToRas[:3, 3].tolist() == [-1.0, -2.0, 2.0]
