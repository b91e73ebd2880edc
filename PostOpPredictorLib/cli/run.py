"""``postop run job.json``: what 3D Slicer starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from ..json_lines import only_json_on_stdout


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def run(
        job: Annotated[Path, typer.Argument(help="Job file: {schema, command, options} as JSON.")],
        cancel_file: Annotated[
            Path | None, typer.Option(help="File whose existence cancels the job; default: the job file + .cancel.")
        ] = None,
        parent_pid: Annotated[int | None, typer.Option(help="End the job when this process is gone.")] = None,
        orphan_folder: Annotated[
            Path | None, typer.Option(help="Folder with a patient's files, to be removed when that process is gone.")
        ] = None,
    ) -> None:
        """Run a job file and tell its progress as JSON lines (for programs)."""
        from ..jobs import run_job
        from ..parent_watch import end_with

        with only_json_on_stdout() as stream:
            parent_is_gone = end_with(parent_pid) if parent_pid is not None else None
            code = run_job(job, stream, cancel_file)
        # Only the folder of the job itself: a wrong path must not cost anybody's files.
        ours = orphan_folder is not None and orphan_folder.resolve() in job.resolve().parents
        if orphan_folder is not None and ours and parent_is_gone is not None and parent_is_gone():
            shutil.rmtree(orphan_folder, ignore_errors=True)
        raise typer.Exit(code)

    # The same for jobs that are talked to: the job file says which command it is.
    app.command("session", help="Run a job file that takes requests from standard input (for programs).")(run)
