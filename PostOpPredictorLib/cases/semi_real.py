"""Semi-real cases: the phantom's surgeon operates on a real pre-operative scan; only the post scan is simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from .phantom.healing import LaterScans, heal
from .phantom.institutions import Practice, institutions
from .phantom.paint import post_signal
from .phantom.patient import Patient
from .phantom.scanner import ScanSettings, coil_field, misplaced, misregistration, one_window, scan
from .phantom.signal import T1_SEQUENCES, TissueLevels
from .phantom.surgery import operate
from .phantom.water import WATER_SEQUENCES

TEST_PATIENTS = ("Brats18_TCIA10_628_1", "Brats18_CBICA_AME_1", "Brats18_TCIA02_135_1")
VALIDATION_PATIENTS = ("Brats18_TCIA13_623_1",)
SAME_PATIENT: Mapping[str, str] = {"pyradiomics_brain2": "Brats18_TCIA01_425_1"}
"""Folders that hold another scan of a patient who is there already."""

OPERATIONS_PER_PATIENT = 10
LATER_PER_PATIENT = 4
LATER = "later"
"""What the id of a later scan has behind that of the early one."""


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
    """Where a real pre-operative patient lies on disk: co-registered scans, expert labels and their preset.

    ``scans`` by sequence: T1w and T1wCE always, T2w and FLAIR where the folder has them.
    """

    scans: Mapping[str, Path]
    labels: Path
    preset: str


@dataclass(frozen=True)
class PlannedOperations:
    """A real patient and the institutions that operate on it; the numbers hide where the scan came from.

    ``later``: for the first of the operations, the day of a second scan after them, which is a case of its own.
    """

    patient_id: str
    early_ids: tuple[str, ...]
    institutions: tuple[Practice, ...]
    split: Split
    files: RealFiles
    seed: int
    number: int
    later: tuple[float, ...] = ()

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Every case, the later scans last."""
        return (*self.early_ids, *(f"{name}{LATER}" for name in self.early_ids[: len(self.later)]))


def split_of_real(name: str) -> Split:
    """Fixed split of the real patients by the name of their folder; patients that are not listed train."""
    patient = SAME_PATIENT.get(name, name)
    if patient in TEST_PATIENTS:
        return "test"
    return "val" if patient in VALIDATION_PATIENTS else "train"


