"""Looking through a library for broken files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from ..errors import LibraryError
from ..imaging.grid import WORKING_GRID, Grid
from ..imaging.quiet import quietly
from ..progress import Progress
from .bids import SHIFT_GRID, CaseFiles
from .case_files import sha256
from .participants import read_table
from .whole_gzip import is_whole_gzip

if TYPE_CHECKING:
    from .library import CaseLibrary

_ORPHAN = re.compile(r"\.[0-9a-f]{32}\..+")


def problems_of(library: CaseLibrary, progress: Progress) -> list[str]:
    """A sentence for everything that is wrong with the library's files, each naming the file or folder."""
    problems = list(_table_problems(library.folder))
    folders = [path for path in sorted(library.folder.glob("sub-*")) if path.is_dir()]
    progress.stage("Checking the cases")
    for number, folder in enumerate(folders, start=1):
        problems.extend(case_problems(CaseFiles(folder, folder.name)))
        progress.step(number, len(folders))
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
    """What is wrong with a file; one with the checksum that it had when it was added is as good as it was then."""
    if not path.is_file():
        return f"{path} is missing; add the case again."
    if expected is not None and sha256(path) == expected:
        return None
    problem = _image_problem(path) if path.name.endswith(".nii.gz") else None
    if problem is None and expected is not None:
        return f"{path} was changed after the case was added (its checksum differs); add the case again."
    return problem


def _image_problem(path: Path) -> str | None:
    if not is_whole_gzip(path):
        return f"{path} is truncated or no image; add the case again."
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quietly():
            reader.ReadImageInformation()
    except RuntimeError:
        return f"{path} is truncated or no image; add the case again."
    grid = SHIFT_GRID if path.name.endswith("_xfm.nii.gz") else WORKING_GRID
    found = Grid(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
    if not _same(grid, found):
        return f"{path} lies on another grid (size {found.size}) than the library's; add the case again."
    return None


def _same(one: Grid, other: Grid) -> bool:
    a, b = ((*grid.size, *grid.spacing, *grid.origin, *grid.direction) for grid in (one, other))
    return len(a) == len(b) and bool(np.allclose(a, b, atol=1e-3))
