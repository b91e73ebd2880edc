"""What a prediction is asked for: the nodes it starts from and the choices of the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode

    from .PlanList import ResectionPlan, SegmentReference

TUMOUR_LABEL, ENHANCING_LABEL = 1, 4
"""The values of the tumour core, and of its part that takes up contrast agent, in what is handed to the backend."""
LABELS_PRESET = "brats"
"""What the backend calls them; the oedema is not handed over."""


@dataclass(frozen=True)
class PredictionInputs:
    """The patient.

    ``volume``: T1-weighted scan. ``tumour``: segmentation or label map. ``segmentIds``: the segments (of a label map:
    the labels, as text) that together are the tumour core; empty means those that the panel would tick: all that are
    named as tumour core, without such names all but oedema and brain. ``brainSegmentation`` and ``brainSegmentId``:
    optional brain mask, which wins over the one that the backend would make. ``more``: further scans of the same
    session by their sequence (T1w, T1wCE, T2w, FLAIR), predicted too.
    """

    volume: vtkMRMLScalarVolumeNode
    tumour: vtkMRMLSegmentationNode | vtkMRMLLabelMapVolumeNode
    segmentIds: tuple[str, ...] = ()
    brainSegmentation: vtkMRMLSegmentationNode | None = None
    brainSegmentId: str = ""
    more: Mapping[str, vtkMRMLScalarVolumeNode] = field(default_factory=dict)


@dataclass(frozen=True)
class PredictionSettings:
    """How to predict; every field is one of the backend's ``PredictionRequest``, None is its own default.

    ``modelFolder`` and ``libraryFolder``: None for the shipped model and the demonstration library. ``device``: auto,
    cuda, mps or cpu. ``precedents``: how many are listed (the first one is followed). ``mode``: mean, sample or
    average. ``samples``: draws of mode "average". ``sequence``: auto, T1w or T1wCE. ``institution``: only precedents
    from there. ``uncertainty``: also compute how sure the prediction is; ``noiseSamples`` of it draw the spread over
    noise. ``follow``: the id of the case that is followed instead of the most similar one; ``exclude``: ids of cases
    that are no precedents. ``days`` since surgery that the prediction shows; ``series``: more such days, a volume each.
    ``plans``: each is predicted; ``structures``: their distances to the cavity are told for each plan (both lie in the
    scene, so they become options of the job when they are exported). ``report``: whether a report is written.
    """

    modelFolder: Path | None = None
    libraryFolder: Path | None = None
    device: str = "auto"
    precedents: int = 3
    mode: str = "mean"
    samples: int | None = None
    steps: int | None = None
    seed: int = 0
    sequence: str = "auto"
    institution: str | None = None
    uncertainty: bool = False
    noiseSamples: int = 8
    follow: str | None = None
    exclude: tuple[str, ...] = ()
    days: float | None = None
    series: tuple[float, ...] = ()
    plans: tuple[ResectionPlan, ...] = ()
    structures: tuple[SegmentReference, ...] = ()
    report: bool = True

    def asJobOptions(self) -> dict[str, Any]:
        """The options of a job of the command "predict", without the files of the patient."""
        options: dict[str, Any] = {
            "labels": LABELS_PRESET,
            "device": self.device,
            "k": self.precedents,
            "mode": self.mode,
            "seed": self.seed,
            "sequence": self.sequence,
            "steps": self.steps,
            "samples": self.samples,
            "institution": self.institution or None,
            "uncertainty": self.uncertainty,
            "noise_samples": self.noiseSamples,
            "follow": self.follow or None,
            "exclude": list(self.exclude),
            "days": self.days,
            "series": list(self.series),
            "report": self.report,
        }
        # An empty path in the parameter node reads as "." and means "the shipped one" too.
        for name, folder in (("model", self.modelFolder), ("library", self.libraryFolder)):
            if folder is not None and str(folder) not in ("", "."):
                options[name] = str(Path(folder).expanduser().absolute())
        return options
