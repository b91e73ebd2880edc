"""Trains what is not trained: every entry in a folder of its own, resumable between its parts and within each."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..atomic_files import whole_file
from ..cases.folder_lock import only_writer
from ..errors import InputError
from ..model.autoencoder import GreyAutoencoderKL, PixelPatches
from ..model.config import PostOpConfig, config_from_mapping
from ..model.pipeline import PostOpPipeline
from ..model.pretrained import Pretrained, pretrained_pipeline
from ..model.settings import overlay
from ..progress import Progress
from ..training.config import TrainingConfig
from ..training.slices import PreparedSlices
from ..training.trainer import Trainer
from .baseline_trainer import BaselineTrainer
from .baselines.baseline import Baseline
from .baselines.visii import LEARNING_RATE, STEPS, Visii
from .budget import Budget
from .entries import SHIPPED, TRIAL, Entry, paper_form
from .instruction_choice import OnePair, slices_for

MakeTrainer = Callable[[TrainingConfig, Path], Trainer]


@dataclass(frozen=True)
class Recipe:
    """A model's shape and how it is trained."""

    model: PostOpConfig
    training: TrainingConfig


@dataclass(frozen=True)
class Workshop:
    """What all entries share. ``recipe``: of all but the shipped form, which has ``shipped``; ``folder``: of rows."""

    recipe: Recipe
    shipped: Recipe
    slices: PreparedSlices
    budget: Budget
    folder: Path
    device: torch.device | str = "cpu"

    def recipe_of(self, entry: Entry) -> Recipe:
        """An entry's configuration and training settings, without what depends on the budget."""
        recipe = self.recipe if _shares_networks(entry) else self.shipped
        if entry.system is not None:
            return recipe
        model = entry.form(recipe.model)
        training = entry.tuning(recipe.training)
        if training.medsam and model.prompt.image_encoder != "medsam":
            training = dataclasses.replace(training, medsam="")
        return Recipe(model, training)

    def parts_of(self, entry: Entry) -> list[tuple[str, float]]:
        """The parts to train, one after the other, with their share of the budget.

        Our shipped form and its trials have a renderer for structure, and a KL autoencoder of their own.
        """
        if _shares_networks(entry):
            return [("denoiser", 1.0)]
        model = self.recipe_of(entry).model
        before = [("autoencoder", 0.25)] if model.autoencoder.kind == "kl" else []
        after = [("renderer", 0.25)] if model.target == "structure" else []
        return [*before, ("denoiser", 1.0 - sum(share for _, share in before + after)), *after]

    def model_folder(self, entry: Entry) -> Path:
        """Where its trained model is, or will be."""
        return self.folder / entry.key / "model"

    def steps_done(self, entry: Entry) -> dict[str, int]:
        """Part -> steps it was trained for; without those of the autoencoder that several share."""
        return {part: _done(self.folder / entry.key, part) or 0 for part, _ in self.parts_of(entry)}

    def load(self, entry: Entry) -> Any:
        """The trained model on the device, ready to sample."""
        folder = self.model_folder(entry)
        if entry.system is None:
            pipeline = PostOpPipeline.from_pretrained(folder).to(self.device)
            if pipeline.config_tree.prompt.image_encoder == "medsam":
                pipeline.prompt_adapter.cache_embeddings(self.folder / entry.key / "embeddings")
            return pipeline
        model = entry.system.from_pretrained(folder).to(self.device)
        model.cache_embeddings(self.folder / entry.key / "embeddings")
        return model

    def train(self, entry: Entry, progress: Progress) -> None:
        """Train an entry's parts that are not trained yet, each to its share of the budget.

        Whatever ``progress.step`` raises stops it; the last whole step is saved and the next call goes on from there.
        """
        run = self.folder / entry.key
        for part, share in self.parts_of(entry):
            with _in_turn(run, part) as waits:
                if not waits:
                    continue
                make = self._maker(entry, part)
                steps = self._steps(entry, self.budget.share(share), run, part, make)
                training = _for_steps(self._training(entry, part), steps)
                progress.log(f"{entry.title}: {part}, {steps} steps")
                make(training, run).train(progress)
                _write_done(run, part, steps)

    @property
    def autoencoder_steps(self) -> int | None:
        """Steps of the shared autoencoder; None where there is none."""
        return _done(self.folder / "autoencoder", "autoencoder") if self._needs_autoencoder else None

    def train_autoencoder(self, entries: Sequence[Entry], progress: Progress) -> None:
        """A KL autoencoder without published weights is trained once, for all of ``entries`` that do not have their
        own."""
        if not self._needs_autoencoder or not any(_shares_networks(entry) for entry in entries):
            return
        run = self.folder / "autoencoder"
        base = dataclasses.replace(self.recipe.training, part="autoencoder", medsam="")

        def make(training: TrainingConfig, folder: Path) -> Trainer:
            return Trainer(paper_form(self.recipe.model), training, self.slices, folder, device=self.device)

        with _in_turn(run, "autoencoder") as waits:
            if waits:
                steps = self.budget.steps_in(run, lambda count, folder: make(_for_steps(base, count), folder))
                make(_for_steps(base, steps), run).train(progress)
                _write_done(run, "autoencoder", steps)

    def _latents(self, run: Path) -> Path | None:
        """Rows with one autoencoder share the latents of the slices; a trial of speed elsewhere begins without any."""
        return self.folder / "latents" if run.parent == self.folder else None

    @property
    def _needs_autoencoder(self) -> bool:
        return self.recipe.model.autoencoder.kind == "kl" and not self.recipe.training.stable_diffusion

    @cached_property
    def _autoencoder(self) -> PixelPatches | GreyAutoencoderKL | None:
        if not self._needs_autoencoder:
            return None
        return PostOpPipeline.from_pretrained(self.folder / "autoencoder" / "model").autoencoder

    def _training(self, entry: Entry, part: str) -> TrainingConfig:
        training = dataclasses.replace(self.recipe_of(entry).training, part=part)
        if entry.system is Visii:
            return dataclasses.replace(
                training, learning_rate=LEARNING_RATE, warmup_steps=0, weight_decay=0.0, ema_decay=0.0
            )
        return training

    def _steps(self, entry: Entry, budget: Budget, run: Path, part: str, make: MakeTrainer) -> int:
        if entry.system is Visii:
            return STEPS
        base = self._training(entry, part)
        return budget.steps_in(run, lambda count, folder: make(_for_steps(base, count), folder), part)

    def _maker(self, entry: Entry, part: str) -> MakeTrainer:
        recipe = self.recipe_of(entry)
        chosen = slices_for(entry.instructions, self.slices, recipe.training.sequence)
        slices = OnePair(self.slices) if entry.system is Visii else chosen

        def baseline(training: TrainingConfig, run: Path) -> Trainer:
            return BaselineTrainer(
                lambda: self._fresh(entry), training, slices, run, device=self.device, latents=self._latents(run)
            )

        def ours(training: TrainingConfig, run: Path) -> Trainer:
            if _shares_networks(entry) and self._autoencoder is not None and not (run / "model").exists():
                torch.manual_seed(training.seed)
                source = Pretrained(medsam=recipe.training.medsam)
                pretrained_pipeline(recipe.model, source, self._autoencoder).save(run / "model")
            return Trainer(recipe.model, training, slices, run, device=self.device, latents=self._latents(run))

        return ours if entry.system is None else baseline

    def _fresh(self, entry: Entry) -> Baseline:
        assert entry.system is not None
        if entry.system is Visii:
            return Visii.starting_from(self.folder / str(entry.starts_from) / "model")
        training = self.recipe.training
        source = Pretrained(training.stable_diffusion, training.medsam, training.download)
        return entry.system.fresh(self.recipe.model, source, self._autoencoder)


