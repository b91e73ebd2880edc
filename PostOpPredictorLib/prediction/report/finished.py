"""A prediction whose files are all written: what the report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..outcome_volume import tumour_core
from ..patient_prediction import PatientPrediction
from .view import View


@dataclass(frozen=True)
class Finished:
    """``folder`` holds the files ``names`` (by kind); ``provenance`` and ``precedents`` are what its JSON files say.

    ``prediction`` is still in memory: the patient's own scan is in no file of the folder.
    """

    folder: Path
    names: Mapping[str, str]
    prediction: PatientPrediction
    provenance: Mapping[str, Any]
    precedents: Mapping[str, Any]

    @property
    def summary(self) -> Mapping[str, Any]:
        """The figures of the prediction and of all answers."""
        return self.provenance["result"]

    @cached_property
    def mni(self) -> View:
        """The planes in MNI space."""
        return View.in_mni(self.prediction.patient)

    @cached_property
    def before(self) -> np.ndarray:
        """The scan before surgery in MNI space, 0 to 1."""
        return self.unit(self.mni.array(self.prediction.patient.scan_mni))

    @cached_property
    def predicted(self) -> np.ndarray:
        """The predicted scan in MNI space, 0 to 1."""
        return self.unit(self.mni.array(self.prediction.post_mni))

    @cached_property
    def tumour(self) -> np.ndarray:
        """Tumour labels in MNI space."""
        return self.mni.array(self.prediction.patient.labels_mni)

    @cached_property
    def core(self) -> np.ndarray:
        """The tumour core in MNI space, bool."""
        return tumour_core(self.tumour)

    def unit(self, array: np.ndarray) -> np.ndarray:
        """Scanner units as the prediction's window shows them, 0 to 1."""
        return self.prediction.patient.window.normalise(array)

    def read(self, kind: str) -> np.ndarray | None:
        """A written image in MNI space as an array of ``mni``; None when there is no such file."""
        if kind not in self.names:
            return None
        return self.mni.array(sitk.ReadImage(str(self.folder / self.names[kind])))
