"""The settings of a model and its training: a YAML file lists what differs, a sentence says what does not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_config

from PostOpPredictorLib.errors import InputError
from PostOpPredictorLib.model.autoencoder import build_autoencoder
from PostOpPredictorLib.model.config import PostOpConfig, config_from_mapping, config_from_yaml, paper_config
from PostOpPredictorLib.model.denoiser import build_unet
from PostOpPredictorLib.model.medsam import build_image_encoder
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.training.config import TrainingConfig, training_from_yaml


@pytest.fixture
def yaml_file(tmp_path: Path) -> Any:
    """Writes a YAML file and returns its path."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "model.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize("name", ["compact", "compact_image", "paper"])
def test_the_shipped_configurations_are_read(project_root: Path, name: str) -> None:
    path = project_root / "Resources" / "configurations" / f"{name}.yaml"
    model, training = config_from_yaml(path), training_from_yaml(path)
    assert model.family == name.split("_")[0]
    assert model.target == ("structure" if name == "compact" else "image")
    assert training.steps >= 1


def test_the_papers_family_has_the_shape_of_stable_diffusion_2_and_medsam() -> None:
    """Weights of stable-diffusion-2-inpainting's U-Net (9 channels) and autoencoder, and of SAM ViT-B's encoder."""
    config = paper_config()
    with torch.device("meta"):
        parts = (
            build_unet(config, 4),
            build_autoencoder(config.autoencoder, 3),
            build_image_encoder(config.prompt),
        )
    assert [sum(p.numel() for p in part.parameters()) for part in parts] == [865_925_124, 83_653_863, 89_670_912]


def test_medsams_pooled_output_is_as_wide_as_the_papers_tokens() -> None:
    assert paper_config().prompt.vit_out_channels * 4 == paper_config().prompt.token_width == 1024


