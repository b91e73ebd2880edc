"""Puts a prediction into the scene, step by step, so that the application stays usable; whole or not at all."""

from __future__ import annotations

import datetime
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from .ImageFiles import ImageData
from .MapLooks import mapLooks
from .NodeAdder import NodeAdder
from .NodeBuilding import fillingImage, placeDisplacement
from .PlansTable import fillPlansTable, planFigures
from .PrecedentsTable import fillPrecedentsTable
from .ResultAttributes import INFLUENCE_ROLE, PLANS_TABLE_ROLE
from .ResultFiles import MAPS, PlanFiles, PrecedentFiles, ResultFiles
from .ResultNodes import PredictionNodes, nodesOfRun, removeRun
from .SeriesNodes import addSeries
from .Terminology import cavityTerms, outcomeTerms, planTerms, residualTerms, tumourTerms
from .WindowLevel import GreyWindow

PROBABILITY_COLOURS = "vtkMRMLColorTableNodeIron"
LEAST_SHOWN_PROBABILITY = 0.1
PRIVATE_FIELDS = ("files", "relative_files")
"""Paths; they have no place in a scene that may be handed on."""
Steps = Generator[None, None, None]


@dataclass
class ResultImport:
    """Adds one prediction to ``scene``. ``source``: the input volume or None; ``window``: how that is shown.

    ``steps()`` works a few milliseconds at a time and returns the ``PredictionNodes``; however it ends otherwise (an
    error, ``close()``), nothing of it stays in the scene.
    """

    scene: slicer.vtkMRMLScene
    files: ResultFiles
    runId: str
    source: slicer.vtkMRMLScalarVolumeNode | None
    window: GreyWindow | None
    warnings: Sequence[str] = ()
    _add: NodeAdder = field(init=False)

    def __post_init__(self) -> None:
        added = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        record = {**self.files.provenance, "added": added, "warnings": list(self.warnings)}
        self._add = NodeAdder(self.scene, self.runId, record, self.source)

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

    def _added(self) -> Steps:
        self._add.begin(_("Predicted post-op (synthetic)"))
        images, add = self.files.images, self._add
        window = self.window or self.files.grey
        preop = yield from add.volume("preop", _("Pre-op in MNI space"), images["preop"], window)
        yield
        yield from add.volume("postop", _("Predicted post-op (synthetic)"), images["postop"], window)
        yield
        yield from self._cavityProbability(images["cavityProbability"])
        yield
        for role, name, terms in (
            ("tumour", _("Tumour in MNI space"), tumourTerms()),
            ("cavity", _("Predicted cavity (synthetic)"), cavityTerms()),
            ("outcome", _("Predicted outcome (synthetic)"), outcomeTerms()),
        ):
            add.segmentation(role, name, images[role], terms, preop)
            yield
        yield from self._transforms()
        self._table()
        yield
        yield from self._maps()
        for precedent in self.files.precedents:
            yield from self._precedent(precedent, window)
        for plan in self.files.plans:
            yield from self._plan(plan, window)
        figures = planFigures(self.files.provenance.get("result") or {})
        if figures:
            fillPlansTable(add.node("vtkMRMLTableNode", PLANS_TABLE_ROLE, _("Plans (predicted)")), figures)
            yield
        if self.files.series:
            yield from addSeries(self.files.series, add.node, preop, window)
        yield from self._more()

    def _cavityProbability(self, image: ImageData) -> Steps:
        name = _("Cavity probability (synthetic)")
        volume = yield from self._add.volume("cavityProbability", name, image, GreyWindow(0.0, 1.0))
        display = volume.GetDisplayNode()
        display.SetAndObserveColorNodeID(PROBABILITY_COLOURS)
        display.SetAutoThreshold(False)
        display.SetThreshold(LEAST_SHOWN_PROBABILITY, 1.0)
        display.SetApplyThreshold(True)

    def _transforms(self) -> Steps:
        matrix = self.files.patientToMni
        for role, name, values in (
            ("patientToMni", _("Patient to MNI"), matrix),
            ("mniToPatient", _("MNI to patient"), np.linalg.inv(matrix)),
        ):
            node = self._add.node("vtkMRMLLinearTransformNode", role, name)
            node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(values))
        if self.files.shift is not None:
            grid = yield from fillingImage(vtk.vtkImageData(), self.files.shift.array)
            node = self._add.node("vtkMRMLGridTransformNode", "shift", _("Predicted tissue shift (synthetic)"))
            placeDisplacement(node, self.files.shift, grid)

    def _table(self) -> None:
        records = [precedent.record for precedent in self.files.precedents]
        fillPrecedentsTable(self._add.node("vtkMRMLTableNode", "table", _("Precedents")), records)
        if self.files.report:
            report = self._add.node("vtkMRMLTextNode", "report", _("Report (synthetic)"))
            report.SetText(self.files.report)

    def _maps(self) -> Steps:
        looks = mapLooks()
        for role in MAPS:
            if role in self.files.images:
                yield from self._add.map(role, looks[role], self.files.images[role], self.files.ranges[role])
                yield

    def _precedent(self, precedent: PrecedentFiles, window: GreyWindow) -> Steps:
        record = _shownOf(precedent.record)
        rank = int(record["rank"])
        item = self._add.folder(_("Precedent {rank} (IoU {iou:.2f})").format(rank=rank, iou=record["iou"]))
        where: dict[str, Any] = {"record": record, "rank": rank, "item": item}
        images, window = precedent.images, window.carriedOver(self.files.grey, precedent.grey)
        name = _("Precedent {rank} pre-op").format(rank=rank)
        pre = yield from self._add.volume("precedent-pre", name, images["pre"], window, **where)
        yield
        name = _("Precedent {rank} post-op").format(rank=rank)
        yield from self._add.volume("precedent-post", name, images["post"], window, **where)
        yield
        for role, name, labels, terms in (
            ("precedent-tumour", _("Precedent {rank} tumour"), images["tumour"], tumourTerms()),
            ("precedent-cavity", _("Precedent {rank} cavity"), images["cavity"], cavityTerms()),
        ):
            self._add.segmentation(role, name.format(rank=rank), labels, terms, pre, **where)
            yield
        if precedent.influence is not None:
            ends = self.files.ranges["influence"]
            yield from self._add.map(INFLUENCE_ROLE, mapLooks()["influence"], precedent.influence, ends, **where)
            yield

    def _plan(self, plan: PlanFiles, window: GreyWindow) -> Steps:
        named = plan.record.get("name") or _("Plan {number}").format(number=plan.number)
        item = self._add.folder(_("Plan {number}: {name}").format(number=plan.number, name=named))
        where: dict[str, Any] = {"record": _shownOf(plan.record), "rank": plan.number, "item": item}
        name = _("Plan {number} predicted post-op (synthetic)").format(number=plan.number)
        postop = yield from self._add.volume("plan-postop", name, plan.images["postop"], window, **where)
        yield
        for role, name, terms in (
            ("plan", _("Plan {number}"), planTerms()),
            ("cavity", _("Plan {number} predicted cavity (synthetic)"), cavityTerms()),
            ("residual", _("Plan {number} predicted residual tumour (synthetic)"), residualTerms()),
        ):
            name = name.format(number=plan.number)
            self._add.segmentation(f"plan-{role}", name, plan.images[role], terms, postop, **where)
            yield

    def _more(self) -> Steps:
        for number, one in enumerate(self.files.more, start=1):
            where: dict[str, Any] = {"record": {"sequence": one.sequence}, "rank": number}
            name = _("Pre-op {sequence} in MNI space").format(sequence=one.sequence)
            yield from self._add.volume("more-preop", name, one.preop, one.grey, **where)
            yield
            name = _("Predicted post-op {sequence} (synthetic)").format(sequence=one.sequence)
            yield from self._add.volume("more-postop", name, one.postop, one.grey, **where)
            yield


def _shownOf(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in PRIVATE_FIELDS}
