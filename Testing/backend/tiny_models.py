"""Models of a few thousand weights, slices of 32 x 32 pixels, and a prepared file of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from PostOpPredictorLib.model.config import (
    AutoencoderConfig,
    PostOpConfig,
    PromptConfig,
    RendererConfig,
    UNetConfig,
    paper_config,
)
from PostOpPredictorLib.model.pipeline import PostOpPipeline
from PostOpPredictorLib.model.triplet import TripletBatch
from PostOpPredictorLib.training.slices import PreparedSlices, TrainingBatch

SIZE = 32
PAPER_PANEL = 48
TINY_PROMPT = PromptConfig(
    token_width=16,
    image_size=32,
    vit_patch=8,
    vit_width=16,
    vit_depth=1,
    vit_heads=2,
    vit_out_channels=8,
    seg_channels=(4, 8),
)
TINY_KL = AutoencoderConfig("kl", latent_channels=4, block_out_channels=(8, 8, 8), norm_num_groups=4)


def tiny_config(**changes: Any) -> PostOpConfig:
    """The smallest structure model; ``changes`` are fields of ``PostOpConfig``."""
    tiny = PostOpConfig(
        panel=SIZE,
        steps=2,
        unet=UNetConfig((8, 16), 1, (False, True), 2, 4),
        prompt=TINY_PROMPT,
        renderer=RendererConfig((8, 16), 1, 4),
    )
    return dataclasses.replace(tiny, **changes)


def tiny_paper(**changes: Any) -> PostOpConfig:
    """The paper's configuration with the smallest networks of the same classes, its panel wider than the slices."""
    tiny = dataclasses.replace(
        paper_config(),
        panel=PAPER_PANEL,
        zoom=1,
        steps=2,
        unet=UNetConfig((8, 16), 1, (True, False), (1, 2), 4),
        autoencoder=AutoencoderConfig("kl", 8, 4, (8, 8, 8), 1, 0.18215, 4),
        prompt=dataclasses.replace(TINY_PROMPT, image_encoder="medsam"),
    )
    return dataclasses.replace(tiny, **changes)


