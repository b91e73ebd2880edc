"""Writing one case's files: uint8 images, label maps, the displacement, and their checksums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..imaging.grid import WORKING_GRID, Grid
from ..imaging.volumes import write_volume
from .bids import CAVITY_LABELS, CORE_LABELS, OUTCOME_NAMES, SHIFT_GRID, TUMOUR_NAMES, CaseFiles
from .case import FloatArray, SimulatedCase
from .participants import row_of

SHIFT_STEP_MM = 1 / 16


def refuse_unusable(case: SimulatedCase) -> None:
    """Raise ``InputError`` when ``case`` does not keep the promises of ``SimulatedCase`` or has no tumour core."""
    if not case.pre or set(case.pre) != set(case.post):
        raise InputError(
            f"Case {case.case_id} has the scans {sorted(case.pre)} before and {sorted(case.post)} after surgery. "
            "Give the same sequences, at least one, for both."
        )
    labels = {
        "brain_pre": case.brain_pre,
        "brain_post": case.brain_post,
        "tumour": case.tumour,
        "outcome": case.outcome,
    }
    arrays: dict[str, NDArray[Any]] = dict(labels)
    if case.resection is not None:
        arrays["resection"] = case.resection
    for when, scans in (("pre", case.pre), ("post", case.post)):
        arrays.update({f"{when} {name}": scan for name, scan in scans.items()})
    for name, array in arrays.items():
        if array.shape != WORKING_GRID.shape:
            raise InputError(
                f"{name} of case {case.case_id} has the shape {array.shape}; it must be {WORKING_GRID.shape}."
            )
        if not np.isfinite(array).all():
            raise InputError(f"{name} of case {case.case_id} holds NaN or infinity. Replace those voxels first.")
    for name, known in (("tumour", TUMOUR_NAMES), ("outcome", OUTCOME_NAMES)):
        strange = set(np.unique(labels[name]).tolist()) - {0, *known}
        if strange:
            raise InputError(
                f"{name} of case {case.case_id} has the labels {sorted(strange)}; known are 0 and {sorted(known)}."
            )
    if not np.isin(case.tumour, CORE_LABELS).any():
        raise InputError(
            f"Case {case.case_id} has no tumour core (labels 1 and 4), so it could never be found. Leave it out."
        )
    if case.shift is not None and case.shift.shape != (*WORKING_GRID.shape, 3):
        raise InputError(f"The shift of case {case.case_id} has the shape {case.shift.shape}; it must be (z, y, x, 3).")


def write_case(case: SimulatedCase, files: CaseFiles) -> None:
    """Write every file of ``case`` into ``files.folder``, which exists and is empty; checksums.json comes last."""
    for session, scans, brain in (("preop", case.pre, case.brain_pre), ("postop", case.post, case.brain_post)):
        (files.folder / f"ses-{session}" / "anat").mkdir(parents=True)
        for sequence, scan in scans.items():
            _write(np.rint(np.clip(scan, 0, 1) * np.float32(255)).astype(np.uint8), files.image(session, sequence))
        _write((brain > 0).astype(np.uint8), files.brain(session))
    _write(case.tumour.astype(np.uint8), files.tumour)
    _write(np.isin(case.tumour, CORE_LABELS).astype(np.uint8), files.tumour_core)
    _write(case.outcome.astype(np.uint8), files.outcome)
    cavity = files.proxy_cavity if case.attributes.get("cavity") == "proxy" else files.cavity
    _write(np.isin(case.outcome, CAVITY_LABELS).astype(np.uint8), cavity)
    if case.resection is not None:
        _write((case.resection > 0).astype(np.uint8), files.resection)
    if case.shift is not None:
        _write(stored_shift(case.shift), files.shift, SHIFT_GRID)
    files.sidecar.write_text(json.dumps(row_of(case), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    files.checksums.write_text(json.dumps(checksums_of(files.folder), indent=1) + "\n", encoding="utf-8")


def stored_shift(shift: FloatArray) -> FloatArray:
    """The displacement as stored: (z, y, x, 3) mm, averaged over 2x2x2 voxels, rounded to 1/16 mm to compress well."""
    depth, height, width, _ = shift.shape
    blocks = shift.astype(np.float32).reshape(depth // 2, 2, height // 2, 2, width // 2, 2, 3)
    mean: FloatArray = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    return np.rint(mean / SHIFT_STEP_MM).astype(np.float32) * np.float32(SHIFT_STEP_MM)


def checksums_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under ``folder`` but checksums.json, by its path relative to it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "checksums.json")
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(array: NDArray[np.uint8] | FloatArray, path: Path, grid: Grid = WORKING_GRID) -> None:
    write_volume(grid.image(array), path)
