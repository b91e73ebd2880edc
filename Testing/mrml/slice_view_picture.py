"""A picture of the slice views as the layout has them on the screen, drawn off screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from offscreen_layout import BAR_HEIGHT, OffscreenLayoutManager
from PIL import Image, ImageDraw, ImageFont
from vtk.util.numpy_support import vtk_to_numpy

_GAP = 2  # pixels between views


def view_pixels(layoutManager: OffscreenLayoutManager, name: str) -> np.ndarray:
    """What the slice view ``name`` shows, uint8 (rows, columns, 3), first row at the top."""
    image = layoutManager.sliceWidget(name).sliceView().picture()
    columns, rows, _slices = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars())
    return pixels.reshape(rows, columns, -1)[::-1, :, :3].copy()


def layout_picture(layoutManager: OffscreenLayoutManager) -> Image.Image:
    """All slice views of the layout, each under a bar in its colour that says its label."""
    picture = Image.new("RGB", layoutManager.size(), (40, 40, 40))
    for name, (x, y, width, _height) in layoutManager.boxes().items():
        node = layoutManager.sliceWidget(name).sliceLogic().GetSliceNode()
        picture.paste(_bar(node, width - _GAP), (x, y))
        view = Image.fromarray(view_pixels(layoutManager, name))
        picture.paste(view.crop((0, 0, width - _GAP, view.height - _GAP)), (x, y + BAR_HEIGHT))
    return picture


def save_picture(layoutManager: OffscreenLayoutManager, path: Path) -> None:
    """Write ``layout_picture`` as PNG."""
    layout_picture(layoutManager).save(path, optimize=True)


def _bar(node: Any, width: int) -> Image.Image:
    bar = Image.new("RGB", (width, BAR_HEIGHT), tuple(round(255 * part) for part in node.GetLayoutColor()))
    text = node.GetLayoutLabel()
    ImageDraw.Draw(bar).text((8, BAR_HEIGHT // 2), text, (0, 0, 0), ImageFont.load_default(14), anchor="lm")
    return bar
