"""What is made small in training: drawn, weighted and dropped as configured."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tiny_models import a_batch, tiny_config, write_prepared

from PostOpPredictorLib.model.layouts import quadrant
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.model.triplet import TripletBatch
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.losses import denoising_loss, known_channels, latent_weight, rendering_loss
from PostOpPredictorLib.training.slices import PreparedSlices, TrainingBatch


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> PreparedSlices:
    return PreparedSlices(write_prepared(tmp_path_factory.mktemp("prepared") / "slices.safetensors"))


class AnswersZero:
    """Stands for the denoiser's networks: predicts 0 and keeps times and conditions."""

    def __init__(self, pipeline: PostOpPipeline, **changes: Any) -> None:
        self.config = dataclasses.replace(pipeline.config_tree, **changes)
        self.inner = pipeline.denoiser
        self.times: list[int] = []
        self.dropped_tokens = self.dropped_instructions = self.samples = 0

    def noise_shape(self, triplets: TripletBatch) -> tuple[int, int, int]:
        return self.inner.noise_shape(triplets)

    def target_latents(self, triplets: TripletBatch, post: Any, outcome: Any, shift: Any) -> torch.Tensor:
        self.clean = self.inner.target_latents(triplets, post, outcome, shift)
        return self.clean

    def tokens(self, triplets: TripletBatch, drop: torch.Tensor) -> torch.Tensor:
        self.dropped_tokens += int(drop.sum())
        self.instruction_of_tokens = triplets.has_instruction
        return torch.zeros(len(drop), 2, 16)

    def condition(self, triplets: TripletBatch, tokens: torch.Tensor) -> None:
        assert triplets.has_instruction is not None and self.instruction_of_tokens is not None
        assert torch.equal(triplets.has_instruction, self.instruction_of_tokens), "tokens tell what was dropped"
        self.dropped_instructions += int((~triplets.has_instruction).sum())
        self.samples += len(triplets)

    def __call__(self, noisy: torch.Tensor, times: torch.Tensor, condition: None) -> torch.Tensor:
        self.times += times.tolist()
        return torch.zeros_like(noisy)


@pytest.mark.parametrize(("prediction_type", "share"), [("v_prediction", 0.5), ("epsilon", 0.0)])
def test_time_steps_and_condition_dropout_are_drawn_as_configured(
    slices: PreparedSlices, prediction_type: str, share: float
) -> None:
    pipeline = PostOpPipeline.of(tiny_config(prediction_type=prediction_type))
    fake = AnswersZero(pipeline, condition_dropout=0.2)
    generator, batch = torch.Generator().manual_seed(0), a_batch(slices)
    for _ in range(150):
        denoising_loss(fake, pipeline.scheduler, batch, TrainingConfig(expected_share=share), generator)  # type: ignore[arg-type]
    at_the_end = sum(time == 999 for time in fake.times) / len(fake.times)
    assert at_the_end == pytest.approx(share, abs=0.06)
    assert min(fake.times) < 50, "and all other times, too"
    assert fake.dropped_tokens / fake.samples == pytest.approx(0.2, abs=0.05)
    assert fake.dropped_instructions / fake.samples == pytest.approx(0.2, abs=0.05)


class KnowsTheNoise(AnswersZero):
    """Answers the exact noise or velocity, from the clean target that it was asked for."""

    def __call__(self, noisy: torch.Tensor, times: torch.Tensor, condition: None) -> torch.Tensor:
        signal = self.signal[times][:, None, None, None]
        noise = (noisy - signal**0.5 * self.clean) / (1 - signal) ** 0.5
        velocity = signal**0.5 * noise - (1 - signal) ** 0.5 * self.clean
        return noise if self.config.prediction_type == "epsilon" else velocity


@pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("target", ["structure", "image"])
def test_a_network_that_knows_the_answer_has_no_loss(slices: PreparedSlices, target: str, prediction_type: str) -> None:
    pipeline = PostOpPipeline.of(tiny_config(target=target, prediction_type=prediction_type))
    fake, batch = KnowsTheNoise(pipeline), a_batch(slices)
    fake.signal = pipeline.scheduler.alphas_cumprod
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        loss = denoising_loss(fake, pipeline.scheduler, batch, TrainingConfig(), generator)  # type: ignore[arg-type]
        assert loss < 1e-5


