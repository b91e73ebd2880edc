"""What is handed to the backend lies where the user sees it in the scene, and the user's nodes stay as they were."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from PostOpPredictorModule.Errors import PredictionError
from PostOpPredictorModule.InputExport import exportInputs
from PostOpPredictorModule.Settings import PredictionInputs
from standins.mrml_scene import add_segmentation, place, write_scene

SHAPE = (24, 30, 36)
IJK_TO_RAS = np.array([[-2.0, 0, 0, 30], [0, -2.0, 0, 25], [0, 0, 2.5, -40], [0, 0, 0, 1]])
TUMOUR = (slice(8, 14), slice(10, 18), slice(12, 22))
NECROSIS = (slice(10, 12), slice(12, 15), slice(14, 18))
TURNED = np.array([[0.0, -1, 0, 12], [1, 0, 0, -7], [0, 0, 1, 5], [0, 0, 0, 1]])
SHEARED = np.array([[1.0, 0.2, 0, 3], [0, 1.1, 0, 0], [0, 0, 0.9, 1], [0, 0, 0, 1]])


@pytest.fixture
def volume(scene: Any) -> Any:
    """A scan with a bright box where the tumour is."""
    array = np.full(SHAPE, 10, np.int16)
    array[TUMOUR] = 100
    return slicer.util.addVolumeFromArray(array, ijkToRAS=IJK_TO_RAS, name="T1")


@pytest.fixture
def labels() -> np.ndarray:
    """1 tumour, 2 necrosis within it."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[TUMOUR] = 1
    labels[NECROSIS] = 2
    return labels


@pytest.fixture
def segmentation(volume: Any, labels: np.ndarray) -> Any:
    """Two segments, ``tumour`` and ``necrosis``."""
    return add_segmentation(labels, volume, {1: "tumour", 2: "necrosis"})


def exported(folder: Path, volume: Any, tumour: Any, ids: tuple[str, ...] = (), **more: Any) -> tuple[Any, Any]:
    files = exportInputs(PredictionInputs(volume, tumour, ids, **more), folder)
    return sitk.ReadImage(str(files.volume)), sitk.ReadImage(str(files.tumour))


def world_box(scan: sitk.Image, mask: np.ndarray) -> np.ndarray:
    """RAS corners (2, 3) of the voxel centres of ``mask``."""
    points = [scan.TransformIndexToPhysicalPoint(tuple(int(n) for n in zyx[::-1])) for zyx in np.argwhere(mask)]
    points = np.array(points) * (-1, -1, 1)
    return np.array([points.min(axis=0), points.max(axis=0)])


