"""MedSAM's embeddings and the latents of slices on disk: the numbers as computed, once per image and set of weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import TINY_PROMPT, some_triplets, tiny_paper, write_prepared
from torch import Tensor

from PostOpPredictorLib.model.encoding_cache import EncodingCache, weights_checksum
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.model.prompt_adapter import PromptAdapter
from PostOpPredictorLib.training.config import TrainingConfig
from PostOpPredictorLib.training.slices import PreparedSlices
from PostOpPredictorLib.training.trainer import Trainer

MEDSAM = dataclasses.replace(TINY_PROMPT, image_encoder="medsam")


@pytest.fixture
def adapter(tmp_path: Path) -> PromptAdapter:
    torch.manual_seed(0)
    adapter = PromptAdapter.of(MEDSAM)
    adapter.cache_embeddings(tmp_path / "embeddings")
    return adapter


@pytest.fixture
def calls(adapter: PromptAdapter) -> list[int]:
    """Grows by one with every image that the encoder really sees."""
    seen: list[int] = []
    adapter.image_encoder.register_forward_pre_hook(lambda _, given: seen.extend([1] * len(given[0])))
    return seen


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_the_second_time_nothing_is_computed_and_the_numbers_are_the_same(
    adapter: PromptAdapter, calls: list[int]
) -> None:
    first = adapter.embed_image(images(3))
    assert len(calls) == 3
    assert torch.equal(adapter.embed_image(images(3)), first)
    assert torch.equal(adapter.embed_image(images(3).flip(0)), first.flip(0))
    assert len(calls) == 3 and adapter.cache is not None and (adapter.cache.hits, adapter.cache.misses) == (6, 3)
    adapter.cache = None
    assert torch.equal(adapter.embed_image(images(3)), first), "as without a cache"


def test_only_new_images_of_a_batch_are_computed(adapter: PromptAdapter, calls: list[int]) -> None:
    adapter.embed_image(images(2))
    mixed = torch.cat([images(2, seed=1), images(2), images(2, seed=1)])
    made = adapter.embed_image(mixed)
    assert len(calls) == 4, "the same image twice in a batch is one image"
    assert torch.equal(made[:2], made[4:]) and not torch.equal(made[:2], made[2:4])


def test_other_weights_or_settings_have_embeddings_of_their_own(tmp_path: Path, adapter: PromptAdapter) -> None:
    first = adapter.embed_image(images(1))
    with torch.no_grad():
        next(adapter.image_encoder.parameters()).add_(0.1)
    adapter.cache_embeddings(tmp_path / "embeddings")
    assert not torch.equal(adapter.embed_image(images(1)), first)
    made: Callable[[Tensor], Tensor] = lambda given: torch.ones(len(given), 4)  # noqa: E731
    one = EncodingCache(tmp_path / "e", torch.nn.Linear(1, 1), "64 px")
    two = EncodingCache(tmp_path / "e", torch.nn.Linear(1, 1), "32 px")
    one.encodings(images(1), made)
    two.encodings(images(1), made)
    assert (one.misses, two.misses) == (1, 1)


def test_half_precision_does_not_pass_for_full(adapter: PromptAdapter) -> None:
    full = adapter.embed_image(images(1))
    with torch.autocast("cpu", torch.bfloat16):
        half = adapter.embed_image(images(1))
    assert half.dtype == torch.float32 and not torch.equal(half, full)
    assert torch.equal(adapter.embed_image(images(1)), full)


@pytest.mark.parametrize("damage", [b"", b"no array", "cut", "pickled"])
def test_a_damaged_file_is_made_again(adapter: PromptAdapter, calls: list[int], damage: bytes | str) -> None:
    first = adapter.embed_image(images(1))
    assert adapter.cache is not None
    (file,) = adapter.cache.folder.rglob("*.npy")
    whole = file.read_bytes()
    if damage == "pickled":
        torch.save({"a": 1}, file)
    else:
        file.write_bytes(damage if isinstance(damage, bytes) else whole[: len(whole) // 2])
    assert torch.equal(adapter.embed_image(images(1)), first)
    assert file.read_bytes() == whole and len(calls) == 2


def test_a_file_appears_whole_or_not_at_all(adapter: PromptAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks_off(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("numpy.save", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        adapter.embed_image(images(1))
    assert adapter.cache is not None
    assert [path for path in adapter.cache.folder.rglob("*") if path.is_file()] == []


def test_an_encoder_that_learns_is_not_cached(tmp_path: Path) -> None:
    adapter = PromptAdapter.of(TINY_PROMPT)
    adapter.cache_embeddings(tmp_path)
    assert adapter.embed_image(images(1)).requires_grad
    assert list(tmp_path.iterdir()) == []
    with torch.no_grad():
        adapter.embed_image(images(1))
    assert list(tmp_path.iterdir()) != []


def test_dropped_conditions_do_not_ask_medsam(adapter: PromptAdapter, calls: list[int]) -> None:
    tumour = torch.zeros(3, 1, 32, 32)
    tokens = adapter(tumour, images(3), torch.tensor([True, False, True]))
    assert len(calls) == 1
    assert torch.equal(tokens[0], adapter.null_tokens) and torch.equal(tokens[2], adapter.null_tokens)
    adapter.cache = None
    with torch.no_grad():
        assert torch.equal(tokens[1], adapter(tumour, images(3))[1])


def test_sampling_uses_the_folder_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PostOpPipeline.of(tiny_paper()).save(tmp_path / "model")
    plain = PostOpPipeline.from_pretrained(tmp_path / "model")
    assert plain.prompt_adapter.cache is None, "nothing of a patient is kept unasked"
    monkeypatch.setenv("POSTOP_EMBEDDINGS", str(tmp_path / "embeddings"))
    drawn = []
    for _ in range(2):
        pipeline = PostOpPipeline.from_pretrained(tmp_path / "model")
        drawn.append(pipeline(some_triplets(2), mode="sample").image)
    cache = pipeline.prompt_adapter.cache
    assert cache is not None and (cache.hits, cache.misses) == (2, 0)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], plain(some_triplets(2), mode="sample").image)


def test_training_keeps_embeddings_in_its_run(tmp_path: Path) -> None:
    slices = PreparedSlices(write_prepared(tmp_path / "slices.safetensors"))
    training = TrainingConfig(steps=12, batch_size=4, crop=0, sequence="T1w", neighbours=1)
    trainer = Trainer(tiny_paper(), training, slices, tmp_path / "run")
    for _ in range(12):
        trainer._one_step()
    cache = trainer.pipeline.prompt_adapter.cache
    assert cache is not None and cache.folder == tmp_path / "run" / "embeddings"
    assert cache.misses == len(list(cache.folder.rglob("*.npy"))) <= 18, "9 slices, with their instruction or without"
    assert cache.hits > cache.misses


def grid_trainer(tmp_path: Path, run: str, **changes: object) -> Trainer:
    slices = PreparedSlices(write_prepared(tmp_path / "slices.safetensors"))
    training = TrainingConfig(**{"steps": 6, "batch_size": 4, "sequence": "T1w", "neighbours": 1, "crop": 0, **changes})
    return Trainer(tiny_paper(), training, slices, tmp_path / run, latents=tmp_path / "latents")


def encoded_by(trainer: Trainer) -> list[int]:
    """Grows by one with every image that the autoencoder really encodes."""
    seen: list[int] = []
    trainer.pipeline.autoencoder.encoder.register_forward_pre_hook(lambda _, given: seen.extend([1] * len(given[0])))
    return seen


def test_training_on_the_grid_encodes_every_slice_once_and_learns_the_same(tmp_path: Path) -> None:
    first = grid_trainer(tmp_path, "first")
    encoded = encoded_by(first)
    losses = [first._one_step() for _ in range(6)]
    images_of_slices = 2 * 9 + 1
    assert 0 < len(encoded) <= images_of_slices < 6 * 4 * 5, "nine slices before and after, and the blank quadrant"
    second = grid_trainer(tmp_path, "second")
    encoded = encoded_by(second)
    assert [second._one_step() for _ in range(6)] == losses and not encoded, "another run of one autoencoder"
    without = grid_trainer(tmp_path, "third")
    without.pipeline.autoencoder.keep_latents(None)
    assert [without._one_step() for _ in range(6)] == pytest.approx(losses, rel=1e-5)


def test_latents_of_another_scale_are_not_confused(tmp_path: Path) -> None:
    autoencoder = PostOpPipeline.of(tiny_paper()).autoencoder
    autoencoder.keep_latents(tmp_path)
    with torch.no_grad():
        before = autoencoder.to_latents(images(1))
        autoencoder.register_to_config(scaling_factor=2 * autoencoder.config.scaling_factor)
        assert torch.allclose(autoencoder.to_latents(images(1)), 2 * before)


def test_latents_are_kept_only_where_slices_come_again(tmp_path: Path) -> None:
    assert grid_trainer(tmp_path, "autoencoder", part="autoencoder").pipeline.autoencoder.cache is None
    slices = PreparedSlices(write_prepared(tmp_path / "slices.safetensors"))
    stacked = tiny_paper(layout="stacked")
    trainer = Trainer(stacked, TrainingConfig(crop=16, batch_size=4), slices, tmp_path / "stacked")
    assert trainer.pipeline.autoencoder.cache is None, "composites and crops are new every time"
    aligned = Trainer(
        tiny_paper(align_instruction=True), TrainingConfig(batch_size=4, crop=0), slices, tmp_path / "aligned"
    )
    assert aligned.pipeline.autoencoder.cache is None
    plain = Trainer(tiny_paper(), TrainingConfig(batch_size=4, crop=0), slices, tmp_path / "run")
    assert plain.pipeline.autoencoder.cache.folder == tmp_path / "run" / "latents"


def test_the_checksum_tells_every_weight() -> None:
    network = torch.nn.Linear(3, 2)
    before = weights_checksum(network)
    assert weights_checksum(network) == before
    with torch.no_grad():
        network.bias[1] += 1e-6
    assert weights_checksum(network) != before
