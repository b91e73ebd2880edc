"""What the tests of the live session share: a model that may be given plans and asked for structure, and a client."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from prediction_bench import FollowsThePrecedent

from PostOpPredictorLib.conversation import Conversation
from PostOpPredictorLib.errors import Cancelled
from PostOpPredictorLib.model.structure import Structure
from PostOpPredictorLib.model.triplet import TripletBatch
from PostOpPredictorLib.prediction.live.session import hold_session
from PostOpPredictorLib.prediction.request import PredictionRequest
from PostOpPredictorLib.progress import SilentProgress

SECONDS = 900.0
"""Only a test that fails waits so long; a busy computer needs minutes for a volume."""


@dataclass
class Lively(FollowsThePrecedent):
    """Expects the precedent's outcome whatever the plan; remembers for which slices it was asked for what."""

    tokens_made: list[float] = field(default_factory=list)
    asked: list[list[float]] = field(default_factory=list)

    def refuse_unknown(self, **_: bool) -> None: ...

    def tokens(self, triplets: TripletBatch) -> torch.Tensor:
        self.tokens_made += triplets.z_mm.tolist()
        return triplets.z_mm[:, None, None].expand(-1, 2, 4)

    def expected_structure(
        self, triplets: TripletBatch, tokens: torch.Tensor, seed: int = 0, guidance: float | None = None
    ) -> Structure:
        assert torch.equal(tokens[:, 0, 0], triplets.z_mm), "every slice has its own tokens"
        self.asked.append(triplets.z_mm.tolist())
        found = self(triplets, seed=seed, progress=SilentProgress())
        return Structure(found.outcome_probability, found.shift_mm)


class Client:
    """Runs a session on a thread and talks to it as 3D Slicer would."""

    def __init__(self, request: PredictionRequest, model: Any, folder: Path) -> None:
        reading, writing = os.pipe()
        self._requests = os.fdopen(reading, "rb")
        self._pipe = os.fdopen(writing, "wb", buffering=0)
        self.said: list[dict[str, Any]] = []
        self.cancelled = False
        self.outcome: Any = None
        talk = Conversation(self._tell, self._check, self._requests, folder)
        self._thread = threading.Thread(target=self._run, args=(request, model, talk), daemon=True)
        self._thread.start()

    def _run(self, request: PredictionRequest, model: Any, talk: Conversation) -> None:
        try:
            self.outcome = hold_session(request, SilentProgress(), talk, load=lambda _: model)
        except BaseException as error:
            self.outcome = error

    def _tell(self, kind: str, **fields: Any) -> None:
        self.said.append({"type": kind, **fields})

    def _check(self) -> None:
        if self.cancelled:
            raise Cancelled("Cancelled.")

    def write(self, *lines: bytes | dict[str, Any]) -> None:
        """Write several lines in one go."""
        encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        self._pipe.write(b"".join(line + b"\n" for line in encoded))

    def wait(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The first line of this kind with these values, as soon as it is there."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self.said if one["type"] == kind and fields.items() <= one.items()]

        wait_until(lambda: bool(found()) or not self._thread.is_alive())
        assert found(), (kind, fields, self.outcome, [one["type"] for one in self.said])
        return found()[0]

    def refused(self, line: bytes | dict[str, Any], **fields: Any) -> str:
        """The sentence that ``line`` is refused with."""
        before = sum(one["type"] == "refused" for one in self.said)
        self.write(line)
        wait_until(lambda: sum(one["type"] == "refused" for one in self.said) > before)
        newest = [one for one in self.said if one["type"] == "refused"][-1]
        assert fields.items() <= newest.items()
        return str(newest["message"])

    def hang_up(self) -> Any:
        """End the stream of requests; returns what the session ended with."""
        self._pipe.close()
        return self.ended()

    def ended(self) -> Any:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        return self.outcome


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
