"""The loss on validation patients, always of the same slices and random numbers: what training is stopped by."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .config import TrainingConfig
from .objective import Objective, rows_of
from .slices import PreparedSlices, TrainingBatch

_AT_ONCE = 16


class Validation:
    """Validation slices evenly through the file, half of them with a precedent of another institution."""

    def __init__(self, slices: PreparedSlices, training: TrainingConfig, sequences: Sequence[str]) -> None:
        """``sequences`` take turns. ``batches`` is empty where no validation slice has a neighbour."""
        rows = slices.rows("val")
        if len(rows) > training.validation_slices:
            rows = rows[torch.linspace(0, len(rows) - 1, training.validation_slices).long()]
        self.batches: list[TrainingBatch] = []
        generator = torch.Generator().manual_seed(training.seed)
        for number, part in enumerate(rows.split(_AT_ONCE)):
            sequence = sequences[number % len(sequences)]
            part = part[slices.arrays[f"has_{sequence}"][part] > 0]
            if len(part):
                shown = slices.draw_instruction(part, 1, generator, sequence=sequence, elsewhere=0.5)
                self.batches.append(slices.batch(part, shown, sequence, training.crop, generator))

    @torch.no_grad()
    def loss(self, objective: Objective, device: torch.device) -> float:
        """The mean loss of ``objective`` over the slices, each drawn and dropped as in training, but always alike."""
        total, count = 0.0, 0
        for number, batch in enumerate(self.batches):
            draws = objective.draws(batch, torch.Generator().manual_seed(objective.training.seed + number))
            total += float(objective.loss(batch.to(device), rows_of(draws, slice(None)))) * len(batch)
            count += len(batch)
        return total / max(count, 1)
