"""Each baseline sees, drops and follows what its paper says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from tiny_models import SIZE, TINY_KL, TINY_PROMPT, some_triplets, tiny_config, tiny_paper

from PostOpPredictorLib.benchmark.baselines.baseline import Baseline
from PostOpPredictorLib.benchmark.baselines.ddpm import Ddpm
from PostOpPredictorLib.benchmark.baselines.image_brush import ImageBrush, box_numbers
from PostOpPredictorLib.benchmark.baselines.instruct_pix2pix import InstructPix2Pix
from PostOpPredictorLib.benchmark.baselines.paint_by_example import PaintByExample, exemplar_of
from PostOpPredictorLib.benchmark.baselines.visii import Visii
from PostOpPredictorLib.errors import InputError, ModelMissing, ModelTampered
from PostOpPredictorLib.model.composite import mask_box
from PostOpPredictorLib.model.layouts import quadrant
from PostOpPredictorLib.model.triplet import CORE_LABELS, TripletBatch, label_mask

ALL = (Ddpm, PaintByExample, InstructPix2Pix, Visii, ImageBrush)


def a_baseline(kind: type[Baseline], **changes: Any) -> Any:
    """Random weights everywhere, also where a fresh one starts from zero."""
    torch.manual_seed(0)
    model = kind.fresh(tiny_config(**changes)).eval()
    with torch.no_grad():
        for parameter in model.unet.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.2)
    return model


def the_noise(model: Baseline, triplets: TripletBatch, **options: Any) -> torch.Tensor:
    noisy = torch.randn(len(triplets), *model.noise_shape(triplets), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.noise_of(noisy, torch.tensor(500), model.condition(triplets, **options))


def other(triplets: TripletBatch, *names: str) -> TripletBatch:
    """The same batch with ``names`` taken from another patient."""
    stranger = some_triplets(len(triplets), seed=77)
    return dataclasses.replace(triplets, **{name: getattr(stranger, name) for name in names})


def depends(model: Baseline, *names: str) -> bool:
    triplets = some_triplets(2)
    return not torch.equal(the_noise(model, triplets), the_noise(model, other(triplets, *names)))


@pytest.mark.parametrize(
    ("kind", "sees", "is_blind_to"),
    [
        (Ddpm, ["query_pre"], ["query_tumour", "instruction_pre", "instruction_post", "instruction_outcome"]),
        (
            PaintByExample,
            ["query_pre", "query_tumour", "instruction_post", "instruction_outcome"],
            ["instruction_pre", "instruction_tumour"],
        ),
        (InstructPix2Pix, ["query_pre"], ["query_tumour", "instruction_pre", "instruction_post"]),
        (Visii, ["query_pre"], ["query_tumour", "instruction_pre", "instruction_post"]),
        (
            ImageBrush,
            ["query_pre", "query_tumour", "instruction_pre", "instruction_post", "instruction_tumour"],
            ["query_brain", "z_mm"],
        ),
    ],
)
def test_each_baseline_sees_what_its_paper_gives_it_and_nothing_else(
    kind: type[Baseline], sees: list[str], is_blind_to: list[str]
) -> None:
    model = a_baseline(kind)
    assert [name for name in sees if not depends(model, name)] == []
    assert [name for name in is_blind_to if depends(model, name)] == []


@pytest.mark.parametrize(
    ("kind", "target", "beside"),
    [(Ddpm, 4, 4), (PaintByExample, 4, 5), (InstructPix2Pix, 4, 4), (Visii, 4, 4), (ImageBrush, 4, 5)],
)
def test_the_unets_have_the_published_input_channels(kind: type[Baseline], target: int, beside: int) -> None:
    model = kind.fresh(tiny_paper())
    assert (model.unet.config.in_channels, model.unet.config.out_channels) == (target + beside, target)
    assert model.scheduler.config.prediction_type == "epsilon" and model.config_tree.steps == 50


def test_the_hole_of_paint_by_example_is_the_tumours_box_and_the_mask_says_what_is_kept() -> None:
    model, triplets = a_baseline(PaintByExample), some_triplets(2)
    beside = model.beside(triplets)
    box = mask_box(label_mask(triplets.query_tumour, CORE_LABELS))
    source = model.autoencoder.to_image(beside[:, :-1])
    assert torch.allclose(source, torch.where(box > 0, torch.tensor(0.5), triplets.query_pre), atol=1e-6)
    assert torch.equal(beside[:, -1:], 1 - box[..., 2::4, 2::4]) or torch.equal(beside[:, -1:], 1 - box[..., ::4, ::4])


def test_the_exemplar_is_the_operated_region_and_nothing_around_it() -> None:
    post = torch.rand(2, 1, 32, 32)
    box = torch.zeros(2, 1, 32, 32)
    box[0, :, 8:16, 4:12] = 1
    box[1, :, 0:32, 16:32] = 1
    crops = exemplar_of(post, box, 8)
    assert torch.allclose(crops[0], post[0, :, 8:16, 4:12], atol=1e-5)
    changed = post.clone()
    changed[1, :, :, :15] = 9
    assert torch.equal(exemplar_of(changed, box, 8)[1], crops[1])


def test_paint_by_example_has_one_token_and_the_null_without_an_operated_region() -> None:
    model, triplets = a_baseline(PaintByExample), some_triplets(2)
    null = model.condition_network.null
    tokens = model.tokens(triplets)
    assert tokens.shape == (2, 1, TINY_PROMPT.token_width) and not torch.equal(tokens[:1], null)
    bare = dataclasses.replace(triplets, instruction_outcome=torch.zeros_like(triplets.instruction_outcome))
    assert torch.equal(model.tokens(bare), null.expand(2, -1, -1))
    assert torch.equal(model.tokens(triplets, torch.tensor([True, False]))[0], null[0])
    blocks = [m for m in model.condition_network.mapper if isinstance(m, BasicTransformerBlock)]
    assert len(blocks) == 5 and {block.attn1.heads for block in blocks} == {1}


def test_instruct_pix2pix_gets_the_mode_of_the_encoder_unscaled() -> None:
    scaled = dataclasses.replace(TINY_KL, scaling_factor=0.18215)
    model = a_baseline(InstructPix2Pix, target="image", autoencoder=scaled)
    triplets = some_triplets(2)
    encoder = model.autoencoder
    with torch.no_grad():
        mode = encoder.encode(triplets.query_pre * 2 - 1).latent_dist.mode()
        assert torch.allclose(model.beside(triplets), mode, atol=1e-6)
        assert torch.allclose(model.target_latents(triplets, triplets.query_pre), mode * 0.18215, atol=1e-6)


def test_the_new_inputs_of_a_fresh_instruct_pix2pix_weigh_nothing() -> None:
    model = InstructPix2Pix.fresh(tiny_config())
    target = model.channels()[0]
    weight = model.unet.conv_in.weight
    assert (weight[:, target:] == 0).all() and (weight[:, :target] != 0).any()
    assert not depends(model, "query_pre")


@pytest.mark.parametrize(("kind", "share"), [(Ddpm, 0.0), (PaintByExample, 0.2), (ImageBrush, 0.05), (Visii, 0.0)])
def test_conditions_are_dropped_as_often_as_published(kind: type[Baseline], share: float) -> None:
    drop, drop_image = kind.fresh(tiny_config()).draw_drops(20000, torch.Generator().manual_seed(0))
    assert drop.float().mean() == pytest.approx(share, abs=0.01)
    assert not drop_image.any()


def test_instruct_pix2pix_drops_text_alone_image_alone_and_both_for_a_twentieth_each() -> None:
    text, image = InstructPix2Pix.fresh(tiny_config()).draw_drops(40000, torch.Generator().manual_seed(0))
    for alone in (text & ~image, image & ~text, text & image):
        assert alone.float().mean() == pytest.approx(0.05, abs=0.005)


def test_a_dropped_image_is_zeros_beside_the_noise() -> None:
    beside = a_baseline(InstructPix2Pix).beside(some_triplets(2), torch.tensor([True, False]))
    assert (beside[0] == 0).all() and (beside[1] != 0).any()


def test_instruct_pix2pix_follows_two_scales_by_the_published_formula() -> None:
    model, triplets = a_baseline(InstructPix2Pix), some_triplets(2)
    every = torch.ones(2, dtype=torch.bool)
    null = model.tokens(triplets, every)
    both, image = the_noise(model, triplets), the_noise(model, triplets, tokens=null)
    nothing = the_noise(model, triplets, tokens=null, drop_image=every)
    noisy = torch.randn(2, *model.noise_shape(triplets), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        guided = model.guided(triplets, guidance=99)(noisy, torch.tensor(500))
    assert torch.allclose(guided, nothing + 7.5 * (both - image) + 1.5 * (image - nothing), atol=1e-4)


@pytest.mark.parametrize(("kind", "guidance"), [(PaintByExample, 5.0), (ImageBrush, 2.0)])
def test_the_others_follow_classifier_free_guidance(kind: type[Baseline], guidance: float) -> None:
    model, triplets = a_baseline(kind), some_triplets(2)
    assert model.config_tree.guidance == guidance
    null = model.tokens(triplets, torch.ones(2, dtype=torch.bool))
    with_it, without = the_noise(model, triplets), the_noise(model, triplets, tokens=null)
    noisy = torch.randn(2, *model.noise_shape(triplets), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        guided = model.guided(triplets, guidance)(noisy, torch.tensor(500))
    assert torch.allclose(guided, without + guidance * (with_it - without), atol=1e-5)
    assert not torch.allclose(guided, with_it, atol=1e-3)


def test_visii_changes_the_instruction_and_nothing_else(tmp_path: Path) -> None:
    InstructPix2Pix.fresh(tiny_config()).save(tmp_path / "model")
    model = Visii.starting_from(tmp_path / "model")
    model.make_learnable()
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["condition_network.text"]


def test_image_brush_noises_the_whole_grid_and_answers_in_the_last_quadrant() -> None:
    model, triplets = a_baseline(ImageBrush), some_triplets(2)
    channels, height, width = model.noise_shape(triplets)
    assert (height, width) == (SIZE // 2, SIZE // 2)
    post = torch.rand_like(triplets.query_pre)
    target = model.target_latents(triplets, post)
    assert target.shape == (2, channels, height, width)
    assert torch.allclose(model.to_image(target), post, atol=1e-6)
    first = model.autoencoder.to_image(target[..., : height // 2, : width // 2])
    assert torch.allclose(first, triplets.instruction_pre, atol=1e-6)
    clean, mask = model.beside(triplets).split([channels, 1], dim=1)
    assert (quadrant(clean) == 0).all() and (quadrant(mask) == 1).all() and mask.sum() == 2 * (height * width) / 4


def test_the_prompt_of_image_brush_enters_in_the_middle_only() -> None:
    unet = a_baseline(ImageBrush, unet=dataclasses.replace(tiny_config().unet, attention_levels=(True, True))).unet
    in_middle = [m for m in unet.mid_block.modules() if isinstance(m, BasicTransformerBlock)]
    elsewhere = [
        m for part in (unet.down_blocks, unet.up_blocks) for m in part.modules() if isinstance(m, BasicTransformerBlock)
    ]
    assert in_middle and all(block.attn2 is not None for block in in_middle)
    assert elsewhere and all(block.attn2 is None and block.attn1 is not None for block in elsewhere)


def test_image_brush_has_five_layers_three_images_and_three_boxes() -> None:
    model, triplets = a_baseline(ImageBrush), some_triplets(2)
    assert len(model.condition_network.transformer.layers) == 5
    assert model.tokens(triplets).shape == (2, 3 * (16 + 1), TINY_PROMPT.token_width)
    alone = model.tokens(triplets.without_instruction(torch.tensor([True, False])))
    assert torch.equal(alone[0], model.condition_network.null[0].expand(51, -1))


def test_a_box_is_told_by_its_borders() -> None:
    mask = torch.zeros(2, 1, 8, 16)
    mask[0, :, 2:4, 4:12] = 1
    assert torch.equal(box_numbers(mask), torch.tensor([[0.25, 0.5, 0.25, 0.75, 1.0], [0.0] * 5]))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("shape", [tiny_config, tiny_paper], ids=["compact", "paper"])
def test_a_saved_baseline_draws_the_same_slices(kind: type[Baseline], shape: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = kind.fresh(shape()).eval()
    model.save(tmp_path / "model")
    loaded = kind.from_pretrained(tmp_path / "model")
    triplets = some_triplets(2)
    first, second = (one(triplets, steps=2, seed=3).image for one in (model, loaded))
    assert first.shape == triplets.query_pre.shape and torch.allclose(first, second, atol=1e-3)
    assert ((first >= 0) & (first <= 1)).all() and (first[triplets.query_brain == 0] == 0).all()
    assert not torch.allclose(first, model(triplets, steps=2, seed=4).image, atol=1e-2)


@pytest.mark.parametrize("settings", [{"mode": "mean"}, {"mode": "average"}, {"start": "composite"}, {"steps": 0}])
def test_what_a_baseline_cannot_do_is_a_sentence(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="takes one sample from noise"):
        a_baseline(Ddpm)(some_triplets(1), **settings)


def test_a_damaged_baseline_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="no model in"):
        Ddpm.from_pretrained(tmp_path)
    Ddpm.fresh(tiny_config()).save(tmp_path / "model")
    with pytest.raises(ModelMissing, match="holds no 'InstructPix2Pix'"):
        InstructPix2Pix.from_pretrained(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelTampered):
        Ddpm.from_pretrained(tmp_path / "model")
