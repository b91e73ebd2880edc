"""What a prediction is asked for: the nodes it starts from and the choices of the user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode

TUMOUR_LABEL = 1
"""The value of the tumour in the mask that is handed to the backend."""


@dataclass(frozen=True)
class PredictionInputs:
    """The patient.

    ``volume``: T1-weighted scan. ``tumour``: segmentation or label map. ``segmentIds``: the segments (of a label map:
    the labels, as text) that together are the tumour core; empty means those that the panel would tick: all that are
    named as tumour core, without such names all but oedema and brain. ``brainSegmentation`` and ``brainSegmentId``:
    optional brain mask, which wins over the one that the backend would make.
    """

    volume: vtkMRMLScalarVolumeNode
    tumour: vtkMRMLSegmentationNode | vtkMRMLLabelMapVolumeNode
    segmentIds: tuple[str, ...] = ()
    brainSegmentation: vtkMRMLSegmentationNode | None = None
    brainSegmentId: str = ""


@dataclass(frozen=True)
class PredictionSettings:
    """How to predict; every field is one of the backend's ``PredictionRequest``, None is its own default.

    ``modelFolder`` and ``libraryFolder``: None for the shipped model and the demonstration library. ``device``: auto,
    cuda, mps or cpu. ``precedents``: how many are listed (the first one is followed). ``mode``: mean, sample or
    average. ``samples``: draws of mode "average". ``sequence``: auto, T1w or T1wCE. ``institution``: only precedents
    from there.
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

    def asJobOptions(self) -> dict[str, Any]:
        """The options of a job of the command "predict", without the files of the patient."""
        options: dict[str, Any] = {
            "labels": str(TUMOUR_LABEL),
            "device": self.device,
            "k": self.precedents,
            "mode": self.mode,
            "seed": self.seed,
            "sequence": self.sequence,
            "steps": self.steps,
            "samples": self.samples,
            "institution": self.institution or None,
        }
        # An empty path in the parameter node reads as "." and means "the shipped one" too.
        for name, folder in (("model", self.modelFolder), ("library", self.libraryFolder)):
            if folder is not None and str(folder) not in ("", "."):
                options[name] = str(Path(folder).expanduser().absolute())
        return options
