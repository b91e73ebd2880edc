"""Training: resumes to the bit, learns, saves averaged weights, and runs on a bare machine."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_models import SIZE, TINY_KL, TINY_PROMPT, a_batch, prepared_arrays, tiny_config, write_prepared

from PostOpPredictorLib.errors import Cancelled, InputError
from PostOpPredictorLib.model.autoencoder import GreyAutoencoderKL
from PostOpPredictorLib.model.config import PostOpConfig
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.contact_sheet import write_contact_sheet
from PostOpPredictorLib.training.run import TrainRequest, train
from PostOpPredictorLib.training.schedule import learning_rate_factor
from PostOpPredictorLib.training.slices import PreparedSlices
from PostOpPredictorLib.training.trainer import Trainer

QUICK = TrainingConfig(steps=4, batch_size=3, crop=16, warmup_steps=2, checkpoint_every=100, sheet_every=100)
MODELS = {
    "denoiser": tiny_config(),
    "renderer": tiny_config(),
    "autoencoder": tiny_config(target="image", autoencoder=TINY_KL),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared") / "slices.safetensors", train=9, val=3, semi_real=3)


@pytest.fixture(scope="module")
def slices(prepared: Path) -> PreparedSlices:
    return PreparedSlices(prepared)


@pytest.fixture
def no_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PostOpPredictorLib.training.trainer.write_contact_sheet", lambda *_, **__: None)


class StopsAfter(SilentProgress):
    """Cancels, or is interrupted as by Ctrl-C, when ``stop`` steps are done."""

    def __init__(self, stop: int, error: BaseException | None = None) -> None:
        self.stop = stop
        self.error = error or Cancelled("The user cancelled; nothing was written.")

    def step(self, done: int, total: int) -> None:
        if done == self.stop:
            raise self.error


def weights_of(trainer: Trainer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.learning]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def a_trainer(run: Path, slices: PreparedSlices, model: PostOpConfig | None = None, **changes: Any) -> Trainer:
    return Trainer(model or tiny_config(), dataclasses.replace(QUICK, **changes), slices, run)


@pytest.mark.parametrize("part", ["denoiser", "renderer", "autoencoder"])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt()], ids=["cancelled", "Ctrl-C"])
def test_a_run_that_stops_and_goes_on_ends_with_the_very_same_weights(
    tmp_path: Path, slices: PreparedSlices, no_sheet: None, part: str, error: BaseException | None
) -> None:
    model = MODELS[part]
    through = a_trainer(tmp_path / "through", slices, model, part=part)
    through.train(SilentProgress())
    stopped = a_trainer(tmp_path / "stopped", slices, model, part=part)
    with pytest.raises((Cancelled, KeyboardInterrupt)):
        stopped.train(StopsAfter(2, error))
    torch.manual_seed(99)
    resumed = a_trainer(tmp_path / "stopped", slices, model, part=part)
    assert resumed.step == 2
    assert same(weights_of(resumed), weights_of(stopped))
    resumed.train(SilentProgress())
    assert resumed.step == 4
    assert same(weights_of(resumed), weights_of(through))
    assert same(resumed.ema.shadow_params, through.ema.shadow_params)
    assert resumed.schedule.get_last_lr() == through.schedule.get_last_lr()


def test_an_interrupt_while_saving_does_not_put_averaged_weights_into_the_state(
    tmp_path: Path, slices: PreparedSlices, no_sheet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = a_trainer(tmp_path, slices, checkpoint_every=2)
    save, calls = PostOpPipeline.save, []

    def interrupted_once(self: PostOpPipeline, *arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        save(self, *arguments, **options)

    monkeypatch.setattr(PostOpPipeline, "save", interrupted_once)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(SilentProgress())
    saved = torch.load(tmp_path / "state-denoiser.pt", weights_only=True)
    assert len(calls) == 2 and saved["step"] == 2
    assert same(saved["weights"], weights_of(trainer))
    assert not same(saved["weights"], trainer.ema.shadow_params)


def test_the_run_folder_holds_the_averaged_weights_as_a_pipeline(
    tmp_path: Path, slices: PreparedSlices, no_sheet: None
) -> None:
    trainer = a_trainer(tmp_path, slices, ema_decay=0.5)
    trainer.train(SilentProgress())
    loaded = PostOpPipeline.from_pretrained(tmp_path / "model")
    in_file = [*loaded.unet.parameters(), *loaded.prompt_adapter.parameters()]
    assert same(in_file, trainer.ema.shadow_params)
    assert not same(in_file, weights_of(trainer))


def test_the_average_follows_the_weights(tmp_path: Path, slices: PreparedSlices) -> None:
    trainer = a_trainer(tmp_path, slices, ema_decay=0.5)
    start = weights_of(trainer)
    for _ in range(4):
        trainer._one_step()
    moved = sum((a - b).abs().sum() for a, b in zip(trainer.ema.shadow_params, start, strict=True))
    behind = sum((a - b).abs().sum() for a, b in zip(trainer.ema.shadow_params, trainer.learning, strict=True))
    assert moved > 0 and behind > 0


def test_the_other_parts_of_a_run_stay_as_they_are(tmp_path: Path, slices: PreparedSlices, no_sheet: None) -> None:
    a_trainer(tmp_path, slices, part="renderer", steps=2).train(SilentProgress())
    before = PostOpPipeline.from_pretrained(tmp_path / "model")
    a_trainer(tmp_path, slices, part="denoiser", steps=2).train(SilentProgress())
    after = PostOpPipeline.from_pretrained(tmp_path / "model")
    assert same(list(before.renderer.parameters()), list(after.renderer.parameters()))
    assert not same(list(before.unet.parameters()), list(after.unet.parameters()))
    assert {path.name for path in tmp_path.glob("state-*")} == {"state-denoiser.pt", "state-renderer.pt"}


def test_a_finished_run_is_not_trained_further(tmp_path: Path, slices: PreparedSlices, no_sheet: None) -> None:
    a_trainer(tmp_path, slices, steps=2).train(SilentProgress())
    again = a_trainer(tmp_path, slices, steps=2)
    before = weights_of(again)
    again.train(SilentProgress())
    assert again.step == 2 and same(before, weights_of(again))


def test_a_run_of_another_configuration_is_refused(tmp_path: Path, slices: PreparedSlices, no_sheet: None) -> None:
    a_trainer(tmp_path, slices, steps=1).train(SilentProgress())
    with pytest.raises(InputError, match=r"holds a model of another configuration\. Train into another folder"):
        a_trainer(tmp_path, slices, tiny_config(target="image"))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _of_another_shape(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["weights"] = state["weights"][:-1]
    torch.save(state, path)


def _of_another_part(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["training"]["part"] = "renderer"
    torch.save(state, path)


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _of_another_shape,
        _of_another_part,
        lambda path: path.write_bytes(b""),
        lambda path: torch.save([1, 2], path),
    ],
)
def test_a_damaged_state_is_a_sentence(tmp_path: Path, slices: PreparedSlices, no_sheet: None, damage: Any) -> None:
    a_trainer(tmp_path, slices, steps=1).train(SilentProgress())
    damage(tmp_path / "state-denoiser.pt")
    with pytest.raises(
        InputError, match=r"state-denoiser\.pt cannot be resumed .* Remove it to start this part anew\."
    ):
        a_trainer(tmp_path, slices)


@pytest.mark.parametrize("validate_every", [0, 1])
def test_the_latents_of_a_trained_autoencoder_have_unit_scale(
    tmp_path: Path, slices: PreparedSlices, validate_every: int
) -> None:
    changes = {"part": "autoencoder", "steps": 2, "validate_every": validate_every}
    trainer = a_trainer(tmp_path, slices, MODELS["autoencoder"], **changes)
    images = slices.arrays["post_T1w"][slices.rows("train")][:, None].float() / 255
    with torch.no_grad():
        before = float(trainer.pipeline.autoencoder.to_latents(images).std())
    assert not 0.9 < before < 1.1
    trainer.train(SilentProgress())
    with torch.no_grad():
        after = PostOpPipeline.from_pretrained(tmp_path / "model").autoencoder.to_latents(images)
    assert float(after.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("part", "model"),
    [
        ("denoiser", tiny_config(condition_dropout=0.0)),
        ("denoiser", tiny_config(target="image", prediction_type="epsilon", autoencoder=TINY_KL)),
        ("renderer", tiny_config()),
        ("autoencoder", MODELS["autoencoder"]),
    ],
    ids=["structure", "noise of latents", "renderer", "autoencoder"],
)
def test_the_loss_goes_down_on_a_few_slices(
    tmp_path: Path, slices: PreparedSlices, part: str, model: PostOpConfig
) -> None:
    trainer = a_trainer(
        tmp_path, slices, model, part=part, steps=50, batch_size=4, learning_rate=4e-3, warmup_steps=5, neighbours=1
    )

    def loss() -> float:
        with torch.no_grad():
            return sum(float(trainer._loss(a_batch(slices), torch.Generator().manual_seed(seed))) for seed in range(6))

    before = loss()
    for _ in range(50):
        trainer._one_step()
    assert loss() < 0.85 * before


@pytest.mark.parametrize("part", ["denoiser", "renderer", "autoencoder"])
def test_bfloat16_trains(tmp_path: Path, slices: PreparedSlices, part: str) -> None:
    trainer = a_trainer(tmp_path, slices, MODELS[part], part=part, precision="bfloat16")
    before = weights_of(trainer)
    assert 0 < trainer._one_step() < 100
    assert not same(before, weights_of(trainer))
    assert all(p.dtype == torch.float32 for p in trainer.learning)


def test_medsam_stays_as_published_while_its_head_learns(tmp_path: Path, slices: PreparedSlices) -> None:
    frozen = tiny_config(prompt=dataclasses.replace(TINY_PROMPT, image_encoder="medsam"))
    trainer = a_trainer(tmp_path, slices, frozen)
    adapter = trainer.pipeline.prompt_adapter
    encoder = [p.clone() for p in adapter.image_encoder.parameters()]
    head = [p.clone() for p in adapter.image_head.parameters()]
    for _ in range(2):
        trainer._one_step()
    assert same(encoder, list(adapter.image_encoder.parameters()))
    assert not same(head, list(adapter.image_head.parameters()))


def test_a_resumed_run_keeps_medsam_frozen(tmp_path: Path, slices: PreparedSlices, no_sheet: None) -> None:
    frozen = tiny_config(prompt=dataclasses.replace(TINY_PROMPT, image_encoder="medsam"))
    a_trainer(tmp_path, slices, frozen, steps=1).train(SilentProgress())
    resumed = a_trainer(tmp_path, slices, frozen)
    assert not any(p.requires_grad for p in resumed.pipeline.prompt_adapter.image_encoder.parameters())
    assert resumed.step == 1


def test_a_part_that_the_model_does_not_have_is_a_sentence(tmp_path: Path, slices: PreparedSlices) -> None:
    with pytest.raises(InputError, match="image model has no renderer"):
        a_trainer(tmp_path / "a", slices, tiny_config(target="image"), part="renderer")
    with pytest.raises(InputError, match="Pixel patches need no training"):
        a_trainer(tmp_path / "b", slices, part="autoencoder")


def test_the_learning_rate_rises_and_then_falls_along_a_cosine() -> None:
    factors = [learning_rate_factor(step, 10, 110) for step in range(121)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == factors[10] == 1
    assert factors[60] == pytest.approx(0.505)
    assert factors[110] == factors[120] == pytest.approx(0.01)
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_semi_real_cases_have_their_share_of_every_batch(
    tmp_path: Path, slices: PreparedSlices, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = a_trainer(tmp_path, slices, batch_size=10, semi_real_share=0.3)
    kinds = []
    original = trainer.slices.batch
    monkeypatch.setattr(
        trainer.slices,
        "batch",
        lambda rows, *rest, **more: kinds.append(slices.arrays["kind"][rows]) or original(rows, *rest, **more),
    )
    for step in range(5):
        trainer._draw(torch.Generator().manual_seed(step))
    assert [int(kind.sum()) for kind in kinds] == [3] * 5


def test_a_grid_sees_whole_panels_whatever_the_crop(tmp_path: Path, slices: PreparedSlices) -> None:
    """Cropped panels would lie nearer to each other in training than when the model is asked."""
    for layout, side in (("grid", SIZE), ("stacked", 16)):
        config = tiny_config(target="image", layout=layout)
        trainer = Trainer(config, dataclasses.replace(QUICK, validate_every=4), slices, tmp_path / layout)
        assert trainer._draw(torch.Generator().manual_seed(0)).query_post.shape[-1] == side
        assert trainer.validation is not None
        assert {batch.query_post.shape[-1] for batch in trainer.validation.batches} == {side}


def test_where_no_shift_is_known_a_fresh_model_learns_that_nothing_moves(tmp_path: Path) -> None:
    """Imported real pairs tell no shift; channels that nothing teaches would bend the brain with noise."""
    arrays = prepared_arrays(train=9, val=3)
    arrays["shift_known"].zero_()
    save_file(arrays, tmp_path / "imported.safetensors", metadata={"splits": json.dumps(["train", "val", "test"])})
    imported = PreparedSlices(tmp_path / "imported.safetensors")
    trainer = Trainer(tiny_config(), QUICK, imported, tmp_path / "fresh")
    batch = trainer._draw(torch.Generator().manual_seed(0))
    assert batch.shift_known.all() and not batch.query_shift.any()
    assert not trainer.pipeline.config_tree.tissue_shift, "and the model says so"


def test_weights_that_know_the_shift_keep_it_however_the_run_goes_on(tmp_path: Path) -> None:
    arrays = prepared_arrays(train=9, val=3)
    arrays["shift_known"].zero_()
    save_file(arrays, tmp_path / "imported.safetensors", metadata={"splits": json.dumps(["train", "val", "test"])})
    imported = PreparedSlices(tmp_path / "imported.safetensors")
    PostOpPipeline.of(tiny_config()).save(tmp_path / "source")
    start = dataclasses.replace(QUICK, start_from=str(tmp_path / "source"))
    first = Trainer(tiny_config(), start, imported, tmp_path / "run")
    first.save()
    again = Trainer(tiny_config(), QUICK, imported, tmp_path / "run")
    for trainer in (first, again):
        assert trainer.pipeline.config_tree.tissue_shift
        assert not trainer._draw(torch.Generator().manual_seed(0)).shift_known.any()
    fresh = Trainer(tiny_config(), QUICK, imported, tmp_path / "fresh")
    fresh.save()
    resumed = Trainer(tiny_config(), QUICK, imported, tmp_path / "fresh")
    assert resumed._draw(torch.Generator().manual_seed(0)).shift_known.all()


def test_one_known_shift_is_enough_to_learn_from(tmp_path: Path) -> None:
    arrays = prepared_arrays(train=9, val=3)
    arrays["shift_known"].zero_()
    arrays["shift_known"][0] = 1
    save_file(arrays, tmp_path / "mixed.safetensors", metadata={"splits": json.dumps(["train", "val", "test"])})
    mixed = PreparedSlices(tmp_path / "mixed.safetensors")
    batch = Trainer(tiny_config(), QUICK, mixed, tmp_path / "run").slices.batch(
        torch.tensor([0, 1]), torch.tensor([1, 0]), "T1w", 0, torch.Generator()
    )
    assert batch.shift_known.tolist() == [True, False] and batch.query_shift[0].any()


def test_no_training_slices_are_a_sentence(tmp_path: Path) -> None:
    arrays = prepared_arrays()
    arrays["neighbours"][:] = -1
    save_file(arrays, tmp_path / "alone.safetensors")
    trainer = a_trainer(tmp_path / "run", PreparedSlices(tmp_path / "alone.safetensors"))
    with pytest.raises(InputError, match=r"no training slices with neighbours\. Prepare a library"):
        trainer.train(SilentProgress())


def test_a_crop_larger_than_the_slices_is_a_sentence(tmp_path: Path, slices: PreparedSlices) -> None:
    with pytest.raises(InputError, match=r"crop of 48 pixels is larger than the slices \(32 x 32\)"):
        a_trainer(tmp_path, slices, crop=48)


@pytest.mark.parametrize("changes", [{}, {"target": "image", "prediction_type": "epsilon"}], ids=["structure", "image"])
def test_a_contact_sheet_shows_a_row_for_each_slice(
    tmp_path: Path, slices: PreparedSlices, changes: dict[str, Any]
) -> None:
    pipeline = PostOpPipeline.of(tiny_config(**changes))
    pipeline.unet.train()
    write_contact_sheet(pipeline, slices, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == ((9 if not changes else 4) * SIZE, 3 * SIZE)
        assert len(set(sheet.convert("L").tobytes())) > 20
    assert pipeline.unet.training and list(tmp_path.iterdir()) == [tmp_path / "sheet.png"]


def test_a_contact_sheet_of_an_autoencoder_shows_what_it_makes_of_slices(
    tmp_path: Path, slices: PreparedSlices, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_config(target="image", autoencoder=TINY_KL)
    training = dataclasses.replace(QUICK, part="autoencoder", steps=1, sequence="T1w")
    monkeypatch.setattr(PostOpPipeline, "__call__", lambda *_, **__: pytest.fail("the denoiser was asked"))
    monkeypatch.setattr(
        GreyAutoencoderKL, "to_image", lambda self, latents: torch.full((len(latents), 1, SIZE, SIZE), 0.25)
    )
    Trainer(model, training, slices, tmp_path).train(SilentProgress())
    with Image.open(tmp_path / "sheet-autoencoder-000001.png") as sheet:
        pixels = np.asarray(sheet.convert("L"))
    assert pixels.shape == (3 * SIZE, 4 * SIZE)
    assert (pixels[:, SIZE : 2 * SIZE] == 63).all() and (pixels[:, 3 * SIZE :] == 63).all()
    rows = slices.rows("val", sequence="T1w")
    assert abs(int(pixels[:SIZE, :SIZE].max()) - int(slices.arrays["pre_T1w"][rows[0]].max())) <= 1, "of its sequence"


def test_no_contact_sheet_is_drawn_where_none_is_wanted(tmp_path: Path, slices: PreparedSlices) -> None:
    Trainer(tiny_config(), dataclasses.replace(QUICK, steps=2, sheet_every=0), slices, tmp_path).train(SilentProgress())
    assert not list(tmp_path.glob("*.png"))
    with pytest.raises(InputError, match="'sheet_every' is -1"):
        dataclasses.replace(QUICK, sheet_every=-1)


def test_the_command_trains_to_the_last_step_and_leaves_model_log_state_and_sheet(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PostOpPredictorLib.training.run.config_from_yaml", lambda _: tiny_config())
    config = tmp_path / "tiny.yaml"
    config.write_text("training: {batch_size: 2, crop: 16, steps: 100, warmup_steps: 1}\n")
    run = tmp_path / "run"
    result = train(TrainRequest(config, prepared, run, steps=20, device="cpu"), SilentProgress())
    assert result == {"model": str(run / "model"), "part": "denoiser", "steps": 20}
    assert {path.name for path in run.iterdir()} == {
        "model",
        "state-denoiser.pt",
        "log-denoiser.jsonl",
        "sheet-denoiser-000020.png",
    }
    (line,) = (run / "log-denoiser.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 20
    made = PostOpPipeline.from_pretrained(run / "model")(a_batch(PreparedSlices(prepared), crop=0).triplets)
    assert torch.isfinite(made.image).all()


def test_training_needs_no_package_beyond_those_of_a_bare_machine(project_root: Path, tmp_path: Path) -> None:
    """As if they were not installed: SimpleITK, scipy, matplotlib, nilearn, typer, rich and the like."""
    prepared = write_prepared(tmp_path / "slices.safetensors")
    code = f"""
