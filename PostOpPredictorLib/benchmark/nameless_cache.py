"""Results beside the tables, in a folder that is passed on: not even a precedent's name stands in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..evaluation.measures import CaseMeasures
from ..evaluation.result_cache import ResultCache, anonymous
from ..evaluation.rows import Row


class NamelessCache(ResultCache):
    """The evaluation's cache with a checksum in place of the precedent's case id."""

    def write(self, row: Row, case_id: str, measures: CaseMeasures, picture: np.ndarray) -> None:
        """See ``ResultCache.write``."""
        precedent = None if measures.precedent is None else anonymous(measures.precedent)
        super().write(row, case_id, replace(measures, precedent=precedent), picture)
