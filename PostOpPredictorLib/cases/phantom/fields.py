"""Smooth random fields, cheap upsampling and warping on the working grid; arrays are (z, y, x), lengths mm."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Crop = tuple[slice, slice, slice]

SPACING_MM = 1.5
BSPLINE_STD = 0.479**1.5
"""Standard deviation of unit white noise after cubic B-spline interpolation in three dimensions."""


@lru_cache(maxsize=256)
def _spline_matrix(n_out: int, n_in: int, step: float, offset: float) -> FloatArray:
    """Cubic B-spline weights (n_out, n_in): output voxel i sits at control index offset + i / step."""
    position = offset + np.arange(n_out) / step
    base = np.floor(position).astype(int)
    t = position - base
    weights = (
        np.stack(
            [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3],
            axis=1,
        )
        / 6
    )
    matrix = np.zeros((n_out, n_in))
    for k in range(4):
        np.add.at(matrix, (np.arange(n_out), np.clip(base - 1 + k, 0, n_in - 1)), weights[:, k])
    return matrix.astype(np.float32)


def upsample(
    control: FloatArray, shape: tuple[int, int, int], step: float, offset: float = 0.0, crop: Crop | None = None
) -> FloatArray:
    """Cubic B-spline (..., z, y, x) of ``shape`` over ``control`` (..., a, b, c), its points ``step`` voxels apart.

    Only the part in ``crop`` where there is one.
    """
    mz, my, mx = (_spline_matrix(n, m, step, offset) for n, m in zip(shape, control.shape[-3:], strict=True))
    if crop is not None:
        mz, my, mx = (matrix[part] for matrix, part in zip((mz, my, mx), crop, strict=True))
        shape = (len(mz), len(my), len(mx))
    out = np.matmul(control.astype(np.float32), mx.T)
    out = np.matmul(my, out)
    lead = out.shape[:-3]
    out = np.matmul(mz, out.reshape(*lead, out.shape[-3], -1))
    return out.reshape(*lead, *shape)


def control_shape(shape: tuple[int, int, int], step: float) -> tuple[int, int, int]:
    """How many control points a field of ``shape`` needs when they lie ``step`` voxels apart."""
    a, b, c = (int(np.ceil((n - 1) / step)) + 4 for n in shape)
    return a, b, c


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], scale_mm: float, spacing_mm: float = SPACING_MM
) -> FloatArray:
    """A random field of zero mean and unit variance that varies over about ``scale_mm``."""
    step = scale_mm / spacing_mm
    control = rng.standard_normal(control_shape(shape, step), dtype=np.float32)
    return upsample(control, shape, step, 1.0) / np.float32(BSPLINE_STD)


def smooth_noise_vectors(
    rng: np.random.Generator, shape: tuple[int, int, int], scale_mm: float, spacing_mm: float
) -> FloatArray:
    """Three independent fields of ``smooth_noise`` as one (z, y, x, 3) array."""
    return np.stack([smooth_noise(rng, shape, scale_mm, spacing_mm) for _ in range(3)], axis=-1)


def pull(volume: np.ndarray, shift_mm: FloatArray, crop: Crop | None = None) -> FloatArray:
    """Sample ``volume`` at p + shift for the points p of ``crop`` (the whole grid when left out).

    ``shift_mm`` (z, y, x, 3) has components (x, y, z) and the shape of the crop; outside the volume the edge repeats.
    """
    starts = [0, 0, 0] if crop is None else [s.start for s in crop]
    grids = np.ogrid[tuple(slice(s, s + n) for s, n in zip(starts, shift_mm.shape[:3], strict=True))]
    points = np.empty((3, *shift_mm.shape[:3]), np.float32)
    for axis in range(3):
        points[axis] = grids[axis] + shift_mm[..., 2 - axis] / np.float32(SPACING_MM)
    return ndimage.map_coordinates(volume, points, output=np.float32, order=1, mode="nearest")


def pull_where(volume: np.ndarray, shift_mm: FloatArray, where: BoolArray) -> FloatArray:
    """``pull`` at the voxels of ``where`` only; elsewhere the volume as it is. Full grids throughout."""
    index = np.nonzero(where)
    step = shift_mm[index] / np.float32(SPACING_MM)
    points = np.stack([index[axis].astype(np.float32) + step[:, 2 - axis] for axis in range(3)])
    out = volume.astype(np.float32)
    out[index] = ndimage.map_coordinates(volume, points, output=np.float32, order=1, mode="nearest")
    return out


def closed(mask: BoolArray, radius_mm: float) -> BoolArray:
    """Fill gaps and bays of ``mask`` narrower than twice ``radius_mm``."""
    grown = ndimage.distance_transform_edt(~mask) * SPACING_MM <= radius_mm
    return ndimage.distance_transform_edt(grown) * SPACING_MM > radius_mm


def crop_around(mask: BoolArray, margin_mm: float) -> Crop:
    """The box that holds ``mask`` with ``margin_mm`` on every side, clipped to the volume."""
    margin = int(np.ceil(margin_mm / SPACING_MM))
    boxes = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        boxes.append(slice(max(0, int(hit[0]) - margin), min(mask.shape[axis], int(hit[-1]) + 1 + margin)))
    return boxes[0], boxes[1], boxes[2]


def signed_distance(mask: BoolArray) -> FloatArray:
    """Distance to the surface of ``mask`` in mm, positive inside."""
    inside = ndimage.distance_transform_edt(mask)
    outside = ndimage.distance_transform_edt(~mask)
    return ((inside - outside) * SPACING_MM).astype(np.float32) - np.float32(SPACING_MM / 2) * np.sign(
        inside - outside
    ).astype(np.float32)


def blur(volume: np.ndarray, sigma_mm: float, spacing_mm: float = SPACING_MM) -> FloatArray:
    """Gaussian blur in float32."""
    return ndimage.gaussian_filter(volume, sigma_mm / spacing_mm, output=np.float32, truncate=3.0)


def ramp(value: FloatArray, low: float, high: float) -> FloatArray:
    """0 below ``low``, 1 above ``high``, a smooth step between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def largest_part(mask: BoolArray) -> BoolArray:
    """The largest connected part of ``mask`` (empty stays empty)."""
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == int(sizes.argmax())
