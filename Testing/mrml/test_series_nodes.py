"""The predicted days as a sequence: marked, played, saved, and taken out again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from finished_prediction import node_ids
from PostOpPredictorModule.ResultAttributes import RUN_ID, SYNTHETIC, markedNodes, markNode
from PostOpPredictorModule.ResultFiles import DayFiles, ImageData
from PostOpPredictorModule.ResultNodes import removeRun
from PostOpPredictorModule.SeriesNodes import (
    BROWSER,
    SEQUENCE,
    SHOWN,
    SeriesNodes,
    addSeries,
    seriesOf,
    showSequenceToolBar,
)
from PostOpPredictorModule.WindowLevel import GreyWindow
from standins.mrml_scene import SceneWithLogics, ijk_to_ras, place, read_scene, write_scene

PLACE = np.array([[-1.5, 0, 0, 90], [0, -1.5, 0, 80], [0, 0, 1.5, -60], [0, 0, 0, 1]])
DAYS = (1.0, 14.0, 60.0)
RECORD = {"result": {"series": [{"days": day, "cavity_ml": 30.0 - day / 10} for day in DAYS]}}


@pytest.fixture
def sequences(scene_with_logics: SceneWithLogics) -> Iterator[Any]:
    """Slicer's module Sequences."""
    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLApplicationLogic(scene_with_logics.application)
    logic.SetMRMLScene(scene_with_logics.scene)
    module = SimpleNamespace(logic=lambda: logic, active=None, setToolBarVisible=lambda visible: None)
    module.setToolBarActiveBrowserNode = lambda browser: setattr(module, "active", browser)
    slicer.modules.sequences = module
    yield module
    logic.SetMRMLScene(None)


def make_node(class_name: str, role: str, name: str) -> Any:
    node = slicer.mrmlScene.CreateNodeByClass(class_name)
    node.UnRegister(None)
    node.SetName(name)
    markNode(node, role, "run-1", RECORD)
    slicer.mrmlScene.AddNode(node)
    return node


def found() -> SeriesNodes | None:
    return seriesOf({node.GetAttribute("PostOpPredictor.Role"): node for node in markedNodes(slicer.mrmlScene)})


@pytest.fixture
def preop(scene: Any) -> Any:
    return slicer.util.addVolumeFromArray(np.ones((4, 5, 6), np.float32), ijkToRAS=PLACE, name="Pre-op")


@pytest.fixture
def series(preop: Any, sequences: Any) -> SeriesNodes:
    """Three days whose voxels are the number of the day."""
    days = [DayFiles(day, ImageData(np.full((4, 5, 6), day, np.float32), PLACE), None, {}) for day in DAYS]
    for _step in addSeries(days, make_node, preop, GreyWindow(10.0, 50.0)):
        pass
    made = found()
    assert made is not None
    return made


def shown_day(series: SeriesNodes) -> float:
    voxels = slicer.util.arrayFromVolume(series.volume)
    assert np.ptp(voxels) == 0
    return float(voxels.flat[0])


def test_index_is_the_time_in_days(series: SeriesNodes) -> None:
    assert (series.sequence.GetIndexName(), series.sequence.GetIndexUnit()) == ("time", "day")
    assert series.days == DAYS
    assert [one["cavity_ml"] for one in series.records] == [29.9, 28.6, 24.0]


def test_the_first_day_is_shown_and_another_can_be_chosen(series: SeriesNodes) -> None:
    assert (series.chosen, shown_day(series)) == (0, 1.0)
    series.choose(2)
    assert (series.chosen, shown_day(series)) == (2, 60.0)
    for outside in (-1, 3):
        series.choose(outside)
        assert series.chosen == 2


def test_every_day_lies_in_mni_space_and_keeps_the_window_that_the_user_chose(series: SeriesNodes) -> None:
    assert np.allclose(ijk_to_ras(series.volume), PLACE)
    display = series.volume.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (40.0, 30.0)
    display.SetWindowLevel(20.0, 15.0)
    series.choose(1)
    assert series.volume.GetDisplayNode().GetWindow() == 20.0