@pytest.mark.parametrize("config", [PostOpConfig(), paper_config(), tiny_config()])
def test_a_configuration_survives_json(config: PostOpConfig) -> None:
    assert config_from_mapping(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_a_file_lists_only_what_differs(yaml_file: Any) -> None:
    path = yaml_file("model:\n  steps: 7\n  unet:\n    block_out_channels: [16, 32, 48]\ntraining:\n  crop: 0\n")
    default = PostOpConfig()
    unet = dataclasses.replace(default.unet, block_out_channels=(16, 32, 48))
    assert config_from_yaml(path) == dataclasses.replace(default, steps=7, unet=unet)
    assert training_from_yaml(path) == TrainingConfig(crop=0)


def test_a_file_of_the_papers_family_starts_from_the_papers_defaults(yaml_file: Any) -> None:
    path = yaml_file("model: {family: paper, guidance: 3}\n")
    assert config_from_yaml(path) == dataclasses.replace(paper_config(), guidance=3.0)


@pytest.mark.parametrize("text", ["", "model:\n", "training:\n", "# nothing\n", "model: {}\ntraining: {}\n"])
def test_an_empty_file_gives_the_defaults(yaml_file: Any, text: str) -> None:
    assert config_from_yaml(yaml_file(text)) == PostOpConfig()
    assert training_from_yaml(yaml_file(text)) == TrainingConfig()


def test_options_of_the_command_line_go_over_the_file(yaml_file: Any) -> None:
    path = yaml_file("training: {steps: 50, part: renderer}\n")
    assert training_from_yaml(path, steps=9, part=None) == TrainingConfig(steps=9, part="renderer")


def test_a_learning_rate_may_be_written_without_a_point(yaml_file: Any) -> None:
    """YAML itself reads 1e-4 as text."""
    assert training_from_yaml(yaml_file("training: {learning_rate: 1e-4}\n")).learning_rate == 1e-4


def test_one_number_of_heads_or_one_for_each_level() -> None:
    assert config_from_mapping({"unet": {"attention_heads": 8}}).unet.attention_heads == 8
    assert config_from_mapping({"unet": {"attention_heads": [8, 8, 16]}}).unet.attention_heads == (8, 8, 16)


def test_the_unet_has_the_configured_number_of_heads() -> None:
    unet = build_unet(PostOpConfig(), 16)
    heads = [block.attentions[0].transformer_blocks[0].attn2.heads for block in unet.down_blocks[1:]]
    assert heads == [2, 3], "48 numbers each, on levels of 96 and 144 channels"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model: {targt: image}", "no setting 'targt'.*Known here:.*target"),
        ("model: {unet: {channels: 3}}", "no setting 'unet.channels'"),
        ("model: {target: picture}", "'target' is 'picture'; choose one of: structure, image"),
        ("model: {family: medium}", "'family' is 'medium'"),
        ("model: {layout: row}", "'layout' is 'row'"),
        ("model: {noised: half}", "'noised' is 'half'"),
        ("model: {prediction_type: x0}", "'prediction_type' is 'x0'"),
        ("model: {autoencoder: {kind: vq}}", "'autoencoder.kind' is 'vq'"),
        ("model: {prompt: {image_encoder: sam}}", "'prompt.image_encoder' is 'sam'"),
        ("model: {unet: 5}", "'unet' must be a mapping, not 5"),
        ("model: {steps: many}", "'steps' is 'many'; it must be like its default 10"),
        ("model: {steps: 2.5}", "'steps' is 2.5"),
        ("model: {steps: true}", "'steps' is True"),
        ("model: {panel: [128]}", "'panel' is"),
        ("model: {guidance: strong}", "'guidance' is 'strong'"),
        ("model: {guidance: .nan}", "'guidance' is nan"),
        ("model: {guidance: true}", "'guidance' is True"),
        ("model: {prompt: {use_seg: 1}}", "'prompt.use_seg' is 1"),
        ("model: {unet: {block_out_channels: 5}}", "'unet.block_out_channels' is 5"),
        ("model: {unet: {block_out_channels: [a, b]}}", "'unet.block_out_channels' is 'a'"),
        ("model: {layout: grid, target: structure}", "grid layout draws images.*'target: image'"),
        ("model: {noised: full}", "'noised: full' belongs to the grid layout"),
        ("model: {autoencoder: {factor: 8}}", "stands for 8 pixels, structure needs 4"),
        ("training: {part: decoder}", "'part' is 'decoder'; choose one of: denoiser, renderer, autoencoder"),
        ("training: {learning_rte: 0.1}", "no setting 'training.learning_rte'"),
        ("training: {learning_rate: fast}", "'training.learning_rate' is 'fast'"),
        ("training: {steps: 0}", "'steps' is 0; give at least 1"),
        ("training: {crop: 40}", "'crop' is 40 pixels; give a multiple of 16"),
        ("training: {crop: -16}", "'crop' is -16 pixels"),
        ("training: {precision: float16}", "choose float32 or bfloat16"),
        ("modle: {steps: 3}", "section 'modle'. Only these are known: model, training"),
        ("model: {}\ntrainig: {steps: 3}", "section 'trainig'"),
        ("model: 7", "'model' of .* is 7; give 'name: value' lines"),
        ("training: [1, 2]", "'training' of"),
        ("- a\n- b", "not a YAML mapping"),
        ("just words", "not a YAML mapping"),
        ("model: {a: [", "could not be read as a YAML configuration"),
        ("model: !!python/object/apply:os.getcwd []", "could not be read as a YAML configuration"),
        (b"\xff\xfe\x00model", "could not be read as a YAML configuration"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(yaml_file: Any, text: str | bytes, sentence: str) -> None:
    path = yaml_file(text)
    with pytest.raises(InputError, match=f"(?s){sentence}") as caught:
        config_from_yaml(path)
        training_from_yaml(path)
    assert str(caught.value).endswith(".")


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    for read in (config_from_yaml, training_from_yaml):
        with pytest.raises(InputError, match=r"nowhere\.yaml could not be read"):
            read(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    "unet",
    [
        {"block_out_channels": [16, 32]},
        {"block_out_channels": [10, 20, 30]},
        {"block_out_channels": [], "attention_levels": []},
    ],
)
def test_a_shape_of_which_no_network_can_be_built_is_a_sentence(unet: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="No network can be built"):
        PostOpPipeline.of(config_from_mapping({"unet": unet}))
