"""Three planes of several volumes side by side, on black, in radiological convention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from ..imaging.grid import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BACKGROUND = "#0b0d10"
TEXT = "#e8eaed"
FAINT = "#9aa3ad"
WARNING = "#ffb454"
MARGIN_VOXELS = 5
SCALE_BAR_MM = 50
INCHES_PER_MM = 2.55 / 200.0
DOTS_PER_INCH = 150
HEADER_INCHES, TITLE_INCHES, FOOTER_INCHES, GAP_INCHES, SIDE_INCHES = 0.62, 0.36, 0.46, 0.05, 0.34


@dataclass(frozen=True)
class Outline:
    """A thin line around ``mask`` (bool image on the column's grid), named in the legend."""

    mask: sitk.Image
    colour: str
    name: str


@dataclass(frozen=True)
class Column:
    """One volume: ``image`` in [0, 1] on a 1 mm grid, or None for a column that only says its ``title``."""

    title: str
    image: sitk.Image | None
    outlines: tuple[Outline, ...] = ()
    colour: str = TEXT


@dataclass(frozen=True)
class Plane:
    """A slice direction: how to cut an LPS array (z, y, x), and what is written at the left and right edge."""

    name: str
    axis: int
    left: str
    right: str

    def cut(self, array: np.ndarray, centre: tuple[int, int, int]) -> np.ndarray:
        """The slice through ``centre`` (z, y, x): the front on top if axial, else the head's top."""
        flat = np.take(array, centre[self.axis], axis=self.axis)
        return flat if self.axis == 0 else flat[::-1]


PLANES = (Plane("axial", 0, "R", "L"), Plane("coronal", 1, "R", "L"), Plane("sagittal", 2, "A", "P"))


def draw_planes(
    path: Path, columns: Sequence[Column], focus: sitk.Image, brain: sitk.Image, header: str, details: str, footer: str
) -> None:
    """Draw ``columns`` in three planes through the thickest part of ``focus`` and save a PNG.

    ``focus`` and ``brain`` are masks; every image lies on one 1 mm grid. The view is cropped to ``brain``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    box = box_around(lps_array(brain) > 0)
    centre = thickest(lps_array(focus) > 0)
    inside = tuple(slice(low, high) for low, high in box)
    offset = tuple(at - low for at, (low, _) in zip(centre, box, strict=True))
    depth, height, width = (high - low for low, high in box)
    side = max(width, height)
    cell, rows = side * INCHES_PER_MM, [size * INCHES_PER_MM for size in (height, depth, depth)]
    total_width = SIDE_INCHES + len(columns) * (cell + GAP_INCHES)
    total_height = HEADER_INCHES + TITLE_INCHES + sum(rows) + 3 * GAP_INCHES + FOOTER_INCHES
    figure = Figure(figsize=(total_width, total_height), dpi=DOTS_PER_INCH, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    top = total_height - HEADER_INCHES - TITLE_INCHES
    for number, column in enumerate(columns):
        left = SIDE_INCHES + number * (cell + GAP_INCHES)
        _title(figure, column, (left + cell / 2) / total_width, (top + 0.1) / total_height)
        volumes = _Volumes.of(column, inside)
        lowest = top
        for plane, row in zip(PLANES, rows, strict=True):
            lowest -= row
            area = (left / total_width, lowest / total_height, cell / total_width, row / total_height)
            axes = figure.add_axes(area, facecolor="black")
            _draw_cell(axes, plane, volumes, offset, side, is_first=number == 0)
            lowest -= GAP_INCHES
    _edge_text(figure, header, details, footer, total_width, total_height)
    _legend(figure, columns, total_width, total_height)
    canvas.print_png(str(path), metadata={"Description": footer})


@dataclass(frozen=True)
class _Volumes:
    image: np.ndarray | None
    outlines: tuple[tuple[np.ndarray, str], ...]

    @classmethod
    def of(cls, column: Column, inside: tuple[slice, ...]) -> _Volumes:
        image = None if column.image is None else lps_array(column.image)[inside]
        return cls(image, tuple((lps_array(outline.mask)[inside] > 0, outline.colour) for outline in column.outlines))


def _draw_cell(axes: Axes, plane: Plane, volumes: _Volumes, centre: tuple[int, ...], side: int, is_first: bool) -> None:
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    if volumes.image is None:
        return
    image = plane.cut(volumes.image, centre)  # type: ignore[arg-type]
    rows, width = image.shape
    pad = (side - width) / 2
    axes.imshow(image, cmap="gray", vmin=0.0, vmax=1.0, interpolation="bilinear", aspect="equal")
    for mask, colour in volumes.outlines:
        cut = plane.cut(mask, centre)  # type: ignore[arg-type]
        if cut.any():
            axes.contour(cut.astype(float), levels=[0.5], colors=[colour], linewidths=0.9)
    axes.set_xlim(-0.5 - pad, width - 0.5 + pad)
    axes.set_ylim(rows - 0.5, -0.5)
    style: dict[str, Any] = {"color": FAINT, "fontsize": 8, "va": "center", "transform": axes.transAxes}
    axes.text(0.015, 0.5, plane.left, ha="left", **style)
    axes.text(0.985, 0.5, plane.right, ha="right", **style)
    if is_first:
        axes.text(-0.055, 0.5, plane.name, ha="center", rotation=90, **{**style, "fontsize": 9})
    if is_first and plane.axis == 0:
        end = -0.5 - pad + 0.04 * side
        axes.plot([end, end + SCALE_BAR_MM], [rows - 3.5, rows - 3.5], color=TEXT, linewidth=1.6, solid_capstyle="butt")
        axes.text(
            end + SCALE_BAR_MM / 2, rows - 6.5, f"{SCALE_BAR_MM} mm", color=TEXT, fontsize=6.5, ha="center", va="bottom"
        )


def _title(figure: Any, column: Column, x: float, y: float) -> None:
    figure.text(x, y, column.title, color=column.colour, fontsize=10, ha="center", va="bottom", linespacing=1.15)


def _edge_text(figure: Any, header: str, details: str, footer: str, width: float, height: float) -> None:
    x = SIDE_INCHES / width
    figure.text(x, 1 - 0.12 / height, header, color=TEXT, fontsize=13, fontweight="bold", ha="left", va="top")
    figure.text(x, 1 - 0.38 / height, details, color=FAINT, fontsize=9, ha="left", va="top")
    figure.text(x, 0.2 / height, footer, color=WARNING, fontsize=8.5, ha="left", va="center")


def _legend(figure: Any, columns: Sequence[Column], width: float, height: float) -> None:
    named = {outline.name: outline.colour for column in columns for outline in column.outlines}
    x = 1 - 0.1 / width
    for name, colour in reversed(named.items()):
        text = figure.text(x, 0.2 / height, f"— {name}", color=colour, fontsize=8.5, ha="right", va="center")
        x -= text.get_window_extent(figure.canvas.get_renderer()).width / (width * figure.dpi) + 0.15 / width


def lps_array(image: sitk.Image) -> np.ndarray:
    """Array (z, y, x), or (z, y, x, components), whose x grows to the left, y to the back and z up, whatever the
    grid's own axes are."""
    direction = np.reshape(image.GetDirection(), (3, 3))
    if (np.abs(direction).argmax(axis=0) != (0, 1, 2)).any():
        return sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS"))
    # The axes are in order, as those of MNI space are: turning some of them around copies nothing.
    turned = (slice(None, None, -1 if along < 0 else 1) for along in direction.diagonal()[::-1])
    return sitk.GetArrayFromImage(image)[tuple(turned)]


def box_around(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    sides = []
    for axis, size in enumerate(mask.shape):
        held = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        low, high = (int(held[0]), int(held[-1]) + 1) if held.size else (0, size)
        sides.append((max(low - MARGIN_VOXELS, 0), min(high + MARGIN_VOXELS, size)))
    return tuple(sides)


def thickest(mask: np.ndarray) -> tuple[int, int, int]:
    """For each axis the slice that holds most of ``mask``; the middle of the volume where it is empty."""
    if not mask.any():
        return mask.shape[0] // 2, mask.shape[1] // 2, mask.shape[2] // 2
    counts = (mask.sum(axis=(1, 2)), mask.sum(axis=(0, 2)), mask.sum(axis=(0, 1)))
    return int(counts[0].argmax()), int(counts[1].argmax()), int(counts[2].argmax())


def unit_image(array: np.ndarray, grid: Grid) -> sitk.Image:
    """``array`` clipped to [0, 1] as a float32 image on ``grid``."""
    return grid.image(np.clip(array, 0.0, 1.0).astype(np.float32))
