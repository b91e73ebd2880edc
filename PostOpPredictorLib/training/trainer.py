"""The trainer: AdamW, cosine schedule with warm-up, EMA, resumable at any step, over any number of processes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import Cancelled, InputError
from ..model.autoencoder import GreyAutoencoderKL
from ..model.config import PostOpConfig
from ..model.pipeline import PostOpPipeline
from ..model.pretrained import Pretrained, grown, pretrained_pipeline
from ..progress import Progress, SilentProgress
from .averages import weight_average
from .config import TrainingConfig
from .contact_sheet import write_contact_sheet
from .objective import Objective, rows_of
from .processes import OneProcess, Processes, own_rows
from .run_state import RunState
from .schedule import learning_rate_factor
from .slices import PreparedSlices, TrainingBatch
from .validation import Validation

_SLICES_FOR_SCALE = 64


class Trainer:
    """Trains one part of a pipeline in a run folder.

    The folder holds ``model/`` (EMA weights, a loadable pipeline), ``state-PART.pt``, ``log-PART.jsonl``, contact
    sheets, and what frozen networks say of the slices (``embeddings/``, ``latents/``). One that holds a state of the
    same part goes on from there; other parts of its ``model/`` stay as they are.
    """

    def __init__(
        self,
        model: PostOpConfig,
        training: TrainingConfig,
        slices: PreparedSlices,
        run: Path,
        *,
        device: torch.device | str = "cpu",
        processes: Processes | None = None,
        latents: Path | None = None,
    ) -> None:
        """``latents``: folder where the latents of whole slices are kept, None = in the run."""
        self.latents = latents or Path(run) / "latents"
        self.training, self.run, self.device = training, Path(run), torch.device(device)
        self.processes = processes or OneProcess()
        own_rows(training.batch_size, self.processes, training.accumulate)
        self.run.mkdir(parents=True, exist_ok=True)
        self.slices = slices
        self.pipeline = self._pipeline(model)
        if training.part == "denoiser" and self.pipeline.config_tree.layout == "grid" and training.crop:
            # Between cropped panels the way from precedent to answer would be shorter than when the model is asked.
            self.training = training = dataclasses.replace(training, crop=0)
        self.slices = slices.shown_to(self.pipeline.config_tree)
        self.sequences = training.drawn_sequences(slices.sequences, self.pipeline.config_tree)
        self.objective = self._objective()
        self._refuse_what_does_not_fit()
        self._prepare_networks()
        self.learning = [p for network in self._networks() for p in _learnable(network)]
        self.processes.same(self.learning)
        self.optimizer = torch.optim.AdamW(
            self.learning,
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
            betas=(0.9, 0.99),
            # Fused is faster and needs no copies of the weights during the step.
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, training.warmup_steps, training.steps)
        )
        self.ema = weight_average(self.learning, training.ema_decay, self.device)
        self.validation = self._validation()
        self._rows: dict[str, tuple[Tensor, Tensor]] = {}
        state_file = self.run / f"state-{training.part}.pt"
        self.state = RunState(state_file, training, self.learning, self.optimizer, self.schedule, self.ema)
        self.step, self.best_loss = self.state.read(self.device)

    def train(self, progress: Progress) -> None:
        """Run to ``training.steps``; on cancel the last whole step is saved before ``Cancelled`` goes on."""
        progress = progress if self.processes.rank == 0 else SilentProgress()
        progress.stage(f"Training the {self.training.part}")
        if self.training.validate_every and self.validation is None:
            progress.log("There are no validation patients to choose the weights by: the last ones are kept.")
        recent: deque[float] = deque(maxlen=100)
        for network in self._networks():
            network.train()
        try:
            while self.step < self.training.steps:
                recent.append(self._one_step())
                self._tell(progress, recent)
                last = self.step == self.training.steps
                if self.validation is not None and (last or self.step % self.training.validate_every == 0):
                    self._validate(self.validation, progress)
                if self.step % self.training.checkpoint_every == 0:
                    self.save()
                if self.training.sheet_every and self.step % self.training.sheet_every == 0:
                    self._sheet()
        except (Cancelled, KeyboardInterrupt):
            self.save()
            raise
        self.save()
        if self.training.sheet_every:
            self._sheet()
        self.processes.wait()

    def _tell(self, progress: Progress, recent: deque[float]) -> None:
        """Log and progress of process 0; a cancel that reaches it stops all of them."""
        stop: BaseException | None = None
        try:
            if self.step % 20 == 0 and self.processes.rank == 0:
                self._record(progress, recent)
            progress.step(self.step, self.training.steps)
        except (Cancelled, KeyboardInterrupt) as error:
            stop = error
        if self.processes.any(stop is not None):
            raise stop or Cancelled("The training was cancelled; the last whole step is saved.")

    def save(self) -> None:
        """Write the EMA weights as a pipeline and the whole state, each whole or not at all; process 0 alone does.

        Where validation patients choose the weights, the pipeline is written when it is the best so far; until they
        were asked, as it is.
        """
        if self.processes.rank > 0:
            return
        if self.validation is None or self.best_loss == float("inf"):
            self._save_model()
        self.state.write(self.step, self.best_loss)

    def _save_model(self) -> None:
        with self._averaged_weights():
            if self.training.part == "autoencoder":
                self._fit_latent_scale()
            self.pipeline.save(self.run / "model", replace=True)

    def _validate(self, validation: Validation, progress: Progress) -> None:
        """Measure the averaged weights and keep them when they are the best; every process does the same sum."""
        with self._averaged_weights():
            loss = validation.loss(self.objective, self.device)
        progress.log(f"step {self.step}: validation loss {loss:.5f}")
        if self.processes.rank == 0:
            self._write_line({"step": self.step, "validation_loss": loss, "time": time.time()})
        if loss < self.best_loss:
            self.best_loss = loss
            if self.processes.rank == 0:
                self._save_model()

    def _fit_latent_scale(self) -> None:
        """The latents' scale, by slices evenly through the training patients."""
        sequence = self._draw_sequence(torch.Generator().manual_seed(self.training.seed))
        rows = self.slices.rows("train", sequence=sequence)
        rows = rows[torch.linspace(0, len(rows) - 1, min(len(rows), _SLICES_FOR_SCALE)).long()]
        whole = self.slices.batch(rows, rows, sequence, 0, torch.Generator())
        images = whole.on_panel(self.pipeline.config_tree.panel, self.pipeline.config_tree.zoom).query_post
        self.pipeline.autoencoder.fit_scale(images.to(self.device))

    def _pipeline(self, model: PostOpConfig) -> PostOpPipeline:
        torch.manual_seed(self.training.seed)
        folder = self.run / "model"
        if not folder.exists() and self.training.start_from:
            return grown(PostOpPipeline.from_pretrained(Path(self.training.start_from).expanduser()), model).to(
                self.device
            )
        if not folder.exists():
            if self.training.sequence != "any":
                model = dataclasses.replace(model, sequences=(self.training.sequence,))
            if model.target == "structure" and not self.slices.knows_shift:
                # A shift that nothing teaches would be noise that bends the brain.
                model = dataclasses.replace(model, tissue_shift=False)
            source = Pretrained(self.training.stable_diffusion, self.training.medsam, self.training.download)
            return pretrained_pipeline(model, source).to(self.device)
        pipeline = PostOpPipeline.from_pretrained(folder)
        begun = pipeline.config_tree
        if begun != dataclasses.replace(model, tissue_shift=begun.tissue_shift, sequences=begun.sequences):
            raise InputError(
                f"{folder} holds a model of another configuration. "
                "Train into another folder, or give its configuration."
            )
        for network in pipeline.networks:
            network.requires_grad_(True)
        pipeline.prompt_adapter.freeze_pretrained()
        return pipeline.to(self.device)

    def _objective(self) -> Objective:
        return Objective(self.pipeline, self.training)

    def _validation(self) -> Validation | None:
        """What chooses the weights; None where nothing does, or where there are no patients for it."""
        if not self.training.validate_every:
            return None
        validation = Validation(self.slices, self.training, self.sequences)
        return validation if validation.batches else None

    def _refuse_what_does_not_fit(self) -> None:
        training, (height, width) = self.training, self.slices.panel
        if training.crop > min(height, width):
            raise InputError(f"The crop of {training.crop} pixels is larger than the slices ({height} x {width}).")
        if training.part == "renderer" and self.pipeline.renderer is None:
            raise InputError("An image model has no renderer to train: set 'target: structure' or another 'part'.")
        if training.part == "autoencoder" and not isinstance(self.pipeline.autoencoder, GreyAutoencoderKL):
            raise InputError("Pixel patches need no training: set 'autoencoder: {kind: kl}' or another 'part'.")

    def _prepare_networks(self) -> None:
        """Networks that do not learn take no gradient; what they say of images that come again is kept."""
        learning = self._networks()
        for network in self.pipeline.networks:
            if not any(network is one for one in learning):
                network.requires_grad_(False)
        for network in learning:
            if self.training.gradient_checkpointing and getattr(network, "_supports_gradient_checkpointing", False):
                network.enable_gradient_checkpointing()
        if self.pipeline.config_tree.prompt.image_encoder == "medsam":
            folder = Path(self.training.embeddings or self.run / "embeddings").expanduser()
            self.pipeline.prompt_adapter.cache_embeddings(folder)
        else:
            # An encoder that learns says something else after every step; the environment may have named a folder.
            self.pipeline.prompt_adapter.cache = None
        config, autoencoder = self.pipeline.config_tree, self.pipeline.autoencoder
        # Only the grid shows whole slices as they are; crops, composites and aligned precedents are new every time.
        whole = self.training.part == "denoiser" and config.layout == "grid" and not config.align_instruction
        if isinstance(autoencoder, GreyAutoencoderKL):
            autoencoder.keep_latents(self.latents if whole else None)

    def _networks(self) -> list[nn.Module]:
        return self.objective.networks()

    def _one_step(self) -> float:
        generator = torch.Generator().manual_seed(self.training.seed * 1_000_003 + self.step)
        batch = self._draw(generator)
        draws = self.objective.draws(batch, generator)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(1, device=self.device)
        for rows in own_rows(len(batch), self.processes, self.training.accumulate):
            part = batch.rows(rows).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bfloat16"):
                loss = self.objective.loss(part, rows_of(draws, rows)) * (len(part) / len(batch))
            loss.backward()
            total += loss.detach()
        self.processes.sum([total, *(p.grad for p in self.learning if p.grad is not None)])
        nn.utils.clip_grad_norm_(self.learning, self.training.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        self.ema.step(self.learning)
        self.step += 1
        return float(total)

    def _loss(self, batch: TrainingBatch, generator: torch.Generator) -> Tensor:
        return self.objective.loss(batch, self.objective.draws(batch, generator))

    def _draw(self, generator: torch.Generator) -> TrainingBatch:
        sequence = self._draw_sequence(generator)
        others, semi_real = self._rows_with(sequence)
        size = self.training.batch_size
        share = self.training.semi_real_share if len(others) else 1.0
        from_semi = round(size * share) if len(semi_real) else 0
        rows = torch.cat([_some(others, size - from_semi, generator), _some(semi_real, from_semi, generator)])
        instruction = self.slices.draw_instruction(
            rows,
            self.training.neighbours,
            generator,
            sequence=sequence,
            elsewhere=self.training.elsewhere_share,
        )
        share = self.training.mirrored_share
        mirrored = torch.rand(size, generator=generator) < share if share else None
        return self.slices.batch(rows, instruction, sequence, self.training.crop, generator, mirrored=mirrored)

    def _draw_sequence(self, generator: torch.Generator) -> str:
        """One of those to train on, each as often as it is there."""
        if len(self.sequences) == 1:
            return self.sequences[0]
        there = torch.tensor([float(self.slices.arrays[f"has_{name}"].sum()) for name in self.sequences])
        return self.sequences[int(torch.multinomial(there, 1, generator=generator))]

    def _rows_with(self, sequence: str) -> tuple[Tensor, Tensor]:
        """Training slices that have the sequence: phantoms and real pairs, and operations on real scans."""
        if sequence not in self._rows:
            self._rows[sequence] = (
                self.slices.rows("train", 0, 2, sequence=sequence),
                self.slices.rows("train", 1, sequence=sequence),
            )
        return self._rows[sequence]

    def _record(self, progress: Progress, recent: deque[float]) -> None:
        loss = sum(recent) / len(recent)
        progress.log(f"step {self.step}: loss {loss:.5f}")
        line = {"step": self.step, "loss": loss, "learning_rate": self.schedule.get_last_lr()[0], "time": time.time()}
        self._write_line(line)

    def _write_line(self, line: dict[str, float]) -> None:
        with (self.run / f"log-{self.training.part}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _sheet(self) -> None:
        if self.processes.rank > 0:
            return
        path = self.run / f"sheet-{self.training.part}-{self.step:06d}.png"
        with self._averaged_weights():
            write_contact_sheet(
                self.pipeline,
                self.slices.unaligned(),
                path,
                sequence=self.sequences[-1],
                reconstruction=self.training.part == "autoencoder",
            )

    @contextlib.contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """The pipeline with its EMA weights; an interrupt, too, brings the learning ones back."""
        self.ema.store(self.learning)
        try:
            self.ema.copy_to(self.learning)
            yield
        finally:
            self.ema.restore(self.learning)


def _learnable(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if count and not len(rows):
        raise InputError(
            "The prepared slices hold no training slices with neighbours. Prepare a library with more cases."
        )
    return rows[torch.randint(len(rows), (count,), generator=generator)] if count else rows[:0]
