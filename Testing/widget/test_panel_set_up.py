"""First use: what is missing is said, and installed only after the user has read what will happen and agreed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def chosen_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: Any) -> Path:
    """The folder that the user chooses in the dialog."""
    import qt

    folder = tmp_path / "stick"
    folder.mkdir()
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_args: str(folder))
    return folder


def new_session() -> None:
    """Slicer was closed and opened again."""
    import slicer

    vars(slicer).pop("_postOpPredictorSession", None)


def test_nothing_missing_is_one_green_line(panel: Any) -> None:
    ui = panel.ui
    assert ui.setUpCollapsibleButton.collapsed
    assert ui.setUpSummaryLabel.text == "Set-up is complete"
    assert "#2e9e4f" in ui.setUpSummaryLabel.styleSheet
    assert not ui.installButton.enabled
    assert not ui.restartButton.visible


def test_missing_things_open_the_section_and_disable_the_prediction(
    installer: Any, patient: Any, open_panel: Callable[[], Any]
) -> None:
    installer.torch, installer.missing = None, ("diffusers>=0.35",)
    panel = open_panel()
    ui = panel.ui
    assert not ui.setUpCollapsibleButton.collapsed
    assert ui.setUpSummaryLabel.text == "Missing before the first prediction: PyTorch, Python packages"
    assert "diffusers" in ui.setUpListLabel.text
    assert ui.predictButton.toolTip == "Complete the set-up first. Missing: PyTorch, Python packages"
    assert not ui.predictButton.enabled


def test_the_plan_is_said_before_and_asked_for(
    installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any
) -> None:
    installer.torch, installer.missing = None, ("diffusers>=0.35", "nilearn>=0.11")
    panel = open_panel()
    assert panel.ui.setUpPlanLabel.text.startswith(
        "Will install into Slicer's Python, from the internet: PyTorch, diffusers, nilearn."
    )
    assert "numpy, scipy, SimpleITK and VTK stay as they are" in panel.ui.setUpPlanLabel.text
    panel.ui.installButton.click()
    assert questions.asked == [panel.ui.setUpPlanLabel.text] or questions.asked[0].startswith("Will install")
    assert installer.calls == ["installTorch", "installPackages"]
    assert panel.ui.setUpSummaryLabel.text == "Set-up is complete"
    assert panel.ui.setUpCollapsibleButton.collapsed
    assert panel.ui.predictButton.enabled


def test_what_was_installed_is_tried_in_the_backend(
    installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any, logic: Any
) -> None:
    installer.missing = ("nilearn>=0.11",)
    panel = open_panel()
    panel.ui.installButton.click()
    finding = {"name": "nilearn", "state": "problem", "found": "cannot be imported (no lxml)", "advice": "Install it."}
    logic.runs[-1].finish({"well": False, "findings": [finding]})
    assert panel.ui.messageLabel.text == "nilearn: cannot be imported (no lxml). Install it."


@pytest.mark.parametrize("answer", [False, None, 0, 65536])
def test_no_is_no(installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any, answer: Any) -> None:
    installer.missing = ("diffusers>=0.35",)
    questions.answer = answer
    open_panel().ui.installButton.click()
    assert len(questions.asked) == 1
    assert installer.calls == []


def test_only_packages_missing_leaves_torch_alone(
    installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any
) -> None:
    installer.missing = ("nilearn>=0.11",)
    open_panel().ui.installButton.click()
    assert installer.calls == ["installPackages"]


def test_missing_torch_extension_is_a_sentence_with_what_to_do(
    installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any
) -> None:
    installer.torch, installer.extension = None, False
    panel = open_panel()
    assert "Open View > Extensions Manager, install PyTorch, restart Slicer" in panel.ui.setUpListLabel.text
    assert not panel.ui.installButton.enabled
    assert "Extensions Manager" in panel.ui.installButton.toolTip
    panel.setUpPanel._onInstall()
    assert installer.calls == []
    assert panel.ui.installFromFolderButton.enabled


def test_failed_installation_is_a_sentence_and_can_be_tried_again(
    installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any, host: Any
) -> None:
    from PostOpPredictorModule.Installation import InstallationError

    installer.missing = ("nilearn>=0.11",)
    installer.trouble = InstallationError("The installation failed. The disk is full.", "pip: No space left\nexit 1")
    panel = open_panel()
    panel.ui.installButton.click()
    assert panel.ui.messageLabel.text == "The installation failed. The disk is full."
    panel.ui.copyDetailsButton.click()
    assert "pip: No space left" in host.clipboard().text()
    assert panel.ui.installButton.enabled
    installer.trouble = None
    panel.ui.installButton.click()
    assert panel.ui.predictButton.enabled
    assert not panel.ui.messageFrame.visible


def test_installation_that_changed_nothing_is_said(
    installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any
) -> None:
    installer.missing, installer.works = ("nilearn>=0.11",), False
    panel = open_panel()
    panel.ui.installButton.click()
    assert panel.ui.messageLabel.text.startswith("The installation ended, but nilearn is still missing.")


def test_clicks_while_installing_do_nothing(
    installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any
) -> None:
    installer.missing = ("nilearn>=0.11",)
    panel = open_panel()
    seen = []

    def meanwhile() -> None:
        # Slicer's progress dialog lets the event loop run.
        seen.append((panel.ui.installButton.enabled, panel.ui.predictButton.enabled, panel.ui.predictButton.toolTip))
        panel.setUpPanel._onInstall()
        panel.setUpPanel._onInstallFromFolder()

    installer.during = meanwhile
    panel.ui.installButton.click()
    assert seen == [(False, False, "Something is being installed.")]
    assert installer.calls == ["installPackages"]


def test_restart_is_said_until_it_happened(
    installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any, host: Any
) -> None:
    installer.missing, installer.replaced = ("pillow>=10.0",), ("pillow", "requests")
    panel = open_panel()
    panel.ui.installButton.click()
    assert panel.ui.setUpSummaryLabel.text == "Restart Slicer soon: pillow, requests were replaced while loaded."
    assert panel.ui.restartButton.visible or panel.ui.setUpCollapsibleButton.collapsed
    panel.ui.setUpCollapsibleButton.collapsed = False
    assert panel.ui.restartButton.visible
    reloaded = open_panel()
    assert reloaded.ui.setUpSummaryLabel.text.startswith("Restart Slicer soon"), "a reload is no restart"
    panel.ui.restartButton.click()
    assert host.restarts == 1
    new_session()
    assert open_panel().ui.setUpSummaryLabel.text == "Set-up is complete"


def test_state_is_kept_as_text(installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any) -> None:
    import qt
    from PySide6 import QtCore

    installer.missing, installer.replaced = ("pillow>=10.0",), ("pillow",)
    open_panel().ui.installButton.click()
    raw = QtCore.QSettings()
    kept = {key: raw.value(key) for key in raw.allKeys() if key.startswith("PostOpPredictor/")}
    assert kept
    assert all(isinstance(value, str) for value in kept.values())
    assert isinstance(qt.QSettings().value("PostOpPredictor/SetUp/replacedPackages"), str)


def test_interrupted_installation_is_remembered_after_a_restart(
    installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any
) -> None:
    installer.missing = ("nilearn>=0.11",)
    from PostOpPredictorModule.SetUp import SetUpMemory

    SetUpMemory().begin()
    assert "interrupted" not in open_panel().ui.setUpSummaryLabel.text, "it may still go on in this session"
    new_session()
    panel = open_panel()
    assert panel.ui.setUpSummaryLabel.text.startswith("The last installation was interrupted.")
    panel.ui.installButton.click()
    new_session()
    assert "interrupted" not in open_panel().ui.setUpSummaryLabel.text


def test_offline_folder_with_wheels(
    installer: Any, patient: Any, open_panel: Callable[[], Any], questions: Any, chosen_folder: Path
) -> None:
    installer.torch, installer.extension, installer.missing = None, False, ("diffusers>=0.35",)
    (chosen_folder / "diffusers-0.40-py3-none-any.whl").touch()
    panel = open_panel()
    panel.ui.installFromFolderButton.click()
    assert "without the internet" in questions.asked[0]
    assert installer.calls == [("installFromFolder", chosen_folder)]
    assert panel.ui.predictButton.enabled


def test_offline_folder_with_a_model_is_verified_copied_and_used(
    panel: Any, questions: Any, chosen_folder: Path, wait_until: Callable[..., None]
) -> None:
    import shutil

    from PostOpPredictorModule.ModelFolders import ownModels, shippedModel

    shutil.copytree(shippedModel(), chosen_folder / "better")
    panel.ui.installFromFolderButton.click()
    wait_until(lambda: panel.logic.getParameterNode().modelFolder == ownModels() / "better")
    assert (ownModels() / "better" / "checksums.json").is_file()
    assert panel.ui.modelPathLineEdit.currentPath == str(ownModels() / "better")
    assert sorted(path.name for path in ownModels().iterdir()) == ["better"], "no half copy is left"


def test_offline_folder_with_a_changed_model_is_refused(
    panel: Any, questions: Any, chosen_folder: Path, wait_until: Callable[..., None]
) -> None:
    import shutil

    from PostOpPredictorModule.ModelFolders import ownModels, shippedModel

    shutil.copytree(shippedModel(), chosen_folder / "better")
    weights = chosen_folder / "better" / "renderer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    panel.ui.installFromFolderButton.click()
    wait_until(lambda: "its checksum differs" in panel.ui.messageLabel.text)
    assert not ownModels().exists()


def test_offline_folder_with_a_library_is_used_where_it_lies(panel: Any, questions: Any, chosen_folder: Path) -> None:
    (chosen_folder / "cases" / "sub-own1").mkdir(parents=True)
    (chosen_folder / "cases" / "dataset_description.json").write_text('{"PostOpPredictor": {}}', encoding="utf-8")
    panel.ui.installFromFolderButton.click()
    assert panel.logic.getParameterNode().libraryFolder == chosen_folder / "cases"


def test_offline_folder_without_anything_is_said(panel: Any, questions: Any, chosen_folder: Path) -> None:
    panel.ui.installFromFolderButton.click()
    assert "neither Python wheels (.whl) nor a model nor a case library" in panel.ui.messageLabel.text
    assert questions.asked == []


def test_closed_dialog_does_nothing(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_args: "")
    panel.ui.installFromFolderButton.click()
    assert not panel.ui.messageFrame.visible


def test_missing_model_is_said(panel: Any, tmp_path: Path) -> None:
    panel.ui.modelPathLineEdit.currentPath = str(tmp_path / "nowhere")
    assert panel.ui.predictButton.toolTip == "Complete the set-up first. Missing: Model"
    assert f"there is no model in {tmp_path / 'nowhere'}" in panel.ui.setUpListLabel.text
    panel.ui.modelShippedButton.click()
    assert panel.ui.predictButton.enabled
    assert panel.ui.modelPathLineEdit.currentPath == ""
