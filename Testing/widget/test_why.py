"""The section Why: the precedents, the user's own choice among them, shift, and the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def show(panel: Any, logic: Any, tmp_path: Path) -> Callable[..., Any]:
    """``show(**summary)``: a prediction with everything, just made from the panel's scan."""
    from written_result import written_result

    made: list[Any] = []

    def make(**more: Any) -> Any:
        panel.ui.predictButton.click()
        source = panel.logic.getParameterNode().inputVolume
        result = written_result(tmp_path / f"written-{len(made)}", **more).added(source, f"run-{len(made)}")
        made.append(result)
        logic.inScene.insert(0, result)
        logic.runs[-1].finish(result)
        return result

    return make


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, host: Any) -> list[Path]:
    """Files that the panel let the system open."""
    import qt

    files: list[Path] = []

    def open_url(url: Any) -> bool:
        files.append(Path(url.toLocalFile()))
        return not getattr(host, "noBrowser", False)

    monkeypatch.setattr(qt.QDesktopServices, "openUrl", open_url)
    return files


def test_the_table_tells_rank_overlap_resection_and_influence(panel: Any, show: Callable[..., Any]) -> None:
    show()
    table = panel.ui.precedentsTable
    rows = [[table.item(row, column).text() for column in range(5)] for row in range(table.rowCount)]
    assert rows == [
        ["1 (followed)", "0.41", "93 %", "75 %", "phantom north"],
        ["2", "0.32", "86 %", "25 %", "phantom north"],
    ]
    assert not table.isColumnHidden(3)
    assert not panel.ui.whyCollapsibleButton.collapsed


