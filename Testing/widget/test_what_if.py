"""The section What if: plans are written into the scene, previewed, predicted, and read out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PLANS = [
    {
        "number": 1,
        "name": "Careful",
        "description": "the tumour core",
        "read_out": {
            "residual_ml": 3.4,
            "eor_percent": 89.2,
            "rano_class": "3",
            "cavity_ml": 29.1,
            "eloquent": [{"region": "Hand <L>", "overlap_ml": 0.6, "percent_of_region": 4.0}],
        },
        "warnings": ["The plan does not reach all of the tumour."],
    },
    {"number": 2, "name": "Wide", "description": "and 3 mm", "read_out": {"residual_ml": 0.2}, "warnings": []},
    {"number": 3, "name": "Wider", "description": "and 6 mm", "read_out": {"residual_ml": 0.1}, "warnings": []},
]


def kept(panel: Any) -> Any:
    from PostOpPredictorModule.PlansInScene import plansOf

    return plansOf(panel.logic.getParameterNode().parameterNode)


def tick(table: Any, row: int, column: int, ticked: bool = True) -> None:
    import qt

    table.item(row, column).setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)


def texts(table: Any) -> list[list[str]]:
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


@pytest.fixture
def show(panel: Any, logic: Any) -> Callable[..., Any]:
    """``show(...)``: a prediction with this summary has just been made."""

    def make(**summary: Any) -> Any:
        from panel_fakes import fake_result

        panel.ui.predictButton.click()
        result = fake_result(**summary)
        logic.inScene.insert(0, result)
        logic.runs[-1].finish(result)
        return result

    return make


def test_nothing_is_planned_at_first(panel: Any) -> None:
    ui = panel.ui
    assert ui.plansList.count == 0
    assert not ui.planWidget.enabled
    assert not ui.predictPlansButton.enabled
    assert ui.predictPlansButton.toolTip == "Add a plan first."
    assert ui.planResultsWidget.isHidden()
    assert ui.whatIfCollapsibleButton.collapsed


def test_a_plan_is_added_moved_renamed_copied_and_removed(panel: Any) -> None:
    ui = panel.ui
    ui.addPlanButton.click()
    ui.marginSlider.value = 7
    assert ui.marginValueLabel.text == "+3.5 mm"
    ui.plansList.item(0).setText("Wide")
    ui.duplicatePlanButton.click()
    assert [(one.name, one.marginMm) for one in kept(panel).plans] == [("Wide", 3.5), ("Wide, copy 1", 3.5)]
    assert ui.plansList.currentRow == 1, "the new one is chosen"
    ui.marginSlider.value = -4
    assert [one.marginMm for one in kept(panel).plans] == [3.5, -2.0]
    assert ui.planSentenceLabel.text == "Takes the tumour but 2 mm of its rim"
    ui.plansList.currentRow = 0
    assert ui.marginSlider.value == 7
    assert kept(panel).plans[1].marginMm == -2.0, "choosing a plan changes none"
    ui.removePlanButton.click()
    assert [one.name for one in kept(panel).plans] == ["Wide, copy 1"]


def test_a_name_that_is_refused_is_told_and_goes_back(panel: Any) -> None:
    ui = panel.ui
    ui.addPlanButton.click()
    ui.addPlanButton.click()
    ui.plansList.item(1).setText("plan 1")
    assert "already" in ui.messageLabel.text
    assert [ui.plansList.item(row).text() for row in range(2)] == ["Plan 1", "Plan 2"]


def test_a_plan_can_take_a_segment(panel: Any, patient: SimpleNamespace) -> None:
    ui = panel.ui
    ui.addPlanButton.click()
    box = ui.planTakesComboBox
    assert [box.itemText(index) for index in range(3)] == [
        "The tumour with a margin",
        "'Necrotic core'",
        "'Oedema'",
    ]
    box.currentIndex = 2
    plan = kept(panel).plans[0]
    assert (plan.segment.segmentation, plan.segment.name, plan.marginMm) == (patient.tumour, "Oedema", None)
    assert not ui.marginSlider.enabled
    box.currentIndex = 0
    assert kept(panel).plans[0].marginMm == 0.0


def test_segments_are_left_by_this_plan_and_measured_for_all(panel: Any) -> None:
    from PostOpPredictorModule.panels.StructuresTable import LEFT, MEASURED

    ui = panel.ui
    ui.addPlanButton.click()
    ui.addPlanButton.click()
    ui.sparedSpinBox.value = 7.5
    tick(ui.structuresTable, 3, LEFT)
    tick(ui.structuresTable, 1, MEASURED)
    plans = kept(panel)
    assert [[(one.segment.name, one.distanceMm) for one in plan.spared] for plan in plans.plans] == [
        [],
        [("Brain", 7.5)],
    ]
    assert [one.name for one in plans.structures] == ["Oedema"]
    ui.sparedSpinBox.value = 4
    assert kept(panel).plans[1].spared[0].distanceMm == 4.0
    ui.plansList.currentRow = 0
    assert ui.structuresTable.item(3, LEFT).checkState().value == 0
    assert ui.structuresTable.item(1, MEASURED).checkState().value == 2
    tick(ui.structuresTable, 1, MEASURED, False)
    assert kept(panel).structures == ()


def test_what_a_plan_takes_cannot_be_left(panel: Any) -> None:
    import qt

    ui = panel.ui
    ui.addPlanButton.click()
    ui.planTakesComboBox.currentIndex = 1
    assert not ui.structuresTable.item(0, 1).flags() & qt.Qt.ItemIsEnabled
    assert ui.structuresTable.item(1, 1).flags() & qt.Qt.ItemIsEnabled


def test_a_segment_that_is_gone_is_told_and_can_be_unticked(panel: Any, patient: SimpleNamespace) -> None:
    ui = panel.ui
    ui.addPlanButton.click()
    tick(ui.structuresTable, 3, 1)
    patient.tumour.GetSegmentation().RemoveSegment("Brain")
    assert "not in the scene any more" in ui.planSentenceLabel.text
    assert not kept(panel).plans[0].spared[0].segment.isThere
    assert not ui.predictPlansButton.enabled
    assert texts(ui.structuresTable)[-1][0] == "Brain (not in the scene)"
    tick(ui.structuresTable, 3, 1, False)
    assert ui.predictPlansButton.enabled


def test_a_new_segment_can_be_chosen_at_once(panel: Any, patient: SimpleNamespace) -> None:
    patient.tumour.GetSegmentation().AddEmptySegment("tract", "Motor tract")
    assert texts(panel.ui.structuresTable)[-1][0] == "Motor tract"
    patient.tumour.GetSegmentation().GetSegment("tract").SetName("Pyramidal tract")
    assert texts(panel.ui.structuresTable)[-1][0] == "Pyramidal tract"


def test_predicting_takes_plans_and_structures_along(panel: Any, logic: Any) -> None:
    ui = panel.ui
    ui.addPlanButton.click()
    tick(ui.structuresTable, 1, 2)
    ui.predictPlansButton.click()
    _inputs, settings = logic.starts[-1]
    assert [one.name for one in settings.plans] == ["Plan 1"]
    assert [one.name for one in settings.structures] == ["Oedema"]
    assert not ui.predictPlansButton.enabled, "one prediction at a time"
    logic.runs[-1].fail(_error())
    assert ui.predictPlansButton.enabled
    ui.predictButton.click()
    assert logic.starts[-1][1].plans == ()


def _error() -> Any:
    from PostOpPredictorModule.Errors import PredictionError

    return PredictionError("bad_input", "The plan lies outside the brain.")


def test_plans_come_back_when_the_module_is_opened_again(panel: Any, open_panel: Callable[[], Any], logic: Any) -> None:
    panel.ui.addPlanButton.click()
    panel.ui.marginSlider.value = 5
    panel.cleanup()
    again = open_panel()
    assert again.ui.plansList.count == 1
    assert again.ui.marginSlider.value == 5


def test_closing_the_scene_empties_the_list(panel: Any, scene: Any) -> None:
    panel.ui.addPlanButton.click()
    scene.Clear(False)
    assert panel.ui.plansList.count == 0


# What came out


def test_the_plans_are_read_out(panel: Any, show: Callable[..., Any]) -> None:
    show(plans=PLANS)
    ui = panel.ui
    assert texts(ui.plansTable)[:3] == [
        ["No plan", "1.8 ml", "94 %", "-", "36.2 ml"],
        ["Careful", "3.4 ml", "89 %", "3", "29.1 ml"],
        ["Wide", "0.2 ml", "-", "-", "-"],
    ]
    details = ui.planDetailsLabel.text
    assert "Careful: the tumour core" in details
    assert "Hand &lt;L> 0.6 ml" in details
    assert "overlap, not a prediction of deficit" in details
    assert "does not reach all of the tumour" in details
    ui.plansTable.selectRow(2)
    assert "and 3 mm" in ui.planDetailsLabel.text
    assert not ui.planResultsWidget.isHidden()
    show()
    assert ui.planResultsWidget.isHidden()


def test_ticked_plans_are_compared_beside_the_scan(panel: Any, show: Callable[..., Any], compare_view: Any) -> None:
    result = show(plans=PLANS)
    ui = panel.ui
    ui.comparePlansButton.click()
    assert compare_view.calls[-1] == ("showPlans", result, ["before", 0, 1, 2])
    tick(ui.plansTable, 0, 0, False)
    assert compare_view.calls[-1] == ("showPlans", result, ["before", 1, 2]), "while it is shown it follows the ticks"
    compare_view.reset()
    calls = len(compare_view.calls)
    tick(ui.plansTable, 0, 0)
    assert len(compare_view.calls) == calls, "nothing is shown before the user asks for it"
    compare_view.problem = ValueError("At most 4 columns fit side by side. Untick some.")
    ui.comparePlansButton.click()
    assert ui.messageLabel.text == "At most 4 columns fit side by side. Untick some."


def test_an_imported_result_of_files_is_read_out(panel: Any, logic: Any, tmp_path: Path) -> None:
    from written_result import written_result

    panel.ui.predictButton.click()
    result = written_result(tmp_path / "made").added()
    logic.inScene.append(result)
    logic.runs[-1].finish(result)
    assert texts(panel.ui.plansTable)[1][:2] == ["careful", "4.0 ml"]


# Live


def test_the_preview_starts_with_the_chosen_plan_and_follows_it(panel: Any) -> None:
    ui, live = panel.ui, panel.livePreview
    ui.addPlanButton.click()
    tick(ui.structuresTable, 1, 2)
    ui.livePreviewButton.click()
    inputs, _settings, structures = live.starts[-1]
    assert inputs.volume is panel.logic.getParameterNode().inputVolume
    assert [one.name for one in structures] == ["Oedema"]
    assert live.plans[-1].marginMm == 0.0
    ui.marginSlider.value = 6
    assert live.plans[-1].marginMm == 3.0
    ui.removePlanButton.click()
    assert live.plans[-1] is None
    assert ui.livePreviewButton.text == "Stop live preview"
    ui.livePreviewButton.click()
    assert not live.isRunning
    assert ui.livePreviewButton.text == "Start live preview"


def test_a_preview_that_is_ready_is_shown_once_beside_the_scan(panel: Any, compare_view: Any) -> None:
    ui, live = panel.ui, panel.livePreview
    ui.livePreviewButton.click()
    assert ui.liveLabel.text == "Getting the patient ready ..."
    nodes = object()
    live.tell("Ready.", isReady=True, nodes=nodes, readOut={"residual_ml": 1.3, "eor_percent": 96})
    live.tell("The whole brain is up to date.")
    assert [call for call in compare_view.calls if call[0] == "showLive"] == [("showLive", nodes)]
    assert ui.liveLabel.text == "leaves 1.3 ml of tumour, EOR 96 %\nThe whole brain is up to date."
    live.tell("The session ended.", isRunning=False, isReady=False)
    assert ui.liveLabel.text == "The session ended."


def test_a_preview_that_cannot_be_started_is_told(panel: Any) -> None:
    panel.livePreview.refusal = _error()
    panel.ui.livePreviewButton.click()
    assert panel.ui.messageLabel.text == "The plan lies outside the brain."
    panel.livePreview.refusal = None
    panel.logic.getParameterNode().inputVolume = None
    assert not panel.ui.livePreviewButton.enabled
    assert panel.ui.livePreviewButton.toolTip == "Choose the scan before surgery under Inputs."


def test_a_preview_without_a_main_window_is_told(panel: Any, compare_view: Any) -> None:
    compare_view.problem = RuntimeError("The compare view needs Slicer's main window.")
    panel.ui.livePreviewButton.click()
    panel.livePreview.tell("Ready.", isReady=True, nodes=object())
    assert panel.ui.messageLabel.text == "The compare view needs Slicer's main window."


def test_the_preview_ends_with_the_module(panel: Any) -> None:
    panel.cleanup()
    assert panel.livePreview.cleanups == 1
