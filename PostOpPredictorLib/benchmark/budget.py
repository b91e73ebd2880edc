"""How long every system may learn: so many steps, or so many minutes on the machine at hand."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..atomic_files import whole_file
from ..errors import Cancelled, InputError
from ..progress import SilentProgress
from ..training.trainer import Trainer

_TIMED_STEPS = 6
_FIRST_STEPS = 2
MakeTrainer = Callable[[int, Path], Trainer]


@dataclass(frozen=True)
class Budget:
    """``steps`` or ``minutes`` of training for each system; the other is None."""

    steps: int | None = None
    minutes: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """ "6000" is steps, "30min" is minutes. Raises ``InputError`` for anything else, or less than a step."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(steps?|min|minutes?)?\s*", text)
        amount = float(found[1]) if found else 0.0
        in_minutes = bool(found and found[2] and found[2].startswith("min"))
        if not found or amount <= 0 or not (in_minutes or amount.is_integer()):
            raise InputError(f"The budget is '{text}'; give a number of steps such as 6000, or minutes such as 30min.")
        return cls(minutes=amount) if in_minutes else cls(steps=int(amount))

    @property
    def text(self) -> str:
        """What the table says."""
        return f"{self.steps} steps" if self.steps is not None else f"{self.minutes:g} minutes"

    def share(self, part: float) -> Budget:
        """A part of it, at least one step."""
        if self.steps is not None:
            return Budget(steps=max(1, round(self.steps * part)))
        return Budget(minutes=(self.minutes or 0.0) * part)

    def steps_in(self, folder: Path, make: MakeTrainer, part: str = "all") -> int:
        """Steps for ``part`` of a system in ``folder``; minutes become steps once, by timing some, and are kept there.

        ``make(steps, folder)`` makes its trainer in another folder.
        """
        if self.steps is not None:
            return self.steps
        record = folder / f"budget-{part}.json"
        if record.exists():
            return int(json.loads(record.read_text(encoding="utf-8"))["steps"])
        seconds = _seconds_per_step(make)
        steps = max(1, int((self.minutes or 0.0) * 60 / seconds))
        with whole_file(record) as temporary:
            values = {"minutes": self.minutes, "seconds_per_step": round(seconds, 4), "steps": steps}
            temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")
        return steps


class _Timer(SilentProgress):
    def __init__(self) -> None:
        self.times: list[float] = []

    def step(self, done: int, total: int) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) == _TIMED_STEPS:
            raise Cancelled("Timed.")


def _seconds_per_step(make: MakeTrainer) -> float:
    timer = _Timer()
    with tempfile.TemporaryDirectory(prefix="postop-timing-") as folder, contextlib.suppress(Cancelled):
        make(_TIMED_STEPS + 1, Path(folder)).train(timer)
    times = timer.times[_FIRST_STEPS - 1 :]
    return max((times[-1] - times[0]) / (len(times) - 1), 1e-6)
