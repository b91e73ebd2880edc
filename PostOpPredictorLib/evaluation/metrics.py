"""Every figure of the table: what it is called, which way is better, and how it is computed from a predicted and a
true stack of slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .regions import Regions
from .ssim import BORDER, DATA_RANGE, MS_SSIM_SIDE, ms_ssim, require_unit_range, ssim_map

PSNR_CEILING_DB = 100.0
"""What a picture identical to the truth counts as when a mean is taken; ``psnr`` itself says infinity."""


@dataclass(frozen=True)
class Metric:
    """One column of the table. ``group``: "image", "cavity" or "residual"; ``better``: +1 more, -1 less, 0 nearer to
    1."""

    key: str
    title: str
    group: str
    better: int
    digits: int = 3

    def gain(self, value: float) -> float:
        """A number that is larger for a better value, to find the best of several systems."""
        return -abs(value - 1.0) if self.better == 0 else self.better * value


METRICS = (
    Metric("ssim_full", "SSIM full frame", "image", 1),
    Metric("ssim_brain", "SSIM in brain", "image", 1),
    Metric("ssim_peri", "SSIM peri-cavity", "image", 1),
    Metric("ms_ssim_full", "MS-SSIM full frame", "image", 1),
    Metric("psnr_full", "PSNR full frame, dB", "image", 1, 2),
    Metric("psnr_brain", "PSNR in brain, dB", "image", 1, 2),
    Metric("psnr_peri", "PSNR peri-cavity, dB", "image", 1, 2),
    Metric("lpips_full", "LPIPS full frame", "image", -1),
    Metric("through_plane", "through-plane gradient", "image", 0),
    Metric("cavity_dice_slice", "cavity Dice, slice", "cavity", 1),
    Metric("cavity_dice", "cavity Dice, volume", "cavity", 1),
    Metric("cavity_volume_error", "cavity volume error", "cavity", -1),
    Metric("cavity_hd95_mm", "cavity HD95, mm", "cavity", -1, 1),
    Metric("cavity_steadiness", "cavity overlap of neighbours", "cavity", 0),
    Metric("wall_sharpness", "wall sharpness", "cavity", 0),
    Metric("wall_agreement", "wall agreement", "cavity", 0),
    Metric("residual_dice", "residual Dice, volume", "residual", 1),
    Metric("residual_error_ml", "residual volume error, ml", "residual", -1, 2),
)
METRIC = {metric.key: metric for metric in METRICS}

NOT_AVAILABLE = {
    "ms_ssim_brain": "five scales need windows as wide as the whole frame, so no window lies in the brain alone",
    "ms_ssim_peri": f"five scales need at least 161 px (the slice is padded to {MS_SSIM_SIDE}); the box is smaller",
}
"""Figures that a reader may look for and why there are none."""


def not_available(lpips_reason: str = "", stride: int = 1) -> dict[str, str]:
    """Metric -> why there is no value, when every ``stride``-th slice is measured and LPIPS is missing for a reason."""
    missing = dict(NOT_AVAILABLE)
    if lpips_reason:
        missing["lpips_full"] = lpips_reason
    if stride > 1:
        reason = f"it compares slices that touch, and only one slice in {stride} was measured"
        missing |= dict.fromkeys(("through_plane", "cavity_steadiness"), reason)
        missing["cavity_hd95_mm"] = f"it is of whole cavities, and only one slice in {stride} was measured"
    return missing


class PerceptualDistance(Protocol):
    """LPIPS, or a fake in tests: two stacks (slices, y, x) in [0, 1] -> one distance per slice."""

    def __call__(self, predicted: np.ndarray, true: np.ndarray) -> np.ndarray: ...


def psnr(predicted: np.ndarray, true: np.ndarray, region: np.ndarray | None = None) -> np.ndarray:
    """Peak signal-to-noise ratio of every slice in dB, over ``region`` where given.

    Arrays (slices, y, x) in [0, 1] -> (slices,); infinite where the pictures are equal, NaN where the region is empty.
    """
    require_unit_range(predicted, true)
    squares = (predicted.astype(np.float64) - true) ** 2
    error = squares.mean(axis=(1, 2)) if region is None else _mean_in(squares, region)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(DATA_RANGE**2 / error)


def image_metrics(
    predicted: np.ndarray, true: np.ndarray, regions: Regions, perceptual: PerceptualDistance | None = None
) -> dict[str, np.ndarray]:
    """Every image metric of every slice: metric key -> (slices,), NaN where it is not defined.

    ``predicted`` and ``true`` (slices, y, x) in [0, 1]. Both are multiplied by the pre-operative brain mask first:
    otherwise faint noise in the background decides the SSIM. An SSIM window counts for a region when its centre lies
    in the region.
    """
    predicted, true = predicted * regions.brain, true * regions.brain
    similarity = ssim_map(predicted, true)
    centre = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    values = {
        "ssim_full": similarity.mean(axis=(1, 2)),
        "ssim_brain": _mean_in(similarity, regions.brain[centre]),
        "ssim_peri": _mean_in(similarity, regions.peri_cavity[centre]),
        "ms_ssim_full": ms_ssim(predicted, true),
        "psnr_full": psnr(predicted, true),
        "psnr_brain": psnr(predicted, true, regions.brain),
        "psnr_peri": psnr(predicted, true, regions.peri_cavity),
    }
    for key in ("psnr_full", "psnr_brain", "psnr_peri"):
        values[key] = np.minimum(values[key], PSNR_CEILING_DB)
    if perceptual is not None:
        values["lpips_full"] = perceptual(predicted, true)
    return values


def wall_metrics(predicted: np.ndarray, true: np.ndarray, regions: Regions) -> dict[str, float | None]:
    """Is the cavity's wall as sharp as in truth, and the same wall? Over all slices together; ``None`` where there is
    no wall.

    ``wall_sharpness``: sum of the gradient's length in the prediction over that in the truth, along the true wall. A
    grey smudge is near 0, too hard an edge above 1. ``wall_agreement``: the predicted gradient projected on the true
    one, over the true one's square: 1 when the edge is the true one, near 0 when it is missing or some other edge.
    """
    predicted, true = predicted * regions.brain, true * regions.brain
    ours, theirs = (np.stack(np.gradient(stack, axis=(1, 2)))[:, regions.wall] for stack in (predicted, true))
    length = float(np.linalg.norm(theirs, axis=0).sum())
    if length == 0.0:
        return {"wall_sharpness": None, "wall_agreement": None}
    return {
        "wall_sharpness": float(np.linalg.norm(ours, axis=0).sum()) / length,
        "wall_agreement": float((ours * theirs).sum() / (theirs**2).sum()),
    }


def through_plane_ratio(
    predicted: np.ndarray, true: np.ndarray, regions: Regions, slices: Sequence[int]
) -> float | None:
    """Do neighbouring slices agree as in truth? Sum of |difference| of neighbours in the prediction over that in truth.

    Within the peri-cavity box of both slices and the brain. 1: as the real scan; above: the slices flicker; below: they
    are smoothed. ``slices``: their indices along z; only direct neighbours count. ``None`` where there are none.
    """
    below = np.flatnonzero(np.diff(slices) == 1)
    seen = (regions.peri_cavity & regions.brain)[below] & (regions.peri_cavity & regions.brain)[below + 1]
    ours, theirs = (float(np.abs(stack[below + 1] - stack[below])[seen].sum()) for stack in (predicted, true))
    return ours / theirs if theirs > 0 else None


def _mean_in(values: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Mean of ``values`` over ``region`` for every slice, NaN where the region is empty."""
    count = region.sum(axis=(1, 2))
    total = np.where(region, values, 0.0).sum(axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