def tissue_levels(
    image: FloatArray, brain: BoolArray, tumour: np.ndarray, maps: TemplateMaps, sequence: str = "T1w"
) -> TissueLevels:
    """Signal of CSF, grey and white matter of a scan, from where the template says they are; of its own tumour too."""
    healthy = brain & (tumour == 0)
    wm = float(np.median(image[healthy & (maps.wm > 0.9)]))
    gm = float(np.median(image[healthy & (maps.gm > 0.8)]))
    water = image[healthy & (maps.csf > 0.8)]
    bright, wet = image[tumour == 4], image[tumour == 2]
    enhancing = float(np.median(bright)) if bright.size > 50 else 1.6 * wm
    if sequence not in WATER_SEQUENCES:
        csf = min(float(np.percentile(water, 15)), wm - 0.25 * abs(wm))
        return TissueLevels(csf, gm, wm, max(enhancing, 1.15 * wm))
    gm = max(gm, 1.05 * wm)
    oedema = max(float(np.median(wet)) if wet.size > 50 else 1.6 * wm, 1.15 * gm)
    if sequence == "FLAIR":
        return TissueLevels(min(float(np.percentile(water, 15)), 0.6 * wm), gm, wm, enhancing, oedema)
    return TissueLevels(max(float(np.percentile(water, 85)), 1.3 * gm), gm, wm, enhancing, oedema)


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
    days: float | None = None,
) -> SimulatedCase:
    """Operate on a real scan: the pre images are the real ones; post: the same, moved, painted, scanned again.

    With ``days`` the same operation (for the same ``rng``) is scanned that long after it.
    """
    water, later = rng.spawn(2)
    patient = tissue_estimate(real)
    maps = template_maps()
    levels = {s: tissue_levels(image, patient.brain, patient.tumour, maps, s) for s, image in real.pre.items()}
    pre = {sequence: image * patient.brain for sequence, image in real.pre.items()}
    operation = operate(patient, eloquence(resection_map), practice, rng)
    visit, attributes = rng, {}
    if days is not None:
        healing, visit, water = later.spawn(3)
        operation = heal(operation, patient, days, healing)
        attributes["days_since_surgery"] = days
    post = post_signal(pre, levels, patient, operation, rng)
    post, brain_post = misplaced(post, patient.brain, misregistration(visit))
    again = _second_scan({s: post[s] for s in post if s not in WATER_SEQUENCES}, levels, brain_post, visit)
    for sequence, own in zip(WATER_SEQUENCES, water.spawn(len(WATER_SEQUENCES)), strict=True):
        if sequence in post:
            again |= _second_scan({sequence: post[sequence]}, levels, brain_post, own)
    pre_image, post_image = one_window(pre, again, patient.brain, brain_post)
    return SimulatedCase(
        case_id=case_id,
        patient_id=real.patient_id,
        institution=practice.name,
        kind="semi-real",
        split=real.split,
        attributes={**describe(patient.core, operation.outcome, operation.eor_percent), **attributes},
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


ENDINGS: Mapping[str, Mapping[str, str]] = {
    "brats": {"T1w": "_t1", "T1wCE": "_t1ce", "T2w": "_t2", "FLAIR": "_flair"},
    "brats2023": {"T1w": "-t1n", "T1wCE": "-t1c", "T2w": "-t2w", "FLAIR": "-t2f"},
}
"""How the scans' names end in each of the two naming schemes."""


def real_files(folder: Path) -> RealFiles | None:
    """The scans of a BraTS-style folder (``ENDINGS``, `*seg*`), None when T1w, T1wCE or the labels are missing."""
    files = sorted(p for p in folder.iterdir() if p.name.endswith((".nii.gz", ".nii")))
    stems = {p.name.removesuffix(".gz").removesuffix(".nii"): p for p in files}
    labels = [p for stem, p in stems.items() if "seg" in stem]
    for preset, endings in ENDINGS.items():
        found = {s: [p for stem, p in stems.items() if stem.endswith(end)] for s, end in endings.items()}
        scans = {s: paths[0] for s, paths in found.items() if paths}
        if labels and all(s in scans for s in T1_SEQUENCES):
            return RealFiles(scans, labels[0], preset)
    return None


def operations_plan(
    folder: Path, seed: int, per_patient: int = OPERATIONS_PER_PATIENT, later: LaterScans | None = None
) -> tuple[PlannedOperations, ...]:
    """Who operates on the real patients in the sub-folders of ``folder``: institutions of the patient's own split only.

    With ``later`` the first LATER_PER_PATIENT operations of each patient get a later scan too, on a day within its
    bounds. Raises ``InputError`` when no sub-folder holds a patient.
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
        again = range(min(LATER_PER_PATIENT, len(chosen))) if later is not None and later.count else ()
        days = tuple(later.day(seed, index, 19, k) for k in again) if later is not None else ()
        plan.append(PlannedOperations(f"real-{index + 1:02d}", ids, chosen, split, files, seed, index, days))
    return tuple(plan)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in Path(folder).iterdir() if p.is_dir()) if Path(folder).is_dir() else []


def load_real(entry: PlannedOperations, sequences: Sequence[str] = T1_SEQUENCES) -> RealScan:
    """Read a real patient and bring it to MNI space: T1w, T1wCE and what there is of the other ``sequences``.

    Raises ``RegistrationFailed`` or ``InputError``.
    """
    from ..imaging.registration import register_to_mni

    wanted = [s for s in entry.files.scans if s in T1_SEQUENCES or s in sequences]
    scans = {s: read_volume(entry.files.scans[s]) for s in wanted}
    labels = tumour_labels(read_labels(entry.files.labels), entry.files.preset)
    found = register_to_mni(scans["T1w"], tumour=labels)

    def on_grid(image: sitk.Image, interpolator: int = sitk.sitkLinear) -> np.ndarray:
        return sitk.GetArrayFromImage(WORKING_GRID.resample(image, found.transform, interpolator))

    brain = sitk.GetArrayFromImage(WORKING_GRID.resample(found.brain_mask, interpolator=sitk.sitkNearestNeighbor)) > 0
    images = {s: on_grid(image).astype(np.float32) for s, image in scans.items()}
    return RealScan(entry.patient_id, entry.split, images, on_grid(labels, sitk.sitkNearestNeighbor), brain)


def simulate_operations(
    entry: PlannedOperations,
    *,
    resection_map: Path | None = None,
    sequences: Sequence[str] = T1_SEQUENCES,
    skip: frozenset[str] = frozenset(),
) -> Iterator[SimulatedCase]:
    """The cases of a planned real patient, except those in ``skip``; registered to MNI once.

    A sequence that the patient's folder does not have is not made up: the case has the others.
    """
    early = [(k, None) for k in range(len(entry.institutions))]
    scans = zip(entry.case_ids, [*early, *enumerate(entry.later)], strict=True)
    real = None
    for case_id, (k, days) in scans:
        if case_id in skip:
            continue
        real = real or load_real(entry, sequences)
        rng = np.random.default_rng(np.random.SeedSequence([entry.seed, entry.number, 13, k]))
        case = operate_on_real(real, entry.institutions[k], rng, case_id, resection_map, days)
        kept = [s for s in sequences if s in case.pre]
        yield replace(case, pre={s: case.pre[s] for s in kept}, post={s: case.post[s] for s in kept})
