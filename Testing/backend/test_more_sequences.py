"""Several sequences of one patient: one outcome, drawn in each of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from prediction_bench import HAND_GRID, FollowsThePrecedent, Recorder, in_mni, on_disk, small_library, template_patient
from scipy import ndimage
from synthetic_cases import made_up_case
from tiny_models import a_pipeline

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.imaging import template
from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID, WORKING_GRID, Grid
from PostOpPredictorLib.imaging.moving_scan import prepare
from PostOpPredictorLib.imaging.registration_quality import judge
from PostOpPredictorLib.model.triplet import TripletBatch, label_mask
from PostOpPredictorLib.prediction.full_resolution import predicted_in_mni
from PostOpPredictorLib.prediction.further_scan import read_further_scan
from PostOpPredictorLib.prediction.fusion import warp_tissue
from PostOpPredictorLib.prediction.instruction import Instruction
from PostOpPredictorLib.prediction.patient import Patient, align
from PostOpPredictorLib.prediction.predictor import predict
from PostOpPredictorLib.prediction.request import PredictionRequest, PredictionResult
from PostOpPredictorLib.prediction.sequence_choice import choose_sequence, untrained_warning
from PostOpPredictorLib.prediction.volume_prediction import predict_case, render_sequence
from PostOpPredictorLib.retrieval.slice_index import SliceIndex

pytestmark = pytest.mark.usefixtures("already_in_mni")

OTHER_GRID = Grid(size=(90, 100, 50), spacing=(2.4, 2.4, 4.0), origin=(-108.0, -116.0, -80.0))
T2_CAVITY = 0.9


class PaintsWithThePrecedent(FollowsThePrecedent):
    """Fills the cavity with the mean brightness of the precedent's cavity; grey (0.4) where there is none to see."""

    def render(self, triplets: TripletBatch, outcome_probability: torch.Tensor, shift_mm: torch.Tensor) -> torch.Tensor:
        hole = label_mask(triplets.instruction_outcome, (1,))
        seen = (hole * triplets.instruction_post).sum() / hole.sum().clamp(min=1)
        value = seen if bool(triplets.has_instruction.all()) and bool(hole.any()) else torch.tensor(0.4)
        changed = outcome_probability[:, 1:].sum(dim=1, keepdim=True)
        return (triplets.query_pre * (1 - changed) + value * changed) * triplets.query_brain


