"""The pipeline: every system trains and samples with one code, a seed fixes the slices, a model folder is whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tiny_models import TINY_KL, a_pipeline, some_triplets, tiny_config, write_prepared

from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.model.device import chosen_device
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.model.triplet import TripletBatch
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.losses import denoising_loss
from PostOpPredictorLib.training.slices import PreparedSlices, TrainingBatch

SYSTEMS = [
    pytest.param({"target": target, "layout": layout, "noised": noised, "autoencoder": autoencoder}, id=name)
    for name, target, layout, noised, autoencoder in (
        ("structure", "structure", "stacked", "target", tiny_config().autoencoder),
        ("stacked image", "image", "stacked", "target", tiny_config().autoencoder),
        ("stacked image kl", "image", "stacked", "target", TINY_KL),
        ("grid", "image", "grid", "target", TINY_KL),
        ("grid all noised", "image", "grid", "full", tiny_config().autoencoder),
    )
]


@pytest.fixture(scope="module")
def pipeline() -> PostOpPipeline:
    """The tiny structure model; nobody may change it."""
    return a_pipeline()


@pytest.fixture
def triplets() -> TripletBatch:
    return some_triplets()


@pytest.fixture(scope="module")
def a_batch(tmp_path_factory: pytest.TempPathFactory) -> TrainingBatch:
    slices = PreparedSlices(write_prepared(tmp_path_factory.mktemp("slices") / "slices.safetensors"))
    rows, generator = slices.rows("train")[:2], torch.Generator().manual_seed(0)
    return slices.batch(rows, slices.draw_instruction(rows, 2, generator), "T1w", 16, generator)


@pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_trains_a_step_and_samples_with_the_same_code(
    system: dict[str, Any], prediction_type: str, a_batch: TrainingBatch, triplets: TripletBatch
) -> None:
    pipeline = a_pipeline(prediction_type=prediction_type, **system)
    generator = torch.Generator().manual_seed(0)
    loss = denoising_loss(pipeline.denoiser, pipeline.scheduler, a_batch, TrainingConfig(), generator)
    loss.backward()
    assert torch.isfinite(loss) and loss > 0
    gradient = sum(p.grad.abs().sum() for p in pipeline.unet.parameters() if p.grad is not None)
    assert gradient > 0
    made = pipeline(triplets, mode="sample", steps=2)
    assert made.image.shape == (2, 1, 32, 32) and torch.isfinite(made.image).all()
    assert (made.outcome_probability is not None) == (system["target"] == "structure")
    if prediction_type == "epsilon":
        with pytest.raises(InputError, match="needs a model with v-prediction"):
            pipeline(triplets, mode="mean")
    else:
        assert torch.isfinite(pipeline(triplets, mode="mean").image).all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_starts_from_the_composite(system: dict[str, Any], triplets: TripletBatch) -> None:
    pipeline = a_pipeline(**system)
    noise, start = (pipeline(triplets, mode="sample", steps=4, start=start).image for start in ("noise", "composite"))
    assert torch.isfinite(start).all() and not torch.equal(noise, start)


@pytest.mark.parametrize("target", ["structure", "image"])
@pytest.mark.parametrize("mode", ["mean", "sample", "average"])
def test_the_image_is_within_0_and_1_and_0_outside_the_brain(
    triplets: TripletBatch, target: str, mode: str, pipeline: PostOpPipeline
) -> None:
    model = pipeline if target == "structure" else a_pipeline(target="image")
    image = model(triplets, mode=mode, steps=2, samples=2).image
    assert image.min() >= 0 and image.max() <= 1
    assert image[triplets.query_brain == 0].eq(0).all()
    assert image[triplets.query_brain == 1].sum() > 0


def test_the_outcome_is_a_probability_and_the_shift_has_three_components(
    pipeline: PostOpPipeline, triplets: TripletBatch
) -> None:
    made = pipeline(triplets, mode="average", steps=2, samples=2)
    assert made.outcome_probability is not None and made.shift_mm is not None
    assert made.outcome_probability.shape == (2, 6, 32, 32) and made.shift_mm.shape == (2, 3, 32, 32)
    assert torch.allclose(made.outcome_probability.sum(dim=1), torch.ones(2, 32, 32), atol=1e-5)


@pytest.mark.parametrize("mode", ["mean", "sample", "average"])
def test_the_same_seed_gives_the_same_slices(pipeline: PostOpPipeline, triplets: TripletBatch, mode: str) -> None:
    first, torch_state = pipeline(triplets, mode=mode, steps=2, seed=3), torch.rand(5)
    second = pipeline(triplets, mode=mode, steps=2, seed=3)
    assert torch.equal(first.image, second.image)
    assert first.shift_mm is not None and second.shift_mm is not None
    assert torch.equal(first.shift_mm, second.shift_mm)
    assert torch_state.numel() == 5


def test_another_seed_gives_another_sample(pipeline: PostOpPipeline, triplets: TripletBatch) -> None:
    images = [pipeline(triplets, mode="sample", steps=2, seed=seed).image for seed in (0, 1)]
    assert not torch.allclose(images[0], images[1], atol=1e-4)


def test_a_slice_does_not_depend_on_its_neighbours_in_the_batch(pipeline: PostOpPipeline) -> None:
    triplets = some_triplets(3)
    together = pipeline(triplets, mode="sample", steps=2).image
    alone = torch.cat([pipeline(triplets.rows(slice(i, i + 1)), mode="sample", steps=2).image for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_an_average_is_the_mean_of_the_samples(pipeline: PostOpPipeline, triplets: TripletBatch) -> None:
    average = pipeline(triplets, mode="average", steps=2, samples=3, seed=5)
    samples = [pipeline(triplets, mode="sample", steps=2, seed=seed) for seed in (5, 6, 7)]
    assert torch.allclose(average.image, torch.stack([one.image for one in samples]).mean(dim=0), atol=1e-6)


def test_guidance_changes_the_sample_and_1_is_none(pipeline: PostOpPipeline, triplets: TripletBatch) -> None:
    plain, guided = (pipeline(triplets, mode="mean", guidance=guidance).image for guidance in (1.0, 4.0))
    assert not torch.allclose(plain, guided, atol=1e-4)
    assert torch.equal(plain, pipeline(triplets, mode="mean").image), "the compact configuration's own guidance is 1"


def test_without_a_similar_case_the_query_alone_is_enough(pipeline: PostOpPipeline, triplets: TripletBatch) -> None:
    alone = triplets.without_instruction()
    made = pipeline(alone, mode="sample", steps=2).image
    assert torch.isfinite(made).all()
    assert not torch.equal(made, pipeline(triplets, mode="sample", steps=2).image), "the instruction has an effect"


def test_a_fresh_renderer_shows_the_patients_own_scan(triplets: TripletBatch) -> None:
    """So that training starts from the copy, and what is not learned stays the patient's anatomy."""
    fresh = PostOpPipeline.of(tiny_config())
    unchanged = torch.zeros(2, 6, 32, 32)
    unchanged[:, 0] = 1
    image = fresh.render(triplets, unchanged, torch.zeros(2, 3, 32, 32))
    assert torch.allclose(image, triplets.query_pre * triplets.query_brain, atol=1e-5)


