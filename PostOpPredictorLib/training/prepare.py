"""From a library to the one file that training reads: every tumour slice with its most similar slices."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic_files import whole_file
from ..cases.bids import SHIFT_GRID
from ..cases.case import EARLY_DAYS, SEQUENCES
from ..cases.library import CaseLibrary, LibraryCase
from ..cases.library_check import case_problems
from ..errors import InputError, LibraryError
from ..imaging.grid import WORKING_GRID
from ..progress import Progress, SilentProgress
from ..retrieval.packed_masks import PackedMasks
from ..retrieval.slice_index import SliceIndex
from .neighbours import SliceGroups, find_neighbours
from .tensor_file import TensorFile

SCHEMA = 3
SPLITS = ("train", "val", "test")
KINDS = ("phantom", "semi-real", "real")
MINIMUM_PIXELS = 20
MARGIN_SLICES = 4
"""Rows above and below a tumour core, as a prediction draws them (``prediction/triplet_slices.py``)."""
SHIFT_UNIT_MM = 0.1
_PANEL = WORKING_GRID.shape[1:]
_SHIFT_PANEL = (3, *SHIFT_GRID.shape[1:])


def prepare_slices(
    library_folder: Path,
    out_file: Path,
    *,
    slice_step: int = 1,
    neighbours: int = 15,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write the axial slices with tumour core, and four above and below, as one safetensors file; returns counts.

    Slices with at least 20 pixels of core look for their neighbours; the others of a case take over those of the
    nearest such slice, as far above or below it. A case without any such slice is left out.

    Tensors, N rows: for every sequence that a case has, such as T1w, ``pre_T1w`` and ``post_T1w`` (255 x intensity, 0
    where ``has_T1w`` (N,) uint8 is 0), ``tumour``,
    ``outcome`` (labels), ``brain``, ``resection`` (0 where ``resection_known`` (N,) uint8 is 0): uint8 (N, 128, 128);
    ``shift`` int8 (N, 3, 64, 64): components (x, y, z) LPS in
    0.1 mm, cut at 12.7 mm, 0 where ``shift_known`` (N,) uint8 is 0; ``z_mm`` float32; ``days`` since surgery float32, 1
    for a simulated early scan, -1 where unknown; ``case``, ``patient``,
    ``institution`` int32 (indices of the lists in the metadata); ``split`` int8 (train, val, test); ``kind`` int8
    (phantom, semi-real, real); ``neighbours`` int32 and ``neighbour_iou`` float16 (N, neighbours), see
    ``find_neighbours``; ``neighbours_elsewhere`` int32: the same among other institutions only.

    Broken cases, and cases without any of the sequences or a split, are left out with a line in the log.
    Raises ``LibraryError`` when nothing remains.
    """
    progress = progress or SilentProgress()
    if slice_step < 1 or neighbours < 1:
        raise InputError(f"The step ({slice_step}) and the number of neighbours ({neighbours}) must be at least 1.")
    library = CaseLibrary.open(library_folder)
    core = _choose_rows(library, slice_step, progress)
    found, iou = find_neighbours(core.masks, core.groups, neighbours, progress)
    elsewhere, _ = find_neighbours(core.masks, core.groups, neighbours, progress, elsewhere=True)
    rows, nearest = with_margin(core, slice_step)
    found, elsewhere = (neighbours_of_margin(core, own, rows, nearest, slice_step) for own in (found, elsewhere))
    iou = iou[nearest]
    tensors, metadata = _tensors(len(rows.z), neighbours, rows.sequences), _metadata(rows, slice_step)
    with whole_file(Path(out_file)) as temporary, TensorFile(temporary, tensors, metadata) as file:
        file.write("neighbours", 0, found)
        file.write("neighbour_iou", 0, iou)
        file.write("neighbours_elsewhere", 0, elsewhere)
        _write_numbers(file, rows)
        _write_images(file, rows, progress)
    return {"slices": len(rows.z), "cases": len(rows.cases), "without_neighbour": int((found[:, 0] < 0).sum())}


@dataclass(frozen=True)
class Rows:
    """Slices of cases: ``case`` (N,) indexes ``cases``, rising; ``z`` (N,) is the slice number, rising in a case.

    ``masks``: their cores, one a row; without a mask where rows are only written and not searched.
    """

    cases: tuple[LibraryCase, ...]
    masks: PackedMasks
    case: NDArray[np.int32]
    z: NDArray[np.int16]
    patients: tuple[str, ...]
    institutions: tuple[str, ...]

    @property
    def sequences(self) -> tuple[str, ...]:
        """The sequences that at least one case has."""
        return tuple(name for name in SEQUENCES if any(name in case.sequences for case in self.cases))

    @property
    def groups(self) -> SliceGroups:
        """Height, patient, institution and split of each row."""
        split = np.array([SPLITS.index(case.split) for case in self.cases], np.int8)
        patient = np.array([self.patients.index(case.patient_id) for case in self.cases], np.int32)
        institution = np.array([self.institutions.index(case.institution) for case in self.cases], np.int32)
        return SliceGroups(self.z, patient[self.case], institution[self.case], split[self.case])


