"""``postop doctor``: looks at the computer and the installation and says what to do about what is not well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from .console import JsonLines, run_command

MARKS = {"ok": ("OK", "green"), "warning": ("warning", "yellow"), "problem": ("PROBLEM", "red")}


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def doctor(json_lines: JsonLines = False) -> None:
        """Check the computer and the installation, and say what to do where something is amiss."""
        from ..doctor import DoctorRequest, examine

        result = run_command(examine, DoctorRequest(), json_lines, _as_text)
        if not result["well"]:
            raise typer.Exit(1)


def _as_text(result: Mapping[str, Any]) -> str:
    lines = [_line(finding) for finding in result["findings"]]
    lines.append(
        "Everything that is needed is there." if result["well"] else "Something that is needed is missing: see above."
    )
    return "\n".join(lines)


def _line(finding: Mapping[str, str]) -> str:
    word, colour = MARKS[finding["state"]]
    advice = f" {finding['advice']}" if finding["advice"] else ""
    return f"{typer.style(f'{word:8}', fg=colour)} {finding['name']}: {finding['found']}.{advice}"
