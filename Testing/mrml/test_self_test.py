"""What "Reload and Test" runs in Slicer also runs here: the whole prediction, in the scene, with the shipped model."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from PostOpPredictorModule import SelfTest as self_test
from standins.mrml_scene import add_segmentation


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_passes(scene: Any, a_small_library: Path, caplog: pytest.LogCaptureFixture) -> None:
    test = self_test.PostOpPredictorTest()
    test.libraryFolder = a_small_library
    with caplog.at_level(logging.INFO):
        test.runTest(msec=50)
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"), "the phantom patient is still there to be looked at"


def copied(name: str, volume: Any) -> Any:
    return slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(volume).copy(), name=name)


class Logic:
    """Predicts at once: a scan with a hole, a cavity of 8 ml and one precedent; ``faults`` are what it gets wrong."""

    def __init__(self, faults: str) -> None:
        self.faults = faults
        self.made: list[Any] = []

    def predict(self, volume: Any, segmentation: Any, segments: Any, *, settings: Any) -> SimpleNamespace:
        assert segments == ("enhancing", "necrotic") and settings.libraryFolder is not None
        preop, postop = (self._volume(name, volume) for name in ("pre", "post"))
        hole = np.zeros((40, 40, 40), np.uint8)
        hole[10:30, 10:30, 10:30] = self.faults != "no cavity"
        if self.faults != "a copy":
            slicer.util.arrayFromVolume(postop)[hole > 0] = -1.0
        if self.faults != "not marked":
            postop.SetAttribute("PostOpPredictor.Synthetic", "1")
        cavity = add_segmentation(hole, postop, {1: "cavity"}, "Cavity")
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Precedents")
        table.AddColumn().SetName("IoU")
        table.AddEmptyRow()
        self.made += [preop, postop, cavity, table]
        precedents = () if self.faults == "no precedent" else (SimpleNamespace(rank=1),)
        source = preop if self.faults == "another source" else volume
        return SimpleNamespace(
            postop=postop, preop=preop, cavity=cavity, source=source, precedents=precedents, table=table
        )

    def removeResults(self) -> None:
        for node in self.made if self.faults != "something stays" else self.made[1:]:
            if node.IsA("vtkMRMLDisplayableNode") and node.GetDisplayNode() is not None:
                slicer.mrmlScene.RemoveNode(node.GetDisplayNode())
            slicer.mrmlScene.RemoveNode(node)

    def _volume(self, name: str, like: Any) -> Any:
        return slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(like).copy(), name=name)


def passes(faults: str, monkeypatch: pytest.MonkeyPatch, library: Path) -> bool:
    """Whether the self-test is content with such a logic."""

    def patient(_self: Any) -> tuple[Any, Any]:
        scan = slicer.util.addVolumeFromArray(np.ones((40, 40, 40), np.float32), name="scan")
        return scan, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Tumour")

    logic = Logic(faults)
    monkeypatch.setattr(self_test.PostOpPredictorTest, "_logic", staticmethod(lambda: logic))
    monkeypatch.setattr(self_test.PostOpPredictorTest, "_loadPatient", patient)
    test = self_test.PostOpPredictorTest()
    test.libraryFolder = library
    try:
        test.runTest(msec=50)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    "faults",
    ["none", "no cavity", "a copy", "not marked", "no precedent", "another source", "something stays"],
)
def test_it_passes_only_when_all_is_right(
    scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: str
) -> None:
    assert passes(faults, monkeypatch, tmp_path) == (faults == "none")


def test_without_the_packages_it_is_skipped_and_says_why(
    scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slicer.packaging, "pip_check", lambda one: "torch" not in str(one))
    assert passes("no cavity", monkeypatch, tmp_path), "nothing was tested"
    assert "skipped: Set-up is not complete; not installed: torch>=2.4" in caplog.text
    monkeypatch.setenv("POSTOP_SELF_TEST", "required")
    assert not passes("no cavity", monkeypatch, tmp_path)


def test_the_library_is_made_by_the_backend_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTOP_CACHE", str(tmp_path))
    monkeypatch.setattr(self_test, "LIBRARY_CASES", 1)
    from PostOpPredictorLib.cases.library import CaseLibrary

    folder = self_test.smallLibrary()
    assert tmp_path in folder.parents and len(CaseLibrary.open(folder).cases) == 1
    made = next(folder.rglob("*.nii.gz")).stat().st_mtime_ns
    assert self_test.smallLibrary() == folder and next(folder.rglob("*.nii.gz")).stat().st_mtime_ns == made
