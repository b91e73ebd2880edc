"""Draws the panel in each of its states: ``python Testing/widget/render_panel.py --out DIR [state ...]``.

The panel is the real one; the logic behind it is told what to do, so that no prediction is waited for.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import panel_host

WIDTH, TALLEST = 440, 1600
LOG = "Loading the model\nAligning to MNI space\nAligned: overlap 0.968\nLooking for similar cases"


class Drawing:
    """One panel with a scene of its own."""

    def __init__(self, folder: Path, **installer: Any) -> None:
        from panel_fakes import FakeCompareView, FakeLogic, RecordingInstaller

        self.scene = panel_host.new_scene(folder)
        self.logic, self.compare = FakeLogic(), FakeCompareView()
        self.installer = RecordingInstaller(**installer)
        self.widget: Any = None

    def panel(self) -> Any:
        """Make the panel; what is in the scene then is what it begins with."""
        self.widget = panel_host.new_panel(self.logic, self.compare, self.installer)
        return self.widget

    def save(self, path: Path) -> None:
        """Draw the panel as high as it needs to be."""
        import slicer

        parent = self.widget.parent
        parent.resize(WIDTH, 640)
        parent.show()
        for _ in range(20):
            slicer.app.processEvents()
            time.sleep(0.01)
        needed = parent.layout().itemAt(0).widget().layout()
        parent.resize(WIDTH, min(max(needed.totalHeightForWidth(WIDTH), needed.sizeHint().height()) + 4, TALLEST))
        for _ in range(20):
            slicer.app.processEvents()
            time.sleep(0.01)
        # What is hidden may have asked for room below the last section.
        items = (needed.itemAt(number) for number in range(needed.count()))
        lowest = max(item.geometry().bottom() for item in items if item.spacerItem() is None and not item.isEmpty())
        parent.resize(WIDTH, min(parent.height, lowest + 12))
        parent.grab().save(str(path))
        self.widget.cleanup()
        parent.close()
        self.scene.close()


def empty(folder: Path) -> Drawing:
    """Nothing in the scene yet."""
    drawing = Drawing(folder)
    drawing.panel()
    return drawing


def ready(folder: Path) -> Drawing:
    """Scan and segmentation are chosen."""
    drawing = Drawing(folder)
    panel_host.add_patient()
    drawing.panel()
    return drawing


def set_up_missing(folder: Path) -> Drawing:
    """First use: PyTorch and packages are missing, the PyTorch extension is there."""
    drawing = Drawing(folder, torch=None, missing=("diffusers>=0.35", "segment-anything>=1.0", "nilearn>=0.11"))
    panel_host.add_patient()
    drawing.panel()
    return drawing


def set_up_blocked(folder: Path) -> Drawing:
    """First use without the PyTorch extension."""
    drawing = Drawing(folder, torch=None, extension=False, missing=("diffusers>=0.35",))
    panel_host.add_patient()
    drawing.panel()
    return drawing


def choices(folder: Path) -> Drawing:
    """The sections that are closed at first."""
    drawing = ready(folder)
    ui = drawing.widget.ui
    ui.modelCollapsibleButton.collapsed = ui.optionsCollapsibleButton.collapsed = False
    found = {"name": "Device", "state": "ok", "found": "cpu with 8 threads (no NVIDIA driver or GPU answers)"}
    drawing.widget.runs.devicePanel.show({"findings": [found]})
    return drawing


def running(folder: Path) -> Drawing:
    """In the middle of a prediction, with the log open."""
    drawing = ready(folder)
    ui = drawing.widget.ui
    ui.predictButton.click()
    callbacks = drawing.logic.runs[-1].callbacks
    ui.logCollapsibleButton.collapsed = False
    callbacks.log(LOG)
    callbacks.stage("Predicting the structure of the outcome")
    callbacks.progress(14, 37, 11.3)
    return drawing


def done(folder: Path) -> Drawing:
    """A prediction with three precedents, compared; the numbers are made up."""
    import slicer
    from panel_fakes import fake_result

    drawing = ready(folder)
    drawing.widget.ui.predictButton.click()
    result = fake_result()
    result.report = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    drawing.logic.inScene.append(result)
    drawing.logic.runs[-1].finish(result)
    drawing.widget.ui.compareButton.click()
    drawing.widget.ui.revealSlider.value = 30
    return drawing


def done_with(prediction: Path) -> Callable[[Path], Drawing]:
    """The state "done" with the figures and precedents of a folder that `postop predict` wrote."""

    def figures_of_a_real_run(folder: Path) -> Drawing:
        from panel_fakes import fake_result

        drawing = ready(folder)
        drawing.widget.ui.predictButton.click()
        summary = json.loads((prediction / "provenance.json").read_text(encoding="utf-8"))["result"]
        found = json.loads((prediction / "precedents.json").read_text(encoding="utf-8"))["precedents"]
        result = fake_result(**summary)
        result.precedents = tuple(SimpleNamespace(rank=e["rank"], iou=e["iou"], attributes=e) for e in found)
        drawing.logic.inScene.append(result)
        drawing.logic.runs[-1].finish(result)
        drawing.widget.ui.compareButton.click()
        return drawing

    return figures_of_a_real_run


def how_sure_and_why(folder: Path) -> Drawing:
    """A prediction with everything that was asked for, all of its sections open; the numbers are made up."""
    from written_result import written_result

    drawing = ready(folder)
    ui = drawing.widget.ui
    ui.inputsCollapsibleButton.collapsed = True
    ui.predictButton.click()
    result = written_result(folder / "written").added(drawing.widget.logic.getParameterNode().inputVolume)
    drawing.logic.inScene.append(result)
    drawing.logic.runs[-1].finish(result)
    ui.howSureCollapsibleButton.collapsed = False
    ui.mapComboBox.currentIndex = 1
    return drawing


def what_if(folder: Path) -> Drawing:
    """Plans and days that are asked for, the live preview, and what came out for two plans and some days."""
    from written_result import written_result

    drawing = ready(folder)
    ui = drawing.widget.ui
    for section in ("inputs", "results", "why", "howSure"):
        getattr(ui, f"{section}CollapsibleButton").collapsed = True
    for section in ("whatIf", "time"):
        getattr(ui, f"{section}CollapsibleButton").collapsed = False
    for margin in (0, 6):
        ui.addPlanButton.click()
        ui.marginSlider.value = margin
    _tick(ui.structuresTable, 3, 1)
    _tick(ui.structuresTable, 3, 2)
    ui.usualDaysButton.click()
    ui.livePreviewButton.click()
    figures = {"plan_ml": 41.2, "resected_ml": 30.1, "residual_ml": 1.3, "eor_percent": 96.0}
    said = "This slice in 0.3 s; the whole brain follows ..."
    drawing.widget.livePreview.tell(said, isReady=True, readOut=figures)
    ui.predictButton.click()
    result = written_result(folder / "written", **_PLANS).added(drawing.widget.logic.getParameterNode().inputVolume)
    drawing.logic.inScene.append(result)
    drawing.logic.runs[-1].finish(result)
    for section in ("results", "why", "howSure"):
        getattr(ui, f"{section}CollapsibleButton").collapsed = True
    return drawing


_READ_OUT = {
    "resected_ml": 28.0,
    "residual_ml": 3.4,
    "residual_enhancing_ml": 0.4,
    "residual_non_enhancing_ml": 3.0,
    "eor_percent": 89.2,
    "rano_class": "3",
    "cavity_ml": 29.1,
    "healthy_taken_ml": 1.5,
    "structures": [{"name": "Motor tract", "distance_mm": 6.2, "overlap_ml": 0.0}],
    "eloquent": [{"region": "Precentral gyrus L", "overlap_ml": 0.6, "percent_of_region": 4.1, "distance_mm": 0.0}],
}
_WIDE = {
    **_READ_OUT,
    "residual_ml": 0.2,
    "eor_percent": 99.4,
    "rano_class": "1",
    "cavity_ml": 41.0,
    "healthy_taken_ml": 11.9,
}
_PLANS = {
    "plans": [
        {"number": 1, "name": "Plan 1", "description": "the tumour core", "read_out": _READ_OUT, "warnings": []},
        {
            "number": 2,
            "name": "Plan 2",
            "description": "the tumour core and 3 mm around it",
            "read_out": _WIDE,
            "warnings": ["The plan takes 11.9 ml beyond the tumour."],
        },
    ]
}


def _tick(table: Any, row: int, column: int) -> None:
    import qt

    table.item(row, column).setCheckState(qt.Qt.Checked)


def weak_case(folder: Path) -> Drawing:
    """A prediction after a case that is hardly similar, chosen by hand, without maps."""
    from written_result import plain_result

    drawing = ready(folder)
    ui = drawing.widget.ui
    ui.inputsCollapsibleButton.collapsed = True
    ui.predictButton.click()
    sentence = "The most similar case overlaps by 0.06 only: below 0.15 predictions were no better than without a case."
    similarity = {"iou": 0.06, "level": "weak", "sentence": sentence}
    result = plain_result(folder / "written", similarity=similarity, precedent_iou=0.06).added()
    drawing.logic.inScene.append(result)
    drawing.logic.runs[-1].finish(result)
    parameters = drawing.widget.logic.getParameterNode()
    parameters.followedCase, parameters.excludedCases = "case-0002", ["case-0017"]
    ui.howSureCollapsibleButton.collapsed = False
    return drawing


def no_similar_case(folder: Path) -> Drawing:
    """A prediction without a precedent."""
    from panel_fakes import fake_result

    drawing = ready(folder)
    drawing.widget.ui.predictButton.click()
    result = fake_result(precedents=0, no_similar_case=True, precedent_iou=None)
    drawing.logic.inScene.append(result)
    drawing.logic.runs[-1].finish(result)
    return drawing


def out_of_memory(folder: Path) -> Drawing:
    """An error with proposals."""
    from PostOpPredictorModule.Errors import errorFromBackend
    from PostOpPredictorModule.ParameterNode import Mode

    drawing = ready(folder)
    drawing.widget.logic.getParameterNode().mode = Mode.AVERAGE
    drawing.widget.ui.predictButton.click()
    _inputs, settings = drawing.logic.starts[-1]
    log = [*LOG.splitlines(), "CUDA out of memory. Tried to allocate 2.31 GiB."]
    drawing.logic.runs[-1].fail(errorFromBackend("oom", "", log, settings))
    return drawing


def error(folder: Path) -> Drawing:
    """An error about the input."""
    from PostOpPredictorModule.Errors import errorFromBackend

    drawing = ready(folder)
    drawing.widget.ui.predictButton.click()
    sentence = "The scan could not be aligned to MNI space (overlap 0.41). Check that it shows a whole head."
    drawing.logic.runs[-1].fail(errorFromBackend("registration_failed", sentence, LOG.splitlines()))
    return drawing


STATES: dict[str, Callable[[Path], Drawing]] = {
    made.__name__: made
    for made in (
        empty,
        ready,
        set_up_missing,
        set_up_blocked,
        choices,
        running,
        done,
        how_sure_and_why,
        what_if,
        weak_case,
        no_similar_case,
        out_of_memory,
        error,
    )
}


def render(out: Path, names: list[str] | None = None) -> list[Path]:
    """Draw the named states (all without names) as PNG files in ``out``."""
    panel_host.start_host()
    out.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name in names or STATES:
        with tempfile.TemporaryDirectory(prefix="postop-panel-") as folder:
            pictures.append(out / f"panel_{name}.png")
            STATES[name](Path(folder)).save(pictures[-1])
    return pictures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("states", nargs="*", choices=[*STATES, []], help="all when left out")
    parser.add_argument("--prediction", type=Path, help="show the figures of this folder in the state 'done'")
    chosen = parser.parse_args()
    if chosen.prediction is not None:
        STATES["done"] = done_with(chosen.prediction)
    reason = panel_host.qt_host.reason_unavailable()
    if reason:
        sys.exit(reason)
    os.environ.setdefault("POSTOP_CACHE", tempfile.mkdtemp(prefix="postop-panel-cache-"))
    for picture in render(chosen.out, chosen.states):
        print(picture)


if __name__ == "__main__":
    main()
