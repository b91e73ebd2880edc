"""``postop model``: what a model folder holds, whether it is whole, and how a trained one is made ready to ship."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import JsonLines, run_command

if TYPE_CHECKING:
    from ..progress import Progress

Folder = Annotated[Path | None, typer.Option("--model", help="Model folder; the shipped one when left out.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    model = typer.Typer(name="model", help="Look at, verify and publish model folders.", no_args_is_help=True)
    app.add_typer(model)

    @model.command()
    def info(folder: Folder = None, json_lines: JsonLines = False) -> None:
        """Show configuration, parameters, size and checksum of a model."""
        run_command(_information, _chosen(folder), json_lines, _as_text)

    @model.command()
    def verify(folder: Folder = None, json_lines: JsonLines = False) -> None:
        """Check every file of a model against its published checksum."""
        run_command(_verified, _chosen(folder), json_lines)

    @model.command()
    def publish(
        denoiser: Annotated[Path, typer.Option(help="Model folder of the run that trained the denoiser.")],
        out: Annotated[Path, typer.Option(help="Folder to write.")],
        renderer: Annotated[
            Path | None, typer.Option(help="Model folder of the run that trained the renderer.")
        ] = None,
        card: Annotated[Path | None, typer.Option(help="Text of the model card (Markdown).")] = None,
        replace: Annotated[bool, typer.Option(help="Replace an existing folder.")] = False,
        json_lines: JsonLines = False,
    ) -> None:
        """Join trained parts into one model with half-precision weights in shards under 15 MB."""
        from ..model.publish import PublishRequest
        from ..model.publish import publish as join

        run_command(join, PublishRequest(denoiser, out, renderer, card, replace), json_lines, _as_text)


def _chosen(folder: Path | None) -> Path:
    from ..shipped import shipped_model_folder

    return folder or shipped_model_folder()


def _information(folder: Path, progress: Progress) -> Mapping[str, Any]:
    from ..model.publish import information

    progress.stage("Reading the model")
    return information(folder)


def _verified(folder: Path, progress: Progress) -> Mapping[str, Any]:
    from ..model.weights import verify

    progress.stage("Comparing checksums")
    return {"folder": str(folder), "checksum": verify(folder)}


def _as_text(result: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in result["parameters"].items() if count)
    settings = result["settings"]
    return "\n".join(
        (
            f"{result['folder']}: {result['megabytes']} MB, {parts}",
            f"family {settings['family']}, target {settings['target']}, layout {settings['layout']}, "
            f"{settings['prediction_type']}",
            f"checksum {result['checksum']}",
        )
    )
