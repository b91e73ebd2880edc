"""How the benchmark trains: published weights for all, one autoencoder for all, shares of one budget."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import TINY_KL, some_triplets, tiny_config, tiny_paper, write_prepared

from PostOpPredictorLib.benchmark import budget as budget_module
from PostOpPredictorLib.benchmark import workshop as workshop_module
from PostOpPredictorLib.benchmark.baselines.baseline import Baseline
from PostOpPredictorLib.benchmark.baselines.ddpm import Ddpm
from PostOpPredictorLib.benchmark.baselines.image_brush import ImageBrush
from PostOpPredictorLib.benchmark.baselines.instruct_pix2pix import InstructPix2Pix
from PostOpPredictorLib.benchmark.baselines.paint_by_example import PaintByExample
from PostOpPredictorLib.benchmark.budget import Budget
from PostOpPredictorLib.benchmark.entries import chosen_entries
from PostOpPredictorLib.benchmark.workshop import Recipe, Workshop
from PostOpPredictorLib.model.config import PostOpConfig
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.model.pretrained import Pretrained, pretrained_pipeline
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.published_layout import write_medsam, write_stable_diffusion
from PostOpPredictorLib.training.slices import PreparedSlices
from PostOpPredictorLib.training.trainer import Trainer

QUICK = TrainingConfig(batch_size=3, crop=16, checkpoint_every=100, sequence="T1w")


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> PreparedSlices:
    prepared = PreparedSlices(write_prepared(tmp_path_factory.mktemp("prepared") / "slices.safetensors"))
    prepared.arrays["patient"] = torch.arange(len(prepared.arrays["tumour"])) // 2
    return prepared


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop_module, "STEPS", 2)
    monkeypatch.setattr("PostOpPredictorLib.training.trainer.write_contact_sheet", lambda *_, **__: None)


def a_workshop(
    folder: Path, slices: PreparedSlices, model: PostOpConfig, budget: str = "4", **training: Any
) -> Workshop:
    recipe = Recipe(model, dataclasses.replace(QUICK, **training))
    return Workshop(recipe, Recipe(tiny_config(), QUICK), slices, Budget.parse(budget), folder)


def trained(shop: Workshop, *keys: str) -> dict[str, Any]:
    entries = chosen_entries(keys)
    shop.train_autoencoder(entries, SilentProgress())
    for entry in entries:
        shop.train(entry, SilentProgress())
    return {entry.key: shop.load(entry) for entry in entries}


@pytest.mark.parametrize("channels", [4, 9], ids=["text to image", "inpainting"])
@pytest.mark.parametrize("kind", [Ddpm, PaintByExample, InstructPix2Pix, ImageBrush])
def test_a_baseline_starts_from_published_weights_and_its_own_inputs_weigh_nothing(
    kind: type[Baseline], channels: int, tmp_path: Path
) -> None:
    published = write_stable_diffusion(tmp_path / "sd", tiny_paper(), channels)
    model = kind.fresh(tiny_paper(), Pretrained(str(tmp_path / "sd")))
    weight = model.unet.conv_in.weight
    assert torch.equal(weight[:, :4], published.conv_in.weight[:, :4]) and weight[:, 4:].eq(0).all()
    shared = {name: value for name, value in model.unet.state_dict().items() if not name.startswith("conv_in")}
    theirs = published.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in shared.items())
    assert model(some_triplets(1), steps=1).image.shape == (1, 1, 32, 32)


def test_the_image_encoder_of_a_baseline_is_medsams(tmp_path: Path) -> None:
    write_medsam(tmp_path / "medsam.pth", tiny_paper())
    source = Pretrained(medsam=str(tmp_path / "medsam.pth"))
    ours = pretrained_pipeline(tiny_paper(), source)
    theirs = PaintByExample.fresh(tiny_paper(), source).condition_network.features.encoder
    for one, other in zip(ours.prompt_adapter.image_encoder.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_one_autoencoder_is_trained_once_and_all_systems_draw_with_it(tmp_path: Path, slices: PreparedSlices) -> None:
    model = tiny_config(target="image", autoencoder=TINY_KL)
    models = trained(a_workshop(tmp_path, slices, model), "ddpm", "paper", "visii")
    fitted = PostOpPipeline.from_pretrained(tmp_path / "autoencoder" / "model").autoencoder
    weights, scale = fitted.state_dict(), fitted.config.scaling_factor
    assert scale != 1.0
    assert (tmp_path / "autoencoder" / "done-autoencoder.json").exists()
    for key, trained_model in models.items():
        own = trained_model.autoencoder.state_dict()
        assert all(torch.equal(own[name], value) for name, value in weights.items()), key
        assert trained_model.autoencoder.config.scaling_factor == scale, key


def test_our_rows_have_medsams_weights_beside_an_autoencoder_of_their_own(
    tmp_path: Path, slices: PreparedSlices
) -> None:
    model = dataclasses.replace(tiny_config(target="image", autoencoder=TINY_KL), prompt=tiny_paper().prompt)
    write_medsam(tmp_path / "medsam.pth", tiny_paper())
    models = trained(a_workshop(tmp_path, slices, model, medsam=str(tmp_path / "medsam.pth")), "paper", "image-brush")
    ours = models["paper"].prompt_adapter.image_encoder.state_dict()
    theirs = models["image-brush"].image_features()[0].encoder.state_dict()
    published = pretrained_pipeline(tiny_paper(), Pretrained(medsam=str(tmp_path / "medsam.pth")))
    for name, value in published.prompt_adapter.image_encoder.state_dict().items():
        assert torch.equal(ours[name], value) and torch.equal(theirs[name], value), name


def test_the_shipped_form_alone_needs_no_autoencoder(tmp_path: Path, slices: PreparedSlices) -> None:
    trained(a_workshop(tmp_path, slices, tiny_config(target="image", autoencoder=TINY_KL)), "ours")
    assert not (tmp_path / "autoencoder").exists()


def test_the_shipped_form_splits_its_budget_and_visii_has_its_own(tmp_path: Path, slices: PreparedSlices) -> None:
    shop = a_workshop(tmp_path, slices, tiny_config(), budget="8")
    models = trained(shop, "ours", "visii")
    done = {entry.key: shop.steps_done(entry) for entry in chosen_entries(["ours", "visii"])}
    assert done == {
        "ours": {"denoiser": 6, "renderer": 2},
        "instruct-pix2pix": {"denoiser": 8},
        "visii": {"denoiser": 2},
    }
    first, second = (models[key].state_dict() for key in ("instruct-pix2pix", "visii"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == ["condition_network.text"]


def test_rows_on_the_grid_share_latents_that_no_trial_of_speed_has(
    tmp_path: Path, slices: PreparedSlices, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[Trainer] = []
    monkeypatch.setattr(
        budget_module, "_seconds_per_step", lambda make: timed.append(make(3, tmp_path / "t" / "u")) or 60.0
    )
    shop = a_workshop(tmp_path / "rows", slices, tiny_config(target="image", autoencoder=TINY_KL), "2min")
    keys = ("paper", "image-brush", "ddpm")
    trained(shop, *keys)
    shared = tmp_path / "rows" / "latents"
    assert list(shared.rglob("*.npy")) and not [key for key in keys if (tmp_path / "rows" / key / "latents").exists()]
    assert len(timed) == 4 and all(trainer.latents == tmp_path / "t" / "u" / "latents" for trainer in timed)


def test_a_budget_in_minutes_trains_as_many_steps_as_fit(tmp_path: Path, slices: PreparedSlices) -> None:
    shop = a_workshop(tmp_path, slices, tiny_config(), budget="0.01min")
    trained(shop, "ddpm")
    (entry,) = chosen_entries(["ddpm"])
    assert shop.steps_done(entry)["denoiser"] >= 1
    assert (tmp_path / "ddpm" / "budget-denoiser.json").exists()


def test_an_image_form_of_ours_has_no_renderer_to_train(tmp_path: Path, slices: PreparedSlices) -> None:
    shop = dataclasses.replace(
        a_workshop(tmp_path, slices, tiny_config()), shipped=Recipe(tiny_config(target="image"), QUICK)
    )
    (entry,) = chosen_entries(["ours"])
    assert shop.parts_of(entry) == [("denoiser", 1.0)]


def test_an_ablated_token_is_the_learned_null(tmp_path: Path, slices: PreparedSlices) -> None:
    models = trained(
        a_workshop(tmp_path, slices, tiny_config(), budget="1"), "without-p-seg", "without-p-comp", "paper"
    )
    triplets = some_triplets(2)
    with torch.no_grad():
        for key, place in (("without-p-seg", 0), ("without-p-comp", 1)):
            adapter = models[key].prompt_adapter
            tokens = models[key].denoiser.tokens(triplets)
            assert torch.equal(tokens[:, place], adapter.null_tokens[place].expand(2, -1))
            assert not torch.equal(tokens[:, 1 - place], adapter.null_tokens[1 - place].expand(2, -1))
        assert not torch.equal(models["paper"].denoiser.tokens(triplets), models["paper"].prompt_adapter.null_tokens)
