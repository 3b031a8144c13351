"""Printing for all commands, and how errors become one sentence and an exit code."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from openai_runs.errors import OpenAIRunsError

console: Final = Console(highlight=False, soft_wrap=True)
errors: Final = Console(stderr=True, highlight=False, soft_wrap=True)


def refuse(text: str) -> NoReturn:
    """Print an error, and exit with 1."""
    errors.print(f"[red]{escape(text)}[/]")
    raise typer.Exit(1)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command's coroutine; an error of the library or the system becomes a sentence, Ctrl-C exit code 130."""
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (OpenAIRunsError, OSError, ValueError) as error:
        refuse(str(error))