def bright(scan: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(scan) > 55


def bend(scene: Any) -> Any:
    """A transform that is not linear: it pushes to the right the more, the higher up."""
    spline, before, after = vtk.vtkThinPlateSplineTransform(), vtk.vtkPoints(), vtk.vtkPoints()
    for x, y, z in itertools.product((-60, 0, 60), repeat=3):
        before.InsertNextPoint(x, y, z)
        after.InsertNextPoint(x + 4 + 0.002 * (z + 60) ** 2, y, z)
    spline.SetSourceLandmarks(before)
    spline.SetTargetLandmarks(after)
    spline.SetBasisToR()
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Bend")
    node.SetAndObserveTransformToParent(spline)
    return node


def test_without_transforms_files_hold_the_nodes_in_lps(tmp_path: Path, volume: Any, segmentation: Any) -> None:
    scan, mask = exported(tmp_path, volume, segmentation)
    assert np.allclose(scan.GetOrigin(), (-30, -25, -40))
    assert np.allclose(scan.GetSpacing(), (2, 2, 2.5))
    assert np.allclose(np.reshape(scan.GetDirection(), (3, 3)), np.eye(3))
    assert scan.GetPixelID() == sitk.sitkInt16
    assert (sitk.GetArrayFromImage(scan) == slicer.util.arrayFromVolume(volume)).all()
    assert (sitk.GetArrayFromImage(mask) == bright(scan)).all()
    assert mask.GetOrigin() == scan.GetOrigin() and mask.GetDirection() == scan.GetDirection()


def test_parent_transforms_are_respected_on_export(tmp_path: Path, volume: Any, segmentation: Any) -> None:
    turned = place(volume, TURNED, "Turned")
    segmentation.SetAndObserveTransformNodeID(turned.GetID())
    inner = place(turned, np.diag([1.0, 1.0, 1.0, 1.0]) + np.eye(4, k=3) * 4, "Outer")
    assert turned.GetParentTransformNode() is inner
    scan, mask = exported(tmp_path, volume, segmentation)
    world = TURNED @ IJK_TO_RAS
    world[0, 3] += 4
    lps = np.diag([-1, -1, 1, 1]) @ world
    assert np.allclose(scan.GetOrigin(), lps[:3, 3])
    assert np.allclose(np.reshape(scan.GetDirection(), (3, 3)) * scan.GetSpacing(), lps[:3, :3])
    assert (sitk.GetArrayFromImage(mask) == bright(scan)).all()


def test_a_transform_of_the_segmentation_alone_moves_the_tumour(tmp_path: Path, volume: Any, segmentation: Any) -> None:
    moved = np.eye(4)
    moved[:3, 3] = (4, -6, 5)
    place(segmentation, moved)
    scan, mask = exported(tmp_path, volume, segmentation)
    found = world_box(scan, sitk.GetArrayFromImage(mask) > 0)
    assert np.allclose(found, world_box(scan, bright(scan)) + np.array([4, -6, 5]))


def test_a_transform_that_is_not_linear_is_respected(
    tmp_path: Path, scene: Any, volume: Any, segmentation: Any
) -> None:
    bent = bend(scene)
    before = world_box(*(lambda scan: (scan, bright(scan)))(exported(tmp_path, volume, segmentation)[0]))
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(bent.GetID())
    scan, mask = exported(tmp_path, volume, segmentation)
    inside, seen = sitk.GetArrayFromImage(mask) > 0, bright(scan)
    overlap = 2 * (inside & seen).sum() / (inside.sum() + seen.sum())
    assert overlap > 0.9, "scan and tumour are bent alike"
    pushed = world_box(scan, seen)[0, 0] - before[0, 0]
    expected = 4 + 0.002 * (before[0, 2] + 60) ** 2
    assert pushed == pytest.approx(expected, abs=2.0)


def test_a_sheared_scan_is_resampled_on_axes_at_right_angles(tmp_path: Path, volume: Any, segmentation: Any) -> None:
    transform = place(volume, SHEARED)
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    scan, mask = exported(tmp_path, volume, segmentation)
    axes = np.reshape(scan.GetDirection(), (3, 3))
    assert np.allclose(axes.T @ axes, np.eye(3))
    inside, seen = sitk.GetArrayFromImage(mask) > 0, bright(scan)
    assert 2 * (inside & seen).sum() / (inside.sum() + seen.sum()) > 0.9


def test_the_segmentation_may_have_another_grid(tmp_path: Path, scene: Any, volume: Any) -> None:
    fine = np.zeros((60, 60, 60), np.uint8)
    fine[10:40, 15:35, 20:50] = 1
    place_of_fine = np.array([[0.8, 0, 0, -20], [0, 0.8, 0, -25], [0, 0, 0.8, -30], [0, 0, 0, 1]])
    reference = slicer.util.addVolumeFromArray(fine, ijkToRAS=place_of_fine, name="fine")
    tumour = add_segmentation(fine, reference, {1: "tumour"})
    scan, mask = exported(tmp_path, volume, tumour)
    assert mask.GetSize() == scan.GetSize()
    box = world_box(scan, sitk.GetArrayFromImage(mask) > 0)
    first, last = place_of_fine @ (20, 15, 10, 1), place_of_fine @ (49, 34, 39, 1)
    assert np.allclose(box, [first[:3], last[:3]], atol=2.01), "to a voxel of the scan"
    volume_ml = (sitk.GetArrayFromImage(mask) > 0).sum() * np.prod(scan.GetSpacing())
    assert volume_ml == pytest.approx(fine.sum() * 0.8**3, rel=0.2)


def test_only_the_chosen_segments_are_the_tumour(
    tmp_path: Path, volume: Any, segmentation: Any, labels: np.ndarray
) -> None:
    _, necrosis = exported(tmp_path, volume, segmentation, ("necrosis",))
    assert (sitk.GetArrayFromImage(necrosis) == (labels == 2)).all()
    _, both = exported(tmp_path, volume, segmentation, ("necrosis", "tumour"))
    assert (sitk.GetArrayFromImage(both) == (labels > 0)).all()


def test_overlapping_segments_are_joined(tmp_path: Path, volume: Any, segmentation: Any, labels: np.ndarray) -> None:
    whole = segmentation.GetSegmentation().AddEmptySegment("whole", "whole")
    slicer.util.updateSegmentBinaryLabelmapFromArray((labels > 0).astype(np.uint8), segmentation, whole, volume)
    _, mask = exported(tmp_path, volume, segmentation, ("tumour", "necrosis", "whole"))
    assert (sitk.GetArrayFromImage(mask) == (labels > 0)).all()
    _, necrosis = exported(tmp_path, volume, segmentation, ("necrosis",))
    assert (sitk.GetArrayFromImage(necrosis) == (labels == 2)).all()


def test_without_named_segments_the_tumour_is_what_the_panel_would_tick(
    tmp_path: Path, volume: Any, labels: np.ndarray
) -> None:
    labels[5:7, 5:7, 5:7] = 3
    tumour = add_segmentation(labels, volume, {1: "Enhancing tumour", 2: "Necrosis", 3: "Oedema"})
    _, mask = exported(tmp_path, volume, tumour)
    assert ((sitk.GetArrayFromImage(mask) > 0) == np.isin(labels, (1, 2))).all()
    alone = add_segmentation(labels, volume, {3: "Oedema"}, "only oedema")
    with pytest.raises(PredictionError, match="'only oedema' is called a tumour core"):
        exported(tmp_path, volume, alone)


@pytest.mark.parametrize(
    ("name", "told"),
    [("Enhancing tumour", True), ("ENHANCEMENT", True), ("Non-enhancing core", False), ("Core", False)],
)
def test_the_enhancing_part_is_told_apart_by_its_name(
    tmp_path: Path, volume: Any, labels: np.ndarray, name: str, told: bool
) -> None:
    """The backend's labels: 1 core, 4 enhancing; without the latter it could not say what RANO asks for."""
    tumour = add_segmentation(labels, volume, {1: "tumour", 2: name})
    _, mask = exported(tmp_path, volume, tumour, ("tumour", name))
    assert (sitk.GetArrayFromImage(mask) == np.where(labels == 2, 4 if told else 1, labels)).all()


def test_the_backend_reads_the_labels_as_they_are_meant() -> None:
    from PostOpPredictorModule.Settings import ENHANCING_LABEL, LABELS_PRESET, TUMOUR_LABEL

    from PostOpPredictorLib.imaging.tumour_mask import CORE, ENHANCING, PRESETS

    assert PRESETS[LABELS_PRESET][TUMOUR_LABEL] == CORE
    assert PRESETS[LABELS_PRESET][ENHANCING_LABEL] == ENHANCING


def test_without_named_labels_the_oedema_of_brats_is_no_tumour(tmp_path: Path, volume: Any, labels: np.ndarray) -> None:
    brats = labels.copy()
    brats[labels == 2] = 4
    brats[5:7, 5:7, 5:7] = 2
    node = slicer.util.addVolumeFromArray(brats, ijkToRAS=IJK_TO_RAS, nodeClassName="vtkMRMLLabelMapVolumeNode")
    _, mask = exported(tmp_path, volume, node)
    assert (sitk.GetArrayFromImage(mask) == np.where(brats == 2, 0, brats)).all(), "the enhancing part is told apart"


@pytest.mark.parametrize(("ids", "expected"), [((), (1, 2)), (("2",), (2,))])
def test_a_label_map_is_a_tumour_too(
    tmp_path: Path, volume: Any, labels: np.ndarray, ids: tuple[str, ...], expected: tuple[int, ...]
) -> None:
    labelmap = slicer.util.addVolumeFromArray(
        labels.astype(np.int32), ijkToRAS=IJK_TO_RAS, name="labels", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    moved = np.eye(4)
    moved[2, 3] = 5.0
    place(labelmap, moved)
    scan, mask = exported(tmp_path, volume, labelmap, ids)
    assert (sitk.GetArrayFromImage(mask)[2:] == np.isin(labels, expected)[:-2]).all()
    assert scan.GetSize() == mask.GetSize()


def test_a_segmentation_drawn_as_a_surface_is_a_tumour_and_stays_one(tmp_path: Path, scene: Any, volume: Any) -> None:
    ball = vtk.vtkSphereSource()
    ball.SetCenter(-4.0, -3.0, -12.0)
    ball.SetRadius(9.0)
    ball.SetThetaResolution(40)
    ball.SetPhiResolution(40)
    ball.Update()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Surface")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "ball", (1, 0, 0), "ball")
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")
    scan, mask = exported(tmp_path, volume, node)
    inside = sitk.GetArrayFromImage(mask) > 0
    assert inside.sum() * np.prod(scan.GetSpacing()) == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.15)
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_the_brain_segment_is_exported_beside_the_tumour(
    tmp_path: Path, volume: Any, segmentation: Any, labels: np.ndarray
) -> None:
    brain = add_segmentation(np.ones(SHAPE, np.uint8), volume, {1: "brain", 5: "skull"}, "Brain")
    inputs = PredictionInputs(volume, segmentation, (), brain, "brain")
    files = exportInputs(inputs, tmp_path)
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(files.brain))) == 1).all()
    assert files.asJobOptions()["brain"] == str(files.brain)
    with pytest.raises(PredictionError, match="'Brain'"):
        exportInputs(PredictionInputs(volume, segmentation, (), brain, "skull"), tmp_path)


