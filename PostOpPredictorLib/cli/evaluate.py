"""``postop evaluate``: the honest table on simulated test patients."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import JsonLines, run_command
from .library import Sequence
from .measuring_options import measuring_fields
from .predict import Mode
from .shared_options import with_options_of


class PoolChoice(StrEnum):
    """Where precedents may come from."""

    OWN = "own"
    WHOLE = "whole"


class ScanTime(StrEnum):
    """When the scans after surgery that are measured were taken."""

    EARLY = "early"
    LATER = "later"


_ALL_MODES = [Mode.MEAN, Mode.SAMPLE, Mode.AVERAGE]
_ALL_POOLS = [PoolChoice.OWN, PoolChoice.WHOLE]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(evaluate)


@with_options_of(measuring_fields)
def evaluate(
    library: Annotated[Path, typer.Option(help="Case library with test patients.")],
    model: Annotated[Path | None, typer.Option(help="Model folder (default: the shipped one).")] = None,
    out: Annotated[Path, typer.Option(help="Where table, JSON and picture go.")] = Path("evaluation"),
    work: Annotated[
        Path | None, typer.Option(help="Folder of results so far, to go on after a stop (default: cache).")
    ] = None,
    sequence: Annotated[Sequence, typer.Option(help="Sequence to predict.")] = Sequence.T1WCE,
    modes: Annotated[list[Mode], typer.Option(help="Sampling modes; the first gets all comparisons.")] = _ALL_MODES,
    pools: Annotated[
        list[PoolChoice], typer.Option(help="Precedents from own institution, whole library.")
    ] = _ALL_POOLS,
    scans: Annotated[
        ScanTime, typer.Option(help="Measure scans of the first week after surgery, or later ones.")
    ] = ScanTime.EARLY,
    trivial_only: Annotated[bool, typer.Option("--trivial-only", help="Leave the model out.")] = False,
    steps: Annotated[int | None, typer.Option(help="Denoising steps of sample and average.")] = None,
    samples: Annotated[int | None, typer.Option(help="Samples that average takes.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes at once on this computer.")] = 1,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Check the model's intervals instead, on its calibration's sequences.")
    ] = False,
    json_lines: JsonLines = False,
    **options: Any,
) -> None:
    """Measure the model against trivial answers on the test patients of a library and write the table."""
    from ..evaluation.evaluate import EvaluationRequest
    from ..evaluation.evaluate import evaluate as work_through
    from ..evaluation.pools import Pool

    if calibration:
        _check_calibration(library, model, out, work, device, json_lines, measuring_fields(**options))
        return
    names = {PoolChoice.OWN: Pool.OWN, PoolChoice.WHOLE: Pool.WHOLE}
    request = EvaluationRequest(
        library=library,
        model=model,
        out=out,
        work=work,
        sequence=sequence.value,
        modes=tuple(mode.value for mode in modes),
        pools=tuple(names[pool] for pool in pools),
        scans=scans.value,
        with_model=not trivial_only,
        steps=steps,
        samples=samples,
        device=device,
        workers=workers,
        **measuring_fields(**options),
    )
    run_command(work_through, request, json_lines, _summary)


def _check_calibration(
    library: Path,
    model: Path | None,
    out: Path,
    work: Path | None,
    device: str,
    json_lines: bool,
    fields: Mapping[str, Any],
) -> None:
    """The same patients, asked whether the intervals hold; options that do not matter to it are not looked at."""
    from ..evaluation.calibration_check import CheckRequest, check_calibration

    matter = {name: fields[name] for name in ("split", "limit", "seed", "resamples", "command")}
    request = CheckRequest(library=library, model=model, out=out, work=work, device=device, **matter)
    run_command(check_calibration, request, json_lines, _calibration_summary)


def _calibration_summary(result: Mapping[str, Any]) -> str:
    written = ", ".join(str(result[key]) for key in ("markdown", "json", "figure"))
    correlation = "n/a" if result["correlation"] is None else f"{result['correlation']:.2f}"
    return f"{result['table']}\nCorrelation of spread and error: {correlation}\nWritten: {written}"


def _summary(result: Mapping[str, Any]) -> str:
    from ..evaluation.printed_table import printed_table

    if "process" in result:
        return f"Process {result['process'] + 1} of {result['processes']} measured its {result['own_cases']} cases."
    written = ", ".join(str(result[key]) for key in ("markdown", "json", "figure"))
    return f"{printed_table(Path(result['json']))}\nWritten: {written}"