def disc(centre: tuple[float, float], radius: float, size: int = SIZE) -> np.ndarray:
    """A boolean (y, x) disc."""
    rows, columns = np.ogrid[:size, :size]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def made_up_slices(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Pre, post in [0, 1], brain, tumour and outcome labels, (count, 32, 32): a tumour and the hole that it leaves."""
    rng = np.random.default_rng(seed)
    brain = disc((15.5, 15.5), 14)
    arrays: dict[str, list[np.ndarray]] = {name: [] for name in ("pre", "post", "brain", "tumour", "outcome")}
    for _ in range(count):
        centre = tuple(rng.uniform(10, 21, 2))
        tumour = np.where(disc(centre, 4), 4, np.where(disc(centre, 6), 2, 0)) * brain
        outcome = np.where(disc(centre, 3), 3, np.where(disc(centre, 5), 1, np.where(disc(centre, 6), 4, 0))) * brain
        tissue = rng.uniform(0.3, 0.6) + 0.1 * np.sin(np.arange(SIZE) / rng.uniform(2, 5))[:, None]
        pre = (tissue + 0.3 * (tumour == 4)) * brain
        arrays["pre"].append(pre)
        arrays["post"].append(np.where(outcome == 1, 0.1, np.where(outcome == 3, 0.9, pre)) * brain)
        arrays["brain"].append(brain)
        arrays["tumour"].append(tumour)
        arrays["outcome"].append(outcome)
    return {k: np.stack(v).astype(np.float32 if k in ("pre", "post") else np.uint8) for k, v in arrays.items()}


def some_triplets(count: int = 2, seed: int = 0) -> TripletBatch:
    """Queries with another patient's pair each."""
    query, other = made_up_slices(count, seed), made_up_slices(count, seed + 1000)
    image = {k: torch.from_numpy(v)[:, None].float() for k, v in query.items()}
    return TripletBatch(
        query_pre=image["pre"],
        query_tumour=torch.from_numpy(query["tumour"]),
        query_brain=image["brain"],
        instruction_pre=torch.from_numpy(other["pre"])[:, None],
        instruction_post=torch.from_numpy(other["post"])[:, None],
        instruction_tumour=torch.from_numpy(other["tumour"]),
        instruction_outcome=torch.from_numpy(other["outcome"]),
        z_mm=torch.linspace(-10, 40, count),
    )


def prepared_arrays(train: int = 9, val: int = 3, semi_real: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    """The tensors of ``postop library prepare``; the last ``semi_real`` training rows come from real scans."""
    count = train + val
    rng = np.random.default_rng(seed)
    arrays: dict[str, torch.Tensor] = {}
    for sequence in ("T1w", "T1wCE"):
        slices = made_up_slices(count, seed)
        gain = 1.0 if sequence == "T1w" else 0.8
        for when in ("pre", "post"):
            arrays[f"{when}_{sequence}"] = torch.from_numpy(np.rint(slices[when] * 255 * gain).astype(np.uint8))
    arrays |= {name: torch.from_numpy(slices[name]) for name in ("tumour", "outcome", "brain")}
    arrays["shift"] = torch.from_numpy(rng.integers(-40, 40, (count, 3, SIZE // 2, SIZE // 2)).astype(np.int8))
    arrays["shift_known"] = torch.ones(count, dtype=torch.uint8)
    arrays["resection"] = (arrays["outcome"] % 2).to(torch.uint8)
    arrays["resection_known"] = torch.ones(count, dtype=torch.uint8)
    arrays |= {f"has_{sequence}": torch.ones(count, dtype=torch.uint8) for sequence in ("T1w", "T1wCE")}
    arrays["days"] = torch.linspace(1, 200, count)
    arrays["institution"] = (torch.arange(count) % 2).to(torch.int32)
    arrays["case"] = (torch.arange(count) // 2).to(torch.int32)
    arrays["z_mm"] = torch.linspace(-20, 50, count)
    arrays["split"] = torch.tensor([0] * train + [1] * val, dtype=torch.int8)
    arrays["kind"] = torch.tensor([0] * (train - semi_real) + [1] * semi_real + [0] * val, dtype=torch.int8)
    train_rows, val_rows = np.arange(train), np.arange(train, count)
    others = [np.setdiff1d(train_rows if row < train else val_rows, [row])[:2] for row in range(count)]
    arrays["neighbours"] = torch.from_numpy(np.stack(others).astype(np.int32))
    arrays["neighbours_elsewhere"] = arrays["neighbours"].flip(1).clone()
    arrays["neighbour_iou"] = torch.full((count, 2), 0.5, dtype=torch.float16)
    return arrays


def write_prepared(path: Path, **options: int) -> Path:
    """A small file as ``postop library prepare`` makes it."""
    save_file(prepared_arrays(**options), path, metadata={"splits": json.dumps(["train", "val", "test"])})
    return path


def a_batch(slices: PreparedSlices, crop: int = 16, seed: int = 0) -> TrainingBatch:
    """The first four training slices with a drawn instruction each; ``crop`` 0 leaves them whole."""
    generator = torch.Generator().manual_seed(seed)
    rows = slices.rows("train")[:4]
    return slices.batch(rows, slices.draw_instruction(rows, 2, generator), "T1w", crop, generator)


def a_pipeline(**changes: Any) -> PostOpPipeline:
    """Random weights everywhere, also where a fresh network starts from zero."""
    torch.manual_seed(0)
    pipeline = PostOpPipeline.of(tiny_config(**changes))
    if pipeline.renderer is not None:
        torch.nn.init.normal_(pipeline.renderer.conv_out.weight, std=0.05)
    for network in pipeline.networks:
        network.eval()
    return pipeline
