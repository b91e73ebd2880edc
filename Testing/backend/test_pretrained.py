"""Published weights: Stable Diffusion's folders as they are laid out since 2022, and MedSAM, as a run's start."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tiny_models import SIZE, some_triplets, tiny_config, tiny_paper, write_prepared

from PostOpPredictorLib.errors import InputError, ModelMissing
from PostOpPredictorLib.model.config import config_from_yaml, paper_config
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.model.pretrained import INPAINTING_ORDER, Pretrained, pretrained_pipeline, with_input_channels
from PostOpPredictorLib.progress import SilentProgress
from PostOpPredictorLib.training.config import training_from_yaml
from PostOpPredictorLib.training.published_layout import write_medsam, write_stable_diffusion
from PostOpPredictorLib.training.run import TrainRequest, train


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test at any attempt to reach another computer."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


def random_input(channels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(1, 2, 16, generator=generator)
    return torch.randn(1, channels, 8, 8, generator=generator), torch.tensor([7]), tokens


@torch.no_grad()
def answer(unet: UNet2DConditionModel, sample: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return unet.eval()(sample, time, encoder_hidden_states=tokens).sample


@pytest.mark.parametrize("older", [True, False], ids=["older key names, .bin", "safetensors"])
@pytest.mark.parametrize("half", [True, False], ids=["float16", "float32"])
def test_a_four_channel_model_answers_as_before_whatever_the_canvas_holds(
    tmp_path: Path, no_network: None, older: bool, half: bool
) -> None:
    original = write_stable_diffusion(tmp_path / "sd", tiny_paper(), older=older, half=half)
    unet = pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd"))).unet
    assert unet.config.in_channels == unet.conv_in.in_channels == 9
    assert unet.conv_in.weight[:, 4:].eq(0).all() and unet.conv_in.weight.dtype == torch.float32
    sample, time, tokens = random_input(9)
    exact = answer(original, sample[:, :4], time, tokens)
    assert torch.allclose(answer(unet, sample, time, tokens), exact, atol=3e-3 if half else 1e-6)


def test_the_new_input_channels_learn(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path / "sd", tiny_paper())
    unet = pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd"))).unet
    sample, time, tokens = random_input(9)
    unet(sample, time, encoder_hidden_states=tokens).sample.square().mean().backward()
    assert unet.conv_in.weight.grad[:, 4:].abs().sum() > 0


def test_an_inpainting_model_meets_its_mask_and_canvas_where_it_learned_them(tmp_path: Path, no_network: None) -> None:
    """Published order: noisy latents, mask, masked image; ours: noisy latents, canvas, mask."""
    original = write_stable_diffusion(tmp_path / "sd", tiny_paper(), in_channels=9)
    unet = pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd"))).unet
    noisy, canvas, mask = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8), torch.ones(1, 1, 8, 8)
    _, time, tokens = random_input(9)
    theirs = answer(original, torch.cat([noisy, mask, canvas], dim=1), time, tokens)
    assert torch.allclose(answer(unet, torch.cat([noisy, canvas, mask], dim=1), time, tokens), theirs, atol=1e-6)
    assert sorted(INPAINTING_ORDER) == list(range(9))


@pytest.mark.parametrize("older", [True, False], ids=["older key names, .bin", "safetensors"])
def test_the_autoencoder_is_the_one_in_the_folder(tmp_path: Path, no_network: None, older: bool) -> None:
    write_stable_diffusion(tmp_path / "sd", tiny_paper(), older=older)
    pipeline = pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd")))
    vae = tmp_path / "sd" / "vae" / "diffusion_pytorch_model"
    path = vae.with_suffix(".bin" if older else ".safetensors")
    published = torch.load(path, weights_only=True) if older else load_file(path)
    names = "query" if older else "to_q"
    key = f"encoder.mid_block.attentions.0.{names}.weight"
    loaded = pipeline.autoencoder.state_dict()
    assert torch.equal(loaded["encoder.mid_block.attentions.0.to_q.weight"], published[key])
    assert len(loaded) == len(published)
    assert pipeline.autoencoder.config.scaling_factor == 0.18215, "also where the file of 2022 does not say so"


def test_grey_slices_enter_stable_diffusions_autoencoder_on_three_channels_and_scaled(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path / "sd", tiny_paper())
    autoencoder = pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd"))).autoencoder
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        theirs = autoencoder.encode(image.expand(-1, 3, -1, -1) * 2 - 1).latent_dist.mode() * 0.18215
        assert torch.equal(autoencoder.to_latents(image), theirs)
        assert autoencoder.to_image(theirs).shape == image.shape


def test_files_of_half_precision_alone_are_found(tmp_path: Path, no_network: None) -> None:
    original = write_stable_diffusion(tmp_path / "sd", tiny_paper(), half=True, variant=".fp16", older=False)
    unet = pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd"))).unet
    assert torch.allclose(unet.conv_out.weight, original.conv_out.weight, atol=1e-3)


def test_a_name_is_looked_for_in_the_cache_only_unless_the_network_was_asked_for(no_network: None) -> None:
    with pytest.raises(ModelMissing, match=r"'vae' of nobody/no-such-model could not be loaded .* --download"):
        pretrained_pipeline(tiny_paper(), Pretrained("nobody/no-such-model"))


def test_the_network_is_asked_where_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def remember(*_: Any, local_files_only: bool, **__: Any) -> None:
        asked.append(local_files_only)
        raise OSError("no network here")

    monkeypatch.setattr("PostOpPredictorLib.model.pretrained.GreyAutoencoderKL.from_pretrained", remember)
    for download in (False, True):
        with pytest.raises(ModelMissing, match="no network here"):
            pretrained_pipeline(tiny_paper(), Pretrained("somebody/a-model", download=download))
    assert asked == [True, False]


class RunsCode:
    """Unpickling it creates a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.victim)!r}, 'w').close()",)


