"""The command ``daq``: one module per command; what they need is imported when they run.

Errors are one line on standard error that says what to do. Exit status: 0 if everything is done
and whole, 1 if a run is not complete or not whole, 2 for what was asked wrongly.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import typer

import daq
from daq.cli import check, command, doctor, new, plugins, replay, run, status, view

COMMANDS: Final = (
    run.run,
    view.view,
    replay.replay,
    check.verify,
    check.repair,
    status.status,
    command.command,
    plugins.plugins,
    new.new,
    doctor.doctor,
)

DEBUG: Final = "--debug"

# What click itself raises for a wrong command line: typer brings a copy of click that it does not
# export, so it is found as an ancestor of the one class that is public.
CommandLineError: Any = next(
    ancestor for ancestor in typer.BadParameter.__mro__ if ancestor.__name__ == "ClickException"
)


def app() -> typer.Typer:
    """Return the command line as a typer application."""
    application = typer.Typer(
        name="daq",
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    start = ("daq run configs/5d-stem.toml", "daq new my_plugin")
    application.callback(help=_flowing(_daq), epilog=_examples(start))(_daq)
    for function in COMMANDS:
        examples = sys.modules[function.__module__].EXAMPLES[function.__name__]
        application.command(help=_flowing(function), epilog=_examples(examples))(function)
    return application


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``daq`` with the words of the command line and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in words
    words = [word for word in words if word != DEBUG]
    try:
        status = app()(words, prog_name="daq", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except CommandLineError as error:
        # without any word the help was printed, and the message is empty
        return _complain(error.format_message(), hint=_hint(error))
    except (KeyboardInterrupt, typer.Abort):
        print("daq: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Who read our output has seen enough; nothing is left to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError | ValueError) or type(error).__module__.startswith("daq."):
            return _complain(_line(error))
        _complain(f"{type(error).__name__}: {_line(error)}; --debug shows where")
        return 1


def _daq(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show where an error comes from (with any command).")
    ] = False,
) -> None:
    """Live correlations and fits beside the instrument."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"glasswatch {daq.__version__}")
        raise typer.Exit


def _flowing(function: Callable[..., object]) -> str:
    """Return a docstring with one line for each paragraph: the terminal breaks them."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _examples(commands: Sequence[str]) -> str:
    return "\b\n" + "\n".join(["[bold]For example[/bold]", *(f"  {line}" for line in commands)])


def _hint(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path} --help" if context is not None else "daq --help"


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _complain(message: str, hint: str = "") -> int:
    if message:
        print(f"daq: {message}" + (f" (see {hint})" if hint else ""), file=sys.stderr)
    return 2
