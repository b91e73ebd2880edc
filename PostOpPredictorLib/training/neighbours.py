"""For every prepared slice the most similar ones of other patients: what the instruction is drawn from in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..imaging.grid import WORKING_GRID
from ..progress import Progress
from ..retrieval.packed_masks import PackedMasks, unpack

MAX_DZ_MM = 12.0


@dataclass(frozen=True)
class SliceGroups:
    """One value per slice (N,): its height as a slice number, patient, institution and split, all as integers."""

    z: NDArray[np.integer]
    patient: NDArray[np.integer]
    institution: NDArray[np.integer]
    split: NDArray[np.integer]


def find_neighbours(
    masks: PackedMasks, groups: SliceGroups, count: int, progress: Progress, *, elsewhere: bool = False
) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
    """Rows (N, count), -1 where there are none, and IoU (N, count) of the slices most like each, exact, ties by row.

    Neighbours are of the same split, another patient, at most 12 mm up or down, and share a pixel. Those of the same
    institution come first; where they are fewer than ``count``, the rest comes from other institutions of the split.
    With ``elsewhere`` all are of other institutions.
    """
    rows = np.full((len(masks), count), -1, np.int32)
    iou = np.zeros((len(masks), count), np.float16)
    _Filling(masks, groups, rows, iou, elsewhere).fill(progress)
    return rows, iou


@dataclass(frozen=True)
class _Filling:
    masks: PackedMasks
    groups: SliceGroups
    rows: NDArray[np.int32]
    iou: NDArray[np.float16]
    elsewhere: bool

    def fill(self, progress: Progress) -> None:
        progress.stage("Finding similar slices")
        done = 0
        for split in np.unique(self.groups.split):
            of_split = np.flatnonzero(self.groups.split == split)
            everywhere = self.masks.subset(of_split)
            for institution in np.unique(self.groups.institution[of_split]):
                own = of_split[self.groups.institution[of_split] == institution]
                other = self.groups.institution[of_split] != institution
                pool = self.masks.subset(own)
                for row in own:
                    found = 0 if self.elsewhere else self._append(row, own, pool, np.ones(len(own), bool), 0)
                    if found < self.rows.shape[1]:
                        self._append(row, of_split, everywhere, other, found)
                done += len(own)
                progress.step(done, len(self.masks))

    def _append(
        self, row: int, numbers: NDArray[np.integer], pool: PackedMasks, eligible: NDArray[np.bool_], found: int
    ) -> int:
        """Put the best of ``pool`` (masks of rows ``numbers``) behind the first ``found``; returns the new count."""
        groups = self.groups
        dz = np.abs(groups.z[numbers].astype(np.int64) - int(groups.z[row])) * WORKING_GRID.spacing[2]
        eligible = eligible & (dz <= MAX_DZ_MM + 1e-6) & (groups.patient[numbers] != groups.patient[row])
        mask = unpack(self.masks.bits[row : row + 1], self.masks.shape)[0]
        best, iou = pool.top(mask, self.rows.shape[1] - found, eligible=eligible)
        self.rows[row, found : found + len(best)] = numbers[best]
        self.iou[row, found : found + len(best)] = iou
        return found + len(best)
