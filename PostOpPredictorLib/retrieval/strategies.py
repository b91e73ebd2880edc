"""The ways to choose precedents: by the tumour (the method), by the whole image, and at random (its two rivals)."""

from __future__ import annotations

import logging
import zlib
from collections import defaultdict
from collections.abc import Collection
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..cases.library import CaseLibrary
from ..cases.library_check import case_problems
from ..errors import InputError
from ..progress import Progress, SilentProgress
from .image_embedding import EmbeddingTable, embed
from .packed_masks import pack
from .query import Match, Query
from .slice_index import SliceIndex, SliceMatch

Per = Literal["volume", "slice"]
CaseFlags = NDArray[np.bool_]

MINIMUM_IOU = 0.05
"""Below this two tumours do not overlap enough for one to be a precedent of the other."""

_log = logging.getLogger(__name__)


class RetrievalStrategy(Protocol):
    """Ranks the cases of a library for a query."""

    def rank(self, query: Query, k: int, allowed: Collection[str] | None = None) -> list[Match]:
        """At most ``k`` cases (per slice: ``k`` for each slice), best first, ties by participant.

        Never a case of the query's own patient, nor a broken one (the log names it). ``allowed`` keeps the named cases
        only (an institution, a split: ``CaseLibrary.select``). Empty when no case is similar enough.
        """
        ...


class _LibraryStrategy:
    """What the strategies share: who may be returned, and that nobody broken is."""

    def __init__(self, library: CaseLibrary, progress: Progress | None = None) -> None:
        self.library = library
        self._progress = progress or SilentProgress()
        self._sound: dict[str, bool] = {}

    @cached_property
    def index(self) -> SliceIndex:
        """The library's slice index, opened when first needed."""
        return SliceIndex.open(self.library, self._progress)

    def rank(self, query: Query, k: int, allowed: Collection[str] | None = None) -> list[Match]:
        """See ``RetrievalStrategy.rank``. Raises ``InputError`` for a ``k`` below 1."""
        if k < 1:
            raise InputError(f"{k} precedents were asked for; ask for 1 or more.")
        eligible = self._eligible(query, allowed)
        while True:
            matches = self._ranked(query, k, eligible)
            broken = [match.case_id for match in matches if not self._is_sound(match.case_id)]
            if not broken:
                return matches
            eligible = eligible & ~np.isin(self.index.case_ids, broken)

    def _ranked(self, query: Query, k: int, eligible: CaseFlags) -> list[Match]:
        raise NotImplementedError

    def _eligible(self, query: Query, allowed: Collection[str] | None) -> CaseFlags:
        index = self.index
        eligible = np.bincount(index.case, minlength=len(index.case_ids)) > 0
        permitted = index.eligible_cases(query.own_case_id, allowed)
        if permitted is not None:
            eligible &= permitted
        return eligible & np.array([patient != query.own_patient_id for patient in index.patient_ids], bool)

    def _is_sound(self, case_id: str) -> bool:
        """Whether the case's files are as they were added; looked at once, and the log names a broken one."""
        if case_id not in self._sound:
            problem = next(case_problems(self.library.case(case_id).files), None)
            if problem:
                _log.warning("Case %s is left out of retrieval: %s", case_id, problem)
                self._progress.log(f"Case {case_id} is left out of retrieval: {problem}")
            self._sound[case_id] = problem is None
        return self._sound[case_id]

    def _best(self, query: Query, k: int, eligible: CaseFlags, score: NDArray[np.floating]) -> list[Match]:
        """The ``k`` eligible cases of the highest score, ties by participant, with their tumours' IoU."""
        index = self.index
        numbers = np.flatnonzero(eligible)
        numbers = numbers[np.argsort(-score[numbers], kind="stable")][:k]
        iou = index.volume_iou(query.tumour)
        return [
            Match(index.case_ids[n], float(iou[n]), corresponding_slices(index, int(n), query), float(score[n]))
            for n in numbers
        ]


