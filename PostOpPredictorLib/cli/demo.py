"""``postop demo``: a whole prediction on a simulated patient whose true outcome is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import JsonLines, run_command


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def demo(
        out: Annotated[Path, typer.Option(help="Folder for the demonstration.")] = Path("postop-demo"),
        cases: Annotated[int, typer.Option(help="Simulated patients in the library.")] = 40,
        model: Annotated[Path | None, typer.Option(help="Model folder (default: the shipped one).")] = None,
        seed: Annotated[int, typer.Option(help="The same seed gives the same prediction.")] = 0,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier demonstration.")] = False,
        json_lines: JsonLines = False,
    ) -> None:
        """Predict a simulated patient and show the prediction beside what was simulated to have happened."""
        from ..evaluation.demo import DemoRequest, run_demo

        request = DemoRequest(out=out, cases=cases, model=model, seed=seed, overwrite=overwrite)
        run_command(run_demo, request, json_lines, summary_text)


def summary_text(result: Mapping[str, Any]) -> str:
    """What is printed for a person at the end."""
    measures = result["measures"]
    columns = ("prediction", "copy of the scan before", "precedent after")
    rows = (
        ("ssim_peri", "SSIM around the cavity", "{:.3f}"),
        ("psnr_peri", "PSNR around the cavity, dB", "{:.1f}"),
        ("ssim_brain", "SSIM in the brain", "{:.3f}"),
        ("cavity_dice", "Dice of the cavity", "{:.3f}"),
    )
    lines = [" " * 28 + "".join(f"{name:>25}" for name in columns)]
    for key, title, form in rows:
        values = (measures[name].get(key) for name in columns)
        lines.append(f"{title:28}" + "".join(f"{'-' if value is None else form.format(value):>25}" for value in values))
    return "\n".join(
        [
            "Demonstration on a simulated patient; the truth is simulated too.",
            *lines,
            f"Precedent: {result['precedent'] or 'none'}; predicted cavity {result['cavity_ml']:.1f} ml, "
            f"true {result['true_cavity_ml']:.1f} ml; {result['seconds']:.0f} s in all",
            f"Picture: {result['files']['figure']}",
            f"All files: {result['folder']}",
            typer.style("SYNTHETIC: for research only, not for clinical decisions.", fg="yellow"),
        ]
    )
