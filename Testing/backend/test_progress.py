"""Progress of a part of a stage, as the whole sees it."""

from __future__ import annotations

import pytest

from PostOpPredictorLib.errors import Cancelled
from PostOpPredictorLib.progress import PartOf, SilentProgress


class Listening(SilentProgress):
    """Remembers what it is told; ``stops``: it wants to stop."""

    def __init__(self, stops: bool = False) -> None:
        self.told: list[object] = []
        self.stops = stops

    def stage(self, name: str) -> None:
        self.told.append(name)

    def step(self, done: int, total: int) -> None:
        if self.stops:
            raise Cancelled("Stop.")
        self.told.append((done, total))

    def log(self, text: str) -> None:
        self.told.append(text)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({}, [(2, 4)]),
        ({"logs": True}, [(2, 4), "a detail"]),
        ({"fine": True, "logs": True}, [(2 * 10 + 3, 4 * 10), "a detail"]),
    ],
)
def test_a_part_tells_what_is_wanted_of_it(wanted: dict[str, bool], told: list[object]) -> None:
    whole = Listening()
    part = PartOf(whole, 2, 4, **wanted)
    part.stage("its own stage")
    part.step(3, 10)
    part.log("a detail")
    assert whole.told == told


@pytest.mark.parametrize("fine", [False, True])
def test_a_cancel_reaches_the_part(fine: bool) -> None:
    with pytest.raises(Cancelled):
        PartOf(Listening(stops=True), 0, 2, fine=fine).step(0, 1)
