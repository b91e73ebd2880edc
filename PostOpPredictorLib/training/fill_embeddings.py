"""MedSAM's embeddings of all that training can show it, made beforehand and shared over any number of processes.

    python -m PostOpPredictorLib.training.fill_embeddings --config paper.yaml --data slices.safetensors
        --medsam medsam_vit_b.pth --out embeddings

Under ``accelerate launch`` each process makes its share. Training finds them by ``training: embeddings: FOLDER``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..model.autoencoder import PixelPatches
from ..model.config import PostOpConfig, config_from_yaml
from ..model.denoiser import Denoiser
from ..model.medsam import load_medsam
from ..model.prompt_adapter import PromptAdapter
from ..progress import Progress, SilentProgress
from .config import TrainingConfig, training_from_yaml
from .processes import Processes, own_share, started_processes
from .run import device_of
from .slices import PreparedSlices

_AT_ONCE = 16


def fill_embeddings(
    model: PostOpConfig,
    training: TrainingConfig,
    slices: PreparedSlices,
    adapter: PromptAdapter,
    processes: Processes,
    progress: Progress | None = None,
) -> int:
    """Put this process's share of the composites of ``slices`` into the adapter's cache; returns how many it made."""
    if adapter.cache is None or model.prompt.image_encoder != "medsam":
        raise InputError("Only MedSAM's embeddings are kept: set 'model: prompt: image_encoder: medsam'.")
    progress = progress or SilentProgress()
    progress.stage("Embedding the composites")
    # Its tokens need neither U-Net nor autoencoder.
    denoiser = Denoiser(model, None, PixelPatches(), adapter)
    device, generator = adapter.null_tokens.device, torch.Generator()
    wanted = training.drawn_sequences(slices.sequences, model)
    turned = (False, True) if training.mirrored_share > 0 else (False,)
    chunks = [
        (sequence, chunk, turn)
        for sequence in wanted
        for turn in turned
        for chunk in composites(slices, training, sequence).split(_AT_ONCE)
    ]
    own = own_share(chunks, processes)
    slices = slices.shown_to(model)
    for number, (sequence, chunk, turn) in enumerate(own):
        progress.step(number, len(own))
        mirrored = torch.full((len(chunk),), turn)
        batch = slices.batch(chunk[:, 0], chunk[:, 1], sequence, 0, generator, mirrored=mirrored)
        # Enlarged where training enlarges: another device rounds otherwise, and the cache knows images by their bytes.
        batch = batch.to(device).on_panel(model.panel, model.zoom)
        bfloat16 = training.precision == "bfloat16"
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            denoiser.tokens(batch.whole)
    progress.step(len(own), len(own))
    return adapter.cache.misses


def composites(slices: PreparedSlices, training: TrainingConfig, sequence: str) -> Tensor:
    """Every slice that training draws with each precedent that it may draw, both with ``sequence``: rows (N, 2)."""
    drawn = [("train", "neighbours", training.neighbours)]
    if training.elsewhere_share > 0:
        drawn.append(("train", "neighbours_elsewhere", training.neighbours))
    if training.validate_every:
        drawn += [("val", "neighbours", 1), ("val", "neighbours_elsewhere", 1)]
    has, pairs = slices.arrays[f"has_{sequence}"] > 0, []
    for split, kind, count in drawn:
        rows = slices.rows(split, sequence=sequence)
        found = slices.arrays[kind][rows][:, :count].long()
        both = torch.stack([rows[:, None].expand_as(found), found], dim=2).reshape(-1, 2)
        pairs.append(both[(both[:, 1] >= 0) & has[both[:, 1].clamp(min=0)]])
    return torch.cat(pairs).unique(dim=0)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="fill_embeddings", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="YAML file with 'model:' and 'training:'")
    parser.add_argument("--data", type=Path, required=True, help="prepared slices")
    parser.add_argument("--medsam", type=Path, required=True, help="MedSAM's checkpoint, medsam_vit_b.pth")
    parser.add_argument("--out", type=Path, required=True, help="folder of the embeddings")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    chosen = parser.parse_args(arguments)
    model, training = config_from_yaml(chosen.config), training_from_yaml(chosen.config)
    processes = started_processes(chosen.device)
    adapter = PromptAdapter.of(model.prompt)
    load_medsam(adapter.image_encoder, chosen.medsam)
    adapter.to(device_of(processes, chosen.device)).cache_embeddings(chosen.out)
    made = fill_embeddings(model, training, PreparedSlices(chosen.data), adapter, processes)
    processes.wait()
    print(f"Process {processes.rank} of {processes.count} made {made} embeddings in {chosen.out}.")


if __name__ == "__main__":
    main()