def water_scan(grid: Grid, sequence: str) -> sitk.Image:
    """The template patient as T2w or FLAIR shows it, in units of that scanner."""
    return sitk.Cast(grid.resample(template.seen_in(sequence)) * 300.0, sitk.sitkFloat32)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A patient with T1w, T2w (another grid) and FLAIR; the most similar case, "0009", has T1w and T2w."""
    folder = tmp_path_factory.mktemp("bench")
    pre, tumour = on_disk(folder / "patient")
    library = small_library(folder / "library")
    _, labels = template_patient(WORKING_GRID)
    case = made_up_case("0009", np.isin(sitk.GetArrayFromImage(labels), (1, 4)))
    water = np.where(case.outcome == 1, np.float32(T2_CAVITY), np.float32(0.4)) * case.brain_pre
    library.add(replace(case, pre={**case.pre, "T2w": water}, post={**case.post, "T2w": water}))
    SliceIndex.open(library)
    for sequence, grid in (("T2w", OTHER_GRID), ("FLAIR", HAND_GRID)):
        sitk.WriteImage(water_scan(grid, sequence), str(folder / f"{sequence}.nii.gz"))
    return {"library": library.folder, "pre": pre, "tumour": tumour, "model": folder, "sequence": "T1w"}


@pytest.fixture(scope="module")
def further(bench: dict[str, Any]) -> dict[str, Path]:
    return {sequence: bench["model"] / f"{sequence}.nii.gz" for sequence in ("T2w", "FLAIR")}


@pytest.fixture(scope="module")
def done(bench: dict[str, Any], further: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> PredictionResult:
    out = tmp_path_factory.mktemp("out") / "prediction"
    request = PredictionRequest(**bench, out=out, more=further)
    return predict(request, Recorder(), load=lambda _: PaintsWithThePrecedent())


@pytest.fixture(scope="module")
def patient() -> Patient:
    scan, labels = template_patient()
    return align(scan, labels, in_mni(scan))


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_every_further_scan_is_written_in_mni_space_and_on_its_own_grid(done: PredictionResult) -> None:
    for sequence, grid in (("T2w", OTHER_GRID), ("FLAIR", HAND_GRID)):
        assert TEMPLATE_GRID.holds(sitk.ReadImage(str(done.files[f"postop_mni_{sequence}"])))
        assert TEMPLATE_GRID.holds(sitk.ReadImage(str(done.files[f"preop_mni_{sequence}"])))
        assert grid.holds(sitk.ReadImage(str(done.files[f"postop_patient_{sequence}"])))
    header = sitk.ReadImage(str(done.files["postop_mni_T2w"])).GetMetaData("ITK_FileNotes")
    assert header.startswith("synthetic")
    assert [record["sequence"] for record in done.summary["more"]] == ["T2w", "FLAIR"]


def test_all_sequences_show_the_same_operation_and_the_patients_own_tissue_elsewhere(done: PredictionResult) -> None:
    cavity = array(done.files["cavity_mask_mni"]) > 0
    away = ndimage.distance_transform_edt(array(done.files["outcome_mni"]) == 0) > 10
    assert cavity.sum() > 3000 and away.sum() > 1_000_000
    for sequence in ("T2w", "FLAIR"):
        before, after = (array(done.files[f"{when}_mni_{sequence}"]) for when in ("preop", "postop"))
        assert np.array_equal(before[away], after[away])
        assert np.mean(before[cavity] != after[cavity]) > 0.9


def test_a_cavity_is_as_bright_as_the_precedents_in_that_sequence(done: PredictionResult) -> None:
    cavity = array(done.files["cavity_mask_mni"]) > 0
    after, before = array(done.files["postop_mni_T2w"]), array(done.files["preop_mni_T2w"])
    low, high = np.percentile(before[before > 0], (0.5, 99.5))
    assert np.median((after[cavity] - low) / (high - low)) == pytest.approx(T2_CAVITY, abs=0.05)


def test_a_precedent_without_the_sequence_is_told(done: PredictionResult) -> None:
    with_scan, without = done.summary["more"]
    assert with_scan["precedent_has_it"] and not without["precedent_has_it"]
    assert any("has no FLAIR scans" in warning for warning in without["warnings"])
    assert not any("has no T2w scans" in warning for warning in with_scan["warnings"])


def test_a_sequence_that_the_model_never_saw_is_told(done: PredictionResult) -> None:
    assert all(
        any("was not trained on" in warning for warning in record["warnings"]) for record in done.summary["more"]
    )
    knows = SimpleNamespace(config_tree=SimpleNamespace(sequences=("T1w", "T2w")))
    assert untrained_warning(knows, "T2w") is None
    assert "trained on FLAIR (only on T1w, T2w)" in str(untrained_warning(knows, "FLAIR"))
    assert untrained_warning(FollowsThePrecedent(), "T1wCE") is None


def test_the_main_sequence_drawn_again_is_the_main_image(patient: Patient) -> None:
    """With a real network of random weights, bit for bit: further sequences take the same way."""
    pipe = a_pipeline(panel=128)
    _, labels = template_patient(WORKING_GRID)
    case = made_up_case("x", np.isin(sitk.GetArrayFromImage(labels), (1, 4)))
    shown = Instruction(case.pre["T1w"], case.post["T1w"], case.tumour, case.outcome)
    given = (patient.pre, patient.tumour, patient.brain, shown)
    first = predict_case(pipe, *given, sequence="T1w", slices=range(55, 75))
    again = render_sequence(pipe, first, *given, sequence="T1w")
    assert np.array_equal(again.image, first.image) and np.array_equal(again.synthesised, first.synthesised)
    darker = render_sequence(pipe, first, patient.pre * 0.5, *given[1:], sequence="FLAIR")
    assert darker.outcome is first.outcome and not np.array_equal(darker.image, first.image)


@pytest.mark.parametrize(("offset", "fits"), [(0.0, True), (2.0, True), (14.0, False), (90.0, False)])
def test_a_scan_in_another_space_is_refused(patient: Patient, tmp_path: Path, offset: float, fits: bool) -> None:
    scan = water_scan(OTHER_GRID, "T2w")
    scan.SetOrigin([scan.GetOrigin()[0], scan.GetOrigin()[1] + offset, scan.GetOrigin()[2]])
    sitk.WriteImage(scan, str(tmp_path / "t2.nii.gz"))
    if fits:
        assert read_further_scan(patient, tmp_path / "t2.nii.gz", "T2w").window.high > 200
        return
    with pytest.raises(InputError, match=r"does not lie where the main scan lies|shows only .* of the brain"):
        read_further_scan(patient, tmp_path / "t2.nii.gz", "T2w")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"T3w": "T2w.nii.gz"}, "There is no sequence 'T3w'"),
        ({"T1w": "T2w.nii.gz"}, "T1w is the sequence of the main scan"),
        ({"T2w": "nowhere.nii.gz"}, "does not exist. Check the path of the T2w scan"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_predicted(
    bench: dict[str, Any], tmp_path: Path, more: dict[str, str], sentence: str
) -> None:
    told = Recorder()
    request = PredictionRequest(
        **bench, out=tmp_path / "out", more={name: bench["model"] / file for name, file in more.items()}
    )
    with pytest.raises(InputError, match=sentence):
        predict(request, told, load=lambda _: PaintsWithThePrecedent())
    assert "Predicting the operation" not in told.stages and not (tmp_path / "out").exists()


def test_a_model_that_draws_images_only_refuses_further_sequences(
    bench: dict[str, Any], further: dict[str, Path], tmp_path: Path
) -> None:
    request = PredictionRequest(**bench, out=tmp_path / "out", more=further)
    with pytest.raises(InputError, match="no further sequence can be drawn from it"):
        predict(request, Recorder(), load=lambda _: FollowsThePrecedent(has_renderer=False, has_structure=False))


def test_auto_does_not_take_a_scan_with_bright_grey_matter_for_t1(patient: Patient) -> None:
    for sequence in ("T2w", "FLAIR"):
        scan = water_scan(WORKING_GRID, sequence)
        pre = sitk.GetArrayFromImage(scan).astype(np.float32) / 300.0 * (patient.brain > 0)
        with pytest.raises(InputError, match="--sequence T2w or --sequence FLAIR"):
            choose_sequence("auto", pre, patient.tumour, patient.brain)
        assert choose_sequence(sequence, pre, patient.tumour, patient.brain).sequence == sequence


def test_an_alignment_is_judged_by_the_template_of_its_sequence() -> None:
    for sequence in ("T2w", "FLAIR"):
        scan = prepare(water_scan(TEMPLATE_GRID, sequence), None, template.brain_mask())
        assert judge(scan, sitk.AffineTransform(3), sequence).passed
    wrong = judge(prepare(water_scan(TEMPLATE_GRID, "T2w"), None, template.brain_mask()), sitk.AffineTransform(3))
    assert not wrong.passed and "--sequence T2w" in wrong.sentence


def test_a_gap_beside_moved_tissue_holds_fluid_as_the_sequence_shows_it(patient: Patient) -> None:
    scan = sitk.GetArrayFromImage(water_scan(WORKING_GRID, "T2w")).astype(np.float32) / 300.0
    brain = patient.brain
    shift = np.zeros((*brain.shape, 3), np.float32)
    shift[..., 0] = -12.0 * (brain > 0)
    bright, dark = (warp_tissue(scan, shift, brain, sequence) for sequence in ("T2w", "FLAIR"))
    came_from_outside = (brain > 0) & (np.roll(brain, 8, axis=2) == 0)
    assert bright[came_from_outside].mean() > dark[came_from_outside].mean() + 0.3
    case = predict_case(FollowsThePrecedent(shift_mm=4.0), scan, patient.tumour, brain, None, sequence="T2w")
    assert case.sequence == "T2w"
    assert predicted_in_mni(patient, case).GetSize() == TEMPLATE_GRID.size
