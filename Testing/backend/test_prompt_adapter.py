"""P_tumor: two tokens, from the tumour mask and from the composite, with a learned null for each."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_models import TINY_PROMPT, some_triplets, tiny_config
from torch import Tensor

from PostOpPredictorLib.model.autoencoder import PixelPatches
from PostOpPredictorLib.model.denoiser import Denoiser
from PostOpPredictorLib.model.prompt_adapter import PromptAdapter
from PostOpPredictorLib.model.triplet import CORE_LABELS, label_mask


@pytest.fixture
def adapter() -> PromptAdapter:
    torch.manual_seed(0)
    return PromptAdapter.of(TINY_PROMPT).requires_grad_(False)


@pytest.fixture
def tumour() -> Tensor:
    return label_mask(some_triplets(3).query_tumour, CORE_LABELS)


@pytest.fixture
def images() -> Tensor:
    return some_triplets(3).instruction_post


def test_there_are_two_tokens_of_the_configured_width(adapter: PromptAdapter, tumour: Tensor, images: Tensor) -> None:
    tokens = adapter(tumour, images)
    assert tokens.shape == (3, 2, 16)
    assert not torch.allclose(tokens[0], tokens[1]), "another patient, another prompt"


def test_the_first_token_is_the_masks_and_the_second_the_composites(
    adapter: PromptAdapter, tumour: Tensor, images: Tensor
) -> None:
    tokens = adapter(tumour, images)
    other_mask, other_image = adapter(tumour.flip(3), images), adapter(tumour, images.flip(3))
    assert not torch.equal(other_mask[:, 0], tokens[:, 0]) and torch.equal(other_mask[:, 1], tokens[:, 1])
    assert torch.equal(other_image[:, 0], tokens[:, 0]) and not torch.equal(other_image[:, 1], tokens[:, 1])


def test_dropped_rows_get_the_learned_null_tokens(adapter: PromptAdapter, tumour: Tensor, images: Tensor) -> None:
    tokens = adapter(tumour, images, torch.tensor([False, True, False]))
    assert torch.equal(tokens[1], adapter.null_tokens)
    assert torch.equal(tokens[[0, 2]], adapter(tumour, images)[[0, 2]])


def test_without_seg_the_mask_is_not_seen(tumour: Tensor, images: Tensor) -> None:
    adapter = PromptAdapter.of(dataclasses.replace(TINY_PROMPT, use_seg=False)).requires_grad_(False)
    tokens = adapter(tumour, images)
    assert torch.equal(tokens[:, 0], adapter.null_tokens[:1].expand(3, -1))
    assert torch.equal(tokens, adapter(torch.zeros_like(tumour), images))


def test_without_comp_the_composite_is_not_seen(tumour: Tensor, images: Tensor) -> None:
    adapter = PromptAdapter.of(dataclasses.replace(TINY_PROMPT, use_comp=False)).requires_grad_(False)
    tokens = adapter(tumour, images)
    assert torch.equal(tokens[:, 1], adapter.null_tokens[1:].expand(3, -1))
    assert torch.equal(tokens, adapter(tumour, torch.zeros_like(images)))


def test_a_cached_embedding_gives_the_same_token(adapter: PromptAdapter, tumour: Tensor, images: Tensor) -> None:
    embedding = adapter.embed_image(images)
    assert embedding.shape == (3, 4 * TINY_PROMPT.vit_out_channels)
    cached = adapter(tumour, torch.zeros_like(images), image_embedding=embedding)
    assert torch.equal(cached, adapter(tumour, images))


def test_the_null_tokens_and_both_encoders_learn(tumour: Tensor, images: Tensor) -> None:
    adapter = PromptAdapter.of(TINY_PROMPT)
    adapter(tumour, images, torch.tensor([False, True, False])).square().sum().backward()
    assert adapter.null_tokens.grad is not None and adapter.null_tokens.grad.abs().sum() > 0
    for network in (adapter.mask_encoder, adapter.image_encoder, adapter.image_head):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_medsam_is_frozen_and_its_head_learns(tumour: Tensor, images: Tensor) -> None:
    adapter = PromptAdapter.of(dataclasses.replace(TINY_PROMPT, image_encoder="medsam"))
    adapter(tumour, images).square().sum().backward()
    assert not any(p.requires_grad for p in adapter.image_encoder.parameters())
    assert all(p.grad is not None for p in adapter.image_head.parameters())


def test_a_query_without_precedent_gets_the_null_tokens(adapter: PromptAdapter) -> None:
    denoiser = Denoiser(tiny_config(), None, PixelPatches(4), adapter)  # type: ignore[arg-type]
    triplets = some_triplets(2)
    drop = torch.tensor([True, False])
    assert torch.equal(denoiser.tokens(triplets.without_instruction(drop))[0], adapter.null_tokens)
    assert torch.equal(denoiser.tokens(triplets.without_instruction(drop))[1], denoiser.tokens(triplets)[1])
    assert torch.equal(denoiser.tokens(triplets, drop)[0], adapter.null_tokens)
