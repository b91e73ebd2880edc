"""What is looked for in a library, and what is found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..cases.case import FloatArray
from ..errors import InputError
from ..imaging.grid import WORKING_GRID


@dataclass(frozen=True)
class Query:
    """A patient before surgery. ``tumour`` (z, y, x) bool: the tumour core on WORKING_GRID; ``pre``: the scan.

    A query that is itself a case of the library names it in ``own_case_id``, or its patient in ``own_patient_id``: no
    case of that patient is ever returned, for its slices would carry the answer.
    Raises ``InputError`` for an empty mask.
    """

    tumour: NDArray[np.bool_]
    pre: FloatArray | None = None
    own_case_id: str | None = None
    own_patient_id: str | None = None

    def __post_init__(self) -> None:
        for name, array in (("tumour mask", self.tumour), ("scan", self.pre)):
            if array is not None and array.shape != WORKING_GRID.shape:
                raise InputError(
                    f"The {name} of the query has the shape {array.shape}; it must be {WORKING_GRID.shape}."
                )
        object.__setattr__(self, "tumour", np.asarray(self.tumour) > 0)
        if not self.tumour.any():
            raise InputError("The tumour mask holds no tumour core, so no similar case can be found. Check the labels.")

    @property
    def slices(self) -> list[int]:
        """The axial slices with tumour core."""
        return [int(z) for z in np.flatnonzero(self.tumour.any(axis=(1, 2)))]


@dataclass(frozen=True)
class Match:
    """A case that was found. ``iou`` compares the tumour cores: 3-D for a volume, the mean over ``slices`` per slice.

    ``slices`` maps slices of the query to (slice of the case, IoU of the two); the strategy ranked by ``score``.
    """

    case_id: str
    iou: float
    slices: Mapping[int, tuple[int, float]] = field(default_factory=dict)
    score: float = 0.0


def best_per_slice(matches: Iterable[Match]) -> dict[int, tuple[str, int, float]]:
    """For each slice of the query the case, its slice and the IoU of the most similar one among ``matches``.

    Ties go to the match that comes first.
    """
    best: dict[int, tuple[str, int, float]] = {}
    for match in matches:
        for query_z, (case_z, iou) in match.slices.items():
            if query_z not in best or iou > best[query_z][2]:
                best[query_z] = (match.case_id, case_z, iou)
    return dict(sorted(best.items()))
