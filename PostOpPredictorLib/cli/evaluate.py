"""``postop evaluate``: the honest table on simulated test patients."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import JsonLines, run_command


class Sequence(StrEnum):
    """The sequences that a library holds."""

    T1W = "T1w"
    T1WCE = "T1wCE"


class Mode(StrEnum):
    """The sampling modes of the model."""

    MEAN = "mean"
    SAMPLE = "sample"
    AVERAGE = "average"


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

    @app.command()
    def evaluate(
        library: Annotated[Path, typer.Option(help="Case library with test patients.")],
        model: Annotated[Path | None, typer.Option(help="Model folder [default: the shipped one].")] = None,
        split: Annotated[str, typer.Option(help="Which patients are tested.")] = "test",
        limit: Annotated[int | None, typer.Option(help="At most so many patients of each kind.")] = None,
        out: Annotated[Path, typer.Option(help="Where table, JSON and picture go.")] = Path("Resources/evaluation"),
        work: Annotated[
            Path | None, typer.Option(help="Folder of results so far, to go on after a stop [default: cache].")
        ] = None,
        sequence: Annotated[Sequence, typer.Option(help="Sequence to predict.")] = Sequence.T1WCE,
        stride: Annotated[int, typer.Option(help="Measure every n-th slice.")] = 1,
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
        seed: Annotated[int, typer.Option(help="Seed of sampling, random retrieval and bootstrap.")] = 0,
        resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = 2000,
        lpips_weights: Annotated[
            list[Path] | None, typer.Option(help="AlexNet trunk and LPIPS heads (.pth, .safetensors); may be repeated.")
        ] = None,
        figure_patients: Annotated[int, typer.Option(help="Patients in the picture.")] = 3,
        device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
        json_lines: JsonLines = False,
    ) -> None:
        """Measure the model against trivial answers on simulated test patients and write the table."""
        from ..evaluation.evaluate import EvaluationRequest
        from ..evaluation.evaluate import evaluate as work_through
        from ..evaluation.pools import Pool

        names = {PoolChoice.OWN: Pool.OWN, PoolChoice.WHOLE: Pool.WHOLE}
        request = EvaluationRequest(
            library=library,
            model=model,
            split=split,
            limit=limit,
            out=out,
            work=work,
            sequence=sequence.value,
            stride=stride,
            modes=tuple(mode.value for mode in modes),
            pools=tuple(names[pool] for pool in pools),
            scans=scans.value,
            with_model=not trivial_only,
            steps=steps,
            samples=samples,
            seed=seed,
            resamples=resamples,
            lpips_weights=tuple(lpips_weights or ()),
            figure_patients=figure_patients,
            device=device,
            command=shlex.join(["postop", *sys.argv[1:]]),
        )
        run_command(work_through, request, json_lines, _summary)


def _summary(result: Mapping[str, Any]) -> str:
    from ..evaluation.printed_table import printed_table

    written = ", ".join(str(result[key]) for key in ("markdown", "json", "figure"))
    return f"{printed_table(Path(result['json']))}\nWritten: {written}"
