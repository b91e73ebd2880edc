"""Millimetres and millilitres of the patient's own head for voxels of the MNI grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import cKDTree

from ...imaging.affine import linear_part
from ...imaging.grid import WORKING_GRID
from ..outcome_volume import VOXEL_ML
from ..volumes_ml import volume_scale


@dataclass(frozen=True)
class PatientSpace:
    """Measures masks (bool, (z, y, x) on WORKING_GRID) where they lie in the patient; ``mni_to_patient`` is affine."""

    mni_to_patient: sitk.Transform

    @cached_property
    def voxel_ml(self) -> float:
        """Millilitres of one voxel."""
        return volume_scale(self.mni_to_patient) * VOXEL_ML

    @cached_property
    def half_voxel_mm(self) -> float:
        """From the centre of a voxel to its side: a mask's border lies that far beyond its outermost centres."""
        return 0.5 * (self.voxel_ml * 1000.0) ** (1.0 / 3.0)

    @cached_property
    def _axes(self) -> np.ndarray:
        """Rows: what one voxel along z, y and x is in the patient's mm."""
        along_xyz = linear_part(self.mni_to_patient).T * np.asarray(WORKING_GRID.spacing)[:, None]
        return along_xyz[::-1]

    def ml(self, mask: np.ndarray) -> float:
        """The volume of ``mask``."""
        return float(np.count_nonzero(mask)) * self.voxel_ml

    def nearest(self, voxels: np.ndarray, mask: np.ndarray, most_mm: float) -> tuple[np.ndarray, np.ndarray]:
        """Distance (n,) of ``voxels`` (n, 3: z, y, x) from the border of ``mask``, 0 within it, and the nearest voxel
        of it (n, 3). Beyond ``most_mm`` the distance is infinite and the voxel is its own.
        """
        surface = np.argwhere(mask & ~ndimage.binary_erosion(mask))
        within = mask[tuple(voxels.T)]
        distance, at = np.full(len(voxels), np.inf), voxels.copy()
        distance[within] = 0.0
        if len(surface) and not within.all():
            bound = most_mm + 2.0 * self.half_voxel_mm
            far, index = cKDTree(surface @ self._axes).query(
                voxels[~within] @ self._axes, distance_upper_bound=bound, workers=1
            )
            known = np.isfinite(far)
            outside = np.flatnonzero(~within)[known]
            distance[outside] = np.maximum(far[known] - self.half_voxel_mm, 0.0)
            at[outside] = surface[index[known]]
        return distance, at

    def gap_mm(self, mask: np.ndarray, other: np.ndarray) -> float:
        """The shortest way between the borders of two masks: 0 where they overlap or touch, infinite beside nothing."""
        if not mask.any() or not other.any():
            return float("inf")
        if bool((mask & other).any()):
            return 0.0
        one, two = (np.argwhere(part & ~ndimage.binary_erosion(part)) @ self._axes for part in (mask, other))
        return max(float(cKDTree(two).query(one)[0].min()) - 2.0 * self.half_voxel_mm, 0.0)