def _shares_networks(entry: Entry) -> bool:
    """Whether it takes networks and autoencoder from the benchmark's configuration, not from our shipped form's."""
    return entry.kind not in (SHIPPED, TRIAL)


def refuse_another_setting(folder: Path, setting: dict[str, Any]) -> None:
    """Write down what the rows in ``folder`` are trained with, or raise ``InputError`` when it was something else."""
    record = folder / "setting.json"
    if record.exists():
        try:
            before = {name: _as_written_now(value) for name, value in json.loads(record.read_text("utf-8")).items()}
        except (ValueError, AttributeError):
            before = {}
        changed = sorted(name for name in {*before, *setting} if before.get(name) != setting.get(name))
        if changed:
            raise InputError(
                f"{folder} holds rows that were trained with another {changed[0]}. "
                "Choose another --out, or give what they were trained with."
            )
        return
    with whole_file(record) as temporary:
        temporary.write_text(json.dumps(setting, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _as_written_now(value: Any) -> Any:
    """A recorded recipe as this version writes it: a setting that there was not has its default."""
    if not isinstance(value, dict) or set(value) != {"model", "training"}:
        return value
    try:
        recipe = Recipe(config_from_mapping(value["model"]), overlay(TrainingConfig(), value["training"]))
    except InputError:
        return value
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def _for_steps(training: TrainingConfig, steps: int) -> TrainingConfig:
    """No pictures on the way, and a warm-up that fits."""
    return dataclasses.replace(
        training, steps=steps, sheet_every=0, warmup_steps=min(training.warmup_steps, steps // 4)
    )


@contextlib.contextmanager
def _in_turn(run: Path, part: str) -> Iterator[bool]:
    """Whether ``part`` is still to be trained, after waiting for another process that trains in the same folder."""
    if _done(run, part) is not None:
        yield False
        return
    run.mkdir(parents=True, exist_ok=True)
    with only_writer(run):
        yield _done(run, part) is None


def _write_done(run: Path, part: str, steps: int) -> None:
    with whole_file(run / f"done-{part}.json") as temporary:
        temporary.write_text(json.dumps({"steps": steps}) + "\n", encoding="utf-8")


def _done(run: Path, part: str) -> int | None:
    try:
        return int(json.loads((run / f"done-{part}.json").read_text(encoding="utf-8"))["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
