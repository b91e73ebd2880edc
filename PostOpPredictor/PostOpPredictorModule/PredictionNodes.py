"""What a prediction is in the scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import slicer

if TYPE_CHECKING:
    from .SeriesNodes import SeriesNodes


@dataclass(frozen=True)
class PrecedentNodes:
    """One operated case in MNI space. ``tumour`` and ``cavity`` are segmentations; ``attributes``: case, EOR, ...

    ``influence``: what the prediction's cavity probability (-1..1) gains by this case; None where it was not asked for.
    """

    rank: int
    iou: float
    pre: slicer.vtkMRMLScalarVolumeNode | None
    post: slicer.vtkMRMLScalarVolumeNode | None
    tumour: slicer.vtkMRMLSegmentationNode | None
    cavity: slicer.vtkMRMLSegmentationNode | None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    influence: slicer.vtkMRMLScalarVolumeNode | None = None


@dataclass(frozen=True)
class PlanNodes:
    """The prediction for one planned resection, in MNI space. ``plan``, ``cavity`` and ``residual``: hidden
    segmentations of one segment of that id. ``record``: its entry of the summary's "plans" (read_out, warnings ...)."""

    number: int
    name: str
    postop: slicer.vtkMRMLScalarVolumeNode | None
    plan: slicer.vtkMRMLSegmentationNode | None
    cavity: slicer.vtkMRMLSegmentationNode | None
    residual: slicer.vtkMRMLSegmentationNode | None
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SequenceNodes:
    """Another sequence of the patient in MNI space, before and (synthetic) after surgery."""

    sequence: str
    preop: slicer.vtkMRMLScalarVolumeNode | None
    postop: slicer.vtkMRMLScalarVolumeNode | None


@dataclass(frozen=True)
class PredictionNodes:
    """One prediction. Coordinates are MNI (ICBM152 2009a symmetric) millimetres, RAS.

    ``postop``: synthetic scan, grey levels of the input. ``preop``: the input's brain in MNI space. ``transform``: maps
    the patient (world) to MNI, ``transformToPatient`` back. ``tumour``, ``cavity`` and ``outcome``: segmentations,
    hidden until somebody shows them. ``cavityProbability``: 0..1.
    In percent of the brightness range, where asked for: ``spreadPrecedents`` and ``spreadNoise`` (standard deviations),
    ``uncertainty`` (half width of the calibrated 90 % interval; only with a calibration). ``cavityAgreement``: mean
    cavity probability over the precedents. ``generated``: 1 where the image is generated, 0 where it is the patient's
    own tissue. ``shift``: how tissue moves, before to after surgery (to its parent); None where nothing does.
    ``report``: a page of HTML as a text. ``series``: the predicted days as a sequence.
    ``plansTable``: the read-out of all plans.
    ``source``: the input volume, None when it is gone. ``summary``: volumes in ml, extent of resection in percent and
    more. ``warnings``: sentences, the gravest first. A node that the user removed is None.
    """

    runId: str
    folderItem: int
    postop: slicer.vtkMRMLScalarVolumeNode
    preop: slicer.vtkMRMLScalarVolumeNode | None
    transform: slicer.vtkMRMLLinearTransformNode | None
    transformToPatient: slicer.vtkMRMLLinearTransformNode | None
    tumour: slicer.vtkMRMLSegmentationNode | None
    cavity: slicer.vtkMRMLSegmentationNode | None
    outcome: slicer.vtkMRMLSegmentationNode | None
    cavityProbability: slicer.vtkMRMLScalarVolumeNode | None
    uncertainty: slicer.vtkMRMLScalarVolumeNode | None
    precedents: tuple[PrecedentNodes, ...]
    table: slicer.vtkMRMLTableNode | None
    source: slicer.vtkMRMLScalarVolumeNode | None
    summary: Mapping[str, Any]
    warnings: tuple[str, ...]
    provenance: Mapping[str, Any]
    spreadPrecedents: slicer.vtkMRMLScalarVolumeNode | None = None
    spreadNoise: slicer.vtkMRMLScalarVolumeNode | None = None
    cavityAgreement: slicer.vtkMRMLScalarVolumeNode | None = None
    generated: slicer.vtkMRMLScalarVolumeNode | None = None
    shift: slicer.vtkMRMLGridTransformNode | None = None
    report: slicer.vtkMRMLTextNode | None = None
    plans: tuple[PlanNodes, ...] = ()
    more: tuple[SequenceNodes, ...] = ()
    series: SeriesNodes | None = None
    plansTable: slicer.vtkMRMLTableNode | None = None

    def displayed(self) -> tuple[slicer.vtkMRMLDisplayableNode, ...]:
        """Every node that has a place in space."""
        own = (self.postop, self.preop, self.tumour, self.cavity, self.outcome, self.cavityProbability)
        maps = (self.spreadPrecedents, self.spreadNoise, self.uncertainty, self.cavityAgreement, self.generated)
        others = [node for one in self.precedents for node in (one.pre, one.post, one.tumour, one.cavity)]
        others += [one.influence for one in self.precedents]
        others += [node for one in self.plans for node in (one.postop, one.plan, one.cavity, one.residual)]
        others += [node for one in self.more for node in (one.preop, one.postop)]
        others += [self.series.volume if self.series is not None else None]
        return tuple(node for node in (*own, *maps, *others) if node is not None)