def test_the_loss_is_weighted_around_the_lesion(slices: PreparedSlices) -> None:
    pipeline = PostOpPipeline.of(tiny_config(target="image", prediction_type="epsilon"))
    batch = a_batch(slices, crop=0)
    fake = AnswersZero(pipeline)
    nowhere = dataclasses.replace(batch, lesion=torch.zeros_like(batch.lesion))
    everywhere = dataclasses.replace(batch, lesion=torch.ones_like(batch.lesion))

    def loss(of: TrainingBatch, outside: float = 0.0) -> float:
        generator, settings = torch.Generator().manual_seed(0), TrainingConfig(outside_weight=outside)
        return float(denoising_loss(fake, pipeline.scheduler, of, settings, generator))  # type: ignore[arg-type]

    assert loss(nowhere) == 0
    assert loss(nowhere, 0.2) == pytest.approx(0.2 * loss(everywhere), rel=1e-4)
    assert loss(everywhere) == pytest.approx(1, abs=0.1), "the mean square of unit noise"
    assert 0.05 < loss(batch) < 0.9


def test_with_all_quadrants_noised_the_lesion_weighs_in_the_answers_quadrant_alone(slices: PreparedSlices) -> None:
    config = tiny_config(target="image", layout="grid", noised="full")
    weight = latent_weight(torch.ones(1, 1, 32, 32), torch.zeros(1, 16, 16, 16), config, TrainingConfig())
    assert quadrant(weight).eq(1).all()
    quadrant(weight)[:] = 0.2
    assert weight.eq(0.2).all()


def test_the_renderer_learns_from_a_structure_as_uncertain_as_a_predicted_one(slices: PreparedSlices) -> None:
    renderer = PostOpPipeline.of(tiny_config()).renderer
    torch.nn.init.normal_(renderer.conv_out.weight, std=0.1)
    batch = a_batch(slices)

    def loss(noise: float, seed: int) -> float:
        settings = TrainingConfig(structure_noise=noise)
        return float(rendering_loss(renderer, batch, settings, torch.Generator().manual_seed(seed)).detach())

    assert loss(0.0, 0) == loss(0.0, 1)
    assert loss(0.3, 0) != loss(0.3, 1)


def test_an_unknown_shift_teaches_nothing(slices: PreparedSlices) -> None:
    """Imported pairs know no shift; their zeros must not teach that the brain never moves."""
    pipeline = PostOpPipeline.of(tiny_config())
    batch = a_batch(slices)

    def loss(known: bool, shift: float) -> float:
        of = dataclasses.replace(
            batch,
            query_shift=torch.full_like(batch.query_shift, shift),
            shift_known=torch.full_like(batch.shift_known, known),
        )
        generator = torch.Generator().manual_seed(0)
        return float(
            denoising_loss(AnswersZero(pipeline), pipeline.scheduler, of, TrainingConfig(), generator)  # type: ignore[arg-type]
        )

    assert loss(False, 0.0) == loss(False, 6.0)
    assert loss(True, 0.0) != loss(True, 6.0)
    weight = known_channels(torch.tensor([True, False]), torch.zeros(2, 32, 4, 4))
    assert weight.sum(dim=(1, 2, 3)).tolist() == [32, 20]


def test_plans_are_dropped_as_configured(slices: PreparedSlices) -> None:
    pipeline = PostOpPipeline.of(tiny_config(plan=True))

    class Counts(AnswersZero):
        plans = 0

        def condition(self, triplets: TripletBatch, tokens: torch.Tensor) -> None:
            assert triplets.has_plan is not None
            self.plans += int(triplets.has_plan.sum())
            super().condition(triplets, tokens)

    fake, generator, batch = Counts(pipeline, plan_dropout=0.25), torch.Generator().manual_seed(0), a_batch(slices)
    for _ in range(100):
        denoising_loss(fake, pipeline.scheduler, batch, TrainingConfig(), generator)  # type: ignore[arg-type]
    assert fake.plans / fake.samples == pytest.approx(0.75, abs=0.06)
