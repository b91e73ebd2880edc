"""What the model is shown as its example: the precedent's scans, laid out slice by slice beside the query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import mode

import numpy as np

from ..cases.case import EARLY_DAYS, FloatArray, LabelArray
from ..cases.library import LibraryCase
from ..errors import LibraryError
from ..imaging.grid import WORKING_GRID


@dataclass(frozen=True)
class Instruction:
    """A precedent before and after its operation; slice z is what instructs the query's slice z.

    ``pre`` and ``post`` are float32 [0, 1], ``tumour`` and ``outcome`` uint8 labels, all (z, y, x) on WORKING_GRID.
    ``days``: when after surgery ``post`` was taken.
    """

    pre: FloatArray
    post: FloatArray
    tumour: LabelArray
    outcome: LabelArray
    days: float = EARLY_DAYS

    @classmethod
    def empty(cls) -> Instruction:
        """The instruction of a patient whom no case of the library resembles: all zero."""
        image = np.zeros(WORKING_GRID.shape, np.float32)
        labels = np.zeros(WORKING_GRID.shape, np.uint8)
        return cls(image, image, labels, labels)

    @classmethod
    def of_case(cls, case: LibraryCase, sequence: str) -> Instruction:
        """One precedent for the whole volume, read at the query's own MNI slices: no flicker between slices.

        Raises ``LibraryError`` when the case has no scan of ``sequence``.
        """
        if sequence not in case.sequences:
            raise LibraryError(
                f"Case {case.case_id} of the library has no {sequence} scan (it has {', '.join(case.sequences)}). "
                "Choose another --sequence or another library."
            )
        return cls(
            case.pre(sequence),
            case.post(sequence),
            case.tumour(),
            case.outcome(),
            case.days_since_surgery or EARLY_DAYS,
        )

    @classmethod
    def of_slices(cls, slices: Mapping[int, tuple[LibraryCase, int]], sequence: str) -> Instruction:
        """A precedent for every slice, as in the paper: ``slices`` maps query slice -> (case, its slice).

        Its ``days`` are those of the most slices.
        """
        own = cls.empty()
        whole = cls(own.pre.copy(), own.post.copy(), own.tumour.copy(), own.outcome.copy())
        read: dict[str, Instruction] = {}
        for query_z, (case, case_z) in slices.items():
            source = read.get(case.case_id) or cls.of_case(case, sequence)
            read[case.case_id] = source
            whole.pre[query_z], whole.post[query_z] = source.pre[case_z], source.post[case_z]
            whole.tumour[query_z], whole.outcome[query_z] = source.tumour[case_z], source.outcome[case_z]
        return replace(whole, days=mode(read[case.case_id].days for case, _ in slices.values()))
