"""VISII (Nguyen, Li, Ojha, Lee: Visual Instruction Inversion, NeurIPS 2023).

Taken from the paper: InstructPix2Pix stays frozen; the instruction's embedding alone is optimised on one pair, before
and after, by the noise error, for 1000 steps of AdamW from 1e-3. Not taken: a constant rate (it falls by cosine, as in
all trainings here), the CLIP direction loss and the start from a caption (no CLIP here; it starts from InstructPix2Pix'
own embedding), and its guidance scales are InstructPix2Pix'.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from .instruct_pix2pix import InstructPix2Pix

STEPS = 1000
LEARNING_RATE = 1e-3


class Visii(InstructPix2Pix):
    """InstructPix2Pix with another instruction."""

    name = "VISII"
    dropout = 0.0

    @classmethod
    def starting_from(cls, folder: Path) -> Visii:
        """The trained InstructPix2Pix in ``folder``; only ``condition_network.text`` may change."""
        return cls.from_pretrained(folder)

    def make_learnable(self) -> None:
        self.requires_grad_(False)
        self.condition_network.text.requires_grad_(True)

    def draw_drops(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Nothing is dropped: the instruction is what is looked for."""
        none = torch.zeros(size, dtype=torch.bool)
        return none, none

    def learning_networks(self) -> list[nn.Module]:
        return [self.condition_network]
