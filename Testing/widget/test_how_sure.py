"""The section How sure: what is said first, what is computed, and what lies over the views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SENTENCE = "The most similar case overlaps by 0.06 only."


@pytest.fixture
def show(panel: Any, logic: Any, tmp_path: Path) -> Callable[..., Any]:
    """``show(plain=False, **summary)``: a prediction with all maps (plain: none), just made from the panel's scan."""
    from written_result import plain_result, written_result

    made: list[Any] = []

    def make(plain: bool = False, **summary: Any) -> Any:
        panel.ui.predictButton.click()
        write = plain_result if plain else written_result
        source = panel.logic.getParameterNode().inputVolume
        result = write(tmp_path / f"written-{len(made)}", **summary).added(source, f"run-{len(made)}")
        made.append(result)
        logic.inScene.insert(0, result)
        logic.runs[-1].finish(result)
        return result

    return make


@pytest.fixture
def red(scene: Any) -> Any:
    """A slice view of the user's."""
    view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    view.SetLayoutName("Red")
    return view


def entries(box: Any) -> list[str]:
    return [box.itemText(index) for index in range(box.count)]


def test_there_is_no_section_without_a_prediction(panel: Any) -> None:
    assert not panel.ui.howSureCollapsibleButton.visible
    assert not panel.ui.whyCollapsibleButton.visible


def test_it_says_what_was_computed(panel: Any, show: Callable[..., Any]) -> None:
    show()
    ui = panel.ui
    assert ui.howSureCollapsibleButton.collapsed, "calm at first"
    ui.howSureCollapsibleButton.collapsed = False
    assert ui.similarityLabel.text == "The most similar case overlaps by 0.41."
    assert "38.0 to 44.6 ml" in ui.uncertaintyLabel.text and "up to 17 % between precedents" in ui.uncertaintyLabel.text
    assert "up to 4 % by chance" in ui.uncertaintyLabel.text
    assert ui.calibrationLabel.text.startswith("On 40 unseen patients")
    assert not ui.computeMapsButton.visible
    assert not ui.noSimilarCaseLabel.visible, "a good case is no warning"


@pytest.mark.parametrize("level", ["none", "weak"])
def test_a_case_that_is_hardly_similar_is_said_first_and_large(
    panel: Any, show: Callable[..., Any], level: str
) -> None:
    show(similarity={"iou": 0.06, "level": level, "sentence": SENTENCE})
    ui = panel.ui
    ui.howSureCollapsibleButton.collapsed = False
    assert ui.noSimilarCaseLabel.visible and ui.noSimilarCaseLabel.text == SENTENCE
    assert ui.noSimilarCaseLabel.y < ui.cavityValue.y
    assert ui.noSimilarCaseLabel.font.pointSize() > ui.syntheticLabel.font.pointSize()
    assert ui.similarityLabel.y < ui.uncertaintyLabel.y
    assert "220, 120, 0" in ui.similarityLabel.styleSheet
    show(similarity={"iou": 0.5, "level": "good", "sentence": "Good."})
    assert "220, 120, 0" not in ui.similarityLabel.styleSheet
    assert not ui.noSimilarCaseLabel.visible


def test_an_uncalibrated_prediction_is_told_with_doubt(panel: Any, show: Callable[..., Any]) -> None:
    sentence = "The model has no calibration."
    show(uncertainty={"precedents": 2, "calibrated": False, "calibration_sentence": sentence})
    assert panel.ui.calibrationLabel.text == sentence
    assert "color" in panel.ui.calibrationLabel.styleSheet
    assert "by up to - between" in panel.ui.uncertaintyLabel.text, "a figure that is missing is a dash"


def test_one_precedent_has_no_spread_over_precedents_and_that_is_said(panel: Any, show: Callable[..., Any]) -> None:
    only = "Only one similar case was used, so there is no spread over precedents. That does not mean that it is small."
    told = {
        "precedents": 1,
        "largest_noise": 3.8,
        "largest_precedents": None,
        "precedents_sentence": only,
        "cavity_ml_range": [44.6, 44.6],
    }
    show(uncertainty=told, leave_out=("spread_precedents_mni",))
    assert panel.ui.uncertaintyLabel.text == f"The image differs by up to 4 % by chance. {only}"
    assert "Spread over precedents" not in entries(panel.ui.mapComboBox)


def test_only_the_maps_that_are_there_can_be_chosen(panel: Any, show: Callable[..., Any], tmp_path: Path) -> None:
    show()
    assert entries(panel.ui.mapComboBox) == [
        "Nothing",
        "Spread over precedents",
        "Spread over noise",
        "90 % interval",
        "Cavity probability",
    ]
    show(leave_out=("uncertainty_mni",))
    assert entries(panel.ui.mapComboBox) == [
        "Nothing",
        "Spread over precedents",
        "Spread over noise",
        "Cavity probability",
    ]