def _choose_rows(library: CaseLibrary, slice_step: int, progress: Progress) -> Rows:
    index = SliceIndex.open(library, progress)
    progress.stage("Checking the cases")
    usable = []
    for number, case in enumerate(library.cases):
        progress.step(number, len(library.cases))
        usable.append(_is_usable(case, progress))
    progress.step(len(library.cases), len(library.cases))
    wanted = (index.masks.area >= MINIMUM_PIXELS) & (index.z % slice_step == 0) & np.array(usable, bool)[index.case]
    chosen = np.flatnonzero(wanted)
    if not len(chosen):
        raise LibraryError(f"No case of {library.folder} can be prepared. Run `postop library check` to see why.")
    numbers, case_of_row = np.unique(index.case[chosen], return_inverse=True)
    cases = tuple(library.cases[number] for number in numbers)
    return Rows(
        cases=cases,
        masks=index.masks.subset(chosen),
        case=case_of_row.astype(np.int32),
        z=index.z[chosen],
        patients=tuple(dict.fromkeys(entry.patient_id for entry in cases)),
        institutions=tuple(sorted({entry.institution for entry in cases})),
    )


def with_margin(core: Rows, slice_step: int) -> tuple[Rows, NDArray[np.intp]]:
    """All slices between the first and the last core slice of each case and its margin, gap-free, every
    ``slice_step``-th; and (N,) the row of ``core`` that is nearest to each.
    """
    case, z, nearest = [], [], []
    for number in range(len(core.cases)):
        first, last = np.searchsorted(core.case, [number, number + 1])
        own = core.z[first:last].astype(np.intp)
        reach = MARGIN_SLICES // slice_step * slice_step
        low, high = own[0] - reach, own[-1] + reach
        levels = np.arange(low, high + 1, slice_step)
        levels = levels[(levels >= 0) & (levels < WORKING_GRID.shape[0])]
        case.append(np.full(len(levels), number, np.int32))
        z.append(levels.astype(np.int16))
        nearest.append(first + np.abs(levels[:, None] - own[None]).argmin(axis=1))
    return replace(core, case=np.concatenate(case), z=np.concatenate(z)), np.concatenate(nearest)


def neighbours_of_margin(
    core: Rows, found: NDArray[np.int32], rows: Rows, nearest: NDArray[np.intp], slice_step: int
) -> NDArray[np.int32]:
    """``found`` (C, k), rows of ``core``, as rows of ``rows`` for every row of it: (N, k), -1 where there are none.

    A margin row meets the slices of the same cases that lie as far from theirs as it lies from its nearest core slice,
    or the last prepared one of the case on that side.
    """
    first = np.searchsorted(rows.case, np.arange(len(rows.cases)))
    count = np.bincount(rows.case, minlength=len(rows.cases))
    away = rows.z.astype(np.intp) - core.z[nearest]
    wanted = found[nearest]
    case = core.case[wanted]
    level = (core.z[wanted] + away[:, None] - rows.z[first[case]]) // slice_step
    mapped = first[case] + np.clip(level, 0, count[case] - 1)
    return np.where(wanted >= 0, mapped, -1).astype(np.int32)


def _is_usable(case: LibraryCase, progress: Progress) -> bool:
    problem = next(case_problems(case.files), None)
    if problem is None and not set(SEQUENCES) & set(case.sequences):
        problem = f"it has no scan in any of {', '.join(SEQUENCES)} before and after surgery."
    if problem is None and (case.split not in SPLITS or case.source not in KINDS):
        problem = f"its split is {case.split!r} and its source {case.source!r} in participants.tsv."
    if problem:
        progress.log(f"Case {case.case_id} is left out: {problem}")
    return problem is None


def _tensors(count: int, neighbours: int, sequences: tuple[str, ...]) -> dict[str, tuple[str, tuple[int, ...]]]:
    images = [f"{when}_{sequence}" for when in ("pre", "post") for sequence in sequences]
    return {
        **{name: ("uint8", (count, *_PANEL)) for name in (*images, "tumour", "outcome", "brain", "resection")},
        "shift": ("int8", (count, *_SHIFT_PANEL)),
        **{f"has_{sequence}": ("uint8", (count,)) for sequence in sequences},
        "shift_known": ("uint8", (count,)),
        "resection_known": ("uint8", (count,)),
        **{name: ("float32", (count,)) for name in ("z_mm", "days")},
        **{name: ("int32", (count,)) for name in ("case", "patient", "institution")},
        **{name: ("int8", (count,)) for name in ("split", "kind")},
        **{name: ("int32", (count, neighbours)) for name in ("neighbours", "neighbours_elsewhere")},
        "neighbour_iou": ("float16", (count, neighbours)),
    }


