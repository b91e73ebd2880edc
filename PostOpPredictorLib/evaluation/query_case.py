"""A test patient as the evaluation sees it: what the systems are given, and the truth they are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..cases.case import FloatArray, LabelArray
from ..cases.library import LibraryCase
from ..errors import LibraryError
from ..prediction.further_scan import context_of
from ..prediction.outcome_volume import CAVITY_LABELS, RESIDUAL_LABEL, tumour_core
from ..prediction.volume_prediction import Pipeline
from .regions import Regions

SMALLEST_CORE_PX = 20


@dataclass(frozen=True)
class QueryCase:
    """One operated case of the library. Arrays (z, y, x) on WORKING_GRID; ``slices`` are the indices along z that are
    measured.

    ``pre`` and ``post`` float32 in [0, 1], ``brain`` the pre-operative brain 0 or 1, ``tumour`` and ``outcome`` label
    maps.
    """

    case: LibraryCase
    sequence: str
    pre: FloatArray
    post: FloatArray
    brain: LabelArray
    tumour: LabelArray
    outcome: LabelArray
    slices: tuple[int, ...]
    stride: int = 1

    @classmethod
    def of(cls, case: LibraryCase, sequence: str, stride: int = 1) -> QueryCase:
        """Read a case; measured are the axial slices with at least 20 px of tumour core, every ``stride``-th of them.

        Raises ``LibraryError`` when the case has no scan of ``sequence`` or no such slice.
        """
        tumour = case.tumour()
        slices = measured_slices(case, stride)
        if sequence not in case.sequences or not slices:
            raise LibraryError(
                f"Case {case.case_id} has no {sequence} scan or no slice with {SMALLEST_CORE_PX} px of tumour core, "
                "so it cannot be measured. Leave it out, or choose another --sequence."
            )
        return cls(
            case,
            sequence,
            case.pre(sequence),
            case.post(sequence),
            case.brain_pre(),
            tumour,
            case.outcome(),
            slices,
            stride,
        )

    @property
    def is_whole(self) -> bool:
        """Whether every slice counts, and figures of a volume are those of all of it."""
        return self.stride == 1

    def counted(self, volume: np.ndarray) -> np.ndarray:
        """The slices of ``volume`` (z, y, x) that a volume's figures are made of: all, with a stride the measured."""
        return volume if self.is_whole else volume[list(self.slices)]

    def context_for(self, pipe: Pipeline) -> dict[str, FloatArray]:
        """The scans before surgery that ``pipe`` sees beside the one that is measured, as far as the case has them."""
        seen = [name for name in context_of(pipe) if name in self.case.sequences and name != self.sequence]
        return {name: self.case.pre(name) for name in seen}

    @property
    def core(self) -> np.ndarray:
        """The tumour core before surgery, bool."""
        return tumour_core(self.tumour)

    @cached_property
    def true_cavity(self) -> np.ndarray:
        """The hole and what filled it, bool."""
        return np.isin(self.outcome, CAVITY_LABELS)

    @cached_property
    def true_residual(self) -> np.ndarray:
        """The tumour left behind, bool."""
        return self.outcome == RESIDUAL_LABEL

    @cached_property
    def regions(self) -> Regions:
        """The regions of the measured slices."""
        index = list(self.slices)
        return Regions.of(self.brain[index] > 0, self.core[index], self.true_cavity[index])

    @property
    def picture_slice(self) -> int:
        """The measured slice with the largest true cavity (or tumour core, where there is no cavity): what the figure
        shows."""
        index = list(self.slices)
        areas = self.true_cavity[index].sum(axis=(1, 2)) * 10_000 + self.core[index].sum(axis=(1, 2))
        return self.slices[int(np.argmax(areas))]


def measured_slices(case: LibraryCase, stride: int = 1) -> tuple[int, ...]:
    """The indices along z of every ``stride``-th axial slice with at least 20 px of tumour core.

    As much is left out below as above, so that of a small tumour the middle is measured, not its end.
    """
    found = np.flatnonzero(tumour_core(case.tumour()).sum(axis=(1, 2)) >= SMALLEST_CORE_PX)
    return tuple(int(z) for z in found[(len(found) - 1) % stride // 2 :: stride])