def test_the_inputs_and_the_scene_are_not_changed(
    tmp_path: Path, scene: Any, volume: Any, segmentation: Any, labels: np.ndarray
) -> None:
    bent = bend(scene)
    volume.SetAndObserveTransformNodeID(bent.GetID())
    place(segmentation, TURNED)
    segmentation.RemoveAllDisplayNodeIDs()
    inside = segmentation.GetSegmentation()

    def state() -> list[Any]:
        nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
        images = [inside.GetNthSegment(n).GetRepresentation("Binary labelmap").GetMTime() for n in (0, 1)]
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene).GetMTime()
        times = [(node.GetID(), node.GetMTime()) for node in nodes]
        return [times, images, inside.GetMTime(), volume.GetImageData().GetMTime(), hierarchy, volume.GetOrigin()]

    before, voxels = state(), slicer.util.arrayFromVolume(volume).copy()
    exported(tmp_path, volume, segmentation, ("tumour",), brainSegmentation=segmentation, brainSegmentId="tumour")
    assert state() == before
    assert (slicer.util.arrayFromVolume(volume) == voxels).all()


def test_paths_of_any_alphabet_work(tmp_path: Path, volume: Any, segmentation: Any) -> None:
    folder = tmp_path / "Müller Ωμέγα 患者 'x'"
    folder.mkdir()
    files = exportInputs(PredictionInputs(volume, segmentation), folder)
    assert files.volume.stat().st_size > np.prod(SHAPE) * 2, "not compressed"
    assert files.tumour.is_file()