def test_code_in_a_bin_file_is_not_run(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path / "sd", tiny_paper())
    torch.save({"encoder.conv_in.bias": RunsCode(tmp_path / "victim")}, next((tmp_path / "sd/vae").glob("*.bin")))
    with pytest.raises(ModelMissing, match="'vae'"):
        pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd")))
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("part", ["unet", "vae", "scheduler"])
def test_a_folder_without_a_part_is_a_sentence(tmp_path: Path, no_network: None, part: str) -> None:
    write_stable_diffusion(tmp_path / "sd", tiny_paper())
    (tmp_path / "sd" / part).rename(tmp_path / "elsewhere")
    with pytest.raises(ModelMissing, match=rf"The part '{part}' of .*Give a folder of diffusers with unet, vae"):
        pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd")))


def test_a_weight_that_is_not_in_the_file_is_named(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path / "sd", tiny_paper())
    path = tmp_path / "sd/unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights.pop("conv_out.weight")
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelMissing, match=r"'unet' .*conv_out\.weight"):
        pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd")))


def test_weights_that_were_trained_to_answer_the_velocity_are_refused_for_epsilon(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path / "sd", tiny_paper(), scheduler={"prediction_type": "v_prediction"})
    with pytest.raises(InputError, match=r"prediction_type = v_prediction.*Set 'model: prediction_type' to it"):
        pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd")))
    pretrained_pipeline(tiny_paper(prediction_type="v_prediction"), Pretrained(str(tmp_path / "sd")))


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        ({"unet": dataclasses.replace(tiny_paper().unet, block_out_channels=(16, 32))}, "U-Net .* block_out_channels"),
        ({"unet": dataclasses.replace(tiny_paper().unet, attention_heads=(2, 4))}, "U-Net .* attention_head_dim"),
        ({"prompt": dataclasses.replace(tiny_paper().prompt, token_width=24)}, "U-Net .* cross_attention_dim = 24"),
        (
            {"autoencoder": dataclasses.replace(tiny_paper().autoencoder, block_out_channels=(8, 16, 16))},
            "autoencoder .* block_out_channels",
        ),
    ],
)
def test_weights_of_another_shape_are_a_sentence(tmp_path: Path, theirs: dict[str, Any], sentence: str) -> None:
    write_stable_diffusion(tmp_path / "sd", tiny_paper(**theirs))
    with pytest.raises(InputError, match=sentence):
        pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd")))


def test_other_numbers_of_input_channels_are_refused(tmp_path: Path) -> None:
    write_stable_diffusion(tmp_path / "sd", tiny_paper(), in_channels=7)
    with pytest.raises(InputError, match=r"7 input channels; give one of 4 .* or 9"):
        pretrained_pipeline(tiny_paper(), Pretrained(str(tmp_path / "sd")))


def test_a_unet_with_enough_channels_is_left_alone() -> None:
    unet = PostOpPipeline.of(tiny_paper()).unet
    before = unet.conv_in
    assert with_input_channels(unet, 9).conv_in is before


def test_medsam_is_loaded_where_the_model_has_it(tmp_path: Path) -> None:
    encoder = write_medsam(tmp_path / "medsam_vit_b.pth", tiny_paper())
    source = Pretrained(medsam=str(tmp_path / "medsam_vit_b.pth"))
    loaded = pretrained_pipeline(tiny_paper(), source).prompt_adapter.image_encoder
    assert all(torch.equal(value, encoder[name]) for name, value in loaded.state_dict().items())
    with pytest.raises(InputError, match="the model has another image encoder"):
        pretrained_pipeline(tiny_config(), source)


def test_the_command_starts_from_published_weights_and_goes_on_without_them(
    tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PostOpPredictorLib.training.run.config_from_yaml", lambda _: tiny_paper())
    original = write_stable_diffusion(tmp_path / "sd", tiny_paper())
    encoder = write_medsam(tmp_path / "medsam_vit_b.pth", tiny_paper())
    data = write_prepared(tmp_path / "slices.safetensors")
    config = tmp_path / "paper.yaml"
    config.write_text(
        f"training: {{batch_size: 2, crop: 0, learning_rate: 1e-9, medsam: '{tmp_path / 'medsam_vit_b.pth'}'}}"
    )
    request = TrainRequest(config, data, tmp_path / "run", steps=1, device="cpu", stable_diffusion=str(tmp_path / "sd"))
    train(request, SilentProgress())
    (tmp_path / "medsam_vit_b.pth").unlink()
    train(dataclasses.replace(request, steps=2, stable_diffusion="gone"), SilentProgress())
    trained = PostOpPipeline.from_pretrained(tmp_path / "run" / "model")
    assert torch.allclose(trained.unet.conv_out.weight, original.conv_out.weight, atol=1e-6)
    for name, value in trained.prompt_adapter.image_encoder.state_dict().items():
        assert torch.equal(value, encoder[name]), name
    assert trained(some_triplets(1), mode="sample").image.shape == (1, 1, SIZE, SIZE)


def test_the_papers_file_is_the_papers_setting(project_root: Path) -> None:
    path = project_root / "Resources" / "configurations" / "paper.yaml"
    assert config_from_yaml(path) == paper_config()
    training = training_from_yaml(path)
    assert (training.learning_rate, training.neighbours, training.crop) == (1e-5, 15, 0)
    assert (training.outside_weight, training.sequence) == (1.0, "T1w")
    settings = json.loads(json.dumps(dataclasses.asdict(paper_config())))
    assert (settings["panel"], settings["steps"], settings["guidance"]) == (256, 50, 2.0)
