"""Importing a data set into a library: resumable, several processes at once, nothing half-written, all told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...errors import Cancelled, InputError, LibraryError, OutOfMemory, PostOpError, StorageError
from ...failures import as_postop_error
from ...imaging.registration import register_to_mni
from ...progress import Progress, SilentProgress
from ...worker_processes import in_processes
from ..bids import participant_of
from ..case import Split
from ..library import CaseLibrary
from . import bids_source, brats_post, lumiere, rhuh
from .import_report import ImportReport, ReportRow
from .pair_alignment import Align
from .pair_reading import read_pair
from .plan import Dataset, ImportPlan, PlannedPair

_ENDS_THE_IMPORT = (Cancelled, StorageError, OutOfMemory)


@dataclass(frozen=True)
class ImportRequest:
    """What to import.

    ``first_operations`` (LUMIERE): no pairs of later operations. ``name`` and ``labels`` (BIDS): what the data set is
    called in ids, and the convention of its tumour label maps (``imaging.tumour_mask.PRESETS``).
    """

    dataset: Dataset
    source: Path
    library: Path
    workers: int = 1
    first_operations: bool = False
    name: str = "bids"
    labels: str = "brats"

    def plan(self, progress: Progress) -> ImportPlan:
        """What there is to import; raises ``InputError`` when ``source`` is not such a data set."""
        plans: Mapping[Dataset, Callable[[], ImportPlan]] = {
            "lumiere": lambda: lumiere.plan(self.source, first_operations=self.first_operations),
            "rhuh": lambda: rhuh.plan(self.source),
            "brats-post": lambda: brats_post.plan(self.source, progress),
            "bids": lambda: bids_source.plan(self.source, name=self.name, labels=self.labels),
        }
        return plans[self.dataset]()

    @property
    def options(self) -> dict[str, str | bool]:
        """The options that decide what is imported."""
        used = {"lumiere": ("first_operations",), "bids": ("name", "labels")}.get(self.dataset, ())
        return {name: getattr(self, name) for name in used}


def import_cases(
    request: ImportRequest, progress: Progress | None = None, align: Align = register_to_mni
) -> ImportReport:
    """Import what the library does not hold yet, and write the report into the library's folder.

    A pair that cannot be used is skipped with its reason; cases appear whole, so an interrupted import goes on where it
    stopped. ``align`` is the registration. Raises ``InputError`` when the source is no such data set, ``LibraryError``
    when the folder holds something else, ``Cancelled`` from ``progress``, ``StorageError`` when the disk is full.
    """
    progress = progress or SilentProgress()
    _refuse_same_place(request)
    plan = request.plan(progress)
    library = _opened(request.library)
    rows = [ReportRow.of_left_out(item) for item in plan.left_out]
    present = {case.folder.name: case for case in library.cases}
    missing = []
    for pair in plan.pairs:
        case = present.get(participant_of(pair.case_id))
        if case is None:
            missing.append(pair)
        else:
            rows.append(_row_of_present(pair, case.attributes))
    progress.stage("Importing operated patients")
    work = partial(_import_one, source=request.source, folder=library.folder, align=align)
    rows += _rows_of(work, missing, request.workers, progress)
    rows.sort(key=lambda row: (row.patient_id, row.case_id))
    report = ImportReport(request.dataset, request.options, tuple(rows))
    report.write(library.folder)
    return report


def _refuse_same_place(request: ImportRequest) -> None:
    if request.source.resolve() in (request.library.resolve(), *request.library.resolve().parents):
        raise InputError(
            f"The library {request.library} lies in the data set {request.source}, which must stay as it is. "
            "Choose another folder for the library."
        )


def _opened(folder: Path) -> CaseLibrary:
    """The library in ``folder``, made when there is none."""
    if (folder / "dataset_description.json").exists():
        return CaseLibrary.open(folder, allow_empty=True)
    return CaseLibrary.create(folder)


def _row_of_present(pair: PlannedPair, attributes: Mapping[str, str | float]) -> ReportRow:
    if attributes.get("dataset") == pair.dataset and attributes.get("patient_id") == pair.patient_id:
        return ReportRow.of_pair(pair, "there already", attributes)
    reason = f"the library has another case {pair.case_id}, from elsewhere. Use another library."
    return ReportRow.of_pair(pair, "skipped", {}, reason)


def _import_one(pair: PlannedPair, progress: Progress, *, source: Path, folder: Path, align: Align) -> ReportRow:
    """Import one pair; whatever is wrong with it alone becomes the reason of its row."""
    library = CaseLibrary.open(folder, allow_empty=True)
    try:
        case = read_pair(pair, align, progress)
        added = library.add(replace(case, split=_split_of(pair.patient_id, library)))
    except Exception as error:
        if isinstance(error, LibraryError) and (folder / participant_of(pair.case_id)).is_dir():
            # another import into the same library was faster
            return ReportRow.of_pair(pair, "there already", CaseLibrary.open(folder).case(pair.case_id).attributes)
        ours = as_postop_error(error)
        if isinstance(ours, _ENDS_THE_IMPORT):
            raise ours from error
        return ReportRow.of_pair(pair, "skipped", {}, _without_folder(ours, source))
    return ReportRow.of_pair(pair, "taken", added.attributes)


def _split_of(patient_id: str, library: CaseLibrary) -> Split:
    """That of the patient's other cases, which `postop library split` may have chosen; else train."""
    found = {case.split for case in library.cases if case.patient_id == patient_id and case.source == "real"}
    return "test" if "test" in found else "val" if "val" in found else "train"


def _without_folder(error: PostOpError, source: Path) -> str:
    """The sentence with file names relative to the data set: where it lies on this computer is nobody's business."""
    return str(error).replace(f"{source}{os.sep}", "").replace(f"{source.resolve()}{os.sep}", "")


class _InsideOnePair:
    """Progress of one pair within the progress of all: only asks whether to stop."""

    def __init__(self, whole: Progress, done: int, total: int) -> None:
        self._tell = partial(whole.step, done, total)

    def stage(self, name: str) -> None:
        self._tell()

    def step(self, done: int, total: int) -> None:
        self._tell()

    def log(self, text: str) -> None: ...


def _silently(work: Callable[[PlannedPair, Progress], ReportRow], pair: PlannedPair) -> ReportRow:
    return work(pair, SilentProgress())


def _rows_of(
    work: Callable[[PlannedPair, Progress], ReportRow], pairs: list[PlannedPair], workers: int, progress: Progress
) -> Iterator[ReportRow]:
    """The rows of all ``pairs``, made by ``workers`` processes of one thread each; stops at once when cancelled."""
    total = len(pairs)
    if workers <= 1:
        for done, pair in enumerate(pairs):
            yield work(pair, _InsideOnePair(progress, done, total))
    else:
        yield from in_processes(partial(_silently, work), pairs, workers, progress)
    progress.step(total, total)
