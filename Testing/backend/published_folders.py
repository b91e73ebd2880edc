"""Folders of the shape in which LUMIERE, RHUH-GBM, BraTS and BIDS data are published, with small made-up volumes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from PostOpPredictorLib.imaging.grid import TEMPLATE_GRID, Grid
from PostOpPredictorLib.imaging.registration import Registration, RegistrationQuality
from PostOpPredictorLib.progress import Progress

GRID = Grid((31, 37, 31), (6.0, 6.0, 6.0), (-90.0, 126.0, -72.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))
"""LUMIERE's atlas grid (affine diag(-1, 1, 1), origin 90, -126, -72 in RAS) with voxels of 6 mm."""
SCANS = ("t1", "ct1", "t2", "flair")
RATING_COLUMNS = (
    "Patient",
    "Date",
    "LessThan3Months",
    "NonMeasurableLesions",
    "Rating (according to RANO, PD: Progressive disease, SD: Stable disease, PR: Partial response, CR: Complete "
    "response, Pre-Op: Pre-Operative, Post-Op: Post-Operative)",
    "Rating rationale (CRET: complete resection of the enhancing tumor, PRET: partial resection of the enhancing "
    "tumor)",
)


def ball(radius_mm: float, centre_mm: tuple[float, float, float] = (-30.0, 12.0, 18.0)) -> np.ndarray:
    """A boolean ball (z, y, x) on GRID, its centre in LPS mm."""
    k, j, i = np.indices(GRID.shape)
    x, y, z = -90.0 + 6.0 * i, 126.0 - 6.0 * j, -72.0 + 6.0 * k
    return (x - centre_mm[0]) ** 2 + (y - centre_mm[1]) ** 2 + (z - centre_mm[2]) ** 2 <= radius_mm**2


BRAIN = ball(72.0, (0.0, 18.0, 12.0))


def labels_before() -> dict[str, np.ndarray]:
    """Necrosis within enhancing tumour within oedema, boolean."""
    return {
        "necrosis": ball(11),
        "enhancing": ball(20) & ~ball(11),
        "oedema": ball(28) & ~ball(20),
    }


def labels_after() -> dict[str, np.ndarray]:
    """A cavity, what is left of the enhancing tumour on one side of it, and oedema, boolean."""
    left = ball(20) & ~ball(13) & ball(9, (-30.0, 12.0, 36.0))
    return {"cavity": ball(13), "enhancing": left, "oedema": ball(24) & ~ball(13) & ~left}


def coded(masks: Mapping[str, np.ndarray], codes: Mapping[str, int]) -> np.ndarray:
    """One label map (z, y, x), uint8, from named masks."""
    array = np.zeros(GRID.shape, np.uint8)
    for name, code in codes.items():
        if name in masks:
            array[masks[name]] = code
    return array


LUMIERE_BEFORE = {"necrosis": 2, "enhancing": 1, "oedema": 3}
LUMIERE_AFTER = {"cavity": 2, "enhancing": 1, "oedema": 3}
BRATS_BEFORE = {"necrosis": 1, "enhancing": 3, "oedema": 2}


def brain_scan(seed: int = 0, gain: float = 100.0, dark: np.ndarray | None = None) -> np.ndarray:
    """A textured brain (z, y, x), float32, 0 outside; ``dark`` is filled with fluid."""
    texture = np.random.default_rng(seed).uniform(0.6, 1.4, (8, 10, 8)).astype(np.float32)
    texture = np.kron(texture, np.ones((4, 4, 4), np.float32))[: GRID.shape[0], : GRID.shape[1], : GRID.shape[2]]
    if dark is not None:
        texture = np.where(dark, np.float32(0.3), texture)
    return (texture * gain * BRAIN).astype(np.float32)


