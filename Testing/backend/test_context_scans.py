"""Sequences as channels: the query's further scans are seen beside the one that is drawn, as far as they are there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from live_bench import Lively
from prediction_bench import (
    HAND_GRID,
    FollowsThePrecedent,
    Recorder,
    in_mni,
    on_disk,
    small_library,
    template_patient,
)
from safetensors.torch import save_file
from synthetic_cases import made_up_case
from tiny_models import a_batch, a_pipeline, prepared_arrays, some_triplets, tiny_config, write_prepared

from PostOpPredictorLib.cases.case import SEQUENCES
from PostOpPredictorLib.cases.library import CaseLibrary
from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.evaluation import calibration_patient, plan_benchmark
from PostOpPredictorLib.evaluation.query_case import QueryCase
from PostOpPredictorLib.evaluation.systems import OurModel
from PostOpPredictorLib.imaging import template
from PostOpPredictorLib.imaging.grid import WORKING_GRID
from PostOpPredictorLib.model.layouts import stacked_channels, stacked_condition
from PostOpPredictorLib.model.pretrained import grown
from PostOpPredictorLib.model.triplet import TripletBatch
from PostOpPredictorLib.prediction.live.held_plan import HeldPlans
from PostOpPredictorLib.prediction.live.slice_prediction import SlicePredictor
from PostOpPredictorLib.prediction.patient import align
from PostOpPredictorLib.prediction.plan_request import PlanRequest
from PostOpPredictorLib.prediction.predictor import predict
from PostOpPredictorLib.prediction.request import PredictionRequest
from PostOpPredictorLib.prediction.triplet_slices import triplet_batch
from PostOpPredictorLib.prediction.volume_prediction import predict_case
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.draws import draw_noise
from PostOpPredictorLib.training.slices import PreparedSlices
from PostOpPredictorLib.training.trainer import Trainer

SEES = ("T1wCE", "FLAIR")
FLAIR = SEQUENCES.index("FLAIR")


def with_scans(triplets: TripletBatch, *names: str) -> TripletBatch:
    """``triplets`` with random further scans of ``names``."""
    there = torch.tensor([[name in names for name in SEQUENCES]] * len(triplets))
    scans = torch.rand(len(triplets), len(SEQUENCES), *triplets.query_pre.shape[-2:]) * there[:, :, None, None]
    return dataclasses.replace(triplets, query_context=scans, has_context=there)


def test_every_scan_has_its_channels_and_a_flag_after_all_others() -> None:
    triplets, autoencoder = with_scans(some_triplets(2), "FLAIR"), a_pipeline().autoencoder
    plain, more = tiny_config(time=True), tiny_config(time=True, context_sequences=SEES)
    without, seen = (stacked_condition(triplets, autoencoder, 4, config) for config in (plain, more))
    own = autoencoder.latent_channels
    assert seen.shape[1] == stacked_channels(own, more) == without.shape[1] + 2 * (own + 1)
    assert torch.equal(seen[:, : without.shape[1]], without)
    contrast, flair = seen[:, without.shape[1] :].split(own + 1, dim=1)
    assert torch.equal(flair[:, :own], autoencoder.to_latents(triplets.query_context[:, FLAIR : FLAIR + 1]))
    assert (flair[:, own] == 1).all() and (contrast[:, own] == 0).all()
    dropped = triplets.without_context(torch.ones(2, 4, dtype=torch.bool))
    gone = stacked_condition(dropped, autoencoder, 4, more)
    assert torch.equal(gone, stacked_condition(some_triplets(2), autoencoder, 4, more)), "dropped is as never there"


def test_a_model_grows_by_further_scans_and_answers_as_before_until_it_learns() -> None:
    before = a_pipeline()
    after = grown(before, tiny_config(context_sequences=SEES))
    for network in after.networks:
        network.eval()
    triplets = with_scans(some_triplets(2), "FLAIR")
    assert torch.allclose(after(triplets).image, before(triplets).image, atol=1e-5)
    with torch.no_grad():
        after.unet.conv_in.weight[:, -2:].normal_()
    assert not torch.allclose(after(triplets).image, after(some_triplets(2)).image, atol=1e-5), "FLAIR is read"
    assert grown(after, tiny_config(context_sequences=(*SEES, "T2w"))).config_tree.context_sequences[-1] == "T2w"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"context_sequences": SEES}, {"context_sequences": SEES, "time": True}),
        ({"context_sequences": SEES}, {}),
        ({"context_sequences": SEES}, {"context_sequences": ("FLAIR",)}),
        ({"time": True, "institution": True}, {"context_sequences": SEES}),
        ({"institution": True}, {"time": True, "institution": True}),
        ({"time": True}, {}),
    ],
)
def test_weights_never_land_on_channels_of_another_meaning(before: dict[str, Any], after: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="The model to start from sees"):
        grown(a_pipeline(**before), tiny_config(**after))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"context_sequences": ("T3",)}, "'context_sequences' is 'T3'"),
        ({"context_sequences": ("FLAIR", "FLAIR")}, "names a sequence twice"),
        ({"context_sequences": SEES, "layout": "grid", "target": "image"}, "The grid layout shows one scan"),
    ],
)
def test_what_cannot_be_seen_is_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        tiny_config(**changes)


def test_training_sees_what_each_case_has_but_never_the_drawn_sequence_twice(tmp_path: Path) -> None:
    arrays = prepared_arrays()
    arrays["has_T1wCE"][1] = 0
    save_file(arrays, tmp_path / "slices.safetensors")
    file = PreparedSlices(tmp_path / "slices.safetensors")
    seen = file.shown_to(tiny_config(context_sequences=("T1w", "T1wCE")))
    rows = torch.tensor([0, 1])
    triplets = seen.batch(rows, rows, "T1w", 0, torch.Generator()).triplets
    assert triplets.has_context.tolist() == [[False, True, False, False], [False, False, False, False]]
    assert torch.equal(triplets.query_context[0, 1] * 255, arrays["pre_T1wCE"][0].float())
    assert not triplets.query_context[1].any() and not triplets.query_context[:, 0].any()
    crop = seen.batch(rows, rows, "T1w", 16, torch.Generator().manual_seed(0))
    row, column = crop.triplets.corner[0].tolist()
    assert torch.equal(
        crop.triplets.query_context[0], crop.whole.query_context[0, :, row : row + 16, column : column + 16]
    )
    turned = seen.batch(rows, rows, "T1w", 0, torch.Generator(), mirrored=torch.tensor([True, True])).triplets
    assert torch.equal(turned.query_context, triplets.query_context.flip(-1))
    with pytest.raises(InputError, match=r"sees FLAIR beside what it draws, but the prepared slices hold T1w, T1wCE"):
        file.shown_to(tiny_config(context_sequences=("FLAIR",)))


def test_scans_are_dropped_one_by_one() -> None:
    config = tiny_config(context_sequences=SEES, context_dropout=0.25)
    draws = draw_noise(config, TrainingConfig(), (400, 1, 2, 2), torch.Generator().manual_seed(0))
    assert draws.drop_context.shape == (400, 4)
    assert 0.2 < draws.drop_context.float().mean() < 0.3
    assert not torch.equal(draws.drop_context[:, 1], draws.drop_context[:, 3])
    plain = draw_noise(tiny_config(), TrainingConfig(), (400, 1, 2, 2), torch.Generator().manual_seed(0))
    assert torch.equal(plain.noise, draws.noise) and not plain.drop_context.any()


def test_what_is_seen_is_learned_from(tmp_path: Path) -> None:
    slices = PreparedSlices(write_prepared(tmp_path / "slices.safetensors"))
    training = TrainingConfig(steps=3, batch_size=4, crop=16, warmup_steps=1, sequence="T1w", sheet_every=100)
    trainer = Trainer(tiny_config(context_sequences=("T1wCE",)), training, slices, tmp_path / "run")
    before = trainer.pipeline.unet.conv_in.weight[:, -2:].clone()
    trainer.train(SilentProgress())
    assert not torch.allclose(trainer.pipeline.unet.conv_in.weight[:, -2:], before)


def test_a_prediction_shows_the_scans_it_is_given() -> None:
    rng = np.random.default_rng(0)
    pre, flair = rng.random((2, *WORKING_GRID.shape), np.float32)
    tumour = np.ones(WORKING_GRID.shape, np.uint8)
    batch = triplet_batch(pre, tumour, tumour, None, [3, 50], context={"FLAIR": flair})
    assert batch.has_context.tolist() == [[False, False, False, True]] * 2
    assert np.array_equal(batch.query_context[:, FLAIR], flair[[3, 50]]) and not batch.query_context[:, :FLAIR].any()


class Sees(FollowsThePrecedent):
    """Follows the precedent, and says which further scans it sees."""

    config_tree = SimpleNamespace(context_sequences=("FLAIR", "T1w"), sequences=("T1w", "T1wCE"))

    def refuse_unknown(self, **_: bool) -> None: ...


@pytest.mark.usefixtures("already_in_mni")
@pytest.mark.parametrize("draws_structure", [True, False])
def test_a_further_scan_of_the_request_is_seen_whether_or_not_it_can_be_drawn(
    draws_structure: bool, tmp_path: Path
) -> None:
    pre, tumour = on_disk(tmp_path / "patient")
    library = small_library(tmp_path / "library").folder
    scan = sitk.Cast(HAND_GRID.resample(template.seen_in("FLAIR")) * 300.0, sitk.sitkFloat32)
    sitk.WriteImage(scan, str(tmp_path / "flair.nii.gz"))
    request = PredictionRequest(
        pre=pre,
        tumour=tumour,
        library=library,
        model=tmp_path,
        out=tmp_path / "out",
        sequence="T1w",
        report=False,
        more={"FLAIR": tmp_path / "flair.nii.gz"},
    )
    model = Sees(has_renderer=draws_structure, has_structure=draws_structure)
    result = predict(request, Recorder(), load=lambda _: model)
    assert all(batch.has_context.tolist() == [[False, False, False, True]] * len(batch) for batch in model.batches)
    assert any(batch.query_context[:, FLAIR].any() for batch in model.batches)
    assert ("postop_mni_FLAIR" in result.files) == draws_structure
    told = json.loads(result.files["provenance"].read_text(encoding="utf-8"))
    assert list(told["input"]["further_scans_sha256"]) == ["FLAIR"]
    blind = FollowsThePrecedent(has_renderer=False, has_structure=False)
    with pytest.raises(InputError, match="no further sequence can be drawn"):
        predict(dataclasses.replace(request, out=tmp_path / "other"), Recorder(), load=lambda _: blind)


def test_the_evaluation_shows_them_too(tmp_path: Path) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    case = made_up_case("0001", split="test")
    flair = (case.pre["T1w"] * 0.5).astype(np.float32)
    library.add(dataclasses.replace(case, pre={**case.pre, "FLAIR": flair}, post={**case.post, "FLAIR": flair}))
    query = QueryCase.of(library.cases[0], "T1w")
    model = Sees()
    assert list(query.context_for(model)) == ["FLAIR"] and not query.context_for(FollowsThePrecedent())
    OurModel(model, "mean").predict_case(query, None)
    assert all(batch.has_context[:, FLAIR].all() for batch in model.batches)


def test_the_live_preview_shows_what_the_patient_holds() -> None:
    scan, labels = template_patient()
    patient = align(scan, labels, in_mni(scan))
    seen = dataclasses.replace(patient, further={"FLAIR": patient})
    assert np.array_equal(seen.context["FLAIR"], patient.pre)
    model = Lively()
    case = predict_case(model, patient.pre, patient.tumour, patient.brain, None, sequence="T1w")
    predictor = SlicePredictor(model, seen, None, case, days=None, own_institution=False)
    held = HeldPlans(seen, case, ()).of(PlanRequest("core", margin_mm=0.0))
    batch = predictor._batch(held, [58])
    assert batch.has_context.tolist() == [[False, False, False, True]]


def test_calibration_and_plans_show_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = CaseLibrary.create(tmp_path / "library")
    case = made_up_case("0001", split="test")
    flair = (case.pre["T1w"] * 0.5).astype(np.float32)
    library.add(dataclasses.replace(case, pre={**case.pre, "FLAIR": flair}, post={**case.post, "FLAIR": flair}))
    query = QueryCase.of(library.cases[0], "T1w")
    asked: list[dict[str, Any]] = []
    for module in (calibration_patient, plan_benchmark):
        monkeypatch.setattr(module, "predict_case", lambda *_, **settings: asked.append(settings))
    trial = SimpleNamespace(pipe=Sees(), seed=0, settings={})
    calibration_patient._predictor(query, "T1w", (50,), trial)(None, SilentProgress())  # type: ignore[arg-type]
    monkeypatch.setattr(plan_benchmark, "strategy_named", lambda *_, **__: None)
    monkeypatch.setattr(plan_benchmark, "BestPrecedent", lambda *_: lambda *_: None)
    monkeypatch.setattr(plan_benchmark, "_agreement", lambda *_: None)
    monkeypatch.setattr(type(query.case), "resection", lambda _: np.ones(WORKING_GRID.shape, np.uint8))
    plan_benchmark.Bench(Sees(), library).evaluate(query, nested=False)
    assert len(asked) == 3 and all(list(settings["context"]) == ["FLAIR"] for settings in asked)


def test_a_batch_without_further_scans_is_as_it_was(tmp_path: Path) -> None:
    batch = a_batch(PreparedSlices(write_prepared(tmp_path / "slices.safetensors")))
    assert not batch.triplets.has_context.any() and not batch.triplets.query_context.any()
