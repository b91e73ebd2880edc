"""What a surgeon sees of the compare view: the real slice views, drawn off screen, and looked at pixel by pixel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from drawing import why_nothing_can_be_drawn
from offscreen_layout import BAR_HEIGHT, OffscreenLayoutManager
from phantom_prediction import TUMOUR_AT, ball, phantom_prediction
from PIL import Image
from PostOpPredictorModule.CompareLayout import PREDICTED, PREOP, afterTag, beforeTag
from PostOpPredictorModule.CompareView import CompareView
from PostOpPredictorModule.ResultNodes import PredictionNodes
from prediction_in_scene import outlined
from slice_view_picture import layout_picture, view_pixels
from standins.mrml_scene import SceneWithLogics, place
from written_result import written_result

VIEWS = (PREOP, PREDICTED, beforeTag(1), afterTag(1))


@pytest.fixture(scope="module", autouse=True)
def a_way_to_draw() -> None:
    reason = why_nothing_can_be_drawn()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def layout_manager(scene_with_logics: SceneWithLogics) -> Iterator[OffscreenLayoutManager]:
    made = OffscreenLayoutManager(scene_with_logics.scene, scene_with_logics.application, 800, 340)
    made.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield made
    made.close()


@pytest.fixture
def prediction(layout_manager: OffscreenLayoutManager) -> PredictionNodes:
    return phantom_prediction()


@pytest.fixture
def shown(layout_manager: OffscreenLayoutManager, prediction: PredictionNodes) -> CompareView:
    view = CompareView(layout_manager, afterLayout=lambda action: action())
    view.show(prediction)
    return view


def coloured(pixels: np.ndarray) -> dict[str, int]:
    """Number of red, cyan, green and amber pixels of a picture that is grey otherwise."""
    red, green, blue = (pixels[..., channel].astype(int) for channel in range(3))
    return {
        "red": int(((red > 180) & (green < 90) & (blue < 90)).sum()),
        "cyan": int(((red < 90) & (green > 180) & (blue > 180)).sum()),
        "green": int(((red < 90) & (green > 180) & (blue < 90)).sum()),
        "amber": int(((red > 200) & (green > 130) & (green < 210) & (blue < 90)).sum()),
    }


def brightness(pixels: np.ndarray) -> float:
    """White matter: bright pixels that are neither background nor text."""
    grey = pixels[(np.ptp(pixels, axis=-1) == 0) & (pixels[..., 0] > 20)]
    return float(np.percentile(grey[..., 0], 80))


def middle_of(pixels: np.ndarray, colour: str) -> np.ndarray:
    """Middle (column, row) of the outline of this colour, as a part of the view, 0 to 1."""
    channel = {"red": 0, "cyan": 2}[colour]
    other = {"red": 2, "cyan": 0}[colour]
    rows, columns = np.nonzero((pixels[..., channel] > 180) & (pixels[..., other] < 90))
    return np.array([columns.mean() / pixels.shape[1], rows.mean() / pixels.shape[0]])


def test_outlines_are_drawn_where_they_belong_and_nowhere_else(
    shown: CompareView, layout_manager: OffscreenLayoutManager
) -> None:
    seen = {name: coloured(view_pixels(layout_manager, name)) for name in VIEWS}
    for name in VIEWS:
        wanted, other = ("red", "cyan") if name in (PREOP, beforeTag(1)) else ("cyan", "red")
        assert seen[name][wanted] > 30, name
        assert seen[name][other] == 0, name


def test_the_tumour_is_drawn_at_the_same_place_in_views_of_different_size(
    shown: CompareView, layout_manager: OffscreenLayoutManager
) -> None:
    preop = middle_of(view_pixels(layout_manager, PREOP), "red")
    cavity = middle_of(view_pixels(layout_manager, PREDICTED), "cyan")
    precedent = middle_of(view_pixels(layout_manager, beforeTag(1)), "red")
    np.testing.assert_allclose(cavity, preop, atol=0.02)
    assert precedent[1] == pytest.approx(preop[1], abs=0.03)
    assert 0.005 < preop[0] - precedent[0] < 0.06, "4 mm further to the patient's right is further left"


def test_the_predicted_view_says_that_it_is_synthetic_and_no_other_does(
    shown: CompareView, layout_manager: OffscreenLayoutManager
) -> None:
    for name in VIEWS:
        amber = coloured(view_pixels(layout_manager, name)[:40])["amber"]
        assert (amber > 100) == (name == PREDICTED), name


def test_the_warning_survives_the_reveal_and_goes_with_the_view(
    shown: CompareView, layout_manager: OffscreenLayoutManager
) -> None:
    shown.setReveal(1.0)
    assert coloured(view_pixels(layout_manager, PREDICTED)[:40])["amber"] > 100
    view = layout_manager.sliceWidget(PREDICTED).sliceView()
    renderer = view.renderWindow().GetRenderers().GetFirstRenderer()
    texts = [prop for prop in renderer.GetViewProps() if isinstance(prop, vtk.vtkTextActor) and prop.GetInput()]
    assert [text.GetInput() for text in texts] == ["SYNTHETIC - not for clinical decisions"]
    shown.reset()
    assert not any(renderer.HasViewProp(text) for text in texts)


def test_precedents_say_how_alike_they_are_and_how_much_was_removed(
    shown: CompareView, layout_manager: OffscreenLayoutManager, prediction: PredictionNodes
) -> None:
    def texts(name: str) -> list[str]:
        renderer = layout_manager.sliceWidget(name).sliceView().renderWindow().GetRenderers().GetFirstRenderer()
        return [prop.GetInput() for prop in renderer.GetViewProps() if isinstance(prop, vtk.vtkTextActor)]

    assert "Overlap of tumours 0.80" in texts(beforeTag(1))
    assert "97 % resected" in texts(afterTag(1))
    assert not any("proxy" in text for text in texts(afterTag(1)))
    shown.setPrecedents([2])
    assert "Overlap of tumours 0.70" in texts(beforeTag(1))
    assert "Overlap of tumours 0.80" not in texts(beforeTag(1))
    prediction.precedents[0].attributes["cavity"] = "proxy"
    shown.setPrecedents([1])
    assert {"97 % resected", "cavity: a proxy"} <= {line for text in texts(afterTag(1)) for line in text.split("\n")}


def test_the_reveal_goes_from_the_prediction_to_the_pre_op_scan(
    shown: CompareView, layout_manager: OffscreenLayoutManager, prediction: PredictionNodes
) -> None:
    def inside() -> float:
        pixels = view_pixels(layout_manager, PREDICTED)
        column, row = (middle_of(pixels, "cyan") * [pixels.shape[1], pixels.shape[0]]).astype(int)
        return float(pixels[row - 2 : row + 3, column - 2 : column + 3].mean())

    shades = []
    for opacity in (0.0, 0.5, 1.0):
        shown.setReveal(opacity)
        shades.append(inside())
    assert shades[0] < 60, "an empty cavity"
    assert shades[2] > 200, "the tumour"
    assert shades[1] == pytest.approx((shades[0] + shades[2]) / 2, abs=4)


def test_precedents_of_another_scanner_look_as_bright_as_the_patient(
    shown: CompareView, layout_manager: OffscreenLayoutManager
) -> None:
    preop = brightness(view_pixels(layout_manager, PREOP))
    assert 60 < preop < 230
    for name in VIEWS[1:]:
        assert brightness(view_pixels(layout_manager, name)) == pytest.approx(preop, abs=6), name


def test_the_users_outline_is_not_drawn_in_our_views(
    layout_manager: OffscreenLayoutManager, prediction: PredictionNodes, shown: CompareView
) -> None:
    users = outlined(prediction.preop, ball(TUMOUR_AT, 30.0), "The user's", (0.0, 1.0, 0.0))
    users.GetDisplayNode().SetVisibility(True)
    assert all(coloured(view_pixels(layout_manager, name))["green"] == 0 for name in VIEWS)
    red = layout_manager.sliceWidget("Red").sliceLogic()
    red.GetSliceCompositeNode().SetBackgroundVolumeID(prediction.preop.GetID())
    red.GetSliceNode().SetDimensions(200, 200, 1)
    red.FitSliceToAll()
    red.GetSliceNode().JumpSliceByCentering(*TUMOUR_AT)
    assert coloured(view_pixels(layout_manager, "Red"))["green"] > 30


def test_in_patient_space_scan_and_outlines_stay_together(
    layout_manager: OffscreenLayoutManager, prediction: PredictionNodes
) -> None:
    later: list[Callable[[], None]] = []
    CompareView(layout_manager, afterLayout=later.append).show(prediction)
    before = {name: view_pixels(layout_manager, name) for name in VIEWS}
    matrix = np.eye(4)
    matrix[:3, 3] = [15.0, 40.0, -60.0]
    transform = place(prediction.preop, matrix)
    for node in prediction.displayed():
        node.SetAndObserveTransformNodeID(transform.GetID())
    for action in later:
        action()
    for name in VIEWS:
        moved = view_pixels(layout_manager, name)
        wrong = (np.abs(moved.astype(int) - before[name]).max(axis=-1) > 40).mean()
        assert wrong < 0.03, f"{name}: the same picture, since everything moved by as much"
        assert before[name].max() > 150


def test_the_whole_layout_becomes_one_picture(shown: CompareView, layout_manager: OffscreenLayoutManager) -> None:
    shown.setPrecedents([1, 2])
    picture = np.asarray(layout_picture(layout_manager))
    assert picture.shape == (340, 800, 3)
    for name, (x, y, width, _height) in layout_manager.boxes().items():
        colour = layout_manager.sliceWidget(name).sliceLogic().GetSliceNode().GetLayoutColor()
        np.testing.assert_allclose(picture[y + BAR_HEIGHT - 2, x + width // 2], np.array(colour) * 255, atol=1)
        assert picture[y + BAR_HEIGHT :, x : x + width - 4].max() > 150


def test_the_command_draws_a_prediction_folder(a_prediction_folder: Path, project_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(project_root / "Testing" / "mrml" / "render_compare_view.py")]
    options = ["--prediction", str(a_prediction_folder), "--out", str(tmp_path / "view.png"), "--size", "600", "260"]
    subprocess.run([*command, *options], check=True, capture_output=True, timeout=120)
    pixels: Any = np.asarray(Image.open(tmp_path / "view.png"))
    assert pixels.shape == (260, 600, 3)
    assert coloured(pixels)["red"] > 10
    assert coloured(pixels)["cyan"] > 10


def test_the_command_draws_plans_side_by_side(project_root: Path, tmp_path: Path) -> None:
    result = written_result(tmp_path / "prediction")
    (tmp_path / "printed").write_text('{"type": "started"}\n' + json.dumps({"type": "result", **result.message}) + "\n")
    command = [sys.executable, str(project_root / "Testing" / "mrml" / "render_compare_view.py")]
    options = ["--plans", str(tmp_path / "printed"), "--out", str(tmp_path / "view.png"), "--size", "800", "260"]
    subprocess.run([*command, *options], check=True, capture_output=True, timeout=120)
    picture = np.asarray(Image.open(tmp_path / "view.png"))
    columns = 2 + len(result.message["plans"])
    bars = {tuple(picture[BAR_HEIGHT - 2, 800 * column // columns + 100]) for column in range(columns)}
    assert len(bars) == columns, "each column has a bar of its own colour"


@pytest.fixture
def a_prediction_folder(tmp_path: Path, scene: Any) -> Path:
    """A folder with the files of ``postop predict`` that the compare view needs, of the phantom of simple shapes."""
    from written_prediction import write_prediction_folder

    return write_prediction_folder(tmp_path / "prediction", phantom_prediction(precedents=1))
