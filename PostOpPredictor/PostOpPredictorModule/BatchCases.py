"""Which patients a batch predicts: read from a table or from a folder, refused as a whole when names are not clear."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from .PlanList import LEAST_MARGIN_MM, MOST_MARGIN_MM, MOST_PLANS, PlanList, ResectionPlan

VOLUME_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
ROLES = {"pre": ("pre",), "tumour": ("tumour", "tumor"), "brain": ("brain",)}
"""Column of the table -> names that its file may have in a case's folder."""
_SAFE_ID = re.compile(r"[^\W_][\w. -]*")


@dataclass(frozen=True)
class BatchCase:
    """Files of one patient; ``caseId`` names the results and is all that they tell about who it is.

    ``margins`` (mm) are plans, ``days`` the days after surgery of this case; None: as the whole batch has them.
    ``problem``: a sentence when the files or numbers are not clear; ``pre`` or ``tumour`` is None only then.
    """

    caseId: str
    pre: Path | None
    tumour: Path | None
    brain: Path | None = None
    problem: str = ""
    margins: tuple[float, ...] | None = None
    days: tuple[float, ...] | None = None


def readCases(source: Path) -> list[BatchCase]:
    """The cases of a CSV table or of a folder; raises ``ValueError`` with a sentence.

    A table has the columns ``pre`` and ``tumour``, and may have ``id``, ``brain``, ``margins`` and ``days`` (numbers
    with blanks or semicolons between them: "-2; 5"); relative paths start at its folder. A row without id is called
    case-001, ... by its number, never by its file: that may bear a patient's name.
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
    try:
        margins, days = marginsIn(row.get("margins", "")), daysIn(row.get("days", ""))
    except ValueError as error:
        return BatchCase(caseId, None, None, problem=str(error))
    pre, tumour = (folder / Path(row[name]).expanduser() for name in ("pre", "tumour"))
    brain = folder / Path(row["brain"]).expanduser() if row.get("brain") else None
    return BatchCase(caseId, pre, tumour, brain, margins=margins or None, days=days or None)


def marginsIn(text: str) -> tuple[float, ...]:
    """The margins in ``text``, mm; raises ``ValueError`` with a sentence."""
    margins = _numbersIn(text)
    if any(not LEAST_MARGIN_MM <= one <= MOST_MARGIN_MM for one in margins):
        sentence = _("A margin is a number from {least:g} to {most:g} mm; there is '{text}'.")
        raise ValueError(sentence.format(least=LEAST_MARGIN_MM, most=MOST_MARGIN_MM, text=text))
    if len(margins) > MOST_PLANS:
        raise ValueError(_("At most {most} margins can be predicted for a case.").format(most=MOST_PLANS))
    return margins


def daysIn(text: str) -> tuple[float, ...]:
    """The days after surgery in ``text``, sorted; raises ``ValueError`` with a sentence."""
    return PlanList().withDays(_numbersIn(text)).days


def plansByMargin(margins: tuple[float, ...]) -> tuple[ResectionPlan, ...]:
    """A plan for each margin, named after it."""
    return tuple(ResectionPlan(_("Margin {margin:+g} mm").format(margin=one), one) for one in margins)


def _numbersIn(text: str) -> tuple[float, ...]:
    words = [word for word in re.split(r"[,;\s]+", text) if word]
    for word in words:
        if not re.fullmatch(r"[+-]?\d+(\.\d+)?", word):
            raise ValueError(_("'{word}' is no number. Write numbers as -2; 0; 5.").format(word=word))
    return tuple(dict.fromkeys(float(word) for word in words))


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
