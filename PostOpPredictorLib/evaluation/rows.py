"""The rows of the table: each system with the retrieval and the pool that it is shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .pools import Pool, Retrieval
from .systems import AppearanceCeiling, AutoencoderCeiling, Composite, CopyOfPre, OurModel, RetrievedPost, System

TRIVIAL, CEILING, OURS = "trivial", "ceiling", "ours"


@dataclass(frozen=True)
class Row:
    """One row. ``kind`` "trivial", "ceiling" or "ours"; ``identity`` names everything beyond the case that its
    figures depend on."""

    kind: str
    system: System
    retrieval: Retrieval | None = None
    pool: Pool | None = None
    identity: str = ""

    @property
    def title(self) -> str:
        """What the table calls it."""
        if self.retrieval is None:
            return self.system.name
        return f"{self.system.name}, {self.retrieval}, {self.pool}"

    @property
    def key(self) -> str:
        """A short name that is fit for a file and the same in every run with the same settings."""
        return hashlib.sha256(json.dumps([self.title, self.kind, self.identity]).encode()).hexdigest()[:16]

    def same_but(self, retrieval: Retrieval, pool: Pool | None = None) -> tuple[str, Retrieval | None, Pool | None]:
        """The name, retrieval and pool of the row to compare this one with."""
        return self.system.name, retrieval, pool or self.pool


def trivial_rows(pools: Sequence[Pool], seed: int = 0) -> list[Row]:
    """The copy of the scan before surgery and, for every pool, the precedent's scan and the composites."""
    rows = [Row(TRIVIAL, CopyOfPre())]
    for pool in pools:
        rows.append(Row(TRIVIAL, RetrievedPost(), Retrieval.GUIDED, pool))
        rows.append(Row(TRIVIAL, Composite(), Retrieval.GUIDED, pool))
        rows.append(Row(TRIVIAL, Composite(), Retrieval.RANDOM, pool, f"seed {seed}"))
    return rows


def model_rows(
    pipe: Any,
    checksum: str,
    modes: Sequence[str],
    pools: Sequence[Pool],
    *,
    seed: int = 0,
    steps: int | None = None,
    samples: int | None = None,
) -> list[Row]:
    """The ceilings, then the model: every mode with guided retrieval from the first pool, the first mode guided and
    random from all. A model that knows time and own institution is told them."""
    rows = [Row(CEILING, AutoencoderCeiling(pipe), identity=checksum)]
    if pipe.has_renderer:
        pool = pools[0]
        rows.append(Row(CEILING, AppearanceCeiling(pipe), Retrieval.GUIDED, pool, checksum))
    identity = json.dumps([checksum, seed, steps, samples])
    timed = pipe.config_tree.time
    for number, pool in enumerate(pools):
        own = pool is Pool.OWN and pipe.config_tree.institution
        systems = [OurModel(pipe, mode, seed, steps, samples, own_institution=own, timed=timed) for mode in modes]
        rows += [
            Row(OURS, system, Retrieval.GUIDED, pool, identity) for system in (systems if number == 0 else systems[:1])
        ]
        rows.append(Row(OURS, systems[0], Retrieval.RANDOM, pool, identity))
    return rows
