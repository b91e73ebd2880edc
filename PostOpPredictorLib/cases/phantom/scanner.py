"""Two scans of one patient: bias field, contrast, resolution, noise and a small misregistration of the second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .atlas import voxel_axes
from .fields import BoolArray, FloatArray, pull_where, smooth_noise


@dataclass(frozen=True)
class ScanSettings:
    """One scanner day: ``bias`` (z, y, x) factor, ``noise`` of the white-matter signal, ``blur_mm`` (z, y, x) sigma."""

    gamma: float
    bias: FloatArray
    noise: float
    blur_mm: tuple[float, float, float]


def random_settings(rng: np.random.Generator, brain: BoolArray) -> ScanSettings:
    """Draw a scanner: coil, contrast, noise, resolution; one in four has thick slices in some direction."""
    sharp = float(rng.uniform(0.0, 0.55))
    blurs = [sharp, sharp, sharp]
    if rng.random() < 0.25:
        blurs[int(rng.choice(3, p=[0.6, 0.2, 0.2]))] = float(rng.uniform(0.9, 2.0))
    return ScanSettings(
        gamma=float(np.exp(rng.normal(0, 0.16))),
        bias=coil_field(rng, brain, float(rng.uniform(0.02, 0.14))),
        noise=min(float(np.exp(rng.normal(np.log(0.011), 0.4))), 0.028),
        blur_mm=(blurs[0], blurs[1], blurs[2]),
    )


def some_days_later(rng: np.random.Generator, first: ScanSettings, brain: BoolArray) -> ScanSettings:
    """The same protocol after the operation: nearly the same coil and contrast, its own noise and sharpness."""
    again = random_settings(rng, brain)
    bias = first.bias * coil_field(rng, brain, float(rng.uniform(0.005, 0.03)))
    return ScanSettings(first.gamma * float(np.exp(rng.normal(0, 0.03))), bias, again.noise, again.blur_mm)


def coil_field(rng: np.random.Generator, brain: BoolArray, strength: float) -> FloatArray:
    """A smooth factor (z, y, x) whose logarithm has a mean of 0 in the brain and about ``strength`` of spread."""
    field = smooth_noise(rng, brain.shape, 70.0) + np.float32(0.4) * smooth_noise(rng, brain.shape, 35.0)
    return np.exp(np.float32(strength) * (field - field[brain].mean()))


def scan(
    signals: Mapping[str, FloatArray], brain: BoolArray, settings: ScanSettings, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """The scanner's image of each signal (z, y, x), 0 outside ``brain``, in the units of the signal."""
    out = {}
    shape = brain.shape
    for sequence, signal in signals.items():
        image = signal
        if max(settings.blur_mm) > 0.2:
            sigma = [s / 1.5 for s in settings.blur_mm]
            weight = ndimage.gaussian_filter(brain.astype(np.float32), sigma, output=np.float32)
            image = ndimage.gaussian_filter(image, sigma, output=np.float32) / np.maximum(weight, 0.2)
        image = np.maximum(image, 0) ** np.float32(settings.gamma) * settings.bias
        real = image + np.float32(settings.noise) * rng.standard_normal(shape, dtype=np.float32)
        imaginary = np.float32(settings.noise) * rng.standard_normal(shape, dtype=np.float32)
        out[sequence] = np.sqrt(real**2 + imaginary**2) * brain
    return out


def misregistration(rng: np.random.Generator) -> FloatArray:
    """Pull-back (z, y, x, 3) mm of what rigid alignment of the second scan leaves: up to about 0.7 mm."""
    z, y, x = voxel_axes()
    turn = rng.normal(0, 0.0035, 3).astype(np.float32)
    move = rng.normal(0, 0.22, 3).clip(-0.6, 0.6).astype(np.float32)
    shape = np.broadcast_shapes(z.shape, y.shape, x.shape)
    parts = (
        move[0] + turn[1] * z - turn[2] * y,
        move[1] + turn[2] * x - turn[0] * z,
        move[2] + turn[0] * y - turn[1] * x,
    )
    return np.stack([np.broadcast_to(part, shape) for part in parts], axis=-1)


def misplaced(
    signals: Mapping[str, FloatArray], brain: BoolArray, offset: FloatArray
) -> tuple[dict[str, FloatArray], BoolArray]:
    """Signals and brain mask as the misregistered second scan holds them."""
    near = ndimage.binary_dilation(brain, iterations=2)
    moved = {sequence: pull_where(signal, offset, near) for sequence, signal in signals.items()}
    return moved, pull_where(brain.astype(np.float32), offset, near) > 0.5


def one_window(
    pre: Mapping[str, FloatArray], post: Mapping[str, FloatArray], brain_pre: BoolArray, brain_post: BoolArray
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Both scans in [0, 1] by the pre-operative brain's p0.5 and p99.5, one window per sequence; outside 0."""
    before, after = {}, {}
    for sequence, image in pre.items():
        low, high = (float(v) for v in np.percentile(image[brain_pre], [0.5, 99.5]))
        scale = np.float32(1 / max(high - low, 1e-6))
        before[sequence] = (np.clip((image - np.float32(low)) * scale, 0, 1) * brain_pre).astype(np.float32)
        after[sequence] = (np.clip((post[sequence] - np.float32(low)) * scale, 0, 1) * brain_post).astype(np.float32)
    return before, after
