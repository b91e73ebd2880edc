"""From trained parts to a model that can be shipped: joined, half precision on disk, a card, checksums."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import some_triplets, tiny_config

from PostOpPredictorLib.errors import InputError, ModelMissing, ModelTampered, StorageError
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.model.publish import PublishRequest, information, publish
from PostOpPredictorLib.model.weights import verify
from PostOpPredictorLib.progress import SilentProgress


def a_model(folder: Path, seed: int, **changes: object) -> Path:
    torch.manual_seed(seed)
    pipeline = PostOpPipeline.of(tiny_config(**changes))
    if pipeline.renderer is not None:
        torch.nn.init.normal_(pipeline.renderer.conv_out.weight, std=0.1)
    pipeline.save(folder)
    return folder


@pytest.fixture
def request_(tmp_path: Path) -> PublishRequest:
    """Two runs of the same configuration with other weights."""
    return PublishRequest(
        a_model(tmp_path / "denoiser", 1), tmp_path / "shipped", renderer=a_model(tmp_path / "renderer", 2)
    )


def weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    return PostOpPipeline.from_pretrained(folder).components[part].state_dict()


def test_each_part_comes_from_the_run_that_trained_it(request_: PublishRequest) -> None:
    publish(request_, SilentProgress())
    assert request_.renderer is not None
    for part, source in (
        ("unet", request_.denoiser),
        ("prompt_adapter", request_.denoiser),
        ("renderer", request_.renderer),
    ):
        other = request_.renderer if source == request_.denoiser else request_.denoiser
        made, true, false = weights(request_.out, part), weights(source, part), weights(other, part)
        assert all(torch.allclose(made[name], true[name], atol=1e-3) for name in made), part
        assert not all(torch.allclose(made[name], false[name], atol=1e-3) for name in made), part


def test_without_a_second_run_the_first_is_published_whole(request_: PublishRequest) -> None:
    publish(dataclasses.replace(request_, renderer=None), SilentProgress())
    made, true = weights(request_.out, "renderer"), weights(request_.denoiser, "renderer")
    assert all(torch.allclose(made[name], true[name], atol=1e-3) for name in made)


def test_the_shipped_files_hold_half_precision_and_the_loaded_model_full(request_: PublishRequest) -> None:
    result = publish(request_, SilentProgress())
    files = sorted(request_.out.rglob("*.safetensors"))
    assert {tensor.dtype for path in files for tensor in load_file(path).values()} == {torch.float16}
    assert result["megabytes"] == pytest.approx(sum(path.stat().st_size for path in files) / 1e6, abs=0.1)
    loaded = PostOpPipeline.from_pretrained(request_.out)
    assert {p.dtype for network in loaded.networks for p in network.parameters()} == {torch.float32}


def test_the_shipped_model_predicts_what_the_trained_one_did(request_: PublishRequest) -> None:
    request = dataclasses.replace(request_, renderer=None)
    publish(request, SilentProgress())
    images = [
        PostOpPipeline.from_pretrained(folder)(some_triplets(), mode="sample", steps=2).image
        for folder in (request.denoiser, request.out)
    ]
    assert (images[0] - images[1]).abs().mean() < 5e-3


def test_the_card_is_beside_the_weights_and_the_result_tells_what_is_in_the_folder(
    request_: PublishRequest, tmp_path: Path
) -> None:
    card = tmp_path / "card.md"
    card.write_text("# Trained on phantoms: 20 °C\n", encoding="utf-8")
    result = publish(dataclasses.replace(request_, card=card), SilentProgress())
    assert (request_.out / "README.md").read_text(encoding="utf-8") == "# Trained on phantoms: 20 °C\n"
    assert result == information(request_.out)
    assert result["checksum"] == verify(request_.out)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in _parts(request_.out).items()}
    assert {name: count for name, count in result["parameters"].items() if count} == counts
    assert result["settings"]["target"] == "structure"


def _parts(folder: Path) -> dict[str, torch.nn.Module]:
    loaded = PostOpPipeline.from_pretrained(folder)
    return {"unet": loaded.unet, "prompt_adapter": loaded.prompt_adapter, "renderer": loaded.renderer}


def test_models_of_different_configurations_are_not_joined(request_: PublishRequest, tmp_path: Path) -> None:
    other = a_model(tmp_path / "other", 3, guidance=2.0)
    with pytest.raises(InputError, match=r"hold models of different configurations\. Train both with the same file\."):
        publish(dataclasses.replace(request_, renderer=other), SilentProgress())
    assert not request_.out.exists()


def test_an_existing_folder_is_replaced_only_when_asked(request_: PublishRequest) -> None:
    request_.out.mkdir()
    (request_.out / "mine.txt").write_text("keep")
    with pytest.raises(StorageError, match="exists already"):
        publish(request_, SilentProgress())
    assert (request_.out / "mine.txt").read_text() == "keep"
    publish(dataclasses.replace(request_, replace=True), SilentProgress())
    assert not (request_.out / "mine.txt").exists()


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_card_that_cannot_be_read_is_a_sentence_and_leaves_nothing(
    request_: PublishRequest, tmp_path: Path, content: bytes | None
) -> None:
    card = tmp_path / "card.md"
    if content is not None:
        card.write_bytes(content)
    with pytest.raises(InputError, match=r"card\.md .* model card"):
        publish(dataclasses.replace(request_, card=card), SilentProgress())
    assert not request_.out.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_run_that_is_no_model_or_tampered_is_refused(request_: PublishRequest, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="no model in"):
        publish(dataclasses.replace(request_, denoiser=tmp_path / "nowhere"), SilentProgress())
    (request_.denoiser / "unet" / "config.json").write_text("{}")
    with pytest.raises(ModelTampered):
        publish(request_, SilentProgress())
    with pytest.raises(ModelTampered):
        information(request_.denoiser)
    assert not request_.out.exists()
