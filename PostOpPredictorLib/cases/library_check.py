"""Looking through a library for broken files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from ..errors import LibraryError
from ..imaging.grid import WORKING_GRID, Grid
from ..imaging.quiet import quietly
from .bids import SHIFT_GRID, CaseFiles
from .case_files import sha256
from .participants import read_table

if TYPE_CHECKING:
    from .library import CaseLibrary

_ORPHAN = re.compile(r"\.[0-9a-f]{32}\..+")


def problems_of(library: CaseLibrary) -> list[str]:
    """A sentence for everything that is wrong with the library's files, each naming the file or folder."""
    problems = list(_table_problems(library.folder))
    folders = [path for path in sorted(library.folder.glob("sub-*")) if path.is_dir()]
    for folder in folders:
        problems.extend(case_problems(CaseFiles(folder, folder.name)))
    for path in sorted([*library.folder.rglob(".*")]):
        if _ORPHAN.fullmatch(path.name):
            problems.append(f"{path} is left over from an interrupted write; remove it.")
    return problems


def _table_problems(folder: Path) -> Iterator[str]:
    try:
        rows = read_table(folder / "participants.tsv")
    except LibraryError as error:
        yield str(error)
        return
    named = {row["participant_id"] for row in rows}
    present = {path.name for path in folder.glob("sub-*") if path.is_dir()}
    for name in sorted(named - present):
        yield f"{folder / name} is missing, but participants.tsv names it; add the case again."
    for name in sorted(present - named):
        yield f"{folder / 'participants.tsv'} does not name {name}; adding any case mends the table."


def case_problems(files: CaseFiles) -> Iterator[str]:
    """A sentence for every broken file of one case."""
    if not files.sequences():
        yield f"{files.folder} has no sequence with a scan before and after surgery; add the case again."
    try:
        recorded = json.loads(files.checksums.read_text(encoding="utf-8"))
        expected = {str(name): str(digest) for name, digest in recorded.items()}
    except (OSError, ValueError, AttributeError):
        yield f"{files.checksums} is missing or unreadable, so the case cannot be verified; add the case again."
        expected = {}
    required = {path.relative_to(files.folder).as_posix() for path in files.required} - {files.checksums.name}
    for name in sorted(required | expected.keys()):
        problem = _file_problem(files.folder / name, expected.get(name))
        if problem:
            yield problem


def _file_problem(path: Path, expected: str | None) -> str | None:
    if not path.is_file():
        return f"{path} is missing; add the case again."
    changed = expected is None or sha256(path) != expected
    if path.name.endswith(".nii.gz"):
        problem = _image_problem(path, whole=changed)
        if problem:
            return problem
    if changed:
        return f"{path} was changed after the case was added (its checksum differs); add the case again."
    return None


def _image_problem(path: Path, whole: bool) -> str | None:
    """What is wrong with an image file; only its header is read unless ``whole``: a good checksum vouches for it."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quietly():
            if whole:
                reader.Execute()
            else:
                reader.ReadImageInformation()
    except RuntimeError:
        return f"{path} is truncated or no image; add the case again."
    grid = SHIFT_GRID if path.name.endswith("_xfm.nii.gz") else WORKING_GRID
    header = Grid(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
    reference = sitk.Image(header.size, sitk.sitkUInt8) if len(header.size) == 3 else None
    if reference is None:
        return f"{path} has {len(header.size)} dimensions instead of 3; add the case again."
    reference.SetSpacing(header.spacing)
    reference.SetOrigin(header.origin)
    reference.SetDirection(header.direction)
    if not grid.holds(reference):
        return f"{path} lies on another grid (size {header.size}) than the library's; add the case again."
    return None
