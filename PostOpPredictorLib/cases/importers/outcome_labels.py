"""From a data set's labels after surgery to ours; and the proxy of a cavity where the data set has no label for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from ...imaging.grid import WORKING_GRID
from ..case import LabelArray
from ..phantom.fields import BoolArray, crop_around, largest_part
from .plan import Dataset

NEAR_CORE_MM = 10.0
_CAVITY, _RESIDUAL, _OEDEMA = 1, 2, 4

CavityKind = Literal["labelled", "proxy"]


@dataclass(frozen=True)
class AfterConvention:
    """What a data set's labels after surgery mean.

    ``outcome``: its label -> ours; ``enhancing``: its label of what is left; ``may_be_cavity``: the label that holds
    the cavity among other things (LUMIERE), or 0 where the cavity has no label at all (RHUH); None: it has its own.
    """

    outcome: Mapping[int, int]
    enhancing: int
    may_be_cavity: int | None = None

    @property
    def kind(self) -> CavityKind:
        return "labelled" if self.may_be_cavity is None else "proxy"


AFTER: Mapping[Dataset, AfterConvention] = {
    "lumiere": AfterConvention({1: _RESIDUAL, 3: _OEDEMA}, enhancing=1, may_be_cavity=2),
    "rhuh": AfterConvention({1: _RESIDUAL, 2: _OEDEMA, 3: _RESIDUAL}, enhancing=3, may_be_cavity=0),
    "brats-post": AfterConvention({1: _RESIDUAL, 2: _OEDEMA, 3: _RESIDUAL, 4: _CAVITY}, enhancing=3),
    "bids": AfterConvention({3: _RESIDUAL, 4: _CAVITY}, enhancing=3),
}


def outcome_of(after: LabelArray, core: BoolArray, dataset: Dataset) -> LabelArray:
    """Outcome labels (z, y, x) on WORKING_GRID from the data set's labels there and the tumour core before surgery.

    Where LUMIERE's label 2 is not in the proxy of the cavity it may be an older cavity or necrosis: it stays 0.
    """
    convention = AFTER[dataset]
    table = np.zeros(256, np.uint8)
    for theirs, ours in convention.outcome.items():
        table[theirs] = ours
    outcome: LabelArray = table[after]
    if convention.may_be_cavity is not None:
        near_mm = NEAR_CORE_MM if convention.may_be_cavity else 0.0
        outcome[proxy_cavity(after == convention.may_be_cavity, core, near_mm)] = _CAVITY
    return outcome


def proxy_cavity(candidates: BoolArray, core: BoolArray, near_mm: float = NEAR_CORE_MM) -> BoolArray:
    """A stand-in for the cavity: ``candidates`` within ``near_mm`` of the tumour core, holes filled, largest part.

    All arrays (z, y, x) on WORKING_GRID. Not a segmentation: whoever shows it says so.
    """
    cavity = np.zeros(core.shape, bool)
    if core.any():
        crop = crop_around(core, near_mm + 3)
        distance = ndimage.distance_transform_edt(~core[crop], sampling=WORKING_GRID.spacing[0])
        near = candidates[crop] & (distance <= near_mm)
        cavity[crop] = largest_part(ndimage.binary_fill_holes(near))
    return cavity
