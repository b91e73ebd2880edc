"""One step to the expected outcome, several to a plausible one: checked with a network that knows the answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from diffusers import DDIMScheduler
from tiny_models import some_triplets, tiny_config
from torch import Tensor

from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.model.sampling import build_scheduler, expected_target, guided, sampled_target, shared_noise
from PostOpPredictorLib.model.triplet import TripletBatch

SHAPE = (3, 4, 4)


@dataclass
class KnowsTheAnswer:
    """Predicts the exact noise or velocity of ``answer`` (2, 3, 4, 4), and keeps what it was asked."""

    scheduler: DDIMScheduler
    answer: Tensor
    asked: list[tuple[Tensor, int]] = field(default_factory=list)

    def noise_shape(self, triplets: TripletBatch) -> tuple[int, int, int]:
        return SHAPE

    def condition(self, triplets: TripletBatch) -> TripletBatch:
        return triplets

    def __call__(self, noisy: Tensor, time: Tensor, condition: TripletBatch) -> Tensor:
        self.asked.append((noisy, int(time)))
        signal = self.scheduler.alphas_cumprod[time]
        noise = (noisy - signal**0.5 * self.answer) / (1 - signal) ** 0.5
        if self.scheduler.config.prediction_type == "epsilon":
            return noise
        return signal**0.5 * noise - (1 - signal) ** 0.5 * self.answer


@pytest.fixture
def triplets() -> TripletBatch:
    return some_triplets()


def an_oracle(prediction_type: str) -> KnowsTheAnswer:
    answer = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(9))
    return KnowsTheAnswer(build_scheduler(tiny_config(prediction_type=prediction_type)), answer)


def sampled(oracle: KnowsTheAnswer, triplets: TripletBatch, **options: object) -> Tensor:
    settings: dict[str, object] = {"steps": 4, "seed": 0, "guidance": 1.0, "start": None, "on_step": lambda *_: None}
    return sampled_target(oracle, oracle.scheduler, triplets, **{**settings, **options})  # type: ignore[arg-type]


def test_v_prediction_has_no_signal_at_the_last_time_step() -> None:
    assert build_scheduler(tiny_config(prediction_type="v_prediction")).alphas_cumprod[-1] == 0


def test_noise_prediction_keeps_a_trace_of_signal_without_which_it_cannot_be_inverted() -> None:
    assert build_scheduler(tiny_config(prediction_type="epsilon")).alphas_cumprod[-1] > 1e-4


def test_the_mean_is_what_the_network_says_from_pure_noise_in_one_step(triplets: TripletBatch) -> None:
    oracle = an_oracle("v_prediction")
    found = expected_target(oracle, oracle.scheduler, triplets, seed=0, guidance=1.0)  # type: ignore[arg-type]
    assert torch.allclose(found, oracle.answer, atol=1e-5)
    assert [time for _, time in oracle.asked] == [999]


def test_the_mean_is_refused_for_noise_prediction_with_a_sentence(triplets: TripletBatch) -> None:
    oracle = an_oracle("epsilon")
    with pytest.raises(InputError, match=r"mode 'mean' needs a model with v-prediction.*Choose the mode"):
        expected_target(oracle, oracle.scheduler, triplets, seed=0, guidance=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("steps", [1, 4, 10, 50])
def test_a_network_that_knows_the_answer_is_sampled_to_the_answer(
    triplets: TripletBatch, prediction_type: str, steps: int
) -> None:
    oracle = an_oracle(prediction_type)
    assert torch.allclose(sampled(oracle, triplets, steps=steps), oracle.answer, atol=2e-3)
    times = [time for _, time in oracle.asked]
    assert len(times) == steps and times[0] == 999 and times == sorted(times, reverse=True)


def test_sampling_starts_from_unit_noise(triplets: TripletBatch) -> None:
    oracle = an_oracle("v_prediction")
    sampled(oracle, triplets, seed=5)
    assert torch.equal(oracle.asked[0][0], shared_noise(SHAPE, 2, 5, torch.device("cpu")))


def test_starting_from_a_composite_skips_the_first_steps_and_keeps_some_of_it(triplets: TripletBatch) -> None:
    oracle = an_oracle("v_prediction")
    start = torch.full((2, *SHAPE), 50.0)
    sampled(oracle, triplets, steps=10, start=start)
    first, time = oracle.asked[0]
    assert len(oracle.asked) == 7 and time < 999
    signal = oracle.scheduler.alphas_cumprod[time]
    noise = shared_noise(SHAPE, 2, 0, torch.device("cpu"))
    assert torch.allclose(first, signal**0.5 * start + (1 - signal) ** 0.5 * noise, atol=1e-4)
    assert first.mean() > 5


def test_every_slice_of_a_volume_gets_the_same_noise_and_every_seed_another() -> None:
    cpu = torch.device("cpu")
    noise = shared_noise(SHAPE, 5, 1, cpu)
    assert noise.shape == (5, *SHAPE)
    assert all(torch.equal(noise[0], one) for one in noise)
    assert torch.equal(noise, shared_noise(SHAPE, 5, 1, cpu))
    assert not torch.equal(noise, shared_noise(SHAPE, 5, 2, cpu))


def test_the_global_random_state_is_left_alone(triplets: TripletBatch) -> None:
    before = torch.random.get_rng_state()
    sampled(an_oracle("v_prediction"), triplets)
    assert torch.equal(before, torch.random.get_rng_state())


class SeesInstruction:
    """1 where there is an instruction, 0.25 where not."""

    calls = 0

    def condition(self, triplets: TripletBatch) -> TripletBatch:
        return triplets

    def __call__(self, noisy: Tensor, time: Tensor, condition: TripletBatch) -> Tensor:
        SeesInstruction.calls += 1
        assert condition.has_instruction is not None
        seen = condition.has_instruction & (condition.instruction_post.sum(dim=(1, 2, 3)) > 0)
        return torch.where(seen, 1.0, 0.25)[:, None, None, None].expand_as(noisy)


@pytest.mark.parametrize(("guidance", "expected", "calls"), [(1.0, 1.0, 1), (2.0, 1.75, 2), (0.0, 0.25, 2)])
def test_guidance_leads_away_from_the_answer_without_instruction(
    triplets: TripletBatch, guidance: float, expected: float, calls: int
) -> None:
    SeesInstruction.calls = 0
    answer = guided(SeesInstruction(), triplets, guidance)(torch.zeros(2, *SHAPE), torch.tensor(3))  # type: ignore[arg-type]
    assert answer.eq(expected).all()
    assert SeesInstruction.calls == calls


def test_steps_are_counted_from_0_to_all(triplets: TripletBatch) -> None:
    told: list[tuple[int, int]] = []
    sampled(an_oracle("v_prediction"), triplets, steps=3, on_step=lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_cancel_between_steps_ends_the_sampling(triplets: TripletBatch) -> None:
    oracle = an_oracle("v_prediction")

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Cancelled("The user cancelled; nothing was written.")

    with pytest.raises(Cancelled):
        sampled(oracle, triplets, steps=10, on_step=stop)
    assert len(oracle.asked) == 2


def test_dropping_the_instruction_blanks_it_for_the_chosen_slices_only(triplets: TripletBatch) -> None:
    dropped = triplets.without_instruction(torch.tensor([True, False]))
    for name in ("instruction_pre", "instruction_post", "instruction_tumour", "instruction_outcome"):
        assert getattr(dropped, name)[0].eq(0).all(), name
        assert torch.equal(getattr(dropped, name)[1], getattr(triplets, name)[1]), name
    assert dropped.has_instruction is not None and dropped.has_instruction.tolist() == [False, True]
    assert torch.equal(dropped.query_pre, triplets.query_pre)
    again = dropped.without_instruction(torch.tensor([False, False]))
    assert again.has_instruction is not None and again.has_instruction.tolist() == [False, True]


def test_a_batch_of_unequal_lengths_is_refused(triplets: TripletBatch) -> None:
    with pytest.raises(ValueError, match="z_mm holds 3 slices, query_pre 2"):
        replace(triplets, z_mm=torch.zeros(3))
