"""A model folder: written whole, read back equal, small files, and nothing but what was published."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import TINY_KL, TINY_PROMPT, a_pipeline, some_triplets, tiny_config

from PostOpPredictorLib.errors import ModelMissing, ModelTampered, StorageError
from PostOpPredictorLib.model.config import PostOpConfig
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.model.triplet import TripletBatch
from PostOpPredictorLib.model.weights import verify, write_checksums


@pytest.fixture(scope="module")
def pipeline() -> PostOpPipeline:
    """The tiny structure model; nobody may change it."""
    return a_pipeline()


@pytest.fixture
def triplets() -> TripletBatch:
    return some_triplets()


@pytest.fixture(scope="module")
def saved(pipeline: PostOpPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    pipeline.save(folder)
    return folder


@pytest.fixture
def a_copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"target": "image", "layout": "grid", "noised": "full", "prediction_type": "epsilon", "guidance": 2.0},
        {"target": "image", "autoencoder": TINY_KL, "prompt": dataclasses.replace(TINY_PROMPT, image_encoder="medsam")},
    ],
)
def test_a_saved_model_predicts_the_same(tmp_path: Path, triplets: TripletBatch, changes: dict[str, Any]) -> None:
    original = a_pipeline(**changes)
    original.save(tmp_path / "model")
    loaded = PostOpPipeline.from_pretrained(tmp_path / "model")
    assert loaded.config_tree == original.config_tree == tiny_config(**changes)
    for before, after in zip(original.networks, loaded.networks, strict=True):
        weights = after.state_dict()
        assert weights.keys() == before.state_dict().keys()
        assert all(torch.equal(value, weights[name]) for name, value in before.state_dict().items())
    images = [model(triplets, mode="sample", steps=2, seed=1).image for model in (original, loaded)]
    assert torch.allclose(*images, atol=1e-5), "equal up to rounding: the loaded weights may be aligned otherwise"
    assert not any(p.requires_grad or p.dtype != torch.float32 for n in loaded.networks for p in n.parameters())


def test_the_compact_models_files_are_under_15_mb_and_no_pickles(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = PostOpPipeline.of(PostOpConfig())
    original.save(tmp_path / "model")
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in files) < 15_000_000
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert len(list((tmp_path / "model" / "unet").glob("*.safetensors"))) > 1, "this test needs a model with shards"
    loaded = PostOpPipeline.from_pretrained(tmp_path / "model")
    for name, value in original.unet.state_dict().items():
        assert torch.equal(loaded.unet.state_dict()[name], value), name


def test_an_existing_model_is_not_overwritten_unless_asked(pipeline: PostOpPipeline, a_copy: Path) -> None:
    before = verify(a_copy)
    with pytest.raises(StorageError, match="exists already"):
        pipeline.save(a_copy)
    assert verify(a_copy) == before
    pipeline.save(a_copy, replace=True)
    assert verify(a_copy) == before, "the same weights have the same checksum"


def test_a_save_that_fails_leaves_the_old_model(
    pipeline: PostOpPipeline, a_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = verify(a_copy)

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipeline, "save_pretrained", disk_full)
    with pytest.raises(StorageError, match="disk is full"):
        pipeline.save(a_copy, replace=True)
    assert verify(a_copy) == before
    assert [path.name for path in a_copy.parent.iterdir()] == ["copy"]


def _flip_a_weight(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _change_a_setting(folder: Path) -> None:
    path = folder / "model_index.json"
    path.write_text(path.read_text().replace('"steps": 2', '"steps": 3'))


def _add_weights(folder: Path) -> None:
    shutil.copy(folder / "unet" / "diffusion_pytorch_model.safetensors", folder / "unet" / "more.safetensors")


def _exchange_checksums(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "checksums.json").write_text(content) and None


@pytest.mark.parametrize(
    ("tamper", "sentence"),
    [
        (_flip_a_weight, r"unet/diffusion_pytorch_model\.safetensors .* is not the file .* Fetch the model again\."),
        (_change_a_setting, r"model_index\.json .* is not the file"),
        (_add_weights, r"unet/more\.safetensors .* is not the file"),
        (lambda folder: (folder / "checksums.json").unlink(), r"checksums\.json is missing or damaged"),
        (_exchange_checksums(""), "missing or damaged"),
        (_exchange_checksums("null"), "missing or damaged"),
        (_exchange_checksums("[1, 2]"), "missing or damaged"),
        (_exchange_checksums("{}"), "is not the file"),
    ],
)
def test_tampered_weights_are_refused_with_a_sentence(
    a_copy: Path, tamper: Callable[[Path], None], sentence: str
) -> None:
    tamper(a_copy)
    with pytest.raises(ModelTampered, match=sentence):
        PostOpPipeline.from_pretrained(a_copy)


@pytest.mark.parametrize("name", ["renderer/config.json", "prompt_adapter/diffusion_pytorch_model.safetensors"])
def test_a_missing_file_is_named(a_copy: Path, name: str) -> None:
    (a_copy / name).unlink()
    with pytest.raises(ModelMissing, match=f"lacks {name}. Fetch the model again."):
        PostOpPipeline.from_pretrained(a_copy)


@pytest.mark.parametrize("content", [None, "nothing", "a file"])
def test_what_is_no_model_is_refused_with_a_sentence(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "model"
    if content == "nothing":
        folder.mkdir()
    elif content == "a file":
        folder.write_text("weights")
    with pytest.raises(ModelMissing, match=r"There is no model in .*leave --model out"):
        PostOpPipeline.from_pretrained(folder)


def test_a_model_whose_checksums_fit_but_whose_weights_do_not_is_a_sentence(a_copy: Path) -> None:
    """Published wrongly rather than tampered with: still no traceback."""
    path = a_copy / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "block_out_channels": [8, 32]}))
    write_checksums(a_copy)
    with pytest.raises(ModelMissing, match="could not be loaded"):
        PostOpPipeline.from_pretrained(a_copy)


def test_a_model_card_may_be_edited(a_copy: Path) -> None:
    (a_copy / "README.md").write_text("# A model card\n")
    assert PostOpPipeline.from_pretrained(a_copy).has_renderer
