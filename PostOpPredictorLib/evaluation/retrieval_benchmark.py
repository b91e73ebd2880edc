"""How fast and how exact retrieval is: ``python -m PostOpPredictorLib.evaluation.retrieval_benchmark``."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ..retrieval.packed_masks import BLOCK, PackedMasks, block_counts, pack

SIDE = 128
_SHAPES = 2530
_PART = 4096


@dataclass(frozen=True)
class BenchmarkResult:
    """``median_ms``, ``slowest_ms``: of a query; ``extra_memory``: bytes beyond one bit a pixel, as a share of it."""

    masks: int
    queries: int
    k: int
    median_ms: float
    slowest_ms: float
    extra_memory: float
    exact: bool


def random_shapes(count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Lobed ellipses of 3 to 18 pixels radius, like slices of tumours: (count, 128, 128) bool."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    shapes = np.zeros((count, SIDE, SIDE), bool)
    for shape in shapes:
        (y, x), radii, angle = rng.uniform(30, SIDE - 30, 2), rng.uniform(3, 18, 2), rng.uniform(0, np.pi)
        u = (rows - y) * np.cos(angle) + (columns - x) * np.sin(angle)
        v = (columns - x) * np.cos(angle) - (rows - y) * np.sin(angle)
        around = np.arctan2(v, u)
        lobes = 1 + 0.25 * np.sin(3 * around + rng.uniform(0, 6)) + 0.15 * np.sin(5 * around + rng.uniform(0, 6))
        shape[:] = (u / radii[0]) ** 2 + (v / radii[1]) ** 2 < lobes
    return shapes


def many_masks(count: int, rng: np.random.Generator) -> PackedMasks:
    """``count`` masks: random shapes, each used again at other places when more than 2,530 are asked for."""
    shapes = random_shapes(min(count, _SHAPES), rng)
    blocks = (SIDE // BLOCK) ** 2
    bits = np.empty((count, SIDE * SIDE // 64), np.uint64)
    area, table = np.empty(count, np.uint32), np.empty((blocks, count), np.uint8)
    for start in range(0, count, _PART):
        rows = np.arange(start, min(start + _PART, count))
        part = shapes[rows % len(shapes)]
        if start >= len(shapes):
            part = np.roll(part, rng.integers(-20, 21, 2), axis=(1, 2))
        counts = block_counts(part)
        bits[rows], area[rows] = pack(part), counts.sum(axis=1)
        table[:, start : rows[-1] + 1] = np.minimum(counts, 255).T
    return PackedMasks(bits, area, table, (SIDE, SIDE))


def benchmark(masks: int, queries: int = 50, k: int = 15, seed: int = 0) -> BenchmarkResult:
    """Time ``queries`` searches for the top ``k`` among ``masks`` masks; some are compared with counting every bit."""
    rng = np.random.default_rng(seed)
    library = many_masks(masks, rng)
    wanted = random_shapes(queries, rng)
    library.top(wanted[0], k)
    seconds, exact = [], True
    for number, mask in enumerate(wanted):
        started = time.perf_counter()
        rows, iou = library.top(mask, k)
        seconds.append(time.perf_counter() - started)
        if number < max(2, 20_000 // masks):
            exact &= _agrees(library, mask, k, rows, iou)
    return BenchmarkResult(
        masks=masks,
        queries=queries,
        k=k,
        median_ms=round(1000 * float(np.median(seconds)), 3),
        slowest_ms=round(1000 * max(seconds), 3),
        extra_memory=round(library.nbytes / library.bits.nbytes - 1, 4),
        exact=exact,
    )


def _agrees(
    library: PackedMasks, mask: NDArray[np.bool_], k: int, rows: NDArray[np.integer], iou: NDArray[np.float64]
) -> bool:
    """Whether ``rows`` and ``iou`` are those found by counting the bits of every mask."""
    packed = pack(mask[None])[0]
    shared = np.concatenate(
        [
            np.bitwise_count(library.bits[start : start + _PART] & packed).sum(axis=1, dtype=np.int64)
            for start in range(0, len(library), _PART)
        ]
    )
    every = shared / (library.area.astype(np.int64) + int(mask.sum()) - shared)
    order = np.lexsort((np.arange(len(every)), -every))[:k]
    order = order[every[order] > 0]
    return bool(np.array_equal(order, rows) and np.array_equal(every[order], iou))


def main() -> None:
    """Run the benchmark and print its result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--masks", type=int, default=2530, help="how many masks are searched (2 KB of memory each)")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("-k", type=int, default=15)
    options = parser.parse_args()
    print(json.dumps(asdict(benchmark(options.masks, options.queries, options.k))))


if __name__ == "__main__":
    main()