class TumourGuided(_LibraryStrategy):
    """Cases whose tumour core overlaps the query's most.

    Per volume: 3-D IoU, one case for all slices, so neighbouring slices follow the same precedent. Per slice (the
    paper): every slice looks for its own, within ``max_dz_mm`` when given; a match holds the slices that chose it.
    """

    def __init__(
        self,
        library: CaseLibrary,
        per: Per = "volume",
        *,
        minimum_iou: float = MINIMUM_IOU,
        max_dz_mm: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        if per not in ("volume", "slice"):
            raise InputError(f"Retrieval is per volume or per slice, not per {per!r}. Choose one of the two.")
        super().__init__(library, progress)
        self.per, self.minimum_iou, self.max_dz_mm = per, minimum_iou, max_dz_mm

    def _ranked(self, query: Query, k: int, eligible: CaseFlags) -> list[Match]:
        if self.per == "slice":
            return self._ranked_slices(query, k, eligible)
        iou = self.index.volume_iou(query.tumour)
        return self._best(query, k, eligible & (iou > 0) & (iou >= self.minimum_iou), iou)

    def _ranked_slices(self, query: Query, k: int, eligible: CaseFlags) -> list[Match]:
        names = [name for name, wanted in zip(self.index.case_ids, eligible, strict=True) if wanted]
        found: dict[str, dict[int, SliceMatch]] = defaultdict(dict)
        for z in query.slices:
            near = self.index.search(
                query.tumour[z],
                k,
                allowed=names,
                z=z,
                max_dz_mm=self.max_dz_mm,
                minimum_iou=self.minimum_iou,
                one_per_case=True,
            )
            for match in near:
                found[match.case_id][z] = match
        matches = [_per_slice_match(name, found[name]) for name in names if name in found]
        return sorted(matches, key=lambda match: -match.score)


class ImageEmbedding(_LibraryStrategy):
    """Cases whose whole pre-operative scan looks most alike: cosine of ``image_embedding.embed``. Needs ``query.pre``.

    The tumours need not overlap at all.
    """

    def __init__(self, library: CaseLibrary, sequence: str = "T1w", progress: Progress | None = None) -> None:
        super().__init__(library, progress)
        self.sequence = sequence

    @cached_property
    def table(self) -> EmbeddingTable:
        """The library's embeddings, opened when first needed."""
        return EmbeddingTable.open(self.library, self.sequence, self._progress)

    def _ranked(self, query: Query, k: int, eligible: CaseFlags) -> list[Match]:
        if query.pre is None:
            raise InputError("Retrieval by image needs the pre-operative scan. Give it, or use the strategy tumour.")
        cosine = self.table.vectors.astype(np.float32) @ embed(query.pre)
        return self._best(query, k, eligible & self.table.known, cosine)


class Random(_LibraryStrategy):
    """Any case, drawn by ``seed`` and the query's mask: the same query gets the same cases, another one others."""

    def __init__(self, library: CaseLibrary, seed: int = 0, progress: Progress | None = None) -> None:
        super().__init__(library, progress)
        self.seed = seed

    def _ranked(self, query: Query, k: int, eligible: CaseFlags) -> list[Match]:
        generator = np.random.default_rng([self.seed, zlib.crc32(np.packbits(query.tumour).tobytes())])
        return self._best(query, k, eligible, generator.random(len(eligible)))


def corresponding_slices(index: SliceIndex, case_number: int, query: Query) -> dict[int, tuple[int, float]]:
    """For each tumour slice of ``query`` (the case's slice, IoU of the two).

    The case's slice is the one at the same height if it has tumour there, else its nearest with tumour.
    """
    rows = index.slices_of(case_number)
    levels = index.z[rows].astype(np.int64)
    slices = {}
    for z in query.slices:
        nearest = int(np.argmin(np.abs(levels - z)))
        shared = int(index.masks.intersections(pack(query.tumour[z][None])[0], rows[nearest : nearest + 1])[0])
        union = int(index.masks.area[rows[nearest]]) + int(query.tumour[z].sum()) - shared
        slices[z] = (int(levels[nearest]), shared / union)
    return slices


def strategy_named(
    name: str,
    library: CaseLibrary,
    *,
    per: Per = "volume",
    sequence: str = "T1w",
    seed: int = 0,
    progress: Progress | None = None,
) -> RetrievalStrategy:
    """The strategy that the command line calls ``name``: tumour, image or random."""
    if name == "tumour":
        return TumourGuided(library, per, progress=progress)
    if name == "image":
        return ImageEmbedding(library, sequence, progress)
    if name == "random":
        return Random(library, seed, progress)
    raise InputError(f"There is no retrieval strategy {name!r}. Choose tumour, image or random.")


def _per_slice_match(case_id: str, found: dict[int, SliceMatch]) -> Match:
    slices = {z: (match.z, match.iou) for z, match in found.items()}
    total = sum(match.iou for match in found.values())
    return Match(case_id, total / len(found), slices, score=total)
