"""One whole prediction from the panel: the real logic, the real backend process, the shipped model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import panel_host
import pytest
from main_thread import longest_gaps_ms

PATIENT = """
import sys
from pathlib import Path
import SimpleITK as sitk
import prediction_bench

folder = Path(sys.argv[1])
prediction_bench.small_library(folder / "library")
for name, image in zip(("scan", "tumour"), prediction_bench.template_patient()):
    sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan, labels of its tumour, and a library of a few cases; made in a process that knows nothing of MRML."""
    folder = tmp_path_factory.mktemp("patient")
    path = os.pathsep.join([str(panel_host.ROOT), str(panel_host.ROOT / "Testing" / "backend")])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", PATIENT, str(folder)], check=True, env=environment, timeout=200)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_prediction_from_the_panel(scene: Any, files: Path, compare_view: Any, installer: Any, capsys: Any) -> None:
    import slicer
    from PostOpPredictorModule.Logic import PostOpPredictorLogic
    from standins.mrml_scene import read_node

    read_node(files / "scan.nii.gz", name="T1ce pre-op")
    tumour = read_node(files / "tumour.nii.gz", "vtkMRMLLabelMapVolumeNode", name="Tumour labels")
    before = {node.GetID() for node in slicer.util.getNodes("*", useLists=False).values() if node.GetSaveWithScene()}
    widget = panel_host.new_panel(PostOpPredictorLogic(), compare_view, installer)
    ui = widget.ui
    try:
        ui.tumourSelector.setCurrentNode(tumour)
        ui.libraryPathLineEdit.currentPath = str(files / "library")
        assert ui.predictButton.enabled, ui.predictButton.toolTip
        ui.predictButton.click()
        stages = set()

        def is_over() -> bool:
            stages.add(ui.stageLabel.text.partition("\n")[0])
            isIdle = widget.runs.runPanel.state == "idle"
            return isIdle and (widget.resultsPanel.nodes is None or not ui.overlapPicture.pixmap.isNull())

        clock, own = longest_gaps_ms(is_over, seconds=500)
        assert own < 50, "the panel was not usable"
        assert widget.resultsPanel.nodes is not None, ui.messageLabel.text + widget.runs.runPanel.logText()
        assert len(stages) > 4, stages
        assert float(ui.cavityValue.text.removesuffix(" ml")) > 1
        assert float(ui.similarityValue.text) > 0.05
        assert ui.precedentsTable.rowCount >= 1
        assert widget.resultsPanel.nodes.postop.GetAttribute("PostOpPredictor.Synthetic") == "1"
        assert ui.volumeSelector.currentNode().GetName() == "T1ce pre-op"
        ui.resultSpaceComboBox.currentIndex = 1
        assert widget.resultsPanel.nodes.postop.GetParentTransformNode() is not None
        ui.resultSpaceComboBox.currentIndex = 0
        with capsys.disabled():
            print(f" [longest gap of the main thread: {clock:.0f} ms, its own work {own:.0f} ms]", end="")
        ui.removeResultsButton.click()
        assert not ui.resultsCollapsibleButton.visible
    finally:
        widget.cleanup()
    nodes = slicer.util.getNodes("*", useLists=False).values()
    left = {node.GetID(): node.GetName() for node in nodes if node.GetSaveWithScene() and node.GetID() not in before}
    parameterNodes = [name for name in left.values() if name.startswith("PostOpPredictor")]
    assert len(left) == len(parameterNodes), left


@pytest.mark.slow
def test_examination_from_the_panel(
    patient: Any, compare_view: Any, installer: Any, wait_until: Callable[..., None]
) -> None:
    from PostOpPredictorModule.Logic import PostOpPredictorLogic

    widget = panel_host.new_panel(PostOpPredictorLogic(), compare_view, installer)
    try:
        widget.ui.examineButton.click()
        wait_until(lambda: widget.runs.devicePanel.found, seconds=120)
        assert widget.ui.deviceFoundLabel.text.startswith("Found: c")
    finally:
        widget.cleanup()
