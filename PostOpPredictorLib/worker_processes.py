"""Work on many items in several processes: cancelled at once, ended with their parent, one thread each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from .parent_watch import end_with
from .progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, progress: Progress
) -> Iterator[Result]:
    """Yield ``work(item)`` of every item as it gets ready, from ``workers`` processes (more than one is meant).

    ``work`` and the items must be picklable. ``progress`` is told how many items are done and may raise to stop: then
    no further item is begun, and those under way are waited for.
    """
    total = len(items)
    # Without the watch a worker whose parent was killed would wait for its next item for ever.
    watch = partial(end_with, os.getpid(), seconds_to_clean_up=0.0)
    context = get_context("spawn")
    with _single_threaded(), ProcessPoolExecutor(workers, mp_context=context, initializer=watch) as pool:
        try:
            waiting = {pool.submit(work, item) for item in items}
            while waiting:
                progress.step(total - len(waiting), total)
                finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Child processes started inside inherit one thread per library: the processes are the parallelism."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
