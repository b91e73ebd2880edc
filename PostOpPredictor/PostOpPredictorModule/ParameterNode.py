"""What the panel remembers: the parameters that are saved with the scene."""

import enum
import pathlib
from typing import Annotated

from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


class Device(enum.Enum):
    """Where the model runs; the values are the backend's own."""

    AUTO = "auto"
    CUDA = "cuda"
    MPS = "mps"
    CPU = "cpu"

    def label(self) -> str:
        """Return the text in the list of devices."""
        return {
            "AUTO": _("Automatic"),
            "CUDA": _("NVIDIA graphics card (CUDA)"),
            "MPS": _("Apple graphics (Metal)"),
            "CPU": _("Processor (slow)"),
        }[self.name]


class Mode(enum.Enum):
    """What is shown of the outcomes that are possible; the values are the backend's own."""

    MEAN = "mean"
    SAMPLE = "sample"
    AVERAGE = "average"

    def label(self) -> str:
        """Return the text in the list of modes."""
        return {
            "MEAN": _("Expected outcome (fast)"),
            "SAMPLE": _("One possible outcome"),
            "AVERAGE": _("Average of several, with uncertainty"),
        }[self.name]


class Sequence(enum.Enum):
    """The sequence of the input volume; the values are the backend's own."""

    AUTO = "auto"
    T1W = "T1w"
    T1WCE = "T1wCE"
    T2W = "T2w"
    FLAIR = "FLAIR"

    def label(self) -> str:
        """Return the text in the list of sequences."""
        return {
            "AUTO": _("Automatic"),
            "T1W": _("T1-weighted"),
            "T1WCE": _("T1-weighted with contrast agent"),
            "T2W": _("T2-weighted"),
            "FLAIR": _("T2-weighted FLAIR"),
        }[self.name]


class ResultSpace(enum.Enum):
    """Where the results are shown."""

    MNI = "mni"
    PATIENT = "patient"

    def label(self) -> str:
        """Return the text in the list of spaces."""
        return {"MNI": _("MNI space (beside the precedents)"), "PATIENT": _("Patient space (over the scan)")}[self.name]


@parameterNodeWrapper
class PostOpPredictorParameterNode:
    """The parameters of one prediction.

    ``tumourSegmentIds``: ids of the segments that form the tumour; empty means all of them. ``brainSegmentId`` belongs
    to ``brainSegmentation``; without both the backend makes the brain mask. ``modelFolder`` and ``libraryFolder``:
    ``Path()`` means the shipped model and the demonstration library (see ``chosenFolder``). ``uncertainty``:
    compute how sure the prediction is, with ``noiseSamples`` for the spread over noise. ``followedCase``: id of the
    case that is followed by the user's choice, empty for the most similar one; ``excludedCases``: ids of cases that are
    no precedents. ``t2Volume`` and ``flairVolume``: other scans of the session, predicted too. ``mapOpacity``: of the
    map over the scan, in percent.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    tumour: vtkMRMLSegmentationNode | vtkMRMLLabelMapVolumeNode | None
    tumourSegmentIds: list[str]
    brainSegmentation: vtkMRMLSegmentationNode
    brainSegmentId: str
    modelFolder: pathlib.Path
    libraryFolder: pathlib.Path
    device: Device = Device.AUTO
    precedents: Annotated[int, WithinRange(1, 10)] = 3
    mode: Mode = Mode.MEAN
    samples: Annotated[int, WithinRange(1, 64)] = 8
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    sequence: Sequence = Sequence.AUTO
    resultSpace: ResultSpace = ResultSpace.MNI
    uncertainty: bool = False
    noiseSamples: Annotated[int, WithinRange(2, 64)] = 8
    followedCase: str
    excludedCases: list[str]
    t2Volume: vtkMRMLScalarVolumeNode
    flairVolume: vtkMRMLScalarVolumeNode
    mapOpacity: Annotated[int, WithinRange(0, 100)] = 70


def chosenFolder(folder: pathlib.Path) -> pathlib.Path | None:
    """Return the folder that was chosen, or None where the parameter is empty (``Path()``, which reads ".")."""
    return None if folder == pathlib.Path() else folder