def _metadata(rows: Rows, slice_step: int) -> dict[str, str]:
    """Values of the file's header; all are JSON."""
    grid = {"size": WORKING_GRID.size, "spacing_mm": WORKING_GRID.spacing, "origin_lps_mm": WORKING_GRID.origin}
    values: dict[str, Any] = {
        "version": {
            "schema": SCHEMA,
            "slice_step": slice_step,
            "minimum_pixels": MINIMUM_PIXELS,
            "margin": MARGIN_SLICES,
        },
        "grid": grid,
        "cases": [case.case_id for case in rows.cases],
        "patients": rows.patients,
        "institutions": rows.institutions,
        "splits": SPLITS,
        "kinds": KINDS,
    }
    return {name: json.dumps(value) for name, value in values.items()}


def _write_numbers(file: TensorFile, rows: Rows) -> None:
    groups = rows.groups
    kind = np.array([KINDS.index(case.source) for case in rows.cases], np.int8)
    file.write("z_mm", 0, (WORKING_GRID.origin[2] + WORKING_GRID.spacing[2] * rows.z).astype(np.float32))
    file.write("days", 0, np.array([_days(case) for case in rows.cases], np.float32)[rows.case])
    file.write("case", 0, rows.case)
    file.write("patient", 0, groups.patient.astype(np.int32))
    file.write("institution", 0, groups.institution.astype(np.int32))
    file.write("split", 0, groups.split.astype(np.int8))
    file.write("kind", 0, kind[rows.case])


def _write_images(file: TensorFile, rows: Rows, progress: Progress) -> None:
    progress.stage("Writing the slices")
    for number, case in enumerate(rows.cases):
        progress.step(number, len(rows.cases))
        first, last = np.searchsorted(rows.case, [number, number + 1])
        for name, array in _case_arrays(case, rows.z[first:last].astype(np.intp), rows.sequences).items():
            file.write(name, int(first), array)
    progress.step(len(rows.cases), len(rows.cases))


def _days(case: LibraryCase) -> float:
    """Days since surgery; of a simulated early scan 1, of a real one of which nobody knows -1."""
    unknown = -1.0 if case.source == "real" else EARLY_DAYS
    return unknown if case.days_since_surgery is None else case.days_since_surgery


def _case_arrays(case: LibraryCase, z: NDArray[np.intp], sequences: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The slices ``z`` of one case, under the tensors' names."""
    arrays: dict[str, NDArray[Any]] = {
        "tumour": case.tumour()[z],
        "outcome": case.outcome()[z],
        "brain": case.brain_pre()[z],
    }
    for sequence in sequences:
        there = sequence in case.sequences
        arrays[f"has_{sequence}"] = np.full(len(z), there, np.uint8)
        for when, read in (("pre", case.pre), ("post", case.post)):
            scan = np.rint(read(sequence)[z] * 255).astype(np.uint8) if there else np.zeros((len(z), *_PANEL), np.uint8)
            arrays[f"{when}_{sequence}"] = scan
    resection = case.resection()
    arrays["resection_known"] = np.full(len(z), resection is not None, np.uint8)
    arrays["resection"] = np.zeros((len(z), *_PANEL), np.uint8) if resection is None else resection[z]
    shift = case.shift_3mm()
    arrays["shift_known"] = np.full(len(z), shift is not None, np.uint8)
    arrays["shift"] = np.zeros((len(z), *_SHIFT_PANEL), np.int8) if shift is None else _shift_slices(shift, z)
    return arrays


def _shift_slices(shift: NDArray[np.float32], z: NDArray[np.intp]) -> NDArray[np.int8]:
    """The 3 mm field (z, y, x, 3) at slices ``z`` of the 1.5 mm grid, linear in z: int8 (n, 3, y, x) in 0.1 mm."""
    height = np.clip((z - 0.5) / 2, 0, len(shift) - 1)
    below = np.floor(height).astype(np.intp)
    above = np.minimum(below + 1, len(shift) - 1)
    part = (height - below).astype(np.float32)[:, None, None, None]
    field = shift[below] * (1 - part) + shift[above] * part
    return np.clip(np.rint(field / SHIFT_UNIT_MM), -127, 127).astype(np.int8).transpose(0, 3, 1, 2)
