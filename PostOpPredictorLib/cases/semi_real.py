"""Semi-real cases: the phantom's surgeon operates on a real pre-operative scan; only the post scan is simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..imaging.grid import WORKING_GRID
from ..imaging.tumour_mask import tumour_labels
from ..imaging.volumes import read_labels, read_volume
from .case import SimulatedCase, Split
from .phantom.atlas import TemplateMaps, eloquence, template_maps
from .phantom.attributes import describe
from .phantom.fields import BoolArray, FloatArray, blur, largest_part
from .phantom.institutions import Practice, institutions
from .phantom.paint import post_signal
from .phantom.patient import Patient
from .phantom.scanner import ScanSettings, coil_field, misplaced, misregistration, one_window, scan
from .phantom.signal import TissueLevels
from .phantom.surgery import operate

TEST_PATIENTS = ("Brats18_TCIA10_628_1", "Brats18_CBICA_AME_1", "Brats18_TCIA02_135_1")
VALIDATION_PATIENTS = ("Brats18_TCIA13_623_1",)
SAME_PATIENT: Mapping[str, str] = {"pyradiomics_brain2": "Brats18_TCIA01_425_1"}
"""Folders that hold another scan of a patient who is there already."""

OPERATIONS_PER_PATIENT = 10


@dataclass(frozen=True)
class RealScan:
    """A real pre-operative patient on the working grid (z, y, x): images in any unit, labels 0, 1, 2, 4."""

    patient_id: str
    split: Split
    pre: Mapping[str, FloatArray]
    tumour: np.ndarray
    brain: np.ndarray


@dataclass(frozen=True)
class RealFiles:
    """Where a real pre-operative patient lies on disk: co-registered T1w and T1wCE, expert labels and their preset."""

    t1w: Path
    t1wce: Path
    labels: Path
    preset: str


@dataclass(frozen=True)
class PlannedOperations:
    """A real patient and the institutions that operate on it; the numbers hide where the scan came from."""

    patient_id: str
    case_ids: tuple[str, ...]
    institutions: tuple[Practice, ...]
    split: Split
    files: RealFiles
    seed: int
    number: int


def split_of_real(name: str) -> Split:
    """Fixed split of the real patients by the name of their folder; patients that are not listed train."""
    patient = SAME_PATIENT.get(name, name)
    if patient in TEST_PATIENTS:
        return "test"
    return "val" if patient in VALIDATION_PATIENTS else "train"


def tissue_levels(image: FloatArray, brain: BoolArray, tumour: np.ndarray, maps: TemplateMaps) -> TissueLevels:
    """Signal of CSF, grey and white matter of a scan, from where the template says they are, and of enhancement."""
    healthy = brain & (tumour == 0)
    wm = float(np.median(image[healthy & (maps.wm > 0.9)]))
    gm = float(np.median(image[healthy & (maps.gm > 0.8)]))
    csf = float(np.percentile(image[healthy & (maps.csf > 0.8)], 15))
    csf = min(csf, wm - 0.25 * abs(wm))
    bright = image[tumour == 4]
    enhancing = float(np.median(bright)) if bright.size > 50 else 1.6 * wm
    return TissueLevels(csf, gm, wm, max(enhancing, 1.15 * wm))


def tissue_estimate(real: RealScan) -> Patient:
    """White matter and CSF of a real scan: template prior times how well the intensity fits, tumour left out."""
    maps = template_maps()
    brain = largest_part(real.brain > 0)
    image = real.pre["T1w"] if "T1w" in real.pre else next(iter(real.pre.values()))
    levels = tissue_levels(image, brain, real.tumour, maps)
    smooth = blur(image, 1.0)
    spread = max(0.35 * (levels.wm - levels.csf), 1e-6)
    fits_wm = np.exp(-(((smooth - levels.wm) / spread) ** 2))
    fits_csf = np.clip(1 - (smooth - levels.csf) / (0.6 * max(levels.gm - levels.csf, 1e-6)), 0, 1)
    wm = np.where(real.tumour == 2, 0.8, fits_wm * (0.2 + 0.8 * blur(maps.wm, 3.0)) * 1.2)
    wm = np.clip(wm, 0, 1) * brain * ~np.isin(real.tumour, (1, 4))
    csf = np.where(real.tumour > 0, 0, fits_csf) * brain
    return Patient(real.tumour.astype(np.uint8) * brain, brain, wm.astype(np.float32), csf.astype(np.float32))


def operate_on_real(
    real: RealScan,
    practice: Practice,
    rng: np.random.Generator,
    case_id: str,
    resection_map: Path | None = None,
) -> SimulatedCase:
    """Operate on a real scan: the pre images are the real ones; post: the same, moved, painted, scanned again."""
    patient = tissue_estimate(real)
    maps = template_maps()
    levels = {s: tissue_levels(image, patient.brain, patient.tumour, maps) for s, image in real.pre.items()}
    pre = {sequence: image * patient.brain for sequence, image in real.pre.items()}
    operation = operate(patient, eloquence(resection_map), practice, rng)
    post = post_signal(pre, levels, patient, operation, rng)
    post, brain_post = misplaced(post, patient.brain, misregistration(rng))
    again = _second_scan(post, levels, brain_post, rng)
    pre_image, post_image = one_window(pre, again, patient.brain, brain_post)
    return SimulatedCase(
        case_id=case_id,
        patient_id=real.patient_id,
        institution=practice.name,
        kind="semi-real",
        split=real.split,
        attributes=describe(patient.core, operation.outcome, operation.eor_percent),
        pre=pre_image,
        post=post_image,
        brain_pre=patient.brain.astype(np.uint8),
        brain_post=brain_post.astype(np.uint8),
        tumour=patient.tumour,
        outcome=operation.outcome,
        shift=operation.shift,
        resection=operation.resection.astype(np.uint8),
    )


def _second_scan(
    post: Mapping[str, FloatArray], levels: Mapping[str, TissueLevels], brain: BoolArray, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """A slightly different bias, contrast and noise; the real noise is there already, so only a little is added."""
    settings = ScanSettings(
        gamma=float(np.exp(rng.normal(0, 0.03))),
        bias=coil_field(rng, brain, float(rng.uniform(0.005, 0.03))),
        noise=float(rng.uniform(0.004, 0.012)),
        blur_mm=(0.0, 0.0, 0.0),
    )
    units = {s: image / np.float32(levels[s].wm) for s, image in post.items()}
    return {s: image * np.float32(levels[s].wm) for s, image in scan(units, brain, settings, rng).items()}


def real_files(folder: Path) -> RealFiles | None:
    """The scans of a BraTS-style folder (`*_t1`, `*_t1ce`, `*_seg` or `*-t1n`, `*-t1c`, `*seg*`), None if partial."""
    files = sorted(p for p in folder.iterdir() if p.name.endswith((".nii.gz", ".nii")))
    stems = {p.name.removesuffix(".gz").removesuffix(".nii"): p for p in files}
    for t1, t1ce, preset in (("_t1", "_t1ce", "brats"), ("-t1n", "-t1c", "brats2023")):
        plain = [p for stem, p in stems.items() if stem.endswith(t1)]
        contrast = [p for stem, p in stems.items() if stem.endswith(t1ce)]
        labels = [p for stem, p in stems.items() if "seg" in stem]
        if plain and contrast and labels:
            return RealFiles(plain[0], contrast[0], labels[0], preset)
    return None


def operations_plan(
    folder: Path, seed: int, per_patient: int = OPERATIONS_PER_PATIENT
) -> tuple[PlannedOperations, ...]:
    """Who operates on the real patients in the sub-folders of ``folder``: institutions of the patient's own split only.

    Raises ``InputError`` when no sub-folder holds a patient.
    """
    found = [(d.name, files) for d in _subfolders(folder) if (files := real_files(d)) is not None]
    if not found:
        raise InputError(
            f"{folder} has no folder with a T1, a contrast T1 and a segmentation. Give a folder of BraTS-style cases."
        )
    plan, number = [], 0
    for index, (name, files) in enumerate(found):
        split = split_of_real(name)
        eligible = [p for p in institutions(seed) if p.split == split]
        order = np.random.default_rng(np.random.SeedSequence([seed, index, 11])).permutation(len(eligible))
        chosen = tuple(eligible[k] for k in order[:per_patient])
        ids = tuple(f"sub-R{number + k + 1:03d}" for k in range(len(chosen)))
        number += len(chosen)
        plan.append(PlannedOperations(f"real-{index + 1:02d}", ids, chosen, split, files, seed, index))
    return tuple(plan)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in Path(folder).iterdir() if p.is_dir()) if Path(folder).is_dir() else []


def load_real(entry: PlannedOperations) -> RealScan:
    """Read a real patient and bring it to MNI space. Raises ``RegistrationFailed`` or ``InputError``."""
    from ..imaging.registration import register_to_mni

    t1w, t1wce = read_volume(entry.files.t1w), read_volume(entry.files.t1wce)
    labels = tumour_labels(read_labels(entry.files.labels), entry.files.preset)
    found = register_to_mni(t1w, tumour=labels)

    def on_grid(image: sitk.Image, interpolator: int = sitk.sitkLinear) -> np.ndarray:
        return sitk.GetArrayFromImage(WORKING_GRID.resample(image, found.transform, interpolator))

    brain = sitk.GetArrayFromImage(WORKING_GRID.resample(found.brain_mask, interpolator=sitk.sitkNearestNeighbor)) > 0
    images = {"T1w": on_grid(t1w).astype(np.float32), "T1wCE": on_grid(t1wce).astype(np.float32)}
    return RealScan(entry.patient_id, entry.split, images, on_grid(labels, sitk.sitkNearestNeighbor), brain)


def simulate_operations(
    entry: PlannedOperations, *, resection_map: Path | None = None, skip: frozenset[str] = frozenset()
) -> Iterator[SimulatedCase]:
    """One case per institution of a planned real patient, except those in ``skip``; registered to MNI once."""
    real = None
    for k, (case_id, practice) in enumerate(zip(entry.case_ids, entry.institutions, strict=True)):
        if case_id in skip:
            continue
        real = real or load_real(entry)
        rng = np.random.default_rng(np.random.SeedSequence([entry.seed, entry.number, 13, k]))
        yield operate_on_real(real, practice, rng, case_id, resection_map)