def test_a_map_lies_over_the_users_views_until_nothing_is_chosen(
    panel: Any, show: Callable[..., Any], red: Any
) -> None:
    result = show()
    ui = panel.ui
    assert not ui.mapOpacitySlider.enabled
    ui.mapComboBox.currentIndex = 2
    assert red.GetForegroundVolumeID() == result.spreadNoise.GetID()
    ui.mapOpacitySlider.value = 30
    assert red.GetForegroundOpacity() == pytest.approx(0.3)
    assert panel.logic.getParameterNode().mapOpacity == 30, "it is saved with the scene"
    ui.mapComboBox.currentIndex = 4
    assert red.GetForegroundVolumeID() == result.cavityAgreement.GetID()
    assert red.GetForegroundOpacity() == pytest.approx(0.3)
    ui.mapComboBox.currentIndex = 0
    assert red.GetForegroundVolumeID() is None
    assert not ui.mapOpacitySlider.enabled


def test_one_map_at_a_time_also_from_the_section_why(panel: Any, show: Callable[..., Any], red: Any) -> None:
    result = show()
    ui = panel.ui
    ui.mapComboBox.currentIndex = 1
    ui.generatedCheckBox.click()
    assert red.GetForegroundVolumeID() == result.generated.GetID()
    assert ui.mapComboBox.currentIndex == 0 and ui.mapOpacitySlider.enabled
    ui.influenceCheckBox.click()
    assert red.GetForegroundVolumeID() == result.precedents[0].influence.GetID()
    assert not ui.generatedCheckBox.checked
    ui.mapComboBox.currentIndex = 3
    assert not ui.influenceCheckBox.checked
    assert red.GetForegroundVolumeID() == result.uncertainty.GetID()


def test_a_map_goes_with_the_prediction_it_belongs_to(
    panel: Any, show: Callable[..., Any], logic: Any, red: Any
) -> None:
    show()
    panel.ui.mapComboBox.currentIndex = 1
    second = show()
    assert red.GetForegroundVolumeID() is None, "the map of another prediction would mislead"
    panel.ui.mapComboBox.currentIndex = 1
    assert red.GetForegroundVolumeID() == second.spreadPrecedents.GetID()
    panel.ui.resultComboBox.currentIndex = 1
    assert red.GetForegroundVolumeID() is None
    panel.ui.mapComboBox.currentIndex = 1
    panel.ui.removeResultsButton.click()
    assert red.GetForegroundVolumeID() is None
    panel.ui.mapComboBox.currentIndex = 1
    panel.cleanup()
    assert red.GetForegroundVolumeID() is None
    assert red.GetBackgroundVolumeID() is None


def test_a_map_that_the_user_removes_from_the_scene_is_noticed(
    panel: Any, show: Callable[..., Any], scene: Any, red: Any
) -> None:
    result = show()
    panel.ui.mapComboBox.currentIndex = 1
    scene.RemoveNode(result.spreadPrecedents)
    assert panel.ui.mapComboBox.currentIndex == 0


def test_the_fade_waits_while_a_map_lies_over_the_prediction(
    panel: Any, show: Callable[..., Any], compare_view: Any
) -> None:
    show()
    ui = panel.ui
    ui.compareButton.click()
    ui.revealSlider.value = 40
    ui.mapComboBox.currentIndex = 1
    assert not ui.revealSlider.enabled and "map" in ui.revealSlider.toolTip
    ui.mapComboBox.currentIndex = 0
    assert ui.revealSlider.enabled
    assert compare_view.calls[-1] == ("setReveal", 0.4), "the fade is as it was"


def test_without_maps_the_panel_offers_to_compute_them_and_says_what_it_costs(
    panel: Any, show: Callable[..., Any], logic: Any
) -> None:
    show(plain=True)
    ui = panel.ui
    ui.howSureCollapsibleButton.collapsed = False
    assert "four to five times as long" in ui.uncertaintyLabel.text
    assert not ui.mapWidget.visible
    assert ui.computeMapsButton.visible and ui.computeMapsButton.enabled
    assert "3 precedents and 8 times" in ui.computeMapsButton.toolTip
    panel.logic.getParameterNode().noiseSamples = 64
    assert "8 seeds the whole takes four to five times" in ui.computeMapsButton.toolTip, "measured with these only"
    assert "3 precedents and 64 times" in ui.computeMapsButton.toolTip
    panel.logic.getParameterNode().noiseSamples = 8
    assert logic.starts[-1][1].uncertainty is False, "not without being asked"
    ui.computeMapsButton.click()
    assert logic.starts[-1][1].uncertainty is True
    assert logic.starts[-1][1].noiseSamples == 8
    assert ui.uncertaintyCheckBox.checked
    assert not ui.computeMapsButton.enabled, "one prediction at a time"
    assert ui.computeMapsButton.toolTip == "A prediction is running."


def test_the_choice_is_a_parameter_that_goes_into_the_job(panel: Any, logic: Any) -> None:
    ui = panel.ui
    assert not ui.noiseSamplesSpinBox.enabled
    ui.uncertaintyCheckBox.click()
    assert ui.noiseSamplesSpinBox.enabled
    ui.noiseSamplesSpinBox.value = 5
    ui.predictButton.click()
    options = logic.starts[-1][1].asJobOptions()
    assert (options["uncertainty"], options["noise_samples"]) == (True, 5)


def test_figures_that_are_missing_do_no_harm(panel: Any, show: Callable[..., Any]) -> None:
    show(uncertainty={}, similarity=None, shift=None)
    assert not panel.ui.similarityLabel.visible
    assert not panel.ui.calibrationLabel.visible
    assert not panel.ui.shiftLabel.visible
