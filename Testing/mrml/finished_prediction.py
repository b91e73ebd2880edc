"""A prediction that the real backend made once, as files; and the patient's nodes that it belongs to."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from PostOpPredictorModule.ResultFiles import ResultFiles, readResult
from PostOpPredictorModule.ResultImport import ResultImport
from PostOpPredictorModule.ResultNodes import PredictionNodes
from PostOpPredictorModule.WindowLevel import GreyWindow
from standins.mrml_scene import add_segmentation, ijk_to_ras, read_node

CORE = ("core", "enhancing")
"""The segments of the patient that together are the tumour core."""
SECONDS = 600
PATIENT_SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import SimpleITK as sitk
import prediction_bench

folder = Path(sys.argv[1])
prediction_bench.small_library(folder / "library")
turned = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.10, -0.07, 0.12, (6.0, -18.0, 11.0))
rotation = np.reshape(turned.GetMatrix(), (3, 3))
for name, image in zip(("scan", "tumour"), prediction_bench.template_patient()):
    image.SetDirection((rotation @ np.reshape(image.GetDirection(), (3, 3))).ravel().tolist())
    image.SetOrigin(turned.TransformPoint(image.GetOrigin()))
    sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
"""
"""The MNI template with a ball of tumour (1 in 4 in 2), coarse and turned in space, and a library of three cases of
which two are similar."""


Maker = Callable[[str, Callable[[Path], object]], Path]


@dataclass
class FinishedPrediction:
    """Files of a patient, of a library, and the result line of the real backend for them."""

    folder: Path

    @property
    def scan(self) -> Path:
        return self.folder / "scan.nii.gz"

    @property
    def labels(self) -> Path:
        return self.folder / "tumour.nii.gz"

    @property
    def library(self) -> Path:
        return self.folder / "library"

    @property
    def message(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "result.json").read_text(encoding="utf-8")))

    @functools.cached_property
    def files(self) -> ResultFiles:
        return readResult(self.message)


@functools.cache
def _at(folder: Path) -> FinishedPrediction:
    # One object for all test files, so that its images are read once.
    return FinishedPrediction(folder)


def finished_prediction(made_once: Maker) -> FinishedPrediction:
    """Made once in a session; takes half a minute."""
    return _at(made_once("module-prediction", _make))


def _make(folder: Path) -> None:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "Testing" / "backend")])}
    subprocess.run([sys.executable, "-c", PATIENT_SCRIPT, str(folder)], check=True, timeout=SECONDS, env=environment)
    options = {"pre": "scan.nii.gz", "tumour": "tumour.nii.gz", "labels": "1,4", "library": "library", "out": "made"}
    job = {"schema": 1, "command": "predict", "options": options}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [sys.executable, "-m", "PostOpPredictorLib", "run", str(folder / "job.json")]
    answer = subprocess.run(command, capture_output=True, timeout=SECONDS, env=environment, check=False)
    last = answer.stdout.decode("utf-8").splitlines()[-1]
    assert json.loads(last)["type"] == "result", last
    (folder / "result.json").write_text(last, encoding="utf-8")


def load_patient(prediction: FinishedPrediction) -> tuple[Any, Any]:
    """The patient's scan and the segmentation of the tumour, in the scene and in one study."""
    volume = read_node(prediction.scan, name="T1 DOE^JANE")
    labelmap = read_node(prediction.labels, "vtkMRMLLabelMapVolumeNode", name="labels")
    array = slicer.util.arrayFromVolume(labelmap).copy()
    for node in (labelmap.GetDisplayNode(), labelmap):
        slicer.mrmlScene.RemoveNode(node)
    tumour = add_segmentation(array.astype(np.uint8), volume, {1: "core", 2: "oedema", 4: "enhancing"})
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "DOE^JANE")
    study = hierarchy.CreateStudyItem(subject, "MRI before surgery")
    for node in (volume, tumour):
        hierarchy.CreateItem(study, node)
    return volume, tumour


def add_result(prediction: FinishedPrediction, source: Any = None, run: str = "run-1", **more: Any) -> PredictionNodes:
    """Add the finished prediction to the scene."""
    return through(import_of(prediction, source, run, **more).steps())


def import_of(prediction: FinishedPrediction, source: Any = None, run: str = "run-1", **more: Any) -> ResultImport:
    """What adds it, not yet begun."""
    return ResultImport(slicer.mrmlScene, prediction.files, run, source, GreyWindow.ofNode(source), **more)


def through(steps: Any) -> Any:
    """Run a generator to its end and return its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def centroid(segmentation: Any, segments: tuple[str, ...], reference: Any) -> np.ndarray:
    """Centre of mass of segments, RAS mm in the coordinates of ``reference`` (its own, without a parent transform)."""
    before = node_ids()
    marked = [slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, one, reference) > 0 for one in segments]
    # Slicer's function leaves a colour table behind.
    for left in node_ids() - before:
        slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetNodeByID(left))
    middle = np.argwhere(np.any(marked, axis=0)).mean(axis=0)
    return (ijk_to_ras(reference) @ [*middle[::-1], 1.0])[:3]


def node_ids() -> set[str]:
    """All nodes of the scene."""
    scene = slicer.mrmlScene
    return {scene.GetNthNode(number).GetID() for number in range(scene.GetNumberOfNodes())}


def hierarchy_tree() -> Any:
    """The subject hierarchy as nested lists of names."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)

    def below(item: int) -> list[Any]:
        children = vtk.vtkIdList()
        hierarchy.GetItemChildren(item, children, False)
        ids = [children.GetId(number) for number in range(children.GetNumberOfIds())]
        return [[hierarchy.GetItemName(one), below(one)] for one in ids]

    return below(hierarchy.GetSceneItemID())