def test_every_day_stays_marked_as_synthetic(series: SeriesNodes) -> None:
    for number in range(3):
        series.choose(number)
        assert series.volume.GetAttribute(SYNTHETIC) == "1"
        assert series.volume.GetAttribute(RUN_ID) == "run-1"
        assert series.sequence.GetNthDataNode(number).GetAttribute(SYNTHETIC) == "1"
        assert "synthetic" in series.volume.GetName()


def test_the_series_lies_where_the_result_lies(preop: Any, sequences: Any) -> None:
    transform = place(preop, np.diag([1.0, 1, 1, 1]))
    day = DayFiles(3.0, ImageData(np.zeros((4, 5, 6), np.float32), PLACE), None, {})
    list(addSeries([day], make_node, preop, GreyWindow(0.0, 1.0)))
    series = found()
    assert series.volume.GetTransformNodeID() == transform.GetID()
    series.choose(0)
    assert series.volume.GetTransformNodeID() == transform.GetID()


def test_the_series_comes_back_with_the_scene(series: SeriesNodes, tmp_path: Path) -> None:
    write_scene(tmp_path / "saved.mrb")
    read_scene(tmp_path / "saved.mrb")
    back = found()
    assert back.days == DAYS
    back.choose(1)
    assert shown_day(back) == 14.0
    assert back.volume.GetAttribute(SYNTHETIC) == "1"


def test_removing_the_result_leaves_nothing_of_the_series(preop: Any, sequences: Any) -> None:
    before = node_ids()
    days = [DayFiles(day, ImageData(np.zeros((4, 5, 6), np.float32), PLACE), None, {}) for day in DAYS]
    list(addSeries(days, make_node, preop, GreyWindow(0.0, 1.0)))
    found().choose(2)
    removeRun(slicer.mrmlScene, "run-1")
    assert node_ids() == before


@pytest.mark.parametrize("role", [SEQUENCE, BROWSER])
def test_a_series_of_which_a_part_was_removed_is_none(series: SeriesNodes, role: str) -> None:
    node = next(one for one in markedNodes(slicer.mrmlScene) if one.GetAttribute("PostOpPredictor.Role") == role)
    slicer.mrmlScene.RemoveNode(node)
    assert found() is None


def test_slicers_own_tool_bar_plays_it(series: SeriesNodes, sequences: Any) -> None:
    assert showSequenceToolBar(series)
    assert sequences.active is series.browser
    slicer.modules.sequences = SimpleNamespace(logic=sequences.logic)
    assert not showSequenceToolBar(series), "no main window"


def test_days_can_be_chosen_also_without_the_module_sequences(preop: Any) -> None:
    days = [DayFiles(day, ImageData(np.full((4, 5, 6), day, np.float32), PLACE), None, {}) for day in DAYS]
    list(addSeries(days, make_node, preop, GreyWindow(0.0, 1.0)))
    assert shown_day(found()) == 1.0
    found().choose(1)
    assert shown_day(found()) == 14.0
    assert found().volume.GetAttribute("PostOpPredictor.Role") == SHOWN


def test_without_sequences_every_day_is_a_volume_of_its_own(preop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(slicer, "vtkMRMLSequenceBrowserNode")
    days = [DayFiles(day, ImageData(np.full((4, 5, 6), day, np.float32), PLACE), None, {}) for day in DAYS]
    list(addSeries(days, make_node, preop, GreyWindow(0.0, 1.0)))
    volumes = [one for one in markedNodes(slicer.mrmlScene) if one.IsA("vtkMRMLScalarVolumeNode")]
    assert [float(slicer.util.arrayFromVolume(one).max()) for one in volumes] == list(DAYS)
    assert [one.GetName() for one in volumes][1] == "Predicted post-op, day 14 (synthetic)"
    assert found() is None
