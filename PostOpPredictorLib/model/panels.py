"""Slices on the model's square panel: padded with nothing on all sides, never stretched (method, section 2)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..errors import InputError
from .triplet import TripletBatch

_NOT_ON_PIXELS = ("z_mm", "corner", "has_instruction", "has_plan", "days", "has_days", "shown_days", "own_institution")
_STEP = 4
"""Slices lie on whole latent pixels of the structure code, so that its half-resolution shift can be padded, too."""


@dataclass(frozen=True)
class Placement:
    """Where a slice of ``height`` x ``width`` pixels lies on a square of side ``panel``: in its middle.

    Raises ``InputError`` for a slice that is larger than the panel.
    """

    panel: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if max(self.height, self.width) > self.panel:
            raise InputError(
                f"Slices of {self.height} x {self.width} pixels do not fit on the model's panel of {self.panel}. "
                "Set 'model: panel' to their longer side or more."
            )

    @classmethod
    def of(cls, panel: int, image: Tensor) -> Placement:
        """The place of ``image`` (..., y, x)."""
        return cls(panel, *image.shape[-2:])

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the slice's first pixel on the panel."""
        return (self.panel - self.height) // 2 // _STEP * _STEP, (self.panel - self.width) // 2 // _STEP * _STEP

    def pad(self, array: Tensor, shrink: int = 1) -> Tensor:
        """(..., y / shrink, x / shrink) to (..., panel / shrink, panel / shrink), 0 around."""
        top, left = (offset // shrink for offset in self.corner)
        side = self.panel // shrink
        return pad(array, (left, side - left - array.shape[-1], top, side - top - array.shape[-2]))

    def cut(self, array: Tensor) -> Tensor:
        """The slice's own part (..., y, x) of (..., panel, panel)."""
        top, left = self.corner
        return array[..., top : top + self.height, left : left + self.width]

    def pad_triplets(self, triplets: TripletBatch) -> TripletBatch:
        """The same slices on the panel; their ``corner`` moves, so that every pixel keeps its MNI place."""
        if self.height == self.panel == self.width:
            return triplets
        names = [item.name for item in fields(triplets) if item.name not in _NOT_ON_PIXELS]
        assert triplets.corner is not None
        corner = triplets.corner - torch.tensor(self.corner, device=triplets.corner.device)
        return replace(triplets, **{name: self.pad(getattr(triplets, name)) for name in names}, corner=corner)
