"""One slice as a picture inside the page: grey image, thin outlines, a coloured map, arrows; a JPEG data URI."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

QUALITY = 86
FINER = 2
"""Lines are drawn this many times larger and reduced, so that they are smooth."""

LINE = 4
"""Width of a line on the enlarged picture, pixels."""

ColourScale = Literal["magma", "viridis", "coolwarm", "generated"]
GENERATED_COLOUR = (196, 132, 252)


@dataclass(frozen=True)
class Picture:
    """``uri``: data URI of a JPEG of ``width`` x ``height`` pixels; ``alt`` says what it shows."""

    uri: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Contour:
    """A line around ``mask`` (rows, columns; bool or 0 to 1, its border is at 0.5), ``dashed`` for what was before."""

    mask: np.ndarray
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Overlay:
    """``values`` (rows, columns) from ``low`` to ``high`` in a colour scale; near 0 it is transparent."""

    values: np.ndarray
    low: float
    high: float
    scale: ColourScale


@dataclass(frozen=True)
class Arrow:
    """From (column, row) to (column, row) in voxels of the slice."""

    start: tuple[float, float]
    end: tuple[float, float]


def draw(
    grey: np.ndarray,
    alt: str,
    pixels_per_voxel: float,
    contours: Sequence[Contour] = (),
    overlay: Overlay | None = None,
    arrows: Sequence[Arrow] = (),
) -> Picture:
    """Draw ``grey`` (rows, columns; 0 to 1) and what lies over it; every array has the same shape."""
    height, width = (round(size * pixels_per_voxel) for size in grey.shape)
    large = (width * FINER, height * FINER)
    image = _enlarged(grey, large).convert("RGB")
    if overlay is not None:
        image = _with_overlay(image, overlay, large)
    pencil = ImageDraw.Draw(image)
    factor = pixels_per_voxel * FINER
    for contour in contours:
        _draw_contour(pencil, contour, factor)
    for arrow in arrows:
        _draw_arrow(pencil, arrow, factor)
    return Picture(_data_uri(image.resize((width, height), Image.Resampling.LANCZOS)), alt, width, height)


def colours_of(scale: ColourScale, values: np.ndarray) -> np.ndarray:
    """RGB (..., 3) in 0 to 255 for ``values`` in 0 to 1."""
    if scale == "generated":
        return np.broadcast_to(np.asarray(GENERATED_COLOUR, np.float32), (*values.shape, 3))
    from matplotlib import colormaps

    return colormaps[scale](values)[..., :3] * 255.0


def opacity_of(scale: ColourScale, values: np.ndarray) -> np.ndarray:
    """How much of the colour is seen for ``values`` in 0 to 1: little of it where the map is near its zero."""
    if scale == "generated":
        return 0.55 * np.clip(values, 0.0, 1.0)
    distance = np.abs(values - 0.5) * 2.0 if scale == "coolwarm" else values
    return 0.85 * np.clip((distance - 0.04) / 0.3, 0.0, 1.0)


def _enlarged(array: np.ndarray, size: tuple[int, int]) -> Image.Image:
    bytes_ = np.round(np.clip(array, 0.0, 1.0) * 255.0).astype(np.uint8)
    return Image.fromarray(bytes_).resize(size, Image.Resampling.BICUBIC)


def _with_overlay(image: Image.Image, overlay: Overlay, size: tuple[int, int]) -> Image.Image:
    span = max(overlay.high - overlay.low, 1e-9)
    values = (np.asarray(overlay.values, np.float32) - overlay.low) / span
    shown = np.asarray(_enlarged(values, size), np.float32) / 255.0
    opacity = opacity_of(overlay.scale, shown)[..., None]
    mixed = np.asarray(image, np.float32) * (1.0 - opacity) + colours_of(overlay.scale, shown) * opacity
    return Image.fromarray(np.round(mixed).astype(np.uint8))


def _draw_contour(pencil: ImageDraw.ImageDraw, contour: Contour, factor: float) -> None:
    import contourpy

    lines = contourpy.contour_generator(z=np.pad(np.asarray(contour.mask, np.float32), 1)).lines(0.5)
    for line in lines:
        points = (np.asarray(line) - 0.5) * factor
        if contour.dashed:
            for start in range(0, len(points) - 1, 4):
                pencil.line([tuple(p) for p in points[start : start + 3].tolist()], contour.colour, LINE)
        else:
            pencil.line([tuple(p) for p in points.tolist()], contour.colour, LINE, joint="curve")


def _draw_arrow(pencil: ImageDraw.ImageDraw, arrow: Arrow, factor: float) -> None:
    start, end = ((np.asarray(point) + 0.5) * factor for point in (arrow.start, arrow.end))
    along = end - start
    length = float(np.linalg.norm(along))
    if length < 4.0:
        return
    along = along / length
    across = np.array([-along[1], along[0]])
    head = min(6.0 * FINER, 0.6 * length)
    neck = end - head * along
    colour = "#ffe08a"
    pencil.line([*start.tolist(), *neck.tolist()], colour, LINE)
    pencil.polygon([tuple(p.tolist()) for p in (end, neck + 0.45 * head * across, neck - 0.45 * head * across)], colour)


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
