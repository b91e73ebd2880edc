"""Baselines learn by our own trainer: the loss falls, a stopped run goes on to the very same weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import prepared_arrays, tiny_config, tiny_paper, write_prepared

from PostOpPredictorLib.benchmark.baseline_trainer import BaselineTrainer
from PostOpPredictorLib.benchmark.baselines.baseline import Baseline
from PostOpPredictorLib.benchmark.baselines.ddpm import Ddpm
from PostOpPredictorLib.benchmark.baselines.image_brush import ImageBrush
from PostOpPredictorLib.benchmark.baselines.instruct_pix2pix import InstructPix2Pix
from PostOpPredictorLib.benchmark.baselines.paint_by_example import PaintByExample
from PostOpPredictorLib.benchmark.baselines.visii import Visii
from PostOpPredictorLib.benchmark.instruction_choice import ImageInstructions, OnePair, RandomInstructions, slices_for
from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.slices import PreparedSlices

KINDS = (Ddpm, PaintByExample, InstructPix2Pix, ImageBrush)
QUICK = TrainingConfig(
    steps=4, batch_size=3, crop=16, warmup_steps=0, checkpoint_every=100, sheet_every=100, learning_rate=1e-3
)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> PreparedSlices:
    prepared = PreparedSlices(write_prepared(tmp_path_factory.mktemp("prepared") / "slices.safetensors"))
    prepared.arrays["patient"] = torch.arange(len(prepared.arrays["tumour"])) // 2
    return prepared


@pytest.fixture(autouse=True)
def no_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PostOpPredictorLib.training.trainer.write_contact_sheet", lambda *_, **__: None)


class StopsAfter(SilentProgress):
    """Cancels when ``stop`` steps are done."""

    def __init__(self, stop: int) -> None:
        self.stop = stop

    def step(self, done: int, total: int) -> None:
        if done == self.stop:
            raise Cancelled("The user cancelled.")


def a_trainer(kind: type[Baseline], run: Path, slices: PreparedSlices, shape: Any = None, **changes: Any) -> Any:
    config = shape or tiny_config()
    return BaselineTrainer(lambda: kind.fresh(config), dataclasses.replace(QUICK, **changes), slices, run)


def weights_of(trainer: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.learning]


def fixed_loss(trainer: Any, slices: PreparedSlices) -> float:
    """The loss of one batch with the same noise, before and after."""
    generator = torch.Generator().manual_seed(0)
    rows = slices.rows("train")[:6]
    batch = slices.batch(rows, slices.draw_instruction(rows, 2, generator), "T1w", 16, generator)
    draws = trainer.objective.draws(batch, torch.Generator().manual_seed(1))
    with torch.no_grad():
        return float(trainer.objective.loss(batch, draws))


@pytest.mark.parametrize("kind", KINDS)
def test_training_makes_the_loss_smaller(kind: type[Baseline], tmp_path: Path, slices: PreparedSlices) -> None:
    trainer = a_trainer(kind, tmp_path, slices, steps=40, learning_rate=3e-3)
    before = fixed_loss(trainer, slices)
    for _ in range(40):
        trainer._one_step()
    assert fixed_loss(trainer, slices) < 0.95 * before


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_stops_and_goes_on_ends_with_the_very_same_weights(
    kind: type[Baseline], tmp_path: Path, slices: PreparedSlices
) -> None:
    through = a_trainer(kind, tmp_path / "through", slices)
    through.train(SilentProgress())
    with pytest.raises(Cancelled):
        a_trainer(kind, tmp_path / "stopped", slices).train(StopsAfter(2))
    torch.manual_seed(99)
    resumed = a_trainer(kind, tmp_path / "stopped", slices)
    assert resumed.step == 2
    resumed.train(SilentProgress())
    assert resumed.step == 4
    assert all(torch.equal(a, b) for a, b in zip(weights_of(resumed), weights_of(through), strict=True))


def test_the_autoencoder_and_medsam_do_not_learn(tmp_path: Path, slices: PreparedSlices) -> None:
    trainer = a_trainer(PaintByExample, tmp_path, slices, tiny_paper(), crop=0)
    model = trainer.pipeline
    frozen = [*model.autoencoder.parameters(), *model.condition_network.features.encoder.parameters()]
    before = [p.detach().clone() for p in frozen]
    trainer._one_step()
    assert all(torch.equal(a, b) for a, b in zip(before, frozen, strict=True))
    assert any((tmp_path / "embeddings").rglob("*.npy"))


def test_visii_learns_one_embedding_from_one_pair(tmp_path: Path, slices: PreparedSlices) -> None:
    a_trainer(InstructPix2Pix, tmp_path / "first", slices).train(SilentProgress())
    pair = OnePair(slices)
    training = dataclasses.replace(QUICK, steps=30, learning_rate=3e-2, ema_decay=0)
    trainer = BaselineTrainer(
        lambda: Visii.starting_from(tmp_path / "first" / "model"), training, pair, tmp_path / "visii"
    )
    start = {name: value.clone() for name, value in trainer.pipeline.state_dict().items()}
    before = fixed_loss(trainer, pair)
    trainer.train(SilentProgress())
    changed = [n for n, value in trainer.pipeline.state_dict().items() if not torch.equal(value, start[n])]
    assert changed == ["condition_network.text"]
    assert fixed_loss(trainer, pair) < before
    assert len(pair.rows("train")) == 1
    areas = torch.isin(slices.arrays["outcome"][slices.rows("train")], torch.tensor([1, 3, 5])).sum(dim=(1, 2))
    row = int(pair.rows("train"))
    assert torch.isin(slices.arrays["outcome"][row], torch.tensor([1, 3, 5])).sum() == areas.max()


def test_a_run_of_another_shape_is_refused(tmp_path: Path, slices: PreparedSlices) -> None:
    a_trainer(Ddpm, tmp_path, slices, steps=1).train(SilentProgress())
    with pytest.raises(InputError, match="another configuration"):
        a_trainer(Ddpm, tmp_path, slices, tiny_config(train_timesteps=500))


@pytest.mark.parametrize("choice", ["random", "image"])
def test_instructions_come_from_other_patients_of_the_same_split(choice: str, slices: PreparedSlices) -> None:
    chosen = slices_for(choice, slices, "T1w")
    rows = torch.cat([chosen.rows("train"), chosen.rows("val")])
    generator = torch.Generator().manual_seed(0)
    drawn = set()
    for _ in range(20):
        instruction = chosen.draw_instruction(rows, 15, generator)
        drawn |= set(instruction.tolist())
        assert (slices.arrays["patient"][rows] != slices.arrays["patient"][instruction]).all()
        assert (slices.arrays["split"][rows] == slices.arrays["split"][instruction]).all()
    assert len(drawn) > 3


def test_image_instructions_are_the_slices_that_look_most_alike(slices: PreparedSlices) -> None:
    twin = PreparedSlices.__new__(PreparedSlices)
    twin.metadata, twin.sequences = slices.metadata, slices.sequences
    twin.arrays = {**slices.arrays, "pre_T1wCE": slices.arrays["pre_T1wCE"].clone()}
    twin.arrays["pre_T1wCE"][7] = twin.arrays["pre_T1wCE"][0]
    assert int(ImageInstructions(twin, "T1wCE").arrays["neighbours"][0, 0]) == 7
    assert int(ImageInstructions(twin, "T1wCE").arrays["neighbours"][7, 0]) == 0


@pytest.mark.parametrize("choice", ["image", "one pair"])
def test_only_slices_that_have_the_sequence_instruct(choice: str, slices: PreparedSlices) -> None:
    fewer = PreparedSlices.__new__(PreparedSlices)
    fewer.metadata, fewer.sequences = slices.metadata, slices.sequences
    fewer.arrays = {**slices.arrays, "has_T1w": slices.arrays["has_T1w"].clone()}
    largest = int(OnePair(slices).rows("train", sequence="T1w"))
    fewer.arrays["has_T1w"][largest] = 0
    if choice == "one pair":
        (row,) = OnePair(fewer).rows("train", sequence="T1w").tolist()
        assert row != largest
        return
    neighbours = ImageInstructions(fewer, "T1w").arrays["neighbours"]
    assert largest not in neighbours and (neighbours[largest] == -1).all()
    assert largest in ImageInstructions(fewer, "T1wCE").arrays["neighbours"]


def test_slices_that_do_not_know_their_patients_are_refused(slices: PreparedSlices) -> None:
    nameless = PreparedSlices.__new__(PreparedSlices)
    nameless.metadata, nameless.sequences = slices.metadata, slices.sequences
    nameless.arrays = {name: value for name, value in slices.arrays.items() if name != "patient"}
    with pytest.raises(InputError, match="do not tell patients apart"):
        RandomInstructions(nameless)
    lonely = PreparedSlices.__new__(PreparedSlices)
    lonely.metadata, lonely.sequences = slices.metadata, slices.sequences
    lonely.arrays = {**slices.arrays, "patient": torch.zeros(len(prepared_arrays()["tumour"]))}
    with pytest.raises(InputError, match="slices of two patients"):
        RandomInstructions(lonely).draw_instruction(torch.tensor([0]), 1, torch.Generator())
