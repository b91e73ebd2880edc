"""``postop batch``: every case of a table predicted, the model loaded once for each process."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...cases.folder_lock import only_writer
from ...errors import Cancelled, InputError, StorageError
from ...failures import as_postop_error
from ...launched import Share, own_share, use_own_gpu
from ...progress import PartOf, Progress, SilentProgress
from ...retrieval.slice_index import SliceIndex
from ...shipped import user_cache
from ...worker_processes import in_processes
from ..demonstration_library import demonstration_library
from ..model_choice import model_folder_of
from ..patient_prediction import Tools, open_tools
from ..predictor import predict
from ..request import DeviceOption, PredictionRequest
from .batch_cases import BatchCase, read_batch
from .batch_state import DONE, FAILED, TABLE, BatchState

TABLE_EVERY_SECONDS = 10.0
MODELS_HELD = 2
"""As many as are shipped: each case is predicted by the one that knows what its row asks."""


@dataclass(frozen=True)
class BatchRequest:
    """``table``: CSV file of the cases; ``options``: settings of all of them, ``out`` of it the folder of the batch.

    ``workers``: processes of this computer; ``again``: cases that are done are predicted once more.
    """

    table: Path
    options: PredictionRequest
    workers: int = 1
    again: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"--workers is {self.workers}; give at least 1.")


def predict_batch(request: BatchRequest, progress: Progress) -> dict[str, Any]:
    """Predict this process's share of the cases that are not done; returns how many are done and failed.

    Among processes that ``accelerate launch`` or ``srun`` started every one takes its share, else all are taken. A case
    that fails is told in ``batch.csv`` and keeps nothing back. Raises ``InputError`` for a table, a model or a library
    that cannot be used at all, and whatever ``progress.step`` raises to cancel: what is done stays done.
    """
    progress.stage("Reading the table")
    share = own_share()
    cases = read_batch(request.table, request.options)
    if request.options.library is None:
        _make_demonstration_library(progress)
    progress.stage("Loading the model")
    models = dict.fromkeys(model_folder_of(case.request) for case in cases if case.request is not None)
    checksums = {
        model: _tools(model, request.options.library, request.options.device).model_checksum for model in models
    }
    _make_folder(request.options.out)
    state = BatchState(request.options.out, checksums)
    mine = share.of(cases)
    todo = [case for case in mine if request.again or not state.is_done(case)]
    works = [_Work(case, state, request.again) for case in todo]
    progress.log(
        f"{len(cases)} cases; {len(mine)} of them for this process, {len(mine) - len(todo)} of those are done."
    )
    written = time.monotonic()
    for _ in _worked_off(works, request.workers, progress):
        if time.monotonic() - written > TABLE_EVERY_SECONDS:
            state.write_table(cases)
            written = time.monotonic()
    rows = state.write_table(cases)
    return _told(request, share, rows, cases, mine)


def _make_demonstration_library(progress: Progress) -> None:
    """One launched process simulates it, and the others wait."""
    user_cache().mkdir(parents=True, exist_ok=True)
    with only_writer(user_cache()):
        demonstration_library(progress)


@dataclass(frozen=True)
class _Work:
    case: BatchCase
    state: BatchState
    again: bool


def _worked_off(works: Sequence[_Work], workers: int, progress: Progress) -> Iterator[None]:
    progress.stage("Predicting the cases")
    if workers == 1 or len(works) < 2:
        for number, work in enumerate(works):
            progress.step(number, len(works))
            _predict_one(work, PartOf(progress, number, len(works)))
            yield
    else:
        yield from in_processes(_predict_one, works, min(workers, len(works)), progress)
    progress.step(1, 1)


def _predict_one(work: _Work, progress: Progress | None = None) -> None:
    """Predict one case or write down why not; only a cancel is raised."""
    case, state, began = work.case, work.state, time.monotonic()
    state.forget_failure(case)
    if case.request is None:
        state.fail(case, InputError.code, case.problem, 0.0)
        return
    # One that is there was to be predicted anew, now or in an earlier run that failed.
    request = replace(case.request, overwrite=work.again or state.has_prediction(case))
    try:
        predict(request, progress, tools=_tools(model_folder_of(request), request.library, request.device))
    except (Cancelled, KeyboardInterrupt):
        raise
    except Exception as error:
        ours = as_postop_error(error)
        state.fail(case, ours.code, str(ours), time.monotonic() - began)


@functools.lru_cache(maxsize=MODELS_HELD)
def _tools(model: Path, library: Path | None, device: DeviceOption) -> Tools:
    """Model, library and its index of this process, a worker's too, on its own GPU."""
    use_own_gpu(own_share(), device)
    anybody = Path()
    request = PredictionRequest(anybody, anybody, anybody, model=model, library=library, device=device)
    tools = open_tools(request, SilentProgress())
    SliceIndex.open(tools.library)
    return tools


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"{folder} is a file. Choose a folder with --out.") from error
    except PermissionError as error:
        raise StorageError(f"No permission to write {folder}. Choose a folder that you may write to.") from error


def _told(
    request: BatchRequest,
    share: Share,
    rows: Sequence[dict[str, Any]],
    cases: Sequence[BatchCase],
    mine: Sequence[BatchCase],
) -> dict[str, Any]:
    own = {case.case_id for case in mine}
    failed = {row["id"]: row["sentence"] for row in rows if row["status"] == FAILED and row["id"] in own}
    return {
        "folder": request.options.out,
        "table": request.options.out / TABLE,
        "cases": len(cases),
        "process": share.rank,
        "processes": share.count,
        "own_cases": len(mine),
        "done": sum(row["status"] == DONE and row["id"] in own for row in rows),
        "failed": failed,
    }
