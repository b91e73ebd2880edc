"""The figure: the patient's left on the right, outlines where the masks are, and the words that must be there."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.figure import Figure

from PostOpPredictorLib.imaging import template
from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID
from PostOpPredictorLib.prediction.figure import Column, Outline, draw_planes, lps_array
from PostOpPredictorLib.prediction.prediction_figure import FOOTER, precedent_columns

MARK_MM = (40.0, 10.0, 30.0)
"""On the patient's left (LPS), a little behind and above the middle."""


def ball(centre_mm: tuple[float, float, float], radius_mm: float) -> sitk.Image:
    z, y, x = np.meshgrid(*(np.arange(size) for size in TEMPLATE_GRID.shape), indexing="ij")
    axes = np.diag(np.reshape(TEMPLATE_GRID.direction, (3, 3)))
    points = [TEMPLATE_GRID.origin[i] + axes[i] * index for i, index in enumerate((x, y, z))]
    distance = sum((p - c) ** 2 for p, c in zip(points, centre_mm, strict=True)) ** 0.5
    return TEMPLATE_GRID.image((distance < radius_mm).astype(np.uint8))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """One column: black but for a white ball at MARK_MM, outlined in red, and one empty column."""
    path = tmp_path_factory.mktemp("figure") / "figure.png"
    mark = ball(MARK_MM, 12.0)
    column = Column("a ball", sitk.Cast(mark, sitk.sitkFloat32), (Outline(ball(MARK_MM, 20.0), "#ff0000", "ring"),))
    empty = Column("NO SIMILAR CASE", None)
    draw_planes(path, (column, empty), mark, template.brain_mask(), "header", "details", FOOTER)
    return matplotlib.image.imread(path)[..., :3]


def cells(picture: np.ndarray) -> list[np.ndarray]:
    """The three planes of the first column (black panels on the dark background), top to bottom."""
    black = (picture.max(axis=2) == 0.0).mean(axis=1) > 0.3
    edges = np.flatnonzero(np.diff(np.concatenate([[0], black.astype(int), [0]])))
    rows = [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if high - low > 100]
    assert len(rows) == 3
    return [picture[low:high, : picture.shape[1] // 2] for low, high in rows]


def middle_of(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(rows.mean() / mask.shape[0]), float(columns.mean() / mask.shape[1])


def white(cell: np.ndarray) -> np.ndarray:
    bright = cell.min(axis=2) > 0.95
    bright[:, : cell.shape[1] // 6] = False
    return bright


def test_radiological_convention_left_is_on_the_right_and_up_is_up(picture: np.ndarray) -> None:
    axial, coronal, sagittal = cells(picture)
    row, column = middle_of(white(axial))
    assert column > 0.62 and 0.4 < row < 0.6
    row, column = middle_of(white(coronal))
    assert column > 0.62 and row < 0.5
    row, column = middle_of(white(sagittal))
    assert 0.4 < column < 0.62 and row < 0.5


def test_outlines_surround_what_they_mark(picture: np.ndarray) -> None:
    for cell in cells(picture):
        red = (cell[..., 0] > 0.7) & (cell[..., 1] < 0.3)
        ring, mark = (np.nonzero(mask) for mask in (red, white(cell)))
        for axis in (0, 1):
            assert ring[axis].min() < mark[axis].min() and ring[axis].max() > mark[axis].max()


def test_the_figure_says_synthetic_and_research_only_and_names_sides_and_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    original = Figure.text

    def recorded(self: Figure, x: float, y: float, text: str, **style: object) -> object:
        texts.append(text)
        return original(self, x, y, text, **style)

    monkeypatch.setattr(Figure, "text", recorded)
    mark = ball(MARK_MM, 12.0)
    columns = [Column("before", sitk.Cast(mark, sitk.sitkFloat32)), *precedent_columns(None, "T1w")]
    draw_planes(tmp_path / "figure.png", columns, mark, template.brain_mask(), "header", "IoU 0.61", FOOTER)
    written = " ".join(texts)
    for words in ("SYNTHETIC", "research use only", "NO SIMILAR CASE", "header", "IoU 0.61"):
        assert words in written
    assert matplotlib.image.imread(tmp_path / "figure.png").shape[1] > 900


def test_an_empty_focus_still_gives_a_figure(tmp_path: Path) -> None:
    nothing = TEMPLATE_GRID.image(np.zeros(TEMPLATE_GRID.shape, np.uint8))
    column = Column("t1", template.t1(), (Outline(nothing, "#ff0000", "none"),))
    draw_planes(tmp_path / "figure.png", [column], nothing, template.brain_mask(), "a", "b", FOOTER)
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "RPI", "SLP", "PIR"])
@pytest.mark.parametrize("degrees", [0.0, 12.0])
def test_an_array_for_pictures_has_its_axes_to_the_left_the_back_and_up(axes: str, degrees: float) -> None:
    scan = sitk.GetImageFromArray(np.random.default_rng(1).integers(0, 100, (4, 5, 6)).astype(np.uint8))
    image = sitk.DICOMOrient(scan, axes)
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *np.radians((degrees, -degrees, degrees)).tolist())
    image.SetDirection((np.reshape(turn.GetMatrix(), (3, 3)) @ np.reshape(image.GetDirection(), (3, 3))).ravel())
    np.testing.assert_array_equal(lps_array(image), sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS")))
    np.testing.assert_array_equal(lps_array(image), sitk.GetArrayFromImage(scan))
