"""A model that learns on: old weights under new conditions, and validation patients that choose what is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tiny_models import TINY_KL, a_pipeline, some_triplets, tiny_config, write_prepared

from PostOpPredictorLib.cli.app import run
from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.model.pretrained import grown
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.slices import PreparedSlices
from PostOpPredictorLib.training.trainer import Trainer

SHORT = TrainingConfig(steps=6, batch_size=2, crop=16, checkpoint_every=100, sheet_every=100, warmup_steps=1)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> PreparedSlices:
    return PreparedSlices(write_prepared(tmp_path_factory.mktemp("growing") / "slices.safetensors"))


def test_a_grown_model_answers_as_before_until_it_learns_what_is_new() -> None:
    before = a_pipeline(plan=True)
    after = grown(before, tiny_config(plan=True, time=True, institution=True))
    for network in after.networks:
        network.eval()
    triplets = dataclasses.replace(some_triplets(), days=torch.tensor([3.0, 90.0]), has_days=torch.tensor([True, True]))
    expected, found = before(triplets), after(triplets)
    assert torch.allclose(found.image, expected.image, atol=1e-5)
    assert torch.allclose(found.outcome_probability, expected.outcome_probability, atol=1e-5)
    with torch.no_grad():
        after.unet.conv_in.weight[:, -4:].normal_()
    other = dataclasses.replace(triplets, days=torch.tensor([300.0, 300.0]))
    assert not torch.allclose(after(triplets).image, after(other).image, atol=1e-5), "the new channels are read"


def test_a_model_may_learn_on_with_precedents_laid_onto_the_query() -> None:
    before = a_pipeline()
    after = grown(before, tiny_config(align_instruction=True))
    assert after.config_tree.align_instruction
    for old, new in zip(before.networks, after.networks, strict=True):
        for name, weights in old.state_dict().items():
            assert torch.equal(new.state_dict()[name], weights), name


def test_a_learned_latent_keeps_its_scale() -> None:
    before = a_pipeline(target="image", plan=False, autoencoder=TINY_KL)
    before.autoencoder.fit_scale(some_triplets().query_pre)
    scale = before.autoencoder.config.scaling_factor
    after = grown(before, tiny_config(target="image", plan=False, autoencoder=TINY_KL, time=True))
    assert scale != 1.0 and after.autoencoder.config.scaling_factor == scale


def test_a_model_of_another_shape_is_no_start() -> None:
    with pytest.raises(InputError, match="another 'plan'"):
        grown(a_pipeline(), tiny_config(plan=True))


def test_a_run_starts_from_the_named_model(tmp_path: Path, slices: PreparedSlices) -> None:
    source = a_pipeline()
    source.save(tmp_path / "source")
    training = dataclasses.replace(SHORT, start_from=str(tmp_path / "source"))
    trainer = Trainer(tiny_config(time=True), training, slices, tmp_path / "run")
    assert torch.equal(trainer.pipeline.unet.conv_out.weight, source.unet.conv_out.weight)
    assert trainer.pipeline.unet.conv_in.weight.shape[1] == source.unet.conv_in.weight.shape[1] + 3


def test_validation_keeps_the_best_weights_not_the_last(
    tmp_path: Path, slices: PreparedSlices, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = dataclasses.replace(SHORT, validate_every=2)
    trainer = Trainer(tiny_config(), training, slices, tmp_path / "run")
    losses = iter([0.5, 0.3, 0.4])
    kept = []
    monkeypatch.setattr(trainer.validation, "loss", lambda *rest: next(losses))
    save = trainer._save_model
    monkeypatch.setattr(trainer, "_save_model", lambda: (kept.append(trainer.step), save()))
    trainer.train(SilentProgress())
    assert kept == [2, 4], "the third validation was worse"
    lines = [json.loads(line) for line in (tmp_path / "run" / "log-denoiser.jsonl").read_text().splitlines()]
    assert [line["validation_loss"] for line in lines if "validation_loss" in line] == [0.5, 0.3, 0.4]
    again = Trainer(tiny_config(), training, slices, tmp_path / "run")
    assert again.best_loss == 0.3 and again.step == 6, "a run that goes on knows its best"
    best = PostOpPipeline.from_pretrained(tmp_path / "run" / "model")
    assert not torch.equal(best.unet.conv_out.weight, trainer.pipeline.unet.conv_out.weight)


def test_without_validation_patients_the_last_weights_are_kept_and_it_is_said(tmp_path: Path) -> None:
    """As after 'postop library split' without --val: a loss over nobody must not choose."""
    slices = PreparedSlices(write_prepared(tmp_path / "slices.safetensors", val=0))
    trainer = Trainer(tiny_config(), dataclasses.replace(SHORT, validate_every=2), slices, tmp_path / "run")
    told = []
    progress = SilentProgress()
    progress.log = told.append  # type: ignore[method-assign]
    trainer.train(progress)
    assert any("no validation patients" in text for text in told)
    kept = PostOpPipeline.from_pretrained(tmp_path / "run" / "model")
    with trainer._averaged_weights():
        assert torch.equal(kept.unet.conv_out.weight, trainer.pipeline.unet.conv_out.weight)


def test_a_part_shorter_than_the_way_to_a_validation_is_kept_beside_the_other_part(
    tmp_path: Path, slices: PreparedSlices
) -> None:
    for part in ("renderer", "denoiser"):
        training = dataclasses.replace(SHORT, part=part, validate_every=100)
        trainer = Trainer(tiny_config(), training, slices, tmp_path / "run")
        trainer.train(SilentProgress())
        kept = PostOpPipeline.from_pretrained(tmp_path / "run" / "model")
        with trainer._averaged_weights():
            for saved, learned in ((kept.renderer, trainer.pipeline.renderer), (kept.unet, trainer.pipeline.unet)):
                assert torch.equal(saved.conv_out.weight, learned.conv_out.weight), part


def test_the_validation_loss_is_the_same_twice_and_tells_weights_apart(tmp_path: Path, slices: PreparedSlices) -> None:
    training = dataclasses.replace(SHORT, validate_every=2)
    trainer = Trainer(tiny_config(), training, slices, tmp_path / "run")
    assert trainer.validation is not None and trainer.validation.batches
    first, second = (trainer.validation.loss(trainer.objective, torch.device("cpu")) for _ in range(2))
    assert first == second > 0
    with torch.no_grad():
        trainer.pipeline.unet.conv_out.weight.add_(0.5)
    assert trainer.validation.loss(trainer.objective, torch.device("cpu")) != first


def test_the_command_starts_from_a_model_folder_and_names_one_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_prepared(tmp_path / "slices.safetensors")
    a_pipeline().save(tmp_path / "source")
    tiny = dataclasses.asdict(tiny_config(institution=True))
    short = {"batch_size": 2, "crop": 16, "validate_every": 2, "steps": 2}
    (tmp_path / "tiny.json.yaml").write_text(json.dumps({"model": tiny, "training": short}), encoding="utf-8")
    options = ["train", "--config", str(tmp_path / "tiny.json.yaml"), "--data", str(data), "--device", "cpu"]
    assert run([*options, "--out", str(tmp_path / "run"), "--start-from", str(tmp_path / "source")]) == 0
    trained = PostOpPipeline.from_pretrained(tmp_path / "run" / "model")
    assert trained.config_tree.institution and (tmp_path / "run" / "state-denoiser.pt").exists()
    assert run([*options, "--out", str(tmp_path / "other"), "--start-from", str(tmp_path / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err
