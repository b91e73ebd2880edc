"""Structural similarity of 2-D slices (Wang et al. 2004) and its five-scale form (Wang et al. 2003).

Both follow the settings on which scikit-image (gaussian weights, population covariance) and pytorch-msssim agree to
three digits: 11-px Gaussian window of sigma 1.5, windows wholly inside the frame only, K1 0.01, K2 0.03, data range
1.
"""

from __future__ import annotations

import functools

import numpy as np

from ..errors import InputError

DATA_RANGE = 1.0
WINDOW = 11
BORDER = WINDOW // 2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_SIDE = 176
"""Shortest side on which five scales can be had, as a multiple of 16: the coarsest picture must hold one 11-px
window."""

_C1 = (0.01 * DATA_RANGE) ** 2
_C2 = (0.03 * DATA_RANGE) ** 2


def require_unit_range(predicted: np.ndarray, true: np.ndarray) -> None:
    """Refuse pictures that do not lie in [0, 1] or differ in shape: with another range every SSIM is near 1 and means
    nothing."""
    if predicted.shape != true.shape:
        raise InputError(
            f"The pictures to compare have shapes {predicted.shape} and {true.shape}. Put both on one grid."
        )
    for picture in (predicted, true):
        if not np.issubdtype(picture.dtype, np.floating):
            raise InputError(
                f"A picture to compare has type {picture.dtype}. Give floating-point intensities in [0, 1]."
            )
        low, high = float(picture.min(initial=0.0)), float(picture.max(initial=0.0))
        if not (low >= -1e-3 and high <= DATA_RANGE + 1e-3):
            raise InputError(
                f"A picture to compare has values from {low:.4g} to {high:.4g}. The metrics need intensities in [0, 1]."
            )


def ssim_map(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """SSIM of every window. Arrays (slices, y, x) in [0, 1] -> (slices, y - 10, x - 10); entry [i, j] is the window
    centred on [i + 5, j + 5]."""
    require_unit_range(predicted, true)
    luminance, structure = _similarity_maps(predicted, true)
    return luminance * structure


def ms_ssim(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Five-scale SSIM of every slice. Arrays (slices, y, x) in [0, 1] -> (slices,).

    Five scales need sides of more than 160 px, so a smaller slice is padded with zeros on all sides to 176 px (and a
    larger one to a multiple of 16). The background is zero in both pictures anyway (brain mask), so padding invents
    no structure; like the full-frame SSIM, the value is raised by the background that both share. Negative terms
    count as 0.
    """
    require_unit_range(predicted, true)
    predicted, true = _padded(predicted), _padded(true)
    value = np.ones(len(predicted))
    for scale, weight in enumerate(SCALE_WEIGHTS):
        luminance, structure = _similarity_maps(predicted, true)
        last = scale == len(SCALE_WEIGHTS) - 1
        term = (luminance * structure if last else structure).mean(axis=(1, 2))
        value *= np.maximum(term, 0.0) ** weight
        if not last:
            predicted, true = _halved(predicted), _halved(true)
    return value


def _similarity_maps(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luminance term and contrast-structure term of SSIM for every window that lies wholly inside the frame."""
    predicted, true = predicted.astype(np.float32, copy=False), true.astype(np.float32, copy=False)
    mean_p, mean_t = _smoothed(predicted), _smoothed(true)
    product = mean_p * mean_t
    squares = mean_p**2 + mean_t**2
    covariance = _smoothed(predicted * true) - product
    variances = _smoothed(predicted**2 + true**2) - squares
    return (2 * product + _C1) / (squares + _C1), (2 * covariance + _C2) / (variances + _C2)


def _smoothed(pictures: np.ndarray) -> np.ndarray:
    """Gaussian-weighted mean of every window, as two products with banded matrices: several times faster than a
    filter here."""
    return _window_matrix(pictures.shape[1]) @ pictures @ _window_matrix(pictures.shape[2]).T


@functools.cache
def _window_matrix(side: int) -> np.ndarray:
    """(side - 10, side) float32: row i holds the Gaussian window centred on pixel i + 5."""
    taps = np.exp(-(np.arange(-BORDER, BORDER + 1) ** 2) / (2 * 1.5**2))
    matrix = np.zeros((side - 2 * BORDER, side))
    for row in range(len(matrix)):
        matrix[row, row : row + WINDOW] = taps / taps.sum()
    return matrix.astype(np.float32)


def _padded(pictures: np.ndarray) -> np.ndarray:
    widths = [(0, 0)]
    for side in pictures.shape[1:]:
        wanted = max(MS_SSIM_SIDE, -(-side // 16) * 16)
        before = (wanted - side) // 2
        widths.append((before, wanted - side - before))
    return np.pad(pictures, widths)


def _halved(pictures: np.ndarray) -> np.ndarray:
    n, height, width = pictures.shape
    return pictures.reshape(n, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
