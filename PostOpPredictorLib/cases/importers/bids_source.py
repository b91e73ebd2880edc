"""A BIDS data set of operated patients: sessions before and after surgery, masks beside them or in derivatives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from .clinical_table import ClinicalTable, find_table, number, read_clinical_table, sex
from .plan import ImportPlan, LeftOut, PlannedPair, PlannedSession, checked_plan

CAVITY, RESIDUAL = 4, 3
_OWN_SPACES = {"", "t1w", "t1wce", "orig", "native", "individual", "scanner"}
_SUFFIXES = {"T1w": "T1w", "T1wCE": "T1wCE", "T1ce": "T1wCE", "T1gd": "T1wCE", "T2w": "T2w", "FLAIR": "FLAIR"}
_MEANINGS = {
    "tumour": r"(tumou?r|lesion)(core)?|core",
    "cavity": r"(resection)?cavity|resection",
    "residual": r"residual(tumou?r)?",
    "brain": r"brain",
}


@dataclass(frozen=True)
class _File:
    """A file by its BIDS name: entities (``ses``, ``desc`` ...) and the suffix before ``.nii.gz``."""

    path: Path
    entities: Mapping[str, str]
    suffix: str
    derived: bool

    @classmethod
    def of(cls, path: Path, derived: bool) -> _File:
        *pairs, suffix = re.sub(r"\.nii(\.gz)?$", "", path.name).split("_")
        return cls(path, dict(pair.split("-", 1) for pair in pairs if "-" in pair), suffix, derived)

    @property
    def in_own_space(self) -> bool:
        return self.entities.get("space", "").lower() in _OWN_SPACES

    def means(self, meaning: str) -> bool:
        """Whether this is the mask of "tumour", "cavity", "residual" or "brain", by its label or description."""
        words = (self.entities.get(name, "") for name in ("label", "desc"))
        return any(re.fullmatch(_MEANINGS[meaning], word, re.IGNORECASE) for word in words)


def plan(source: Path, *, name: str = "bids", labels: str = "brats") -> ImportPlan:
    """The pairs in the BIDS folder ``source``: the last session called pre..., the first called post....

    Where the sessions are called otherwise, a column of ``sub-X_sessions.tsv`` must say which is which. ``name`` is the
    data set's, for ids; ``labels`` reads a multi-label tumour map (``imaging.tumour_mask``).
    Raises ``InputError`` when there is no subject.
    """
    if not normalised_name(name):
        raise InputError(f"The data set cannot be called {name!r}: give a name with letters or digits.")
    subjects = sorted(path for path in source.glob("sub-*") if path.is_dir()) if source.is_dir() else []
    if not subjects:
        raise InputError(f"{source} is no BIDS data set: there is no folder sub-... in it.")
    table = find_table((source,), r"participants\.tsv")
    details = _participants(read_clinical_table(table)) if table else {}
    found = [_pair(source, subject, name, labels, details.get(subject.name)) for subject in subjects]
    return checked_plan("bids", found)


def normalised_name(name: str) -> str:
    """The letters and digits of a data set's name, for participant ids."""
    return re.sub(r"[^A-Za-z0-9]", "", name)


def _pair(
    source: Path, subject: Path, name: str, labels: str, details: Mapping[str, str | float] | None
) -> PlannedPair | LeftOut:
    patient, case_id = f"{name}-{subject.name}", f"{name}-{subject.name.removeprefix('sub-')}"
    try:
        before, after, notes = _sessions(subject)
        first, last = (_files(source, subject, session) for session in (before, after))
        tumour, preset = _tumour(first, before, labels)
        masks = {CAVITY: _mask(last, "cavity", after), RESIDUAL: _optional(last, "residual")}
    except InputError as error:
        return LeftOut(patient, str(error), case_id)
    return PlannedPair(
        dataset="bids",
        institution=name,
        patient_id=patient,
        case_id=case_id,
        pre=PlannedSession(before, _scans(first), labels=tumour, brain=_optional(first, "brain")),
        post=PlannedSession(
            after,
            _scans(last),
            masks={label: path for label, path in masks.items() if path is not None},
            brain=_optional(last, "brain"),
        ),
        preset=preset,
        one_space=False,
        attributes={**(details or {}), "operation": 1},
        notes=(*notes, *(() if details is not None else ("no row in participants.tsv",))),
    )


