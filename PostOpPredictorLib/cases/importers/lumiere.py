"""The LUMIERE data set (Suter et al., Sci Data 9:768) as it unpacks: which studies make pairs, where the files lie."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from .clinical_table import ClinicalTable, find_table, known, number, read_clinical_table, sex
from .lumiere_ratings import Operation, PatientRatings, RatedScan, Timepoint, operations_of, ratings_of
from .plan import ImportPlan, LeftOut, PlannedPair, PlannedSession, checked_plan

_SEGMENTATION = Path("DeepBraTumIA-segmentation", "atlas", "segmentation")
_SCANS = Path("DeepBraTumIA-segmentation", "atlas", "skull_strip")
_FILES = {"T1w": "t1", "T1wCE": "ct1", "T2w": "t2", "FLAIR": "flair"}


@dataclass(frozen=True)
class _Patient:
    """A patient's folder; ``listed`` are the studies that should have a segmentation by the completeness table."""

    patient_id: str
    studies: Mapping[Timepoint, Path]
    listed: frozenset[Timepoint]


def plan(source: Path, *, first_operations: bool = False) -> ImportPlan:
    """The operations in the LUMIERE folder ``source``, which holds ``Imaging`` and the published tables.

    Operations after the first are pairs of their own, unless ``first_operations`` leaves them out.
    Raises ``InputError`` when the folder is not LUMIERE's or has no table of ratings.
    """
    imaging = _imaging_folder(source)
    folders = (source, imaging, imaging.parent)
    table = find_table(folders, r"lumiere.*expertrating.*\.csv")
    if table is None:
        raise InputError(
            f"{source} holds no LUMIERE-ExpertRating-v202211.csv, which tells which scans are before and after "
            "surgery. Download it too and put it beside the folder Imaging."
        )
    ratings, listed = ratings_of(read_clinical_table(table)), _listed(folders)
    details = _demographics(folders)
    patients = {_number(path.name): path for path in sorted(imaging.iterdir()) if _is_patient(path)}
    found: list[PlannedPair | LeftOut] = []
    for key in sorted({*patients, *ratings}):
        name = f"Patient-{key:03d}"
        if key not in patients:
            found.append(LeftOut(name, "rated, but there is no folder of this patient."))
        elif key not in ratings:
            found.append(LeftOut(name, "no row in the table of ratings."))
        else:
            patient = _Patient(name, _studies(patients[key]), listed.get(key, frozenset()))
            found += _pairs(patient, ratings[key], details.get(key, {}), first_operations)
    return checked_plan("lumiere", found)


def _imaging_folder(source: Path) -> Path:
    for folder in (source / "Imaging", source, *sorted(source.glob("*/Imaging"))):
        if folder.is_dir() and any(_is_patient(path) for path in folder.iterdir()):
            return folder
    raise InputError(
        f"{source} is not the LUMIERE data set: there is no Imaging/Patient-001 in it. Unpack Imaging-v202211.zip and "
        "name the folder that holds Imaging."
    )


def _pairs(
    patient: _Patient, ratings: PatientRatings, details: Mapping[str, str | float], first_operations: bool
) -> Iterator[PlannedPair | LeftOut]:
    operations = operations_of(ratings.scans)
    if not operations:
        yield LeftOut(patient.patient_id, _sentence("no Post-Op row", *ratings.notes))
    for operation in operations[:1] if first_operations else operations:
        yield _pair(patient, ratings, operation, details)


def _pair(
    patient: _Patient, ratings: PatientRatings, operation: Operation, details: Mapping[str, str | float]
) -> PlannedPair | LeftOut:
    case_id = patient.patient_id.replace("Patient", "LUMIERE")
    case_id += f"-op{operation.number}" if operation.number > 1 else ""
    if operation.problem:
        return LeftOut(patient.patient_id, _sentence(operation.problem), case_id)
    rated = {scan.when for scan in ratings.scans}
    try:
        before, note_before = _first_segmented(patient, operation.before, rated)
        after, note_after = _first_segmented(patient, operation.after, rated)
    except InputError as error:
        return LeftOut(patient.patient_id, str(error), case_id)
    if before == after:
        return LeftOut(patient.patient_id, f"the scans before and after surgery are both {before.name}.", case_id)
    notes = [*ratings.notes, *note_before, *note_after]
    if operation.recurrence:
        notes.append("an earlier operation: the tumour mask may hold its cavity")
    extent = next((scan.extent for scan in operation.after if scan.extent), None)
    attributes: dict[str, str | float] = {
        **details,
        "operation": operation.number,
        "earlier_surgery": "yes" if operation.recurrence else "no",
        "weeks_apart": operation.after[0].when.week - operation.before[0].when.week,
        **({"expert_extent": extent} if extent else {}),
    }
    return PlannedPair(
        dataset="lumiere",
        institution="LUMIERE",
        patient_id=patient.patient_id,
        case_id=case_id,
        pre=_session(before),
        post=_session(after),
        preset="lumiere",
        one_space=True,
        attributes=attributes,
        notes=tuple(notes),
    )


