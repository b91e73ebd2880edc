"""Puts a prediction into the scene, step by step, so that the application stays usable; whole or not at all."""

from __future__ import annotations

import datetime
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from .NodeBuilding import fillSegmentation, fillVolume
from .PrecedentsTable import fillPrecedentsTable
from .ResultAttributes import RUN_ID, SOURCE, isSimulated, markNode
from .ResultFiles import ImageData, PrecedentFiles, ResultFiles
from .ResultNodes import PredictionNodes, nodesOfRun, removeRun
from .Terminology import cavityTerms, outcomeTerms, tumourTerms
from .WindowLevel import GreyWindow

PROBABILITY_COLOURS = "vtkMRMLColorTableNodeIron"
LEAST_SHOWN_PROBABILITY = 0.1
PRIVATE_FIELDS = ("files", "relative_files")
"""Paths of the library; they have no place in a scene that may be handed on."""


@dataclass
class ResultImport:
    """Adds one prediction to ``scene``. ``source``: the input volume or None; ``window``: how that is shown.

    ``steps()`` adds a node or two at a time and returns the ``PredictionNodes``; however it ends otherwise (an error,
    ``close()``), nothing of it stays in the scene.
    """

    scene: slicer.vtkMRMLScene
    files: ResultFiles
    runId: str
    source: slicer.vtkMRMLScalarVolumeNode | None
    window: GreyWindow | None
    warnings: Sequence[str] = ()
    _record: dict[str, Any] = field(init=False)
    _item: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        added = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        self._record = {**self.files.provenance, "added": added, "warnings": list(self.warnings)}

    def steps(self) -> Generator[None, None, PredictionNodes]:
        """Add the nodes; ends with them as its value."""
        try:
            yield from self._added()
            nodes = nodesOfRun(self.scene, self.runId)
            if nodes is None:
                raise RuntimeError("the predicted volume left the scene while the result was added")
            return nodes
        except BaseException:
            removeRun(self.scene, self.runId)
            raise

    def _added(self) -> Generator[None, None, None]:
        self._item = self._folder(_("Predicted post-op (synthetic)"), self._parentItem())
        images = self.files.images
        window = self.window or self.files.grey
        preop = self._volume("preop", _("Pre-op in MNI space"), images["preop"], window)
        yield
        self._volume("postop", _("Predicted post-op (synthetic)"), images["postop"], window)
        yield
        self._probability("cavityProbability", _("Cavity probability (synthetic)"), images["cavityProbability"])
        yield
        if "uncertainty" in images:
            self._volume("uncertainty", _("Uncertainty (synthetic)"), images["uncertainty"], None)
            yield
        for role, name, terms in (
            ("tumour", _("Tumour in MNI space"), tumourTerms()),
            ("cavity", _("Predicted cavity (synthetic)"), cavityTerms()),
            ("outcome", _("Predicted outcome (synthetic)"), outcomeTerms()),
        ):
            node = self._node("vtkMRMLSegmentationNode", role, name)
            fillSegmentation(node, images[role], terms, preop)
            yield
        self._transforms()
        self._table()
        yield
        for precedent in self.files.precedents:
            yield from self._precedent(precedent, window)

    def _parentItem(self) -> int:
        hierarchy = self._hierarchy()
        item = hierarchy.GetItemByDataNode(self.source) if self.source is not None else 0
        return (hierarchy.GetItemParent(item) if item else 0) or hierarchy.GetSceneItemID()

    def _hierarchy(self) -> slicer.vtkMRMLSubjectHierarchyNode:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)

    def _folder(self, name: str, parent: int) -> int:
        hierarchy = self._hierarchy()
        item = hierarchy.CreateFolderItem(parent, name)
        hierarchy.SetItemAttribute(item, RUN_ID, self.runId)
        return item

    def _node(
        self,
        className: str,
        role: str,
        name: str,
        record: Mapping[str, Any] | None = None,
        rank: int | None = None,
        item: int | None = None,
    ) -> slicer.vtkMRMLNode:
        """A new node, marked before anything else happens to it, so that it is found again if something fails."""
        record = self._record if record is None else record
        if isSimulated(role, record):
            name = _("{name} (simulated)").format(name=name)
        node = self.scene.CreateNodeByClass(className)
        node.UnRegister(None)
        node.SetName(self.scene.GenerateUniqueName(name))
        markNode(node, role, self.runId, record, rank)
        self.scene.AddNode(node)
        if self.source is not None:
            node.SetNodeReferenceID(SOURCE, self.source.GetID())
        hierarchy = self._hierarchy()
        own = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(item or self._item, node)
        hierarchy.SetItemParent(own, item or self._item)
        return node

    def _volume(
        self, role: str, name: str, image: ImageData, window: GreyWindow | None, **where: Any
    ) -> slicer.vtkMRMLScalarVolumeNode:
        node = self._node("vtkMRMLScalarVolumeNode", role, name, **where)
        # The window before the voxels: with an automatic one a histogram of all of them would be made first.
        node.CreateDefaultDisplayNodes()
        if window is not None:
            window.apply(node)
        fillVolume(node, image)
        return node

    def _probability(self, role: str, name: str, image: ImageData) -> None:
        display = self._volume(role, name, image, GreyWindow(0.0, 1.0)).GetDisplayNode()
        display.SetAndObserveColorNodeID(PROBABILITY_COLOURS)
        display.SetAutoThreshold(False)
        display.SetThreshold(LEAST_SHOWN_PROBABILITY, 1.0)
        display.SetApplyThreshold(True)

    def _transforms(self) -> None:
        matrix = self.files.patientToMni
        for role, name, values in (
            ("patientToMni", _("Patient to MNI"), matrix),
            ("mniToPatient", _("MNI to patient"), np.linalg.inv(matrix)),
        ):
            node = self._node("vtkMRMLLinearTransformNode", role, name)
            node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(values))

    def _table(self) -> None:
        records = [precedent.record for precedent in self.files.precedents]
        fillPrecedentsTable(self._node("vtkMRMLTableNode", "table", _("Precedents")), records)

    def _precedent(self, precedent: PrecedentFiles, window: GreyWindow) -> Generator[None, None, None]:
        record = {name: value for name, value in precedent.record.items() if name not in PRIVATE_FIELDS}
        rank = int(record["rank"])
        item = self._folder(_("Precedent {rank} (IoU {iou:.2f})").format(rank=rank, iou=record["iou"]), self._item)
        where: dict[str, Any] = {"record": record, "rank": rank, "item": item}
        images, window = precedent.images, window.carriedOver(self.files.grey, precedent.grey)
        name = _("Precedent {rank} pre-op").format(rank=rank)
        pre = self._volume("precedent-pre", name, images["pre"], window, **where)
        yield
        name = _("Precedent {rank} post-op").format(rank=rank)
        self._volume("precedent-post", name, images["post"], window, **where)
        yield
        for role, name, labels, terms in (
            ("precedent-tumour", _("Precedent {rank} tumour"), images["tumour"], tumourTerms()),
            ("precedent-cavity", _("Precedent {rank} cavity"), images["cavity"], cavityTerms()),
        ):
            node = self._node("vtkMRMLSegmentationNode", role, name.format(rank=rank), **where)
            fillSegmentation(node, labels, terms, pre)
            yield
