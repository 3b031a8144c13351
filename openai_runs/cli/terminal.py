"""Printing for all commands, and how errors become one sentence and an exit code."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Any, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from openai_runs.errors import OpenAIRunsError


class _Output(Console):
    """Standard output. Rich itself would exit with 1 if nobody reads it."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


console: Final = _Output(highlight=False, soft_wrap=True)
errors: Final = Console(stderr=True, highlight=False, soft_wrap=True)


def refuse(text: str, exit_code: int = 1) -> NoReturn:
    """Print an error, and exit."""
    errors.print(f"[red]{escape(text)}[/]")
    raise typer.Exit(exit_code)


def show_header(line: str) -> None:
    """Tell a person at a terminal what the columns are; a program that reads the lines gets none but these."""
    if console.is_terminal:
        console.print(line)


def note_none(what: str) -> None:
    """Tell a person at a terminal that there is nothing to show; in a pipe, no lines say so."""
    if console.is_terminal:
        errors.print(f"[dim]no {what}[/]")


def run(work: Coroutine[Any, Any, None], *, refused: int = 1, interrupted: int = 130) -> None:
    """Run a command's coroutine; an error of the library or the system becomes a sentence.

    If whoever reads the output has stopped reading, as `head` does, the command ends, and that is no error.

    Args:
        work: What to run.
        refused: The exit code after an error.
        interrupted: The exit code after Ctrl-C.
    """
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(interrupted) from None
    except BrokenPipeError:
        # At its end Python writes out what is still buffered, and would print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None
    except (OpenAIRunsError, OSError, ValueError) as error:
        refuse(str(error), refused)
