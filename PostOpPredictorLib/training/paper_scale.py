"""The paper's model at its full size: what it takes, and that it loads, trains a step and samples a step.

    python -m PostOpPredictorLib.training.paper_scale memory     the table of docs/memory.md, from the shapes alone
    python -m PostOpPredictorLib.training.paper_scale measure    the same settings on a GPU, as torch counts them
    python -m PostOpPredictorLib.training.paper_scale check      on the CPU, 6 GiB of memory, minutes

Nothing is downloaded: ``check`` writes random weights in the published layouts and key names, and loads those.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..model.config import PostOpConfig, config_from_yaml, paper_config
from ..model.pipeline import PostOpPipeline
from ..model.pretrained import Pretrained, pretrained_pipeline
from ..model.sampling import guided
from .config import TrainingConfig
from .memory import BATCHES, GIB, empty_batch, memory_rows, table
from .objective import Objective
from .published_layout import write_medsam, write_stable_diffusion


def check(model: PostOpConfig, folder: Path) -> dict[str, Any]:
    """Write published layouts into ``folder``, load them, train one step, sample one step; seconds and figures.

    The training step is plain gradient descent that frees every gradient as soon as it is used: AdamW's state of two
    more copies of the weights is left out.
    """
    told: dict[str, Any] = {}

    def timed(name: str, work: Any) -> Any:
        start = time.monotonic()
        made = work()
        told[f"{name}, s"] = round(time.monotonic() - start, 1)
        told["peak memory so far, GiB"] = round(_peak_gib(), 2)
        print(json.dumps(told), file=sys.stderr, flush=True)
        return made

    timed("write Stable Diffusion", lambda: write_stable_diffusion(folder / "sd", model, half=True))
    timed("write MedSAM", lambda: write_medsam(folder / "medsam_vit_b.pth", model))
    source = Pretrained(str(folder / "sd"), str(folder / "medsam_vit_b.pth"))
    pipeline: PostOpPipeline = timed("load", lambda: pretrained_pipeline(model, source))
    told["parameters"] = {name: sum(p.numel() for p in getattr(pipeline, name).parameters()) for name in _PARTS}
    told["loss"] = timed("training step", lambda: train_one_step(pipeline))
    image = timed("sampling step", lambda: sample_one_step(pipeline))
    told["image"] = {"shape": list(image.shape), "finite": bool(image.isfinite().all())}
    return told


def train_one_step(pipeline: PostOpPipeline) -> float:
    """Loss of one batch of one slice, and a step of gradient descent, with gradient checkpointing, in float32."""
    training = TrainingConfig(crop=0, gradient_checkpointing=True, learning_rate=1e-5)
    objective = Objective(pipeline, training)
    pipeline.autoencoder.requires_grad_(False)
    pipeline.unet.enable_gradient_checkpointing()
    learning = [p for network in objective.networks() for p in network.train().parameters() if p.requires_grad]
    before = [p.detach().flatten()[:1].clone() for p in learning]
    hooks = [p.register_post_accumulate_grad_hook(_descend) for p in learning]
    batch, generator = empty_batch(1, 128), torch.Generator().manual_seed(0)
    batch.triplets.query_pre.uniform_(0, 1, generator=generator)
    loss = objective.loss(batch, objective.draws(batch, generator))
    loss.backward()
    for hook in hooks:
        hook.remove()
    moved = sum(bool((p.flatten()[:1] != old).any()) for p, old in zip(learning, before, strict=True))
    if not (torch.isfinite(loss) and moved > len(learning) / 2):
        raise InputError(
            f"The step was not one: loss {float(loss.detach())}, {moved} of {len(learning)} weights moved."
        )
    return float(loss.detach())


@torch.no_grad()
def sample_one_step(pipeline: PostOpPipeline) -> torch.Tensor:
    """The first of the configured DDIM steps, guided, and its latents decoded: (1, 1, panel, panel)."""
    model = pipeline.config_tree
    for network in pipeline.networks:
        network.eval()
    triplets, denoiser, scheduler = empty_batch(1, model.panel).triplets, pipeline.denoiser, pipeline.scheduler
    scheduler.set_timesteps(model.steps)
    noise = torch.randn(1, *denoiser.noise_shape(triplets), generator=torch.Generator().manual_seed(0))
    first = scheduler.timesteps[0]
    velocity = guided(denoiser, triplets, model.guidance)(noise, first)
    return denoiser.to_image(scheduler.step(velocity, first, noise).prev_sample)


def measure(model: PostOpConfig) -> list[str]:
    """Real training steps with AdamW on a GPU: the peak that torch counts for each batch, one line each."""
    if not torch.cuda.is_available():
        raise InputError("There is no CUDA GPU to measure on; the command 'memory' computes the same table.")
    lines = []
    for checkpointing in (False, True):
        training = TrainingConfig(crop=0, precision="bfloat16", gradient_checkpointing=checkpointing)
        for slices in BATCHES:
            try:
                peak = f"{_measured_step(model, training, slices):.1f} GiB"
            except torch.OutOfMemoryError:
                peak = "does not fit"
            torch.cuda.empty_cache()
            lines.append(f"training{', checkpointing' * checkpointing}, no average, {slices} slices: {peak}")
    return lines


def _measured_step(model: PostOpConfig, training: TrainingConfig, slices: int) -> float:
    torch.cuda.reset_peak_memory_stats()
    pipeline = PostOpPipeline.of(model).to("cuda")
    objective = Objective(pipeline, training)
    pipeline.autoencoder.requires_grad_(False)
    if training.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
    learning = [p for network in objective.networks() for p in network.train().parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-5, fused=True)
    batch = empty_batch(slices, model.panel // model.zoom)
    for _ in range(2):
        draws = objective.draws(batch, torch.Generator().manual_seed(0))
        with torch.autocast("cuda", torch.bfloat16):
            loss = objective.loss(batch.to("cuda"), draws)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return torch.cuda.max_memory_allocated() / GIB


_PARTS = ("unet", "autoencoder", "prompt_adapter")


def _descend(parameter: nn.Parameter) -> None:
    with torch.no_grad():
        parameter.sub_(parameter.grad, alpha=1e-5)
    parameter.grad = None


def _peak_gib() -> float:
    """The most memory that this process has held; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def main(arguments: list[str] | None = None) -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(prog="paper_scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=("memory", "measure", "check"))
    parser.add_argument("--config", type=Path, help="YAML file with 'model:'; the paper's when left out")
    chosen = parser.parse_args(arguments)
    model = config_from_yaml(chosen.config) if chosen.config else paper_config()
    if chosen.command == "memory":
        print(table(memory_rows(model)))
    elif chosen.command == "measure":
        print("\n".join(measure(model)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(check(model, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
