"""Binary slice masks as packed bits, with an exact top-k by IoU that looks closely at few of them.

Pruning: with the counts of set bits in 16x16-pixel blocks, intersection <= sum over blocks of the smaller count, and
from that IoU <= bound / (area + area - bound). Only masks whose bound can still win are compared bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 16
_CHUNK = 1 << 16
_FIRST_BATCH = 64
_SLACK_PIXELS = np.float32(0.05)
"""More than the float32 rounding of the bound's inequality, so that no winner is pruned."""


@dataclass(frozen=True)
class PackedMasks:
    """N masks of (height, width) pixels, both multiples of 16.

    ``bits`` (N, height*width/64) uint64, row-major; ``area`` (N,) uint32 set pixels; ``blocks`` (blocks, N) uint8: set
    pixels per block, 255 standing for 255 or 256. Per mask one bit a pixel and, at 128x128, 68 bytes more (3.3 %).
    """

    bits: NDArray[np.uint64]
    area: NDArray[np.uint32]
    blocks: NDArray[np.uint8]
    shape: tuple[int, int]

    @classmethod
    def of(cls, masks: NDArray[np.bool_]) -> PackedMasks:
        """Pack ``masks`` (N, height, width) bool."""
        counts = block_counts(masks)
        return cls(
            bits=pack(masks),
            area=counts.sum(axis=1, dtype=np.uint32),
            blocks=np.ascontiguousarray(np.minimum(counts, 255).astype(np.uint8).T),
            shape=(masks.shape[1], masks.shape[2]),
        )

    @classmethod
    def joined(cls, parts: list[PackedMasks], shape: tuple[int, int]) -> PackedMasks:
        """The masks of all ``parts`` in their order; none when there are no parts."""
        parts = [cls.of(np.zeros((0, *shape), bool)), *parts]
        return cls(
            bits=np.concatenate([part.bits for part in parts]),
            area=np.concatenate([part.area for part in parts]),
            blocks=np.concatenate([part.blocks for part in parts], axis=1),
            shape=shape,
        )

    def subset(self, rows: NDArray[np.integer]) -> PackedMasks:
        """Some of the masks, copied."""
        return PackedMasks(self.bits[rows], self.area[rows], np.ascontiguousarray(self.blocks[:, rows]), self.shape)

    def __len__(self) -> int:
        return len(self.area)

    @property
    def nbytes(self) -> int:
        """Bytes of the three tables together."""
        return self.bits.nbytes + self.area.nbytes + self.blocks.nbytes

    def intersections(self, packed: NDArray[np.uint64], rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Set pixels that one packed mask (words,) shares with each of ``rows``."""
        words = np.flatnonzero(packed)
        shared = self.bits[rows[:, None], words[None, :]]
        shared &= packed[words]
        return np.bitwise_count(shared).sum(axis=1, dtype=np.int64)

    def top(
        self,
        mask: NDArray[np.bool_],
        k: int,
        *,
        eligible: NDArray[np.bool_] | None = None,
        minimum_iou: float = 0.0,
        group: NDArray[np.integer] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The ``k`` rows most like ``mask`` (height, width) bool and their IoU, exact, best first, ties by row.

        ``eligible`` (N,) limits the rows; rows without a common pixel or below ``minimum_iou`` are never returned; with
        ``group`` (N,) only the best row of each group counts.
        """
        query = _Query(pack(mask[None])[0], block_counts(mask[None])[0], int(mask.sum()))
        best = _Best(k, minimum_iou, group)
        for start in range(0, len(self), _CHUNK):
            rows = slice(start, min(start + _CHUNK, len(self)))
            bound = self._intersection_bound(query, rows)
            areas = self.area[rows].astype(np.float32) + np.float32(query.area)
            keep = _may_reach(best.cut, bound, areas)
            if eligible is not None:
                keep &= eligible[rows]
            self._compare(query, best, np.flatnonzero(keep), bound, areas, start)
        return best.rows, best.iou

    def _compare(
        self,
        query: _Query,
        best: _Best,
        candidates: NDArray[np.intp],
        bound: NDArray[np.float32],
        areas: NDArray[np.float32],
        start: int,
    ) -> None:
        """Compare bit by bit, the most promising first, as long as some candidate can still win."""
        batch = max(_FIRST_BATCH, 2 * best.k)
        while candidates.size:
            now, candidates = candidates, candidates[:0]
            if now.size > batch:
                promise = bound[now] / (areas[now] - bound[now])
                order = np.argpartition(-promise, batch)
                now, candidates = now[order[:batch]], now[order[batch:]]
            rows = np.sort(now) + start
            shared = self.intersections(query.bits, rows)
            best.offer(rows, shared / (self.area[rows].astype(np.int64) + query.area - shared))
            candidates = candidates[_may_reach(best.cut, bound[candidates], areas[candidates])]
            batch *= 4

    def _intersection_bound(self, query: _Query, rows: slice) -> NDArray[np.float32]:
        """At least the shared pixels of the query with each of ``rows``."""
        total = np.zeros(rows.stop - rows.start, np.uint16)
        for block in np.flatnonzero(query.blocks):
            total += np.minimum(self.blocks[block, rows], np.uint8(min(query.blocks[block], 255)))
        # a block that the query fills counts 255 above, where 256 pixels could be shared
        full = int((query.blocks > 255).sum())
        return np.where(total > 0, total.astype(np.float32) + np.float32(full), np.float32(0))


@dataclass(frozen=True)
class _Query:
    bits: NDArray[np.uint64]
    blocks: NDArray[np.integer]
    area: int


class _Best:
    """The best rows seen so far, and the IoU that a row must reach to be among them."""

    def __init__(self, k: int, minimum_iou: float, group: NDArray[np.integer] | None) -> None:
        self.k, self.cut = k, minimum_iou
        self.rows: NDArray[np.int64] = np.zeros(0, np.int64)
        self.iou: NDArray[np.float64] = np.zeros(0)
        self._minimum, self._group = minimum_iou, group

    def offer(self, rows: NDArray[np.integer], iou: NDArray[np.float64]) -> None:
        """Take in ``rows`` with their exact IoU."""
        wanted = (iou > 0) & (iou >= self._minimum)
        rows, iou = np.concatenate([self.rows, rows[wanted]]), np.concatenate([self.iou, iou[wanted]])
        order = np.lexsort((rows, -iou))
        if self._group is not None:
            order = order[np.sort(np.unique(self._group[rows[order]], return_index=True)[1])]
        order = order[: self.k]
        self.rows, self.iou = rows[order].astype(np.int64), iou[order]
        if len(order) == self.k:
            self.cut = float(self.iou[-1])


def _may_reach(cut: float, bound: NDArray[np.float32], areas: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where bound / (areas - bound) >= cut, written without division; never where nothing can be shared."""
    return (bound * np.float32(1 + cut) >= areas * np.float32(cut) - _SLACK_PIXELS) & (bound > 0)


def pack(masks: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(N, height, width) bool to (N, height*width/64) uint64 words."""
    if masks.shape[1] % BLOCK or masks.shape[2] % BLOCK:
        raise ValueError(
            f"Masks of {masks.shape[1:]} pixels cannot be packed; both sides must be multiples of {BLOCK}."
        )
    return np.packbits(masks.reshape(len(masks), masks.shape[1] * masks.shape[2]), axis=1).view(np.uint64)


def unpack(bits: NDArray[np.uint64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The inverse of ``pack``: (N, words) to (N, height, width) bool."""
    return np.unpackbits(np.ascontiguousarray(bits).view(np.uint8), axis=1).reshape(len(bits), *shape).astype(bool)


def block_counts(masks: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Set pixels of each 16x16 block: (N, height, width) bool to (N, blocks)."""
    count, height, width = masks.shape
    blocks = masks.reshape(count, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return blocks.sum(axis=(2, 4), dtype=np.uint16).reshape(count, height * width // BLOCK**2)