def _sessions(subject: Path) -> tuple[str, str, tuple[str, ...]]:
    """The names of the sessions before and after surgery, and a note where there was a choice."""
    names = [path.name for path in sorted(subject.glob("ses-*")) if path.is_dir()]
    if not names:
        raise InputError("no sessions (ses-...).")
    roles = {name: _role(name.removeprefix("ses-")) for name in names}
    table = find_table((subject,), r".*_sessions\.tsv")
    if table is not None and not {"pre", "post"} <= set(roles.values()):
        order = _roles_by_table(read_clinical_table(table))
        roles = {name: role for name, role in order.items() if name in names}
    before = [name for name, role in roles.items() if role == "pre"]
    after = [name for name, role in roles.items() if role == "post"]
    if not before or not after:
        missing = "before" if not before else "after"
        raise InputError(f"no session {missing} surgery among {', '.join(names)}: call it ses-preop or ses-postop.")
    several = [
        f"several sessions {when} surgery" for when, group in (("before", before), ("after", after)) if group[1:]
    ]
    return before[-1], after[0], tuple(several)


def _role(text: str) -> str:
    """ "pre" or "post", or nothing."""
    match = re.match(r"(pre|post)", re.sub(r"[^a-z]", "", text.lower()))
    return match[1] if match else ""


def _roles_by_table(table: ClinicalTable) -> dict[str, str]:
    """The role of each session, in the order of the table: what any of its cells says."""
    session = table.needed("session_id", "session")
    roles = {}
    for row in table.rows:
        said = {_role(cell) for column, cell in row.items() if column != session} - {""}
        if len(said) == 1:
            roles[f"ses-{row.get(session, '').removeprefix('ses-')}"] = said.pop()
    return roles


def _files(source: Path, subject: Path, session: str) -> list[_File]:
    """The images of a session that lie in its own space: those of the data set first, then those of derivatives."""
    places = [(subject, False), *((path / subject.name, True) for path in sorted(source.glob("derivatives/*")))]
    files = []
    for place, derived in places:
        folder = place / session / "anat"
        files += [_File.of(path, derived) for path in sorted([*folder.glob("*.nii.gz"), *folder.glob("*.nii")])]
    return [file for file in files if file.in_own_space]


def _scans(files: Iterable[_File]) -> dict[str, Path]:
    """The plainest scan (fewest entities) of each sequence."""
    scans: dict[str, _File] = {}
    for file in files:
        sequence = _SUFFIXES.get(file.suffix)
        if sequence is None or file.derived:
            continue
        sequence = "T1wCE" if sequence == "T1w" and "ce" in file.entities else sequence
        if sequence not in scans or len(file.entities) < len(scans[sequence].entities):
            scans[sequence] = file
    return {sequence: file.path for sequence, file in scans.items()}


def _tumour(files: list[_File], session: str, labels: str) -> tuple[Path, str]:
    """The label map of the tumour with its convention, else a binary mask, of which all is core."""
    maps = [file.path for file in files if file.suffix == "dseg" and file.means("tumour")]
    return (maps[0], labels) if maps else (_mask(files, "tumour", session), "any")


def _mask(files: list[_File], meaning: str, session: str) -> Path:
    found = _optional(files, meaning)
    if found is None:
        raise InputError(f"no mask of the {meaning} in {session} (a file such as ..._label-{meaning}_mask.nii.gz).")
    return found


def _optional(files: list[_File], meaning: str) -> Path | None:
    return next((file.path for file in files if file.suffix == "mask" and file.means(meaning)), None)


def _participants(table: ClinicalTable) -> dict[str, dict[str, str | float]]:
    name, of_sex, age = table.needed("participant_id"), table.column("sex", "gender"), table.column("age")
    found = {}
    for row in table.rows:
        values = {
            "sex": sex(row.get(of_sex)) if of_sex else None,
            "age": number(row.get(age)) if age else None,
        }
        known = {key: value for key, value in values.items() if value is not None}
        found[f"sub-{row.get(name, '').removeprefix('sub-')}"] = known
    return found
