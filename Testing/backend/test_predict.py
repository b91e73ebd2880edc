"""A prediction: what is written, what stays the patient's own, and that it can be made again."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from prediction_bench import HAND_GRID, FollowsThePrecedent, Recorder, in_mni, small_library, template_patient
from scipy import ndimage
from synthetic_cases import made_up_case

from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.imaging import template
from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID, WORKING_GRID
from PostOpPredictorLib.imaging.registration import Registration
from PostOpPredictorLib.model.config import PostOpConfig, PromptConfig, RendererConfig, UNetConfig
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.prediction.full_resolution import predicted_in_mni, predicted_in_patient_space
from PostOpPredictorLib.prediction.fusion import fluid_level, warp_tissue
from PostOpPredictorLib.prediction.instruction import Instruction
from PostOpPredictorLib.prediction.outcome_volume import (
    CAVITY_LABELS,
    outcome_labels,
    smooth_through_plane,
    tumour_core,
    without_islands,
)
from PostOpPredictorLib.prediction.patient import Patient, align
from PostOpPredictorLib.prediction.patient_prediction import open_tools, predict_patient
from PostOpPredictorLib.prediction.predictor import predict
from PostOpPredictorLib.prediction.request import PredictionRequest, PredictionResult
from PostOpPredictorLib.prediction.sequence_choice import choose_sequence
from PostOpPredictorLib.prediction.triplet_slices import MARGIN_SLICES, slices_with_tumour
from PostOpPredictorLib.prediction.volume_prediction import CasePrediction, predict_case
from PostOpPredictorLib.prediction.volumes_ml import outcome_volumes

pytestmark = pytest.mark.usefixtures("already_in_mni")


@pytest.fixture(scope="module")
def a_model() -> FollowsThePrecedent:
    return FollowsThePrecedent()


@pytest.fixture(scope="module")
def done(
    bench: dict[str, Any], a_model: FollowsThePrecedent, tmp_path_factory: pytest.TempPathFactory
) -> PredictionResult:
    """One whole prediction, written."""
    out = tmp_path_factory.mktemp("out") / "prediction"
    return predict(PredictionRequest(**bench, out=out, seed=7), Recorder(), load=lambda _: a_model)


@pytest.fixture(scope="module")
def patient() -> Patient:
    scan, labels = template_patient()
    return align(scan, labels, in_mni(scan))


@pytest.fixture(scope="module")
def precedent() -> Instruction:
    _, labels = template_patient(WORKING_GRID)
    case = made_up_case("x", np.isin(sitk.GetArrayFromImage(labels), (1, 4)))
    return Instruction(case.pre["T1w"], case.post["T1w"], case.tumour, case.outcome)


def predicted(
    patient: Patient, precedent: Instruction | None, pipe: FollowsThePrecedent, **settings: Any
) -> CasePrediction:
    return predict_case(pipe, patient.pre, patient.tumour, patient.brain, precedent, sequence="T1w", **settings)


@pytest.fixture(scope="module")
def a_case(patient: Patient, precedent: Instruction) -> CasePrediction:
    return predicted(patient, precedent, FollowsThePrecedent(shift_mm=4.0))


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_every_promised_file_is_written_and_lies_where_its_name_says(
    done: PredictionResult, bench: dict[str, Any]
) -> None:
    assert {path.name for path in done.folder.iterdir()} == {path.name for path in done.files.values()}
    for kind, path in done.files.items():
        if path.name.endswith(".nii.gz"):
            image = sitk.ReadImage(str(path))
            if kind.endswith("_mni"):
                assert TEMPLATE_GRID.holds(image), path.name
            else:
                assert HAND_GRID.holds(image), path.name
    assert done.summary["precedent"] == "0001"
    assert 5 < done.summary["tumour_ml"] < 20 and done.summary["cavity_ml"] > 1


def test_the_prediction_is_the_patients_own_scan_wherever_nothing_changed(
    done: PredictionResult, bench: dict[str, Any]
) -> None:
    before, after = array(done.files["preop_mni"]), array(done.files["postop_mni"])
    brain = sitk.GetArrayFromImage(template.brain_mask()) > 0
    outcome = array(done.files["outcome_mni"])
    changed = before != after
    assert changed.any()
    assert not after[~brain].any()
    near = sitk.GetArrayFromImage(sitk.BinaryDilate(TEMPLATE_GRID.image((outcome > 0).astype(np.uint8)), (10, 10, 10)))
    assert not changed[near == 0].any()
    original, own = array(bench["pre"]), array(done.files["postop_patient"])
    assert 0 < (original != own).mean() < 0.05
    cavity = array(done.files["cavity_mask_patient"]) > 0
    assert own[cavity].mean() < 0.5 * original[original > 0].mean()


def test_the_headers_say_synthetic_and_nothing_says_who_the_patient_is(done: PredictionResult) -> None:
    for kind, path in done.files.items():
        if path.name.endswith(".nii.gz"):
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            note = reader.GetMetaData("descrip")
            assert ("synthetic" in note) == (kind not in ("preop_mni", "tumour_mni")), path.name
            assert reader.GetMetaData("aux_file") == "" and reader.GetMetaData("intent_name") == ""
        assert "DOE" not in path.name
        # Compressed voxels hold any three letters by chance; a name needs a header or a text.
        whole = path.read_bytes()
        assert b"DOE^JANE" not in (gzip.decompress(whole)[:352] if path.suffix == ".gz" else whole)


def test_provenance_holds_what_is_needed_to_make_it_again(done: PredictionResult, bench: dict[str, Any]) -> None:
    record = json.loads(done.files["provenance"].read_text())
    assert record["settings"]["seed"] == 7 and record["model"]["checksum"] == "0" * 64
    assert record["library"] == {"cases": 3, "checksum": CaseLibrary.open(bench["library"]).checksum()}
    assert "research only" in record["statement"] and record["synthetic"] is True
    assert record["software"]["torch"] == torch.__version__
    assert len(record["input"]["scan_sha256"]) == 64 and set(record["seconds"]) >= {"Predicting the operation"}
    text = json.dumps(record)
    assert str(bench["pre"].parent) not in text and "patient" not in record["settings"]


def test_precedents_are_named_with_overlap_and_files_that_exist(done: PredictionResult) -> None:
    record = json.loads(done.files["precedents"].read_text())
    assert [entry["case_id"] for entry in record["precedents"]] == ["0001", "0002"]
    first, second = record["precedents"]
    assert first["iou"] > second["iou"] > 0.05 and first["followed"] and not second["followed"]
    for entry in record["precedents"]:
        for name, path in entry["files"].items():
            assert Path(path).is_file()
            assert (done.folder / entry["relative_files"][name]).resolve() == Path(path)


def test_the_transforms_are_each_others_inverse(done: PredictionResult) -> None:
    there, back = (sitk.ReadTransform(str(done.files[name])) for name in ("mni_to_patient", "patient_to_mni"))
    assert np.allclose(back.TransformPoint(there.TransformPoint((10.0, -20.0, 30.0))), (10.0, -20.0, 30.0))


def test_the_model_is_shown_the_precedent_at_the_querys_own_heights(
    a_model: FollowsThePrecedent, done: PredictionResult, bench: dict[str, Any]
) -> None:
    case = CaseLibrary.open(bench["library"]).case("0001")
    heights = torch.cat([batch.z_mm for batch in a_model.batches]).numpy()
    levels = np.rint((heights + 72.0) / 1.5).astype(int)
    assert (np.diff(levels) == 1).all()
    shown = torch.cat([batch.instruction_post for batch in a_model.batches])[:, 0].numpy()
    assert np.array_equal(shown, case.post("T1w")[levels])
    assert all(call["seed"] == 7 and call["mode"] == "mean" for call in a_model.calls)


def test_slices_reach_a_margin_beyond_the_tumour_but_not_beyond_the_brain(patient: Patient) -> None:
    slices = slices_with_tumour(patient.tumour, patient.brain)
    held = np.flatnonzero(tumour_core(patient.tumour).any(axis=(1, 2)))
    assert slices == tuple(range(held[0] - MARGIN_SLICES, held[-1] + MARGIN_SLICES + 1))
    bottom = np.zeros_like(patient.tumour)
    bottom[0] = 1
    brain = np.zeros_like(patient.brain)
    brain[1:3] = 1
    assert slices_with_tumour(bottom, brain) == (1, 2)


def test_image_is_shifted_own_tissue_outside_the_change_and_synthesised_inside(
    patient: Patient, a_case: CasePrediction
) -> None:
    z = int(np.flatnonzero(tumour_core(patient.tumour).any(axis=(1, 2)))[8])
    moved = a_case.shift[z, ..., 0]
    far = (a_case.change[z] == 0) & (moved > 3.0)
    y, x = np.argwhere(far & np.roll(far, 5, axis=1) & np.roll(far, -5, axis=1))[200]
    step = moved[y, x] / 1.5
    low = int(np.floor(step))
    expected = (1 - (step - low)) * patient.pre[z, y, x + low] + (step - low) * patient.pre[z, y, x + low + 1]
    assert a_case.image[z, y, x] == pytest.approx(expected, abs=1e-4)
    inside = a_case.change == 1
    assert inside.any() and np.array_equal(a_case.image[inside], a_case.synthesised[inside])


def test_full_resolution_pulls_the_scan_itself_along_the_shift(patient: Patient, a_case: CasePrediction) -> None:
    image, scan = (sitk.GetArrayFromImage(one) for one in (predicted_in_mni(patient, a_case), patient.scan_mni))
    weight = sitk.GetArrayFromImage(TEMPLATE_GRID.resample(WORKING_GRID.image(a_case.change)))
    shift = sitk.GetArrayFromImage(TEMPLATE_GRID.resample(WORKING_GRID.image(a_case.shift[..., 0].copy())))
    inner = sitk.GetArrayFromImage(sitk.BinaryErode(patient.brain_mni, (6, 6, 6))) > 0
    moved = inner & (weight == 0) & (shift > 3.7)
    # The template's x index grows to the right: 4 mm further left is four voxels back.
    pulled = 0.75 * np.roll(scan, 4, axis=2) + 0.25 * np.roll(scan, 3, axis=2)
    assert moved.sum() > 10_000
    assert np.abs(image - pulled)[moved].mean() < 0.2 * np.abs(image - scan)[moved].mean()


def test_nothing_is_predicted_beyond_the_predicted_slices_and_outside_the_brain(
    patient: Patient, a_case: CasePrediction
) -> None:
    beyond = np.ones(len(patient.pre), bool)
    beyond[list(a_case.slices)] = False
    assert np.array_equal(a_case.image[beyond], patient.pre[beyond])
    assert not a_case.shift[beyond].any() and not a_case.change[beyond].any()
    outside = patient.brain == 0
    assert not a_case.image[outside].any() and not a_case.outcome[outside].any()
    assert not a_case.cavity_probability[outside].any()


def test_where_nothing_is_predicted_to_change_the_scan_is_returned_exactly(patient: Patient) -> None:
    nothing = Instruction.empty()
    case = predicted(patient, nothing, FollowsThePrecedent())
    assert np.array_equal(case.image, patient.pre) and not case.change.any()
    assert np.array_equal(
        sitk.GetArrayFromImage(predicted_in_mni(patient, case)), sitk.GetArrayFromImage(patient.scan_mni)
    )
    own = sitk.GetArrayFromImage(predicted_in_patient_space(patient, case))
    assert np.array_equal(own, sitk.GetArrayFromImage(patient.scan))


def test_the_cavity_follows_the_precedents_and_is_dark(
    patient: Patient, a_case: CasePrediction, precedent: Instruction
) -> None:
    wanted = np.isin(precedent.outcome, CAVITY_LABELS) & (patient.brain > 0)
    found = np.isin(a_case.outcome, CAVITY_LABELS)
    assert 2 * (wanted & found).sum() / (wanted.sum() + found.sum()) > 0.9
    assert a_case.image[found].max() < 0.4


def test_without_a_similar_case_the_model_gets_no_instruction_and_everything_says_so(
    bench: dict[str, Any], tmp_path: Path
) -> None:
    model, progress = FollowsThePrecedent(), Recorder()
    request = PredictionRequest(**bench, out=tmp_path / "alone", institution="south")
    result = predict(request, progress, load=lambda _: model)
    assert not any(batch.has_instruction.any() or batch.instruction_post.any() for batch in model.batches)
    assert result.summary["no_similar_case"] is True and result.summary["precedent"] is None
    assert json.loads(result.files["precedents"].read_text())["no_similar_case"] is True
    assert json.loads(result.files["provenance"].read_text())["result"]["no_similar_case"] is True
    assert any("NO SIMILAR CASE" in text for text in progress.texts)


def test_the_same_seed_gives_the_same_volume_and_another_seed_another(patient: Patient, precedent: Instruction) -> None:
    first, again, other = (
        predicted(patient, precedent, FollowsThePrecedent(noise=0.9), seed=seed).outcome_probability
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_model_that_draws_images_only_gets_its_cavity_from_what_it_drew_dark(
    patient: Patient, precedent: Instruction
) -> None:
    case = predicted(patient, precedent, FollowsThePrecedent(has_renderer=False, has_structure=False))
    hole = (precedent.outcome > 0) & (patient.brain > 0)
    assert case.cavity_probability[hole].mean() > 0.8
    assert not case.shift.any()
    far = np.ones_like(hole)
    held = np.argwhere(patient.tumour > 0)
    low, high = held.min(axis=0) - 10, held.max(axis=0) + 11
    far[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = False
    assert np.array_equal(case.image[far], patient.pre[far])


def test_a_slice_of_an_image_model_is_the_same_whatever_else_is_drawn(patient: Patient, precedent: Instruction) -> None:
    pipe = FollowsThePrecedent(has_renderer=False, has_structure=False)
    asked = (patient.pre, patient.tumour, patient.brain, precedent)
    whole = predict_case(pipe, *asked, sequence="T1w")
    some = [whole.slices[len(whole.slices) // 3], whole.slices[len(whole.slices) // 2]]
    few = predict_case(pipe, *asked, sequence="T1w", slices=some)
    assert np.array_equal(few.image[some], whole.image[some])
    assert np.array_equal(few.cavity_probability[some], whole.cavity_probability[some])
    others = np.delete(np.arange(len(patient.pre)), some)
    assert np.array_equal(few.image[others], patient.pre[others]) and not few.cavity_probability[others].any()
    assert len(pipe.batches[-1]) == 2


def moved_patient() -> tuple[Patient, sitk.AffineTransform]:
    """A head 10 % smaller and 7 mm aside, with a skull around the brain."""
    to_patient = sitk.AffineTransform(3)
    to_patient.Scale(0.9)
    to_patient.Translate((7.0, 0.0, 0.0))
    scan, labels = template_patient()
    to_mni = to_patient.GetInverse()
    scan, labels = HAND_GRID.resample(scan, to_mni), HAND_GRID.resample(labels, to_mni, sitk.sitkNearestNeighbor)
    brain = HAND_GRID.resample(template.brain_mask(), to_mni, sitk.sitkNearestNeighbor)
    head = sitk.BinaryDilate(brain, (3, 3, 3))
    whole = sitk.GetArrayFromImage(scan) * (sitk.GetArrayFromImage(brain) > 0)
    whole[(sitk.GetArrayFromImage(head) > 0) & (sitk.GetArrayFromImage(brain) == 0)] = 1500.0
    scan = HAND_GRID.image(whole.astype(np.float32))
    found = in_mni(scan)
    return align(scan, labels, Registration(to_patient, found.brain_mask, found.quality, False)), to_patient


def test_in_the_patients_space_the_skull_stays_and_the_cavity_lies_where_the_tumour_was(precedent: Instruction) -> None:
    patient, to_patient = moved_patient()
    case = predicted(patient, precedent, FollowsThePrecedent())
    before, after = (
        sitk.GetArrayFromImage(image) for image in (patient.scan, predicted_in_patient_space(patient, case))
    )
    skull = before == 1500.0
    assert np.array_equal(before[skull], after[skull])
    changed = np.argwhere(before != after)[:, ::-1] * 3.0 + np.asarray(HAND_GRID.origin)
    assert np.linalg.norm(changed.mean(axis=0) - np.asarray(to_patient.TransformPoint((36.0, 20.0, 22.0)))) < 6.0
    volumes = outcome_volumes(patient.tumour, case.outcome, to_patient)
    marked = np.isin(sitk.GetArrayFromImage(patient.labels), (1, 4)).sum() * 0.027
    assert volumes.tumour_ml == pytest.approx(marked, rel=0.1)


def test_a_gap_is_as_dark_as_the_seam_of_fluid_around_the_brain() -> None:
    """A gap in the grey of the ventricles would stand out as a rim around a brain that lies in darker fluid."""
    brain = np.zeros((20, 20, 20), np.uint8)
    brain[2:18, 2:18, 2:18] = 1
    rng = np.random.default_rng(0)
    tissue = np.where(brain > 0, rng.uniform(0.3, 0.8, brain.shape), 0).astype(np.float32)
    assert fluid_level(tissue, brain) == pytest.approx(np.percentile(tissue[brain > 0], 5), abs=1e-6)
    seam = (brain > 0) & ~ndimage.binary_erosion(brain, iterations=1)
    tissue[seam] = rng.uniform(0.01, 0.03, int(seam.sum()))
    assert fluid_level(tissue, brain) < 0.03
    assert fluid_level(tissue, np.zeros_like(brain)) == 0


def test_no_dark_seam_lies_between_the_moved_brain_and_the_fluid_beside_it() -> None:
    """The outermost voxels of a scan are half background; moved inwards they drew a black line."""
    brain = np.zeros(WORKING_GRID.shape, np.uint8)
    brain[30:60, 30:90, 30:90] = 1
    image = brain * np.float32(0.6)
    surface = (brain > 0) & ~ndimage.binary_erosion(brain > 0)
    every_fifth = np.indices(brain.shape)[:2].sum(axis=0) % 5 == 0
    image[surface] = np.where(every_fifth[surface], 0.0, 0.2)
    shift = np.zeros((*WORKING_GRID.shape, 3), np.float32)
    shift[..., 0] = -6.0
    row = warp_tissue(image, shift, brain)[45, 60, 30:42]
    fluid = fluid_level(image, brain)
    assert fluid == pytest.approx(0.2) and np.allclose(row[:4], fluid), "pulled from beyond the brain"
    assert row.min() >= fluid - 1e-6 and np.allclose(row[-4:], 0.6)
    shift[..., 0] = -0.5
    assert warp_tissue(image, shift, brain)[45, 60, 30] < 0.15, "a surface that hardly moved keeps its own seam"


def test_tissue_pulled_from_beyond_the_brain_is_fluid_and_never_skull(precedent: Instruction) -> None:
    patient, _ = moved_patient()
    case = predicted(patient, precedent, FollowsThePrecedent(shift_mm=12.0))
    image = sitk.GetArrayFromImage(predicted_in_mni(patient, case))
    brain = sitk.GetArrayFromImage(patient.brain_mni) > 0
    inside = sitk.GetArrayFromImage(sitk.BinaryErode(patient.brain_mni, (2, 2, 2))) > 0
    in_slices = np.zeros(len(brain), bool)
    z = -72.0 + 1.5 * np.array(slices_with_tumour(patient.tumour, patient.brain))[6:-6]
    in_slices[np.unique(np.rint(z + 72.0).astype(int))] = True
    # The template's x index grows to the right, and tissue is pulled from 12 mm (less a quarter) further left.
    beyond = inside & in_slices[:, None, None] & ~np.roll(brain, 10, axis=2) & ~np.roll(brain, 12, axis=2)
    weight = sitk.GetArrayFromImage(TEMPLATE_GRID.resample(WORKING_GRID.image(case.change)))
    pulled = image[beyond & (weight == 0)]
    fluid = patient.window.restore(np.asarray(fluid_level(patient.pre, patient.brain)))
    assert pulled.size > 1000
    at_working = (patient.brain > 0) & (case.shift[..., 0] > 11.0) & (case.change == 0)
    at_working &= ~np.roll(patient.brain > 0, -7, axis=2) & ~np.roll(patient.brain > 0, -8, axis=2)
    assert np.allclose(case.image[at_working], fluid_level(patient.pre, patient.brain), atol=1e-3)
    assert np.mean(np.abs(pulled - fluid) < 1.0) > 0.95


def test_sequence_is_told_from_the_tumours_brightness(patient: Patient) -> None:
    bright = np.where(patient.tumour == 4, np.float32(1.0), patient.pre * np.float32(0.7))
    dull = np.where(patient.tumour > 0, np.float32(0.3), patient.pre)
    assert choose_sequence("auto", bright, patient.tumour, patient.brain).sequence == "T1wCE"
    assert choose_sequence("auto", dull, patient.tumour, patient.brain).sequence == "T1w"
    assert choose_sequence("T1wCE", dull, patient.tumour, patient.brain).sequence == "T1wCE"


def test_a_tumour_that_does_not_enhance_is_told_by_the_vessels(patient: Patient) -> None:
    dull = np.where(patient.tumour > 0, np.float32(0.3), patient.pre)
    with_vessels = dull * np.float32(0.6)
    assert choose_sequence("auto", with_vessels, patient.tumour, patient.brain).sequence == "T1wCE"


def test_tumour_that_is_not_predicted_to_be_removed_counts_as_left(patient: Patient) -> None:
    case = predicted(patient, Instruction.empty(), FollowsThePrecedent())
    core = tumour_core(patient.tumour)
    assert np.array_equal(case.outcome == 2, core) and not (case.outcome == 1).any()
    volumes = outcome_volumes(patient.tumour, case.outcome, sitk.AffineTransform(3))
    assert volumes.residual_ml == pytest.approx(volumes.tumour_ml) and volumes.eor_percent < 0.1


def test_a_precedent_for_every_slice_reads_each_at_its_own_slice(bench: dict[str, Any], tmp_path: Path) -> None:
    model = FollowsThePrecedent()
    result = predict(PredictionRequest(**bench, out=tmp_path / "slices", per="slice"), load=lambda _: model)
    record = json.loads(result.files["precedents"].read_text())
    assert all(entry["followed"] for entry in record["precedents"])
    assert all(batch.has_instruction.all() for batch in model.batches)


def test_a_broken_best_case_is_passed_over_and_named(tmp_path: Path, bench: dict[str, Any]) -> None:
    library = small_library(tmp_path / "library")
    library.case("0001").files.image("postop", "T1w").write_bytes(b"broken")
    progress = Recorder()
    request = PredictionRequest(**{**bench, "library": library.folder}, out=tmp_path / "out")
    result = predict(request, progress, load=lambda _: FollowsThePrecedent())
    assert result.summary["precedent"] == "0002"
    assert any("0001" in text and "left out" in text for text in progress.texts)


def tiny_pipeline() -> PostOpPipeline:
    torch.manual_seed(0)
    config = PostOpConfig(
        unet=UNetConfig((16, 16, 32), 1, (False, False, True), 8, 8),
        prompt=PromptConfig(token_width=16, vit_width=32, vit_depth=1, vit_heads=2, vit_out_channels=16, image_size=64),
        renderer=RendererConfig((16, 16, 16), 1, 8),
    )
    return PostOpPipeline.of(config)


def test_end_to_end_with_a_real_pipeline_twice_the_same_bits(bench: dict[str, Any], tmp_path: Path) -> None:
    model = tmp_path / "model"
    tiny_pipeline().save(model)
    asked = {**bench, "model": model, "mode": "sample", "steps": 2, "device": "cpu"}
    result = predict(PredictionRequest(**asked, out=tmp_path / "one"))
    request = PredictionRequest(**asked, out=tmp_path / "two")
    again = predict_patient(request, open_tools(request, Recorder()), Recorder())
    assert np.array_equal(array(result.files["postop_mni"]), sitk.GetArrayFromImage(again.post_mni))
    assert np.array_equal(array(result.files["postop_patient"]), sitk.GetArrayFromImage(again.post_patient))
    assert again.case.outcome.any()


def test_neighbouring_slices_do_not_flicker_when_the_model_disagrees_with_itself(patient: Patient) -> None:
    every_other = np.zeros((6, *WORKING_GRID.shape), np.float32)
    every_other[0] = 1.0
    core = tumour_core(patient.tumour)
    core[1::2] = False
    every_other[1, core], every_other[0, core] = 1.0, 0.0
    smooth = smooth_through_plane(every_other, patient.brain > 0)
    assert np.allclose(smooth.sum(axis=0), 1.0, atol=1e-5)
    jumps, before = (np.abs(np.diff(chance[1], axis=0)).max() for chance in (smooth, every_other))
    assert before == 1.0 and jumps < 0.35


def test_islands_vanish_when_small_or_far_from_the_tumour_but_air_may_rise(patient: Patient) -> None:
    chance = np.zeros((6, *WORKING_GRID.shape), np.float32)
    chance[0] = 1.0

    def put(label: int, z: int, y: int, x: int, half: int) -> tuple[slice, ...]:
        where = (slice(z - half, z + half + 1), slice(y - half, y + half + 1), slice(x - half, x + half + 1))
        chance[(slice(None), *where)] = 0.0
        chance[(label, *where)] = 1.0
        return where

    z, y, x = (int(axis) for axis in np.argwhere(tumour_core(patient.tumour)).mean(axis=0))
    kept = put(1, z, y, x, 3), put(5, z, 20, 30, 3)
    dropped = put(1, z, y, x - 10, 0), put(1, z, 100, 30, 4)
    labels = outcome_labels(without_islands(chance, patient.tumour))
    assert all((labels[where] > 0).all() for where in kept)
    assert not any(labels[where].any() for where in dropped)