def write(array: np.ndarray, path: Path, grid: Grid = GRID) -> Path:
    """Write an array as NIfTI, its folder made when missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(grid.image(array), str(path), True)
    return path


def lumiere_study(folder: Path, *, after: bool = False, labels: np.ndarray | None = None) -> Path:
    """One week's folder with a DeepBraTumIA segmentation and its recorded volumes."""
    if labels is None:
        labels = coded(labels_after(), LUMIERE_AFTER) if after else coded(labels_before(), LUMIERE_BEFORE)
    atlas = folder / "DeepBraTumIA-segmentation" / "atlas"
    write(labels.astype(np.int8), atlas / "segmentation" / "seg_mask.nii.gz")
    counts = np.bincount(labels.ravel(), minlength=4) * 216
    names = {"Enhancing_Core": 1, "Necrotic_NonEnhancing": 2, "Edema_Compartment": 3}
    volumes = {name: int(counts[label]) for name, label in names.items()}
    (atlas / "segmentation" / "measured_volumes_in_mm3.json").write_text(json.dumps(volumes))
    dark = labels_after()["cavity"] if after else None
    for number, name in enumerate(SCANS):
        write(brain_scan(number, 100.0, dark), atlas / "skull_strip" / f"{name}_skull_strip.nii.gz")
    write(BRAIN.astype(np.uint8), atlas / "skull_strip" / "brain_mask.nii.gz")
    _bystanders(folder)
    return folder


def _bystanders(folder: Path) -> None:
    """What lies beside and is not to be read: native scans, their masks and transforms, the other segmentation. Empty
    files, so that reading one is an error."""
    names = [name.upper() for name in SCANS]
    native, other = folder / "DeepBraTumIA-segmentation" / "native", folder / "HD-GLIO-AUTO-segmentation"
    paths = [folder / f"{name}.nii.gz" for name in names]
    paths += [native / "segmentation" / f"{name}_seg_mask.nii.gz" for name in SCANS]
    paths += [native / "transformation" / f"{name}.tfm" for name in SCANS]
    paths += [other / "registered" / f"{name}_r2s_bet_reg.nii.gz" for name in names]
    paths += [other / "registered" / "segmentation.nii.gz"]
    paths += [other / "native" / f"segmentation_{name}_origspace.nii.gz" for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def lumiere_ratings(root: Path, rows: Sequence[tuple[str, str, str, str]], encoding: str = "utf-8-sig") -> Path:
    """The rating table of (patient, week, rating, rationale)."""
    lines = [",".join(f'"{name}"' if "," in name else name for name in RATING_COLUMNS)]
    lines += [f"{patient},{week},,,{rating},{why}" for patient, week, rating, why in rows]
    path = root / "LUMIERE-ExpertRating-v202211.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\r\n".join(lines) + "\r\n", encoding=encoding)
    return path


def lumiere(root: Path, patients: Mapping[str, Mapping[str, str]], full: bool = True) -> Path:
    """A LUMIERE folder: patient -> week -> rating (a rationale after "|"); "" is a study without a rating row.

    Without ``full`` the studies hold an empty segmentation file only, enough for the pairing.
    """
    rows = []
    for patient, studies in patients.items():
        for week, told in studies.items():
            rating, _, why = told.partition("|")
            folder = root / "Imaging" / patient / week
            if full:
                lumiere_study(folder, after=rating.startswith("Post-Op"))
            else:
                bare_study(folder)
            if told:
                rows.append((patient, week, rating, why))
    lumiere_ratings(root, rows)
    for name in ("MRinfo", "pyradiomics-deepbratumia-features", "pyradiomics-hdglioauto-features"):
        (root / f"LUMIERE-{name}.csv").write_text("Patient,Timepoint,Sequence\nPatient-001,week-000-1,CT1\n")
    return root


def bare_study(folder: Path) -> Path:
    """A study whose files are all empty: for tests of the pairing, which reads none."""
    atlas = folder / "DeepBraTumIA-segmentation" / "atlas"
    for path in ("segmentation/seg_mask.nii.gz", *(f"skull_strip/{name}_skull_strip.nii.gz" for name in SCANS)):
        (atlas / path).parent.mkdir(parents=True, exist_ok=True)
        (atlas / path).touch()
    return folder