def test_a_name_is_in_no_file(tmp_path: Path, volume: Any, segmentation: Any) -> None:
    volume.SetName("DOE^JANE")
    segmentation.SetName("DOE^JANE tumour")
    volume.SetAttribute("DICOM.PatientName", "DOE^JANE")
    exported(tmp_path, volume, segmentation)
    assert all(b"DOE" not in path.read_bytes() and "DOE" not in path.name for path in tmp_path.iterdir())


def empty_segmentation(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    return volume, scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "bad"), ()


def segment_without_voxels(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "bad")
    node.GetSegmentation().AddEmptySegment("tumour", "tumour")
    return volume, node, ("tumour",)


def segment_that_is_gone(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    return volume, add_segmentation(np.ones(SHAPE), volume, {1: "tumour"}, "bad"), ("other",)


def tumour_elsewhere(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    node = add_segmentation(np.ones(SHAPE), volume, {1: "tumour"}, "bad")
    far = np.eye(4)
    far[0, 3] = 1000
    place(node, far)
    return volume, node, ()


def vector_volume(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    colours = np.zeros((*SHAPE, 3), np.uint8)
    bad = slicer.util.addVolumeFromArray(colours, name="bad", nodeClassName="vtkMRMLVectorVolumeNode")
    return bad, add_segmentation(np.ones(SHAPE), volume, {1: "tumour"}), ()


def sequence(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    bad = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "bad")
    return bad, add_segmentation(np.ones(SHAPE), volume, {1: "tumour"}), ()


def labels_as_scan(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    bad = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "bad")
    return bad, add_segmentation(np.ones(SHAPE), volume, {1: "tumour"}), ()


def volume_without_voxels(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    bad = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "bad")
    return bad, add_segmentation(np.ones(SHAPE), volume, {1: "tumour"}), ()


def single_slice(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    bad = slicer.util.addVolumeFromArray(np.ones((1, 30, 36), np.int16), name="bad")
    return bad, add_segmentation(np.ones(SHAPE), volume, {1: "tumour"}), ()


def scan_as_tumour(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    return volume, slicer.util.addVolumeFromArray(np.ones(SHAPE, np.int16), name="bad"), ()


def result_as_scan(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    tumour = add_segmentation(np.ones(SHAPE, np.uint8), volume, {1: "tumour"})
    volume.SetName("bad")
    volume.SetAttribute("PostOpPredictor.Role", "preop")
    return volume, tumour, ()


def label_map_without_labels(scene: Any, volume: Any) -> tuple[Any, Any, tuple[str, ...]]:
    empty = np.zeros(SHAPE, np.uint8)
    return volume, slicer.util.addVolumeFromArray(empty, name="bad", nodeClassName="vtkMRMLLabelMapVolumeNode"), ()


@pytest.mark.parametrize(
    "made",
    [
        empty_segmentation,
        segment_without_voxels,
        segment_that_is_gone,
        tumour_elsewhere,
        vector_volume,
        sequence,
        labels_as_scan,
        volume_without_voxels,
        single_slice,
        scan_as_tumour,
        result_as_scan,
        label_map_without_labels,
    ],
)
def test_what_cannot_be_a_patient_is_refused_with_the_nodes_name(
    tmp_path: Path, scene: Any, volume: Any, made: Any
) -> None:
    chosen, tumour, ids = made(scene, volume)
    with pytest.raises(PredictionError) as caught:
        exported(tmp_path, chosen, tumour, ids)
    assert caught.value.code == "bad_input"
    assert "'bad'" in caught.value.message and caught.value.message.endswith(".")


def test_nodes_that_left_the_scene_are_refused(tmp_path: Path, scene: Any, volume: Any, segmentation: Any) -> None:
    scene.RemoveNode(segmentation)
    with pytest.raises(PredictionError) as caught:
        exported(tmp_path, volume, segmentation)
    assert caught.value.code == "input_removed"
    with pytest.raises(PredictionError, match="Choose a pre-operative volume"):
        exported(tmp_path, None, segmentation)


def test_a_full_disk_is_a_sentence(tmp_path: Path, volume: Any, segmentation: Any) -> None:
    (tmp_path / "scan.nrrd").mkdir()
    with pytest.raises(PredictionError) as caught:
        exported(tmp_path, volume, segmentation)
    assert caught.value.code == "storage"


def test_a_volume_without_a_display_is_exported(tmp_path: Path, volume: Any, segmentation: Any) -> None:
    volume.RemoveAllDisplayNodeIDs()
    assert exported(tmp_path, volume, segmentation)[0].GetSize() == SHAPE[::-1]


def test_a_scene_from_a_file_is_exported(tmp_path: Path, scene: Any, volume: Any, segmentation: Any) -> None:
    place(volume, TURNED)
    before = exported(tmp_path, volume, segmentation)
    with tempfile.TemporaryDirectory() as folder:
        write_scene(Path(folder) / "scene.mrb")
        scene.Clear(False)
        assert scene.ReadFromMRB(str(Path(folder) / "scene.mrb"))
    reread = scene.GetFirstNodeByName("T1"), scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    after = exported(tmp_path, *reread)
    for one, other in zip(before, after, strict=True):
        assert np.allclose(one.GetOrigin(), other.GetOrigin())
        assert (sitk.GetArrayFromImage(one) == sitk.GetArrayFromImage(other)).all()


def test_other_scans_are_written_where_they_lie_in_the_world(tmp_path: Path, volume: Any, segmentation: Any) -> None:
    flair = slicer.util.addVolumeFromArray(np.full((5, 6, 7), 3.0, np.float32), ijkToRAS=IJK_TO_RAS, name="FLAIR")
    place(flair, TURNED)
    files = exportInputs(PredictionInputs(volume, segmentation, ("tumour",), more={"FLAIR": flair}), tmp_path)
    options = files.asJobOptions()
    assert list(options["more"]) == ["FLAIR"] and files.shownAs[options["more"]["FLAIR"]] == "'FLAIR'"
    written = sitk.ReadImage(options["more"]["FLAIR"])
    assert written.GetSize() == (7, 6, 5), "on its own grid"
    corner = (TURNED @ IJK_TO_RAS @ [0, 0, 0, 1])[:3] * (-1, -1, 1)
    assert written.GetOrigin() == pytest.approx(corner)
    assert "more" not in exportInputs(PredictionInputs(volume, segmentation, ("tumour",)), tmp_path).asJobOptions()


def test_another_scan_that_is_none_is_refused(tmp_path: Path, volume: Any, segmentation: Any) -> None:
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    with pytest.raises(PredictionError, match="'Nothing' is empty"):
        exportInputs(PredictionInputs(volume, segmentation, ("tumour",), more={"T2w": empty}), tmp_path)
    slicer.mrmlScene.RemoveNode(empty)
    with pytest.raises(PredictionError, match="not in the scene"):
        exportInputs(PredictionInputs(volume, segmentation, ("tumour",), more={"T2w": empty}), tmp_path)
