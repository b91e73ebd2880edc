"""Which patients a batch predicts: read from a table or from a folder, refused as a whole when names are not clear."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

VOLUME_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
ROLES = {"pre": ("pre",), "tumour": ("tumour", "tumor"), "brain": ("brain",)}
"""Column of the table -> names that its file may have in a case's folder."""
_SAFE_ID = re.compile(r"[^\W_][\w. -]*")


@dataclass(frozen=True)
class BatchCase:
    """Files of one patient; ``caseId`` names the results and is all that they tell about who it is.

    ``problem``: a sentence when the files are not clear; ``pre`` or ``tumour`` is None only then.
    """

    caseId: str
    pre: Path | None
    tumour: Path | None
    brain: Path | None = None
    problem: str = ""


def readCases(source: Path) -> list[BatchCase]:
    """The cases of a CSV table or of a folder; raises ``ValueError`` with a sentence.

    A table has the columns ``pre`` and ``tumour``, and may have ``id`` and ``brain``; relative paths start at its
    folder. A row without id is called case-001, ... by its number, never by its file: that may bear a patient's name.
    A folder holds one folder per case, whose name is the id, with ``pre``, ``tumour`` and, if wanted, ``brain`` as
    .nii, .nii.gz, .nrrd, .mha (the masks also as .seg.nrrd). A case whose files are missing or not clear has a
    ``problem`` and does not keep the others back.
    """
    if source.is_dir():
        cases = [_caseOfFolder(folder) for folder in sorted(source.iterdir()) if _mayBeCase(folder)]
    elif source.is_file():
        cases = _casesOfTable(source)
    else:
        raise ValueError(_("There is no folder and no table {path}.").format(path=source))
    if not cases:
        raise ValueError(_("{path} holds no case.").format(path=source))
    _checkIds([case.caseId for case in cases])
    return cases


def _mayBeCase(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _caseOfFolder(folder: Path) -> BatchCase:
    try:
        found = {role: _fileCalled(folder, names) for role, names in ROLES.items()}
    except ValueError as error:
        return BatchCase(folder.name, None, None, problem=str(error))
    pre, tumour = found["pre"], found["tumour"]
    if pre is None or tumour is None:
        sentence = _("The folder of the case '{case}' needs the files pre and tumour (.nii.gz, .nrrd, ...).")
        return BatchCase(folder.name, None, None, problem=sentence.format(case=folder.name))
    return BatchCase(folder.name, pre, tumour, found["brain"])


def _fileCalled(folder: Path, names: tuple[str, ...]) -> Path | None:
    wanted = {f"{name}{ending}" for name in names for ending in (*VOLUME_ENDINGS, ".seg.nrrd")}
    found = [path for path in sorted(folder.iterdir()) if path.name.lower() in wanted]
    if len(found) > 1:
        sentence = _("The folder of the case '{case}' has several files for {role}: {names}. Keep one.")
        names_found = ", ".join(path.name for path in found)
        raise ValueError(sentence.format(case=folder.name, role=names[0], names=names_found))
    return found[0] if found else None


def _casesOfTable(table: Path) -> list[BatchCase]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        dialect = csv.excel_tab if table.suffix.lower() == ".tsv" else csv.excel
        reader = csv.DictReader(file, dialect=dialect, skipinitialspace=True)
        columns = {(name or "").strip().lower() for name in reader.fieldnames or ()}
        if not {"pre", "tumour"} <= columns:
            sentence = _("The table {path} needs the columns pre and tumour; it has {columns}.")
            raise ValueError(sentence.format(path=table, columns=", ".join(sorted(columns)) or _("none")))
        rows = [{(key or "").strip().lower(): _cell(value) for key, value in row.items()} for row in reader]
    filled = [(number, row) for number, row in enumerate(rows, start=1) if any(row.values())]
    return [_caseOfRow(number, row, table.resolve().parent) for number, row in filled]


def _cell(value: str | list[str] | None) -> str:
    return value.strip() if isinstance(value, str) else ""


def _caseOfRow(number: int, row: dict[str, str], folder: Path) -> BatchCase:
    caseId = row.get("id") or f"case-{number:03d}"
    if not row["pre"] or not row["tumour"]:
        sentence = _("Row {number} of the table names no scan or no tumour. Fill it in.").format(number=number)
        return BatchCase(caseId, None, None, problem=sentence)
    brain = folder / Path(row["brain"]).expanduser() if row.get("brain") else None
    return BatchCase(caseId, folder / Path(row["pre"]).expanduser(), folder / Path(row["tumour"]).expanduser(), brain)


def _checkIds(ids: list[str]) -> None:
    for one in ids:
        if not _SAFE_ID.fullmatch(one) or len(one) > 100 or one.endswith((".", " ")):
            sentence = _("'{id}' cannot be the name of a file. Use letters, digits, points, blanks, - and _ for ids.")
            raise ValueError(sentence.format(id=one))
    # As file systems that do not tell capitals apart see them.
    repeated = [one for one, count in Counter(name.casefold() for name in ids).items() if count > 1]
    if repeated:
        sentence = _("Several cases have the id {ids}. Give each case its own.")
        raise ValueError(sentence.format(ids=", ".join(sorted(repeated))))
