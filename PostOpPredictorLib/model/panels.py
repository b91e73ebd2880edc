"""Slices on the model's square panel: enlarged evenly where it says so, padded with nothing, never stretched (method,
section 2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from ..errors import InputError
from .triplet import ON_PIXELS, TripletBatch

_STEP = 4
"""Slices lie on whole latent pixels of the structure code, so that its half-resolution shift can be padded, too."""
_IMAGES = ("query_pre", "query_context", "instruction_pre", "instruction_post")


@dataclass(frozen=True)
class Placement:
    """Where a slice of ``height`` x ``width`` pixels, each ``zoom`` x ``zoom`` of the panel's, lies on a square of side
    ``panel``: in its middle.

    Raises ``InputError`` for a slice that is larger than the panel.
    """

    panel: int
    height: int
    width: int
    zoom: int = 1

    def __post_init__(self) -> None:
        if max(self.height, self.width) * self.zoom > self.panel:
            if self.zoom > 1:
                raise InputError(
                    f"Slices of {self.height} x {self.width} pixels, enlarged {self.zoom} times, do not fit on the "
                    f"model's panel of {self.panel}. Set 'model: panel' to {self.zoom} times their longer side or "
                    "more, or 'zoom: 1'."
                )
            raise InputError(
                f"Slices of {self.height} x {self.width} pixels do not fit on the model's panel of {self.panel}. "
                "Set 'model: panel' to their longer side or more."
            )

    @classmethod
    def of(cls, panel: int, image: Tensor, zoom: int = 1) -> Placement:
        """The place of ``image`` (..., y, x)."""
        height, width = image.shape[-2:]
        return cls(panel, height, width, zoom)

    @property
    def filled(self) -> bool:
        """Whether the slices are the panel as they are."""
        return self.zoom == 1 and self.height == self.panel == self.width

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the slice's first pixel on the panel."""
        height, width = self.height * self.zoom, self.width * self.zoom
        return (self.panel - height) // 2 // _STEP * _STEP, (self.panel - width) // 2 // _STEP * _STEP

    def enlarge(self, array: Tensor) -> Tensor:
        """Labels, masks (..., y, x): every pixel ``zoom`` x ``zoom`` times."""
        if self.zoom == 1:
            return array
        return array.repeat_interleave(self.zoom, dim=-2).repeat_interleave(self.zoom, dim=-1)

    def enlarge_image(self, image: Tensor) -> Tensor:
        """Images (B, C, y, x) in [0, 1], bicubic: ``cut`` makes nearly the same of it."""
        if self.zoom == 1:
            return image
        return interpolate(image, scale_factor=self.zoom, mode="bicubic", align_corners=False).clamp(0, 1)

    def enlarge_triplets(self, triplets: TripletBatch) -> TripletBatch:
        """Slices or crops of them with the panel's pixels."""
        if self.zoom == 1:
            return triplets
        return replace(triplets, **{name: self._enlarged(name, getattr(triplets, name)) for name in ON_PIXELS})

    def pad(self, array: Tensor, shrink: int = 1) -> Tensor:
        """Enlarged (..., y / shrink, x / shrink) to (..., panel / shrink, panel / shrink), 0 around."""
        top, left = (offset // shrink for offset in self.corner)
        side = self.panel // shrink
        return pad(array, (left, side - left - array.shape[-1], top, side - top - array.shape[-2]))

    def cut(self, array: Tensor) -> Tensor:
        """The slice's own part of (..., panel, panel), at its own size (..., y, x): each pixel the mean of its own."""
        top, left = self.corner
        part = array[..., top : top + self.height * self.zoom, left : left + self.width * self.zoom]
        return part if self.zoom == 1 else avg_pool2d(part, self.zoom)

    def pad_triplets(self, triplets: TripletBatch) -> TripletBatch:
        """The same slices on the panel; their ``corner`` moves, so that every pixel keeps its MNI place."""
        if self.filled:
            return triplets
        assert triplets.corner is not None
        offset = torch.tensor(self.corner, device=triplets.corner.device)
        corner = triplets.corner - (offset if self.zoom == 1 else offset / self.zoom)
        enlarged = self.enlarge_triplets(triplets)
        return replace(enlarged, **{name: self.pad(getattr(enlarged, name)) for name in ON_PIXELS}, corner=corner)

    def _enlarged(self, name: str, array: Tensor) -> Tensor:
        return self.enlarge_image(array) if name in _IMAGES else self.enlarge(array)
