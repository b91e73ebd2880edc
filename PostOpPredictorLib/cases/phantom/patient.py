"""The patient as the surgeon sees it, phantom or real."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .fields import BoolArray, FloatArray


@dataclass(frozen=True)
class Patient:
    """What the surgeon sees, (z, y, x) on the working grid: ``tumour`` labels 0, 1, 2, 4; tissue in [0, 1]."""

    tumour: NDArray[np.uint8]
    brain: BoolArray
    wm: FloatArray
    csf: FloatArray

    @property
    def core(self) -> BoolArray:
        """What is to be removed: labels 1 and 4."""
        return (self.tumour == 1) | (self.tumour == 4)


def centre_of(mask: BoolArray) -> tuple[int, int, int]:
    """Voxel (z, y, x) of the centre of mass."""
    z, y, x = (round(c) for c in ndimage.center_of_mass(mask))
    return z, y, x
