"""Dividing the real patients of a library into training, validation and test, by patient and reproducibly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..atomic_files import whole_file
from ..errors import InputError, LibraryError
from .bids import CaseFiles
from .case import Split
from .case_files import sha256
from .library import CaseLibrary
from .participants import Row, write_table

TEST_SHARE = 5 / 71
"""The paper's: 66 patients to train, 5 to test."""


@dataclass(frozen=True)
class SplitRequest:
    """How to divide. ``test`` and ``val`` count patients; without ``test`` it is the paper's share, at least one.

    ``institution`` limits it to the patients of one institution or data set.
    """

    library: Path
    seed: int = 2026
    test: int | None = None
    val: int = 0
    institution: str | None = None


def split_library(request: SplitRequest) -> dict[str, dict[str, int]]:
    """Divide the real patients and return how many patients and cases each split has.

    The cases of one patient always stay together. Simulated cases keep their split, which goes by institution. Only
    participants.tsv and the cases' own rows change: the table last, so the library shows the old division or the new.
    All patients of one institution may be tested where the library has others to train on.
    Raises ``InputError`` when there are too few patients, ``LibraryError`` when a case's own row cannot be read.
    """
    library = CaseLibrary.open(request.library)
    with library.lock():
        rows = library.rows()
        chosen = _chosen_patients(rows, request.institution)
        others = any(row.get("split") == "train" and row["patient_id"] not in chosen for row in rows.values())
        splits = splits_of(chosen, request.seed, _test_count(request, len(chosen), others), request.val)
        for name, row in rows.items():
            if row.get("source") == "real" and row["patient_id"] in splits:
                rows[name] = {**row, "split": splits[row["patient_id"]]}
                _rewrite_own_row(CaseFiles(library.folder / name, name), splits[row["patient_id"]])
        write_table(library.folder / "participants.tsv", rows.values())
    return {split: _counted(rows, splits, split) for split in ("train", "val", "test")}


def splits_of(patients: frozenset[str], seed: int, test: int, val: int) -> dict[str, Split]:
    """The split of each patient: an order that depends on the seed and the patient's id only, the first ones test."""
    order = sorted(patients, key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest())

    def split(place: int) -> Split:
        return "test" if place < test else "val" if place < test + val else "train"

    return {patient: split(place) for place, patient in enumerate(order)}


def _chosen_patients(rows: Mapping[str, Row], institution: str | None) -> frozenset[str]:
    real = [row for row in rows.values() if row.get("source") == "real"]
    chosen = frozenset(row["patient_id"] for row in real if institution in (None, row.get("institution")))
    if not chosen:
        there = ", ".join(sorted({row.get("institution", "") for row in real}))
        raise InputError(
            f"The library has no real patients of {institution}; it has those of {there}."
            if institution and there
            else "The library has no real patients; simulated ones are divided by institution already."
        )
    return chosen


def _test_count(request: SplitRequest, patients: int, others_to_train: bool) -> int:
    test = max(1, round(patients * TEST_SHARE)) if request.test is None else request.test
    left = patients - test - request.val
    if left < 0:
        raise InputError(
            f"{test} patients to test and {request.val} to validate leave none to train: there are only {patients}."
        )
    if min(test, request.val) < 0 or (left == 0 and not others_to_train):
        raise InputError(
            f"{test} patients to test and {request.val} to validate leave none of {patients} to train. Give fewer."
        )
    return test


def _rewrite_own_row(files: CaseFiles, split: Split) -> None:
    """Change the split in case.json, and the checksum that checksums.json holds of it."""
    try:
        row = json.loads(files.sidecar.read_text(encoding="utf-8"))
        checksums = json.loads(files.checksums.read_text(encoding="utf-8"))
        row["split"] = split
        checksums = dict(checksums)
    except (OSError, ValueError, TypeError) as error:
        raise LibraryError(
            f"{files.folder} has no readable case.json or checksums.json. Run `postop library check` and add the case "
            "again."
        ) from error
    text = json.dumps(row, indent=1, sort_keys=True) + "\n"
    if files.sidecar.read_text(encoding="utf-8") != text:
        with whole_file(files.sidecar) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if checksums.get(files.sidecar.name) != sha256(files.sidecar):
        checksums[files.sidecar.name] = sha256(files.sidecar)
        with whole_file(files.checksums) as temporary:
            temporary.write_text(json.dumps(checksums, indent=1) + "\n", encoding="utf-8")


def _counted(rows: Mapping[str, Row], splits: Mapping[str, Split], split: Split) -> dict[str, int]:
    patients = {patient for patient, name in splits.items() if name == split}
    cases = sum(row.get("source") == "real" and row["patient_id"] in patients for row in rows.values())
    return {"patients": len(patients), "cases": cases}
