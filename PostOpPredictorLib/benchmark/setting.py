"""The setting of a benchmark in words, printed above its tables."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..training.config import TrainingConfig
from ..training.neighbours import MAX_DZ_MM
from .cost import machine_of
from .entries import SHIPPED, TRIAL, Entry
from .trained_rows import mode_of
from .workshop import Workshop

if TYPE_CHECKING:
    from .run import BenchmarkRequest


def setting_in_words(
    request: BenchmarkRequest, workshop: Workshop, entries: Sequence[Entry], precedents: int
) -> dict[str, str]:
    """What was trained and asked how, as the table's first lines: name -> value."""
    model, training = workshop.recipe.model, workshop.recipe.training
    ours = workshop.shipped.model
    trained = {"the others": training, "our shipped form": workshop.shipped.training}
    if all(entry.kind in (SHIPPED, TRIAL) for entry in entries):
        del trained["the others"]
    steps = {entry.title: workshop.steps_done(entry) for entry in entries}
    if workshop.autoencoder_steps is not None:
        steps["the autoencoder of all but our shipped form"] = {"autoencoder": workshop.autoencoder_steps}
    told = "; ".join(
        f"{title} {' + '.join(f'{count} ({part})' for part, count in done.items())}" for title, done in steps.items()
    )
    sampled = f"DDIM, {request.sampling_steps or 50} steps, eta 0"
    return {
        "budget": f"{workshop.budget.text} for each system",
        "steps trained": told,
        "batch": _each(trained, lambda one: f"{one.batch_size} slices, crop {one.crop or 'none'}, {one.precision}")
        + "; what draws on the grid sees whole slices",
        "optimiser": _each(
            trained,
            lambda one: (
                f"AdamW, learning rate {one.learning_rate:g}, cosine, weight {one.outside_weight:g} away from "
                "the lesion"
            ),
        ),
        "drawn and kept": _each(trained, _drawn_and_kept),
        "training slices": f"{len(workshop.slices.rows('train', sequence=request.sequence))} ({request.sequence})",
        "networks": f"family {model.family}, panel {model.panel} px{_zoomed(model.zoom)}, "
        f"U-Net {_plain(model.unet.block_out_channels)}, "
        f"autoencoder {model.autoencoder.kind}, image encoder {model.prompt.image_encoder}",
        "published weights": training.stable_diffusion or training.medsam or "none: all from random weights",
        "our shipped form": f"draws {ours.target}, U-Net {_plain(ours.unet.block_out_channels)}, autoencoder "
        f"{ours.autoencoder.kind}; {_plain(_shipped_mode(entries, workshop))}",
        "sampling": sampled,
        "measured picture": "as drawn" if request.raw else "laid over the patient's own scan, as postop predict does",
        "precedents": f"for the whole volume the most similar of {precedents} training cases, by the tumour, unless "
        "the row says otherwise; where it is not chosen by its tumour, that is laid over the height of the patient's",
        "instructions in training": _each(trained, _instructed) + ", unless the row says otherwise",
        "tested": f"split {request.split}, every {request.stride}. slice"
        if request.stride > 1
        else f"split {request.split}",
        "machine": f"{machine_of(workshop.device)}, {platform.system()}",
    }


def _drawn_and_kept(training: TrainingConfig) -> str:
    """What of a batch is changed, and which weights are kept."""
    mirrored = (
        f"{training.mirrored_share:.0%} of the slices mirrored" if training.mirrored_share else "slices as they are"
    )
    chosen = f"chosen by validation patients every {training.validate_every} steps"
    return f"{mirrored}, weights {chosen if training.validate_every else 'of the last step'}"


def _instructed(training: TrainingConfig) -> str:
    """From which slices the instruction is drawn."""
    share = f", {training.elsewhere_share:.0%} from elsewhere" if training.elsewhere_share else ""
    return (
        f"one of the {training.neighbours} slices of other patients with the most similar tumour, at most "
        f"{MAX_DZ_MM:g} mm up or down, of the own institution first{share}"
    )


def _zoomed(zoom: int) -> str:
    return f" (slices enlarged {zoom} times)" if zoom > 1 else ""


def _each(trained: Mapping[str, TrainingConfig], tell: Callable[[TrainingConfig], str]) -> str:
    """What ``tell`` says of each, or once where it is the same of all."""
    told = {name: tell(training) for name, training in trained.items()}
    if len(set(told.values())) == 1:
        return next(iter(told.values()))
    return "; ".join(f"{name}: {text}" for name, text in told.items())


def _shipped_mode(entries: Sequence[Entry], workshop: Workshop) -> tuple[str, ...]:
    return tuple(f"mode {mode_of(entry, workshop)}" for entry in entries if entry.kind == SHIPPED) or ("not asked",)


def _plain(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values)
