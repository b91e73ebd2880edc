"""The command ``postop``: its sub-commands, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from .. import __version__
from ..errors import InputError, PostOpError
from ..failures import as_postop_error
from ..json_lines import JsonLines, only_json_on_stdout

COMMANDS = (
    *("demo", "sample", "predict", "batch", "register", "retrieve", "library", "model", "train"),
    *("evaluate", "calibrate", "benchmark", "doctor", "run"),
)

app = typer.Typer(
    name="postop",
    help="Predict a brain MRI after glioma surgery. For research only; nothing leaves this computer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"postop {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an unexpected error.")] = False,
) -> None:
    """Hold the options that stand before the command."""


for _name in COMMANDS:
    importlib.import_module(f".{_name}", __package__).register(app)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line (``sys.argv`` when nothing is given) and leave with its exit code; see ``run``."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code: 0 done, 2 the user can mend it, 1 our fault, 130 cancelled."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    debug = "--debug" in arguments
    # Taken out here so that it may stand anywhere; typer knows it only for the help.
    arguments = [argument for argument in arguments if argument != "--debug"]
    as_json = "--json" in arguments
    try:
        code = app(arguments, prog_name="postop", standalone_mode=False)
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if debug:
            traceback.print_exc()
        return _refuse(error, as_json)
    if code == 130:
        # typer turns Ctrl-C into this exit code without a word.
        return _refuse(KeyboardInterrupt(), as_json)
    return code if isinstance(code, int) else 0


def _refuse(error: BaseException, as_json: bool) -> int:
    if isinstance(error, typer.Abort):
        error = KeyboardInterrupt()
    usage = getattr(error, "format_message", None)
    if usage is not None:
        error = _from_usage_error(error, usage())
    ours = as_postop_error(error)
    if as_json:
        with only_json_on_stdout() as stream:
            JsonLines(stream).error(ours)
    else:
        typer.secho(str(ours), fg="red" if sys.stderr.isatty() else None, err=True)
    return ours.exit_code


def _from_usage_error(error: BaseException, message: str) -> PostOpError:
    context = getattr(error, "ctx", None)
    message = message or "No command was given"
    command = context.command_path if context is not None else "postop"
    return InputError(f"{message.rstrip('.')}. See {command} --help.")
