"""The section Through time: days are written into the scene, predicted, and looked through."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


def kept(panel: Any) -> tuple[float, ...]:
    from PostOpPredictorModule.PlansInScene import plansOf

    return plansOf(panel.logic.getParameterNode().parameterNode).days


def enter(panel: Any, text: str) -> None:
    panel.ui.daysLineEdit.text = text
    panel.ui.daysLineEdit.editingFinished.emit()


def test_days_are_entered_sorted_and_kept_in_the_scene(panel: Any) -> None:
    assert not panel.ui.predictDaysButton.enabled
    assert panel.ui.predictDaysButton.toolTip == "Enter the days first."
    enter(panel, "60; 1 14,14")
    assert kept(panel) == (1.0, 14.0, 60.0)
    assert panel.ui.daysLineEdit.text == "1, 14, 60"
    panel.ui.usualDaysButton.click()
    assert kept(panel) == (1.0, 14.0, 60.0, 180.0)


@pytest.mark.parametrize(
    ("text", "says"), [("1, two", "'two' is no number"), ("400", "from 0 to 365"), ("-3", "from 0")]
)
def test_days_that_cannot_be_are_told_in_place(panel: Any, text: str, says: str) -> None:
    panel.ui.usualDaysButton.click()
    enter(panel, text)
    assert says in panel.ui.daysProblemLabel.text
    assert panel.ui.daysLineEdit.text == text, "what was typed can be corrected"
    assert not panel.ui.predictDaysButton.enabled
    assert len(kept(panel)) == 4, "the days before are not lost"
    enter(panel, "7")
    assert panel.ui.daysProblemLabel.text == ""
    assert panel.ui.predictDaysButton.enabled


def test_predicting_takes_the_days_along(panel: Any, logic: Any) -> None:
    panel.ui.usualDaysButton.click()
    panel.ui.predictDaysButton.click()
    assert logic.starts[-1][1].series == (1.0, 14.0, 60.0, 180.0)
    assert not panel.ui.predictDaysButton.enabled


def test_a_model_that_knows_no_time_is_told_and_nothing_is_lost(panel: Any, logic: Any) -> None:
    from PostOpPredictorModule.Errors import PredictionError

    panel.ui.usualDaysButton.click()
    panel.ui.predictDaysButton.click()
    logic.runs[-1].fail(PredictionError("bad_input", "The model knows no time since surgery."))
    assert panel.ui.messageLabel.text == "The model knows no time since surgery."
    assert panel.ui.predictDaysButton.enabled
    assert len(kept(panel)) == 4


def test_the_section_says_what_the_model_learned_from(panel: Any) -> None:
    assert "simulated patients" in panel.ui.timeHintLabel.text


@pytest.fixture
def series(panel: Any, logic: Any, tmp_path: Path) -> Any:
    """A prediction of the days 1 and 90 has just been made."""
    from written_result import written_result

    panel.ui.predictButton.click()
    result = written_result(tmp_path / "made").added()
    logic.inScene.append(result)
    logic.runs[-1].finish(result)
    return result.series


def test_the_slider_chooses_the_day_and_tells_its_figures(panel: Any, series: Any) -> None:
    ui = panel.ui
    assert (ui.daySlider.maximum, ui.daySlider.value, ui.dayLabel.text) == (1, 0, "Day 1")
    assert ui.dayFiguresLabel.text == "cavity 44.5 ml"
    ui.daySlider.value = 1
    assert (series.chosen, ui.dayLabel.text, ui.dayFiguresLabel.text) == (1, "Day 90", "cavity 35.6 ml")


def test_a_prediction_without_days_has_no_slider(panel: Any, series: Any, logic: Any) -> None:
    from panel_fakes import fake_result

    assert not panel.ui.seriesWidget.isHidden()
    result = fake_result("run-2")
    logic.inScene.insert(0, result)
    panel.resultsPanel.refresh(prefer=result)
    assert panel.ui.seriesWidget.isHidden()


def test_slicers_tool_bar_plays_the_series(panel: Any, series: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    panel.ui.playSeriesButton.click()
    assert panel.ui.dayFiguresLabel.text == "Slicer's sequence tool bar is not there; use the slider."
    played: list[Any] = []
    module = SimpleNamespace(setToolBarActiveBrowserNode=played.append, setToolBarVisible=played.append)
    monkeypatch.setattr(slicer.modules, "sequences", module, raising=False)
    panel.ui.playSeriesButton.click()
    assert played == [series.browser, True]


def test_the_series_is_put_into_the_slice_views(panel: Any, series: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer.util

    shown: list[Any] = []
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", lambda background: shown.append(background))
    panel.ui.showSeriesButton.click()
    assert shown == [series.volume]
