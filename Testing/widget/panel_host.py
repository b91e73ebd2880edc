"""Builds the real panel on the host: the real .ui, the real widget class, a real scene."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
for folder in (
    ROOT,
    ROOT / "Testing",
    ROOT / "PostOpPredictor",
    ROOT / "Testing" / "widget",
    ROOT / "Testing" / "mrml",
):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import numpy as np  # noqa: E402
import standins  # noqa: E402
from standins import qt_host  # noqa: E402

SEGMENTS = {1: "Necrotic core", 2: "Oedema", 3: "Enhancing tumour", 4: "Brain"}
SHAPE = (20, 24, 28)


def start_host() -> Any:
    """Install the host and return its application."""
    app = qt_host.install()
    standins.install()
    return app


def new_scene(cache: Path) -> Any:
    """An empty scene with logics, in which the module is known by its path."""
    import slicer
    from standins.mrml_scene import SceneWithLogics

    made = SceneWithLogics(cache)
    path = ROOT / "PostOpPredictor" / "PostOpPredictor.py"
    slicer.modules.postoppredictor = SimpleNamespace(path=str(path))
    return made


def add_patient(name: str = "T1ce pre-op", tumour: str = "Tumour") -> SimpleNamespace:
    """A scan and a segmentation with the segments of ``SEGMENTS``."""
    import slicer.util
    from standins.mrml_scene import add_segmentation

    values = np.zeros(SHAPE, np.float32)
    values[3:17, 3:21, 3:25] = 100
    volume = slicer.util.addVolumeFromArray(values, name=name)
    labels = np.zeros(SHAPE, np.uint8)
    for label in SEGMENTS:
        labels[4 * label : 4 * label + 3, 6:16, 6:18] = label
    return SimpleNamespace(volume=volume, tumour=add_segmentation(labels, volume, SEGMENTS, tumour))


def new_panel(logic: Any, compare_view: Any, installer: Any) -> Any:
    """The widget as Slicer makes it: constructed with a parent, then set up."""
    import qt
    import slicer
    from panel_fakes import FakeLivePreview
    from PostOpPredictorModule.Widget import PostOpPredictorWidget

    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.layout().setContentsMargins(0, 0, 0, 0)
    widget = PostOpPredictorWidget(
        parent,
        logicFactory=lambda: logic,
        compareViewFactory=compare_view.made,
        installer=installer,
        livePreviewFactory=FakeLivePreview,
    )
    widget.setup()
    parent._entered = True
    widget.enter()
    return widget
