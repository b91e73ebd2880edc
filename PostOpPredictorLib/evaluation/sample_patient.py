"""The sample data of 3D Slicer's module: files of one simulated patient, as a hospital would give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic_files import whole_folder
from ..cases.case_files import sha256
from ..cases.phantom.cohort import simulate_case
from ..errors import InputError
from ..imaging.volumes import write_volume
from ..prediction.demonstration_library import TEST_PATIENT_INDEX, demonstration_patient
from ..prediction.prediction_files import write_json
from ..progress import Progress
from .demo_patient import demo_patient

SEQUENCE = "T1wCE"
CHECKSUMS = "checksums.json"
FILES = {"volume": "T1wCE.nii.gz", "tumour": "tumour.nii.gz"}


@dataclass(frozen=True)
class SampleRequest:
    """``out``: folder to make, or to replace when it holds sample data; ``patient``: who of those in no library."""

    out: Path
    patient: int = TEST_PATIENT_INDEX

    def __post_init__(self) -> None:
        if self.patient < TEST_PATIENT_INDEX:
            raise InputError(f"Patient {self.patient} may be in the library; give {TEST_PATIENT_INDEX} or more.")


def write_sample(request: SampleRequest, progress: Progress) -> Mapping[str, Any]:
    """Simulate a patient and write the scan before surgery, the tumour's labels (1, 2, 4) and their SHA-256.

    Whole or not at all. The voxels follow from the patient's number; the compressed bytes also depend on the version
    of zlib, and the last bits of the scan on the processor. So the checksums are those of this run: they tell that a
    file is still what was made.
    """
    folder = Path(request.out).absolute()
    if folder.exists() and not (folder.is_dir() and set(_names(folder)) <= {CHECKSUMS, *FILES.values()}):
        raise InputError(f"{folder} holds other things than sample data. Choose another folder.")
    progress.stage("Simulating a patient")
    progress.step(0, 1)
    demo = demo_patient(simulate_case(demonstration_patient(request.patient)), SEQUENCE)
    progress.step(1, 1)
    with whole_folder(folder, replace=folder.exists()) as temporary:
        write_volume(demo.scan, temporary / FILES["volume"])
        write_volume(demo.labels, temporary / FILES["tumour"])
        checksums = {name: sha256(temporary / name) for name in FILES.values()}
        write_json(temporary / CHECKSUMS, checksums)
    return {"folder": folder, "files": {key: folder / name for key, name in FILES.items()}, "checksums": checksums}


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
