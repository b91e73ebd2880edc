"""What an affine transform of SimpleITK does, as numbers."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk


def linear_part(transform: sitk.Transform) -> np.ndarray:
    """The 3 x 3 matrix of an affine ``transform``: it maps differences of points, columns (x, y, z), LPS mm."""
    origin = np.asarray(transform.TransformPoint((0.0, 0.0, 0.0)))
    return np.stack([np.asarray(transform.TransformPoint(tuple(axis))) - origin for axis in np.eye(3).tolist()], axis=1)