import sys
from importlib.machinery import PathFinder
ABSENT = {{"SimpleITK", "scipy", "matplotlib", "nilearn", "pandas", "sklearn", "skimage", "accelerate", "torchvision",
          "transformers", "pytest"}}
OURS = {{"typer", "rich"}}
class WithoutThem(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in ABSENT else PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [WithoutThem if finder is PathFinder else finder for finder in sys.meta_path]
sys.path.insert(0, {str(project_root / "Testing" / "backend")!r})
from pathlib import Path
import diffusers  # what its own dependencies import is theirs
before = OURS & set(sys.modules)
from PostOpPredictorLib.training.run import TrainRequest, train
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.slices import PreparedSlices
from PostOpPredictorLib.training.trainer import Trainer
from PostOpPredictorLib.progress import SilentProgress
from tiny_models import tiny_config
training, slices = TrainingConfig(steps=1, batch_size=2, crop=16), PreparedSlices({str(prepared)!r})
Trainer(tiny_config(), training, slices, Path({str(tmp_path / "run")!r})).train(SilentProgress())
print(sorted(ABSENT & set(sys.modules)), sorted((OURS & set(sys.modules)) - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, encoding="utf-8", timeout=280
    )
    assert done.stdout.strip().splitlines()[-1:] == ["[] []"], done.stderr
    assert (tmp_path / "run" / "model" / "model_index.json").is_file()


def test_any_sequence_means_those_of_the_model(tmp_path: Path, slices: PreparedSlices) -> None:
    training = TrainingConfig(steps=1, batch_size=2, crop=16, sequence="any")
    one = Trainer(tiny_config(sequences=("T1wCE", "FLAIR")), training, slices, tmp_path / "one")
    generator = torch.Generator().manual_seed(0)
    assert {one._draw_sequence(generator) for _ in range(20)} == {"T1wCE"}
    both = Trainer(tiny_config(), training, slices, tmp_path / "both")
    assert {both._draw_sequence(generator) for _ in range(20)} == {"T1w", "T1wCE"}
    with pytest.raises(InputError, match="trained on FLAIR; the prepared slices hold T1w, T1wCE"):
        Trainer(tiny_config(sequences=("FLAIR",)), training, slices, tmp_path / "none")


def test_a_model_knows_the_one_sequence_that_it_was_trained_on(
    tmp_path: Path, slices: PreparedSlices, no_sheet: None
) -> None:
    training = TrainingConfig(steps=1, batch_size=2, crop=16, sequence="T1w")
    Trainer(tiny_config(), training, slices, tmp_path / "run").train(SilentProgress())
    assert PostOpPipeline.from_pretrained(tmp_path / "run" / "model").config_tree.sequences == ("T1w",)
    assert Trainer(tiny_config(), training, slices, tmp_path / "run").step == 1, "the same settings go on"


def test_an_encoder_that_learns_keeps_no_embeddings(
    tmp_path: Path, slices: PreparedSlices, no_sheet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = TrainingConfig(steps=1, batch_size=2, crop=16)
    monkeypatch.setenv("POSTOP_EMBEDDINGS", str(tmp_path / "embeddings"))
    Trainer(tiny_config(), training, slices, tmp_path / "run").train(SilentProgress())
    again = Trainer(tiny_config(), dataclasses.replace(training, steps=2), slices, tmp_path / "run")
    assert again.pipeline.prompt_adapter.cache is None


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "ema_decay"])
def test_a_setting_that_a_resumed_run_would_ignore_is_refused(
    name: str, tmp_path: Path, slices: PreparedSlices, no_sheet: None
) -> None:
    training = TrainingConfig(steps=1, batch_size=2, crop=16)
    Trainer(tiny_config(), training, slices, tmp_path / "run").train(SilentProgress())
    other = dataclasses.replace(training, steps=2, **{name: 0.0123})
    with pytest.raises(InputError, match=f"begun with '{name}' .* not with 0.0123"):
        Trainer(tiny_config(), other, slices, tmp_path / "run")
    assert Trainer(tiny_config(), dataclasses.replace(training, steps=2), slices, tmp_path / "run").step == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"validation_slices": 3},
        {"seed": 7},
        {"crop": 32},
        {"sequence": "T1w"},
        {"expected_share": 0.1},
        {"outside_weight": 0.9},
        {"structure_noise": 0.9},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_the_best_weights_were_chosen_by_stays(
    tmp_path: Path, slices: PreparedSlices, no_sheet: None, changed: dict[str, Any]
) -> None:
    training = TrainingConfig(steps=2, batch_size=2, crop=16, validate_every=1)
    first = Trainer(tiny_config(), training, slices, tmp_path / "run")
    first.train(SilentProgress())
    kept = checksums(tmp_path / "run" / "model")
    longer = dataclasses.replace(training, steps=4, validate_every=2, checkpoint_every=1)
    with pytest.raises(InputError, match=f"begun with '{next(iter(changed))}'"):
        Trainer(tiny_config(), dataclasses.replace(longer, **changed), slices, tmp_path / "run")
    assert checksums(tmp_path / "run" / "model") == kept
    assert Trainer(tiny_config(), longer, slices, tmp_path / "run").best_loss == first.best_loss < float("inf")


def checksums(folder: Path) -> bytes:
    return (folder / "checksums.json").read_bytes()