def test_the_filling_of_the_precedents_cavity_reaches_the_image(
    pipeline: PostOpPipeline, triplets: TripletBatch
) -> None:
    brighter = torch.where(triplets.instruction_outcome[:, None] == 1, 0.9, triplets.instruction_post)
    other = dataclasses.replace(triplets, instruction_post=brighter)
    outcome = torch.zeros(2, 6, 32, 32)
    outcome[:, 1] = 1
    shift = torch.zeros(2, 3, 32, 32)
    assert not torch.equal(pipeline.render(triplets, outcome, shift), pipeline.render(other, outcome, shift))


class StopsAt(SilentProgress):
    def __init__(self, step: int) -> None:
        self.stop, self.told = step, []

    def step(self, done: int, total: int) -> None:
        self.told.append((done, total))
        if done == self.stop:
            raise Cancelled("The user cancelled; nothing was written.")


def test_a_cancel_ends_the_prediction_between_two_steps(pipeline: PostOpPipeline, triplets: TripletBatch) -> None:
    progress = StopsAt(3)
    with pytest.raises(Cancelled):
        pipeline(triplets, mode="average", steps=2, samples=5, progress=progress)
    assert progress.told == [(0, 10), (1, 10), (2, 10), (2, 10), (3, 10)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mode": "best"}, "no mode 'best'; choose one of: mean, sample, average"),
        ({"mode": "sample", "start": "pre"}, "cannot start from 'pre'"),
        ({"mode": "sample", "steps": 0}, "0 steps"),
        ({"mode": "sample", "steps": 1001}, "1001 steps .* give 1 to 1000"),
        ({"mode": "average", "samples": 0}, "0 samples"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_a_sentence(
    pipeline: PostOpPipeline, triplets: TripletBatch, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        pipeline(triplets, **options)


def test_without_drawing_the_structure_is_the_same_and_the_image_black(pipeline: PostOpPipeline) -> None:
    drawn, undrawn = (pipeline(some_triplets(), draw=draw) for draw in (True, False))
    assert torch.equal(drawn.outcome_probability, undrawn.outcome_probability)
    assert torch.equal(drawn.shift_mm, undrawn.shift_mm)
    assert drawn.image.any() and not undrawn.image.any() and undrawn.image.shape == drawn.image.shape


def test_a_device_has_a_name_and_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device("auto") == chosen_device("cpu") == torch.device("cpu")
    for name in ("cuda", "gpu"):
        with pytest.raises(InputError, match=f"no device '{name}'"):
            chosen_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_device("auto") == torch.device("cuda")
