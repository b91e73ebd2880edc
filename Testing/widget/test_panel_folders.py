"""Model folder and case library: what is said of them, and their deletion after an explicit yes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def a_model(tmp_path: Path, host: Any) -> Path:
    """A copy of the shipped model."""
    from PostOpPredictorModule.ModelFolders import shippedModel

    return Path(shutil.copytree(shippedModel(), tmp_path / "mine"))


@pytest.fixture
def a_library(tmp_path: Path) -> Path:
    """A case library with two cases, as far as the panel looks."""
    for case in ("sub-own1", "sub-own2"):
        (tmp_path / "cases" / case).mkdir(parents=True)
    (tmp_path / "cases" / "sub-own1" / "scan.nii.gz").write_bytes(bytes(2_000_000))
    (tmp_path / "cases" / "dataset_description.json").write_text('{"PostOpPredictor": {}}', encoding="utf-8")
    return tmp_path / "cases"


def test_shipped_model_is_verified_in_the_background(panel: Any, wait_until: Callable[..., None]) -> None:
    label = panel.ui.modelFactsLabel
    assert label.text.startswith("Checking ")
    wait_until(lambda: label.text == "Shipped model 'compact', 19 MB, verified")
    assert label.toolTip.endswith("compact")


def test_changed_model_is_said(panel: Any, a_model: Path, wait_until: Callable[..., None]) -> None:
    config = a_model / "renderer" / "config.json"
    config.write_text(config.read_text(encoding="utf-8") + " ", encoding="utf-8")
    panel.ui.modelPathLineEdit.currentPath = str(a_model)
    wait_until(lambda: "CHANGED since it was published" in panel.ui.modelFactsLabel.text)
    assert "renderer/config.json" in panel.ui.modelFactsLabel.text


def test_incomplete_model_is_said(panel: Any, a_model: Path, wait_until: Callable[..., None]) -> None:
    (a_model / "unet" / "config.json").unlink()
    panel.ui.modelPathLineEdit.currentPath = str(a_model)
    wait_until(lambda: "not complete" in panel.ui.modelFactsLabel.text)


def test_the_folder_that_was_typed_last_is_the_one_that_is_described(
    panel: Any, a_model: Path, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    panel.ui.modelPathLineEdit.currentPath = str(tmp_path / "nowhere")
    panel.ui.modelPathLineEdit.currentPath = str(a_model)
    wait_until(lambda: panel.ui.modelFactsLabel.text.startswith("mine, 19 MB"))


def test_another_spelling_of_the_chosen_folder_stays_as_it_was_typed(panel: Any, tmp_path: Path) -> None:
    """As "C:/model" does on Windows, where Python says "C:\\model"."""
    line = panel.ui.modelPathLineEdit
    line.currentPath = f"{tmp_path}/models/"
    assert line.currentPath == f"{tmp_path}/models/"
    assert panel.logic.getParameterNode().modelFolder == tmp_path / "models"
    panel.ui.modelShippedButton.click()
    assert line.currentPath == ""


def test_library_says_cases_and_size(panel: Any, a_library: Path, wait_until: Callable[..., None]) -> None:
    panel.ui.libraryPathLineEdit.currentPath = str(a_library)
    wait_until(lambda: panel.ui.libraryFactsLabel.text == "cases, 2 cases, 2 MB")
    assert panel.logic.getParameterNode().libraryFolder == a_library


def test_an_empty_line_never_shows_a_dot(panel: Any) -> None:
    assert (panel.ui.modelPathLineEdit.currentPath, panel.ui.libraryPathLineEdit.currentPath) == ("", "")


def test_shipped_model_is_never_deleted(panel: Any, questions: Any) -> None:
    from PostOpPredictorModule.ModelFolders import FolderRefused, deleteFolder, shippedModel

    assert not panel.ui.modelDeleteButton.enabled
    assert "comes with the extension" in panel.ui.modelDeleteButton.toolTip
    with pytest.raises(FolderRefused):
        deleteFolder(shippedModel())
    assert shippedModel().is_dir()


@pytest.mark.parametrize("answer", [False, None, 0, 65536])
def test_delete_without_a_clear_yes_deletes_nothing(panel: Any, questions: Any, a_model: Path, answer: Any) -> None:
    questions.answer = answer
    panel.ui.modelPathLineEdit.currentPath = str(a_model)
    panel.ui.modelDeleteButton.click()
    assert str(a_model) in questions.asked[0]
    assert (a_model / "model_index.json").is_file()


def test_deleted_model_makes_room_for_the_shipped_one(
    panel: Any, questions: Any, a_model: Path, wait_until: Callable[..., None]
) -> None:
    panel.ui.modelPathLineEdit.currentPath = str(a_model)
    panel.ui.modelDeleteButton.click()
    wait_until(lambda: not a_model.exists())
    wait_until(lambda: panel.ui.modelPathLineEdit.currentPath == "")
    assert panel.ui.predictButton.enabled


def test_deleted_library_makes_room_for_the_demonstration(
    panel: Any, questions: Any, a_library: Path, wait_until: Callable[..., None]
) -> None:
    panel.ui.libraryPathLineEdit.currentPath = str(a_library)
    panel.ui.libraryDeleteButton.click()
    wait_until(lambda: not a_library.exists() and panel.ui.libraryPathLineEdit.currentPath == "")


def test_other_folders_are_never_deleted(panel: Any, questions: Any, tmp_path: Path) -> None:
    from PostOpPredictorModule.ModelFolders import FolderRefused, deleteFolder

    (tmp_path / "holiday" / "photos").mkdir(parents=True)
    panel.ui.libraryPathLineEdit.currentPath = str(tmp_path / "holiday")
    assert not panel.ui.libraryDeleteButton.enabled
    with pytest.raises(FolderRefused, match="neither a model nor a case library"):
        deleteFolder(tmp_path / "holiday")
    assert (tmp_path / "holiday" / "photos").is_dir()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model_index.json", '{"_class_name": "StableDiffusionPipeline"}'),
        ("dataset_description.json", '{"Name": "The hospital\'s scans", "BIDSVersion": "1.9.0"}'),
        ("dataset_description.json", "not json"),
        ("model_index.json", "[]"),
    ],
)
def test_models_and_datasets_of_others_are_never_deleted(host: Any, tmp_path: Path, name: str, content: str) -> None:
    from PostOpPredictorModule.ModelFolders import FolderRefused, deleteFolder

    (tmp_path / "theirs" / "sub-01").mkdir(parents=True)
    (tmp_path / "theirs" / name).write_text(content, encoding="utf-8")
    with pytest.raises(FolderRefused, match="neither a model nor a case library"):
        deleteFolder(tmp_path / "theirs")
    assert (tmp_path / "theirs" / "sub-01").is_dir()


def test_a_link_is_not_followed_into_deletion(panel: Any, a_library: Path, tmp_path: Path) -> None:
    from PostOpPredictorModule.ModelFolders import refusalToDelete

    link = tmp_path / "link"
    link.symlink_to(a_library, target_is_directory=True)
    assert "is a link" in refusalToDelete(link)


def test_demonstration_library_is_made_on_a_click_with_progress(panel: Any, logic: Any) -> None:
    ui = panel.ui
    assert ui.demonstrationButton.text == "Make the demonstration library"
    ui.demonstrationButton.click()
    assert ui.predictButton.text == "Cancel"
    logic.runs[-1].callbacks.progress(3, 40, 90.0)
    assert "3 of 40" in ui.stageLabel.text
    logic.runs[-1].finish({"library": "somewhere", "cases": 40})
    assert (ui.predictButton.text, ui.predictButton.enabled) == ("Predict post-op", True)


def test_own_library_can_be_left_for_the_demonstration(panel: Any, logic: Any, a_library: Path) -> None:
    panel.ui.libraryPathLineEdit.currentPath = str(a_library)
    assert panel.ui.demonstrationButton.text == "Use the demonstration library"
    panel.ui.demonstrationButton.click()
    assert panel.logic.getParameterNode().libraryFolder == Path()
    assert logic.runs == [], "nothing is simulated by choosing it"
