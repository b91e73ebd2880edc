"""A prediction in the scene, written as the folder that ``postop predict`` leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from phantom_prediction import CAVITY_RADIUS, TUMOUR_AT, TUMOUR_RADIUS, ball
from PostOpPredictorModule.ResultNodes import PrecedentNodes, PredictionNodes


def write_prediction_folder(folder: Path, prediction: PredictionNodes) -> Path:
    """Write scans, masks and precedents.json of a ``phantom_prediction`` to the new ``folder``."""
    folder.mkdir()
    space = "space-MNI152NLin2009aSym"
    _write(prediction.preop, folder / f"preop_{space}_T1w.nii.gz")
    _write(prediction.postop, folder / f"postop_{space}_T1w.nii.gz")
    _write_mask(prediction.preop, TUMOUR_RADIUS, folder / f"tumour_mask_{space}.nii.gz")
    _write_mask(prediction.preop, CAVITY_RADIUS, folder / f"cavity_mask_{space}.nii.gz")
    precedents = [_write_precedent(folder, one) for one in prediction.precedents]
    (folder / "precedents.json").write_text(json.dumps({"precedents": precedents}), encoding="utf-8")
    return folder


def _write_precedent(folder: Path, precedent: PrecedentNodes) -> dict[str, Any]:
    files = {
        name: folder / f"precedent-{precedent.rank}_{name}.nii.gz" for name in ("pre", "post", "tumour", "outcome")
    }
    _write(precedent.pre, files["pre"])
    _write(precedent.post, files["post"])
    _write_mask(precedent.pre, TUMOUR_RADIUS, files["tumour"])
    _write_mask(precedent.pre, CAVITY_RADIUS, files["outcome"])
    paths = {name: str(path) for name, path in files.items()}
    return {"rank": precedent.rank, "iou": precedent.iou, "files": paths, "eor_percent": 97.0}


def _write_mask(like: Any, radius: float, path: Path) -> None:
    mask = slicer.vtkSlicerVolumesLogic.CloneVolume(slicer.mrmlScene, like, "mask")
    slicer.util.updateVolumeFromArray(mask, ball(TUMOUR_AT, radius).astype("uint8"))
    _write(mask, path)
    slicer.mrmlScene.RemoveNode(mask)


def _write(volume: Any, path: Path) -> None:
    storage = slicer.mrmlScene.CreateNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.UnRegister(None)
    storage.SetFileName(str(path))
    assert storage.WriteData(volume), f"{path} could not be written"
