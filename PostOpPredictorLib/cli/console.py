"""What every command shares: progress on a terminal or as JSON lines, and the place where the work is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ..json_lines import JsonLines as JsonLineWriter
from ..json_lines import JsonProgress, only_json_on_stdout

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ..progress import Progress

JsonLines = Annotated[
    bool, typer.Option("--json", help="Write JSON lines (stage, progress, log, result) for programs.")
]
Request = TypeVar("Request")
Result = Mapping[str, Any]


def run_command(
    work: Callable[[Request, Progress], Result],
    request: Request,
    json_lines: bool,
    summary: Callable[[Result], str] | None = None,
) -> Result:
    """Run ``work(request, progress)`` with the progress that fits, then show its result.

    On a terminal: bars on standard error, ``summary(result)`` on standard output. With ``json_lines``: JSON lines only.
    """
    if json_lines:
        with only_json_on_stdout() as stream:
            lines = JsonLineWriter(stream)
            result = work(request, JsonProgress(lines))
            lines.result(result)
        return result
    with TerminalProgress() as progress:
        result = work(request, progress)
    typer.echo(summary(result) if summary else _as_text(result))
    return result


def _as_text(result: Result) -> str:
    return "\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in result.items())


class TerminalProgress:
    """``Progress`` on standard error: one bar per stage with the time left, or plain lines where it is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._console = Console(stderr=True)
        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not sys.stderr.isatty(),
        )
        self._stage: TaskID | None = None

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self._finish_stage()
        self._bars.stop()

    def stage(self, name: str) -> None:
        """Begin a stage; see ``Progress``."""
        self._finish_stage()
        self._stage = self._bars.add_task(name, total=None)
        if self._bars.disable:
            print(name, file=sys.stderr, flush=True)

    def step(self, done: int, total: int) -> None:
        """Tell how much of the stage is done; see ``Progress``."""
        if self._stage is None:
            self.stage("Working")
        assert self._stage is not None
        self._bars.update(self._stage, completed=done, total=total)

    def log(self, text: str) -> None:
        """Tell a detail above the bars; see ``Progress``."""
        if self._bars.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self._console.print(text, style="dim", markup=False, highlight=False)

    def _finish_stage(self) -> None:
        if self._stage is None:
            return
        task = next(task for task in self._bars.tasks if task.id == self._stage)
        total = task.total or 1
        self._bars.update(self._stage, completed=total, total=total)