def _first_segmented(
    patient: _Patient, scans: tuple[RatedScan, ...], rated: set[Timepoint]
) -> tuple[Path, tuple[str, ...]]:
    """The folder of the first of ``scans`` that has a DeepBraTumIA segmentation; ``InputError`` when none has."""
    reasons = []
    for scan in scans:
        folder = _folder_of(scan.when, patient.studies, rated)
        if folder is None:
            reasons.append(f"no folder for {scan.when}")
        elif (folder / _SEGMENTATION / "seg_mask.nii.gz").is_file():
            odd = Timepoint.parse(folder.name) != scan.when
            return folder, (f"{scan.when} of the ratings is the folder {folder.name}",) if odd else ()
        else:
            there = Timepoint.parse(folder.name) in patient.listed
            download = " (the table of completeness lists one: the download is not complete)" if there else ""
            reasons.append(f"no DeepBraTumIA segmentation for {folder.name}{download}")
    raise InputError(_sentence("; ".join(reasons)))


def _folder_of(when: Timepoint, studies: Mapping[Timepoint, Path], rated: set[Timepoint]) -> Path | None:
    """The folder of week and suffix, else the only one of that week that no other row names."""
    if when in studies:
        return studies[when]
    others = [path for time, path in studies.items() if time.week == when.week and time not in rated]
    return others[0] if len(others) == 1 else None


def _session(folder: Path) -> PlannedSession:
    scans = {sequence: folder / _SCANS / f"{name}_skull_strip.nii.gz" for sequence, name in _FILES.items()}
    brain, volumes = folder / _SCANS / "brain_mask.nii.gz", folder / _SEGMENTATION / "measured_volumes_in_mm3.json"
    return PlannedSession(
        name=folder.name,
        scans={sequence: path for sequence, path in scans.items() if path.is_file()},
        labels=folder / _SEGMENTATION / "seg_mask.nii.gz",
        brain=brain if brain.is_file() else None,
        volumes=volumes if volumes.is_file() else None,
    )


def _studies(folder: Path) -> dict[Timepoint, Path]:
    found = ((Timepoint.parse(path.name), path) for path in sorted(folder.iterdir()) if path.is_dir())
    return {time: path for time, path in found if time is not None}


def _listed(folders: tuple[Path, ...]) -> dict[int, frozenset[Timepoint]]:
    """The studies with an "x" under DeepBraTumIA in the completeness table; empty without that table."""
    path = find_table(folders, r"lumiere.*completeness.*\.csv")
    if path is None:
        return {}
    table = read_clinical_table(path)
    patient, when = table.needed("patient"), table.needed("timepoint", "date")
    column = table.needed("deepbratumia")
    found: dict[int, set[Timepoint]] = {}
    for row in table.rows:
        time = Timepoint.parse(row.get(when, ""))
        if time and known(row.get(column)) and any(map(str.isdigit, row.get(patient, ""))):
            found.setdefault(_number(row[patient]), set()).add(time)
    return {key: frozenset(times) for key, times in found.items()}


def _demographics(folders: tuple[Path, ...]) -> dict[int, dict[str, str | float]]:
    path = find_table(folders, r"lumiere.*demographics.*\.csv")
    if path is None:
        return {}
    table = read_clinical_table(path)
    patient = table.needed("patient")
    return {_number(row[patient]): _details(table, row) for row in table.rows if re.search(r"\d", row.get(patient, ""))}


def _details(table: ClinicalTable, row: Mapping[str, str]) -> dict[str, str | float]:
    def cell(*beginnings: str) -> str | None:
        column = table.column(*beginnings)
        return row.get(column) if column else None

    values = {
        "sex": sex(cell("sex", "gender")),
        "age": number(cell("age")),
        "idh": known(cell("idh")),
        "mgmt": known(cell("mgmt qualitative")),
    }
    return {name: value for name, value in values.items() if value is not None}


def _is_patient(path: Path) -> bool:
    return path.is_dir() and re.fullmatch(r"patient[-_ ]?\d+", path.name, re.IGNORECASE) is not None


def _number(name: str) -> int:
    return int(re.findall(r"\d+", name)[0])


def _sentence(*parts: str) -> str:
    return "; ".join(parts).rstrip(".") + "."
