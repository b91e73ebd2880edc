"""A prediction folder, as ``postop predict`` writes it, as nodes for the compare view."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
from finished_prediction import through
from PostOpPredictorModule.ResultFiles import readResult
from PostOpPredictorModule.ResultImport import ResultImport
from PostOpPredictorModule.ResultNodes import PrecedentNodes, PredictionNodes
from standins.mrml_scene import add_segmentation, read_node

from PostOpPredictorLib.prediction.outcome_volume import CAVITY_LABELS, CORE_LABELS

TUMOUR_COLOUR = (0.95, 0.2, 0.2)
CAVITY_COLOUR = (0.2, 0.85, 0.95)


def prediction_nodes(folder: Path) -> PredictionNodes:
    """Read ``folder`` into ``slicer.mrmlScene``; what the compare view does not show is None."""
    preop = _volume(folder, "preop_space-MNI")
    postop = _volume(folder, "postop_space-MNI")
    postop.SetName(f"{postop.GetName()} (synthetic)")
    found = json.loads((folder / "precedents.json").read_text(encoding="utf-8"))["precedents"]
    return prediction_of(
        preop=preop,
        postop=postop,
        tumour=_outlined(folder / _name(folder, "tumour_mask"), CORE_LABELS, "Tumour", TUMOUR_COLOUR),
        cavity=_outlined(folder / _name(folder, "cavity_mask_space-MNI"), (1,), "Predicted cavity", CAVITY_COLOUR),
        precedents=tuple(_precedent(entry) for entry in found),
    )


def added_result(lines: Path) -> PredictionNodes:
    """Add what a job printed (JSON lines, the last of them its result) to ``slicer.mrmlScene`` as the module does."""
    message = json.loads(lines.read_text(encoding="utf-8").splitlines()[-1])
    return through(ResultImport(slicer.mrmlScene, readResult(message), "run-1", None, None).steps())


def prediction_of(**shown: Any) -> PredictionNodes:
    """A prediction of the nodes given, without any others."""
    everything: dict[str, Any] = {field.name: None for field in dataclasses.fields(PredictionNodes)}
    return PredictionNodes(
        **everything | {"runId": "", "summary": {}, "warnings": (), "provenance": {}, "plans": (), "more": ()} | shown
    )


def outlined(volume: Any, mask: np.ndarray, name: str, colour: tuple[float, float, float]) -> Any:
    """A hidden segmentation of one segment: ``mask`` (k, j, i) on the grid of ``volume``."""
    node = add_segmentation(mask.astype(np.uint8), volume, {1: name}, name)
    node.GetSegmentation().GetNthSegment(0).SetColor(*colour)
    node.GetDisplayNode().SetVisibility(False)
    return node


def _precedent(entry: dict[str, Any]) -> PrecedentNodes:
    files = {name: Path(path) for name, path in entry["files"].items()}
    rank = entry["rank"]
    return PrecedentNodes(
        rank=rank,
        iou=entry["iou"],
        pre=read_node(files["pre"], name=f"Precedent {rank} before"),
        post=read_node(files["post"], name=f"Precedent {rank} after"),
        tumour=_outlined(files["tumour"], CORE_LABELS, f"Precedent {rank} tumour", TUMOUR_COLOUR),
        cavity=_outlined(files["outcome"], CAVITY_LABELS, f"Precedent {rank} cavity", CAVITY_COLOUR),
        attributes={name: value for name, value in entry.items() if name not in ("files", "relative_files")},
    )


def _outlined(path: Path, labels: Sequence[int], name: str, colour: tuple[float, float, float]) -> Any:
    labelmap = read_node(path, "vtkMRMLLabelMapVolumeNode", name="labels")
    node = outlined(labelmap, np.isin(slicer.util.arrayFromVolume(labelmap), labels), name, colour)
    slicer.mrmlScene.RemoveNode(labelmap)
    return node


def _name(folder: Path, start: str) -> str:
    (path,) = folder.glob(f"{start}*.nii.gz")
    return path.name


def _volume(folder: Path, start: str) -> Any:
    return read_node(folder / _name(folder, start))