def rhuh_patient(root: Path, number: int = 1, sessions: str = "012") -> Path:
    """A RHUH-GBM patient: z-scored scans, masks without a cavity label."""
    name = f"RHUH-{number:04d}"
    for session in sessions:
        folder = root / "RHUH-GBM_nii_v1" / name / session
        masks = labels_before() if session == "0" else {k: v for k, v in labels_after().items() if k != "cavity"}
        write(coded(masks, BRATS_BEFORE).astype(np.int16), folder / f"{name}_{session}_segmentations.nii.gz")
        for seed, sequence in enumerate(("t1", "t1ce", "t2", "flair", "adc")):
            dark = labels_after()["cavity"] if session != "0" else None
            scan = brain_scan(seed, 1.0, dark)
            scores = np.where(BRAIN, (scan - 1.0) / 0.25, 0).astype(np.float32)
            write(scores, folder / f"{name}_{session}_{sequence}.nii.gz")
    return root


def rhuh_clinical(root: Path, rows: Sequence[str]) -> Path:
    """The clinical table with the published headers, odd spaces included; a row is all cells but the last."""
    header = (
        "Patient ID,Age,Sex,Preoperative  contrast enhancing tumor volume (cm3),"
        "Postoperative contrast enhancing residual tumor (cm3) , Extent of resection [EOR]  %,"
        "EOR = (Gross total resection (GTR) or near total resection (NTR))"
    )
    path = root / "clinical_data_TCIA_RHUH-GBM.csv"
    root.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows, ",,,,,,"]) + "\n", encoding="utf-8")
    return root


def brats_study(root: Path, name: str, masks: Mapping[str, np.ndarray], codes: Mapping[str, int]) -> Path:
    """One study of BraTS 2024 post-treatment."""
    folder = root / name
    write(coded(masks, codes), folder / f"{name}-seg.nii.gz")
    dark = masks.get("cavity")
    for seed, sequence in enumerate(("t1n", "t1c", "t2w", "t2f")):
        write(brain_scan(seed, 100.0, dark), folder / f"{name}-{sequence}.nii.gz")
    return folder


def bids_subject(root: Path, name: str = "sub-01", sessions: tuple[str, str] = ("ses-preop", "ses-postop")) -> Path:
    """A subject with scans in the data set and masks in derivatives."""
    before, after = labels_before(), labels_after()
    masks = {
        sessions[0]: {"tumor": before["necrosis"] | before["enhancing"]},
        sessions[1]: {"cavity": after["cavity"], "residual": after["enhancing"]},
    }
    for session, named in masks.items():
        stem = f"{name}_{session}"
        dark = named.get("cavity")
        for seed, suffix in enumerate(("T1w", "ce-gadolinium_T1w", "FLAIR")):
            write(brain_scan(seed, 700.0, dark), root / name / session / "anat" / f"{stem}_{suffix}.nii.gz")
        for label, mask in named.items():
            folder = root / "derivatives" / "masks" / name / session / "anat"
            write(mask.astype(np.uint8), folder / f"{stem}_label-{label}_mask.nii.gz")
    return root


def in_mni_already(
    image: sitk.Image,
    tumour: sitk.Image | None = None,
    brain: sitk.Image | None = None,
    progress: Progress | None = None,
) -> Registration:
    """In place of the registration: the made-up brains lie where they should."""
    if progress is not None:
        progress.step(0, 1)
    given = GRID.image(BRAIN.astype(np.uint8)) if brain is None else brain
    mask = sitk.Cast(TEMPLATE_GRID.resample(sitk.Cast(given, sitk.sitkFloat32)) > 0.5, sitk.sitkUInt8)
    return Registration(sitk.Transform(3, sitk.sitkIdentity), mask, RegistrationQuality(1.0, 1.0, True, ""), True)
