"""The nodes of the live preview: the scan before surgery, the preview that changes, and its cavity, in MNI space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from .ImageFiles import ImageData, readImage
from .NodeBuilding import LABELMAP, filledImage, fillSegmentation, fillVolume
from .ResultAttributes import ROLE, SYNTHETIC
from .ResultNodes import removeNode
from .Terminology import cavityTerms, tumourTerms
from .WindowLevel import GreyWindow

LABELS = frozenset({"tumour", "cavity"})
LIVE_ROLE = "live-preview"
"""The role of a preview's nodes, which belong to no run; they are never saved with the scene."""


class LiveNodes:
    """``preop``, ``tumour``, and synthetic ``postop`` and ``cavity`` in ``scene``; ``remove()`` takes them out.

    ``images``: "preop", "tumour", "postop" and "cavity" of the session's first prediction, as ``readLiveImages`` gives
    them; ``window``: how the scan is shown, made of it when left out.
    """

    def __init__(
        self, scene: slicer.vtkMRMLScene, images: Mapping[str, ImageData], window: GreyWindow | None = None
    ) -> None:
        self._scene = scene
        window = window or GreyWindow.ofValues(images["preop"].array)
        self.preop = self._volume(_("Live preview: pre-op"), images["preop"], window, synthetic=False)
        self.postop = self._volume(_("Live preview (synthetic)"), images["postop"], window, synthetic=True)
        self.tumour = self._node("vtkMRMLSegmentationNode", _("Live preview: tumour"), synthetic=False)
        fillSegmentation(self.tumour, images["tumour"], tumourTerms(), self.preop)
        self.cavity = self._node("vtkMRMLSegmentationNode", _("Live preview: cavity (synthetic)"), synthetic=True)
        fillSegmentation(self.cavity, images["cavity"], cavityTerms(), self.preop)
        for node in (self.preop, self.postop, self.tumour, self.cavity):
            node.GetDisplayNode().SetSaveWithScene(False)

    @property
    def areThere(self) -> bool:
        """Whether scan and preview are still in the scene."""
        return all(node.GetScene() is self._scene for node in (self.preop, self.postop, self.cavity))

    def show(self, postop: ImageData, cavity: ImageData) -> None:
        """Put a predicted slice (one voxel thick) or a whole volume in the place of what was shown before."""
        if not self.areThere:
            return
        changes = self.postop.StartModify()
        fillVolume(self.postop, postop)
        self.postop.EndModify(changes)
        segment = self.cavity.GetSegmentation().GetSegment("cavity")
        image = filledImage(slicer.vtkOrientedImageData(), cavity.array)
        image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(cavity.ijkToRas))
        segment.AddRepresentation(LABELMAP, image)
        self.cavity.GetSegmentation().Modified()

    def remove(self) -> None:
        """Take everything out of the scene; segmentations before what displays them. May be called again."""
        for node in (self.cavity, self.tumour, self.postop, self.preop):
            if node.GetScene() is self._scene:
                removeNode(self._scene, node)

    def _volume(self, name: str, image: ImageData, window: GreyWindow, synthetic: bool) -> Any:
        node = self._node("vtkMRMLScalarVolumeNode", name, synthetic)
        node.CreateDefaultDisplayNodes()
        window.apply(node)
        fillVolume(node, image)
        return node

    def _node(self, className: str, name: str, synthetic: bool) -> Any:
        node = self._scene.CreateNodeByClass(className)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(name))
        node.SetSaveWithScene(False)
        node.SetAttribute(ROLE, LIVE_ROLE)
        node.SetAttribute(SYNTHETIC, "1" if synthetic else "0")
        self._scene.AddNode(node)
        return node


def readLiveImages(files: Mapping[str, str], names: Mapping[str, str]) -> dict[str, ImageData]:
    """Read files of the session: ``names`` maps what it is here to the session's name; may run in a thread.

    Label maps are cropped, volumes have the type that a node holds: what takes long is done here.
    """
    images = {role: readImage(Path(files[name])) for role, name in names.items()}
    return {role: image.cropped() if role in LABELS else _asFloats(image) for role, image in images.items()}


def _asFloats(image: ImageData) -> ImageData:
    return ImageData(np.ascontiguousarray(image.array, np.float32), image.ijkToRas)
