"""The RHUH-GBM data set (TCIA, 10.7937/4545-c905) as it unpacks: folder 0 before surgery, 1 within 72 hours after."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ...errors import InputError
from ..phantom.attributes import resection_class
from .clinical_table import ClinicalTable, find_table, known, number, read_clinical_table, sex
from .plan import ImportPlan, LeftOut, PlannedPair, PlannedSession, checked_plan

_ENDINGS = {"T1w": "t1", "T1wCE": "t1ce", "T2w": "t2", "FLAIR": "flair"}
_BEFORE, _AFTER = "0", "1"


def plan(source: Path) -> ImportPlan:
    """The pairs in the RHUH-GBM folder ``source``, with or without its clinical table.

    Raises ``InputError`` when the folder is not RHUH-GBM's.
    """
    folder = _patients_folder(source)
    patients = {path.name.upper(): path for path in sorted(folder.iterdir()) if _is_patient(path)}
    table = find_table((source, folder, folder.parent), r"clinical_data.*rhuh.*\.csv")
    clinical = _clinical(read_clinical_table(table)) if table else {}
    found: list[PlannedPair | LeftOut] = [
        LeftOut(name, "in the clinical table, but there is no folder of this patient.")
        for name in sorted(set(clinical) - set(patients))
    ]
    for name, path in patients.items():
        found.append(_pair(name, path, clinical.get(name)))
    return checked_plan("rhuh", found)


def _patients_folder(source: Path) -> Path:
    for folder in (source, *(sorted(path for path in source.iterdir() if path.is_dir()) if source.is_dir() else ())):
        if folder.is_dir() and any(_is_patient(path) for path in folder.iterdir()):
            return folder
    raise InputError(
        f"{source} is not the RHUH-GBM data set: there is no RHUH-0001 in it. Name the folder that holds the patients."
    )


def _pair(name: str, folder: Path, details: Mapping[str, str | float] | None) -> PlannedPair | LeftOut:
    sessions = {}
    for session, when in ((_BEFORE, "before"), (_AFTER, "early after")):
        if not (folder / session).is_dir():
            return LeftOut(name, f"no folder {session}, the scans {when} surgery.", name)
        segmentations = _matching(folder / session, r".*seg.*")
        if len(segmentations) != 1:
            return LeftOut(name, f"{len(segmentations) or 'no'} segmentation files (*seg*) in folder {session}.", name)
        scans = {key: _matching(folder / session, rf".*_{end}") for key, end in _ENDINGS.items()}
        sessions[session] = PlannedSession(
            session, {key: paths[0] for key, paths in scans.items() if paths}, labels=segmentations[0]
        )
    return PlannedPair(
        dataset="rhuh",
        institution="RHUH",
        patient_id=name,
        case_id=name,
        pre=sessions[_BEFORE],
        post=sessions[_AFTER],
        preset="brats2023",
        one_space=True,
        attributes={**(details or {}), "operation": 1},
        notes=() if details is not None else ("no row in the clinical table",),
    )


def _matching(folder: Path, stem: str) -> list[Path]:
    return sorted(path for path in folder.iterdir() if re.fullmatch(stem + r"\.nii(\.gz)?", path.name, re.IGNORECASE))


def _clinical(table: ClinicalTable) -> dict[str, dict[str, str | float]]:
    """What is known of each patient; headers are matched by their beginning, since they hold odd spaces and typos."""
    patient = table.needed("patient id", "patient", "id")
    rows = ((re.search(r"\d+", row.get(patient, "")), row) for row in table.rows)
    return {f"RHUH-{int(digits[0]):04d}": _details(table, row) for digits, row in rows if digits}


def _details(table: ClinicalTable, row: Mapping[str, str]) -> dict[str, str | float]:
    def cell(*beginnings: str) -> str | None:
        column = table.column(*beginnings)
        return row.get(column) if column else None

    extent = number(cell("extent of resection"))
    values = {
        "sex": sex(cell("sex", "gender")),
        "age": number(cell("age")),
        "eor_percent": extent,
        "resection_class": _class(cell("eor =", "eor"), extent),
        "reported_enhancing_ml": number(cell("preoperative contrast enhancing")),
        "reported_residual_ml": number(cell("postoperative contrast enhancing")),
    }
    return {name: value for name, value in values.items() if value is not None}


def _class(text: str | None, extent: float | None) -> str | None:
    """The data set's own word (gross or near total), else the class that the percentage belongs to."""
    word = (known(text) or "").lower()
    for beginnings, name in ((("gross", "gtr"), "gross total"), (("near", "ntr"), "near total")):
        if word.startswith(beginnings):
            return name
    return resection_class(extent) if extent is not None else None


def _is_patient(path: Path) -> bool:
    return path.is_dir() and re.fullmatch(r"RHUH-\d{4}", path.name, re.IGNORECASE) is not None