def test_the_selected_case_is_described_with_a_picture(
    panel: Any, show: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    show()
    ui = panel.ui
    assert "case-0001" in ui.chosenCaseLabel.text and "followed" in ui.chosenCaseLabel.text
    assert "9.0 ml" in ui.chosenCaseLabel.text and "your choice" not in ui.chosenCaseLabel.text
    wait_until(lambda: ui.overlapPicture.visible)
    first = ui.overlapPicture.pixmap
    assert first.height() > 100
    ui.precedentsTable.selectRow(1)
    assert "case-0002" in ui.chosenCaseLabel.text and "followed" not in ui.chosenCaseLabel.text
    assert "4.5 ml" in ui.chosenCaseLabel.text
    wait_until(lambda: ui.overlapPicture.pixmap.cacheKey() != first.cacheKey())
    ui.precedentsTable.selectAll()
    assert ui.chosenCaseLabel.text == "" and not ui.overlapPicture.visible
    assert not ui.followButton.visible


def test_a_name_with_signs_is_shown_as_it_is(panel: Any, show: Callable[..., Any]) -> None:
    from PostOpPredictorModule.panels.WhyPanel import caseText

    show()
    case = panel.resultsPanel.nodes.precedents[0]
    case.attributes["case_id"], case.attributes["chosen_by_hand"] = "<b>x & y", True
    assert "followed by your choice" in caseText(case)
    assert "&lt;b&gt;x &amp; y" in caseText(case)


def test_a_proxy_of_a_cavity_is_called_one(panel: Any, show: Callable[..., Any]) -> None:
    from PostOpPredictorModule.panels.WhyPanel import caseText

    show()
    case = panel.resultsPanel.nodes.precedents[0]
    case.attributes["cavity"] = "labelled"
    assert "proxy" not in caseText(case)
    case.attributes["cavity"] = "proxy"
    assert "Its cavity is a proxy: derived from other labels, not drawn." in caseText(case)


def test_following_another_case_predicts_again_with_it(panel: Any, show: Callable[..., Any], logic: Any) -> None:
    show()
    ui = panel.ui
    assert not ui.followButton.enabled and "already" in ui.followButton.toolTip
    ui.precedentsTable.selectRow(1)
    assert ui.followButton.enabled
    ui.followButton.click()
    settings = logic.starts[-1][1]
    assert (settings.follow, settings.exclude) == ("case-0002", ())
    assert settings.asJobOptions()["follow"] == "case-0002"
    assert ui.handChoiceWidget.visible and "case-0002" in ui.handChoiceLabel.text
    count = len(logic.starts)
    ui.excludeButton.click()
    ui.automaticButton.click()
    assert len(logic.starts) == count, "one prediction at a time"


def test_excluding_cases_predicts_again_without_them(panel: Any, show: Callable[..., Any], logic: Any) -> None:
    show()
    panel.ui.excludeButton.click()
    assert logic.starts[-1][1].exclude == ("case-0001",)
    logic.runs[-1].finish(panel.resultsPanel.nodes)
    panel.ui.precedentsTable.selectRow(1)
    panel.ui.excludeButton.click()
    assert logic.starts[-1][1].exclude == ("case-0001", "case-0002")
    assert logic.starts[-1][1].asJobOptions()["exclude"] == ["case-0001", "case-0002"]
    assert "case-0001, case-0002" in panel.ui.handChoiceLabel.text


def test_following_an_excluded_case_and_excluding_the_followed_one(
    panel: Any, show: Callable[..., Any], logic: Any
) -> None:
    show()
    ui, parameters = panel.ui, panel.logic.getParameterNode()
    parameters.excludedCases = ["case-0002", "case-0009"]
    ui.precedentsTable.selectRow(1)
    ui.followButton.click()
    assert (logic.starts[-1][1].follow, logic.starts[-1][1].exclude) == ("case-0002", ("case-0009",))
    logic.runs[-1].finish(panel.resultsPanel.nodes)
    ui.precedentsTable.selectRow(1)
    ui.excludeButton.click()
    assert (logic.starts[-1][1].follow, logic.starts[-1][1].exclude) == (None, ("case-0009", "case-0002"))


def test_back_to_the_automatic_choice(panel: Any, show: Callable[..., Any], logic: Any) -> None:
    show()
    parameters = panel.logic.getParameterNode()
    parameters.followedCase, parameters.excludedCases = "case-0002", ["case-0009"]
    panel.ui.automaticButton.click()
    assert (logic.starts[-1][1].follow, logic.starts[-1][1].exclude) == (None, ())
    assert not panel.ui.handChoiceWidget.visible


def test_the_choice_belongs_to_one_patient(panel: Any, show: Callable[..., Any], scene: Any, logic: Any) -> None:
    import panel_host

    show()
    parameters = panel.logic.getParameterNode()
    parameters.followedCase, parameters.excludedCases = "case-0002", ["case-0009"]
    parameters.seed = 4
    assert parameters.followedCase == "case-0002", "another option is no other patient"
    other = panel_host.add_patient("Another scan", "Another tumour")
    panel.ui.volumeSelector.setCurrentNode(other.volume)
    assert (parameters.followedCase, tuple(parameters.excludedCases)) == ("", ())
    assert not panel.ui.excludeButton.enabled
    assert "another scan" in panel.ui.excludeButton.toolTip


def test_a_choice_that_fails_can_be_taken_back(panel: Any, show: Callable[..., Any], logic: Any) -> None:
    from PostOpPredictorModule.Errors import errorFromBackend

    show()
    panel.ui.precedentsTable.selectRow(1)
    panel.ui.followButton.click()
    logic.runs[-1].fail(errorFromBackend("bad_input", "The library has no case 'case-0002'.", []))
    assert panel.ui.messageLabel.text == "The library has no case 'case-0002'."
    assert panel.ui.proposalButton1.text == "Back to automatic choice of the case"
    panel.ui.proposalButton1.click()
    assert logic.starts[-1][1].follow is None


def test_influence_follows_the_selected_case(panel: Any, show: Callable[..., Any], scene: Any) -> None:
    red = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    red.SetLayoutName("Red")
    result = show()
    ui = panel.ui
    ui.influenceCheckBox.click()
    assert red.GetForegroundVolumeID() == result.precedents[0].influence.GetID()
    ui.precedentsTable.selectRow(1)
    assert red.GetForegroundVolumeID() == result.precedents[1].influence.GetID()
    assert ui.influenceCheckBox.checked
    ui.influenceCheckBox.click()
    assert red.GetForegroundVolumeID() is None and not ui.influenceCheckBox.checked
    ui.precedentsTable.selectAll()
    assert not ui.influenceCheckBox.enabled


def test_shift_is_told_and_drawn_where_it_can_be(panel: Any, show: Callable[..., Any]) -> None:
    from PostOpPredictorModule.ShiftGlyphs import areGlyphsShown

    result = show()
    ui = panel.ui
    assert ui.shiftLabel.text == "The midline is predicted to move by 1.5 mm to the patient's right."
    ui.shiftCheckBox.click()
    assert areGlyphsShown(result.shift)
    ui.resultSpaceComboBox.currentIndex = 1
    assert not areGlyphsShown(result.shift), "in patient space they would show the turn of the head"
    assert not ui.shiftCheckBox.enabled and "MNI" in ui.shiftCheckBox.toolTip
    ui.resultSpaceComboBox.currentIndex = 0
    assert ui.shiftCheckBox.enabled and not ui.shiftCheckBox.checked
    ui.shiftCheckBox.click()
    ui.shiftCheckBox.click()
    assert not areGlyphsShown(result.shift)


def test_what_was_not_computed_is_not_offered(panel: Any, logic: Any, tmp_path: Path) -> None:
    from written_result import plain_result

    panel.ui.predictButton.click()
    result = plain_result(tmp_path / "plain").added()
    logic.inScene.insert(0, result)
    logic.runs[-1].finish(result)
    ui = panel.ui
    for widget in (ui.influenceCheckBox, ui.generatedCheckBox, ui.shiftCheckBox, ui.shiftLabel):
        assert not widget.visible, widget.name
    assert not ui.reportButton.enabled and ui.reportButton.toolTip == "This prediction has no report."


def test_the_report_opens_in_the_browser_and_is_removed_with_the_panel(
    panel: Any, show: Callable[..., Any], opened: list[Path]
) -> None:
    result = show()
    panel.ui.reportButton.click()
    (path,) = opened
    assert path.suffix == ".html" and path.read_text(encoding="utf-8") == result.report.GetText()
    panel.ui.reportButton.click()
    assert opened[1] == path, "no heap of files"
    panel.cleanup()
    assert not path.exists()


def test_a_report_that_nothing_opens_is_said_with_its_place(
    panel: Any, show: Callable[..., Any], opened: list[Path], host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    show()
    monkeypatch.setattr(host, "noBrowser", True, raising=False)
    panel.ui.reportButton.click()
    assert str(opened[0]) in panel.ui.messageLabel.text


def test_a_report_that_cannot_be_written_is_said(
    panel: Any, show: Callable[..., Any], opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PostOpPredictorModule import ReportFile

    def full() -> Path:
        raise OSError(28, "No space left on device")

    show()
    monkeypatch.setattr(ReportFile, "makeWorkingFolder", full)
    panel.ui.reportButton.click()
    assert opened == [] and "No space left" in panel.ui.messageLabel.text


def test_of_pictures_that_are_drawn_at_once_the_last_wanted_is_shown(
    panel: Any, show: Callable[..., Any], wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PostOpPredictorModule.OverlapPicture import Overlap

    show()
    ui = panel.ui
    wait_until(lambda: ui.overlapPicture.visible)
    assert ui.overlapPicture.enabled
    before = ui.overlapPicture.pixmap.cacheKey()
    ui.precedentsTable.selectRow(1)
    assert not ui.overlapPicture.enabled, "the picture of another case is not taken for this one's"
    ui.precedentsTable.selectAll()
    end = time.monotonic() + 0.5
    wait_until(lambda: time.monotonic() > end)
    assert not ui.overlapPicture.visible and ui.overlapPicture.pixmap.cacheKey() == before, "several cases are selected"

    def fails(_self: Overlap) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Overlap, "picture", fails)
    ui.precedentsTable.selectRow(0)
    ui.overlapPicture.visible = True
    wait_until(lambda: not ui.overlapPicture.visible)
