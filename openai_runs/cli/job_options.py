"""The arguments and options of commands that read a file of jobs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from openai_runs.batch.job_files import BadLine, JobFile
from openai_runs.batch.message_template import MessageTemplate
from openai_runs.cli.batch_output import REFUSED
from openai_runs.cli.terminal import refuse
from openai_runs.models.completion_window import WINDOW_SECONDS

Jobs: TypeAlias = Annotated[
    Path, typer.Argument(help="The jobs: JSON lines, or CSV if the name ends in .csv.", exists=True, dir_okay=False)
]
Assistant: TypeAlias = Annotated[str | None, typer.Option(help="The ID of the assistant of jobs that name none.")]
Message: TypeAlias = Annotated[
    str | None, typer.Option(help='The user\'s message, with fields or columns of a line: "Summarise: {text}".')
]
#: How many runs are in progress at once by default.
_WORKERS: Final = 8
#: The same with a completion window: each run takes hours, and following it takes next to nothing.
_WORKERS_WITH_WINDOW: Final = 1_000


class Window(StrEnum):
    """The completion windows."""

    TWO_HOURS = "2h"
    EIGHT_HOURS = "8h"


CompletionWindow: TypeAlias = Annotated[
    Window | None,
    typer.Option(help="Each model call may take so long, and costs less; for jobs that have no window of their own."),
]
JobWorkers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        help=f"How many runs may be in progress at once. Unset: {_WORKERS}, or {_WORKERS_WITH_WINDOW:,} with "
        "--completion-window.",
    ),
]


def worker_count(workers: int | None, window: Window | None, at_once: int | None = None) -> int:
    """How many runs may be in progress at once."""
    if workers is not None:
        return workers
    usual = _WORKERS if window is None else _WORKERS_WITH_WINDOW
    return usual if at_once is None or window is None else min(usual, at_once)


def check_deadline(deadline: float | None, window: Window | None) -> None:
    """Refuse a deadline that ends runs within the window that they are given."""
    if deadline is not None and window is not None and deadline < WINDOW_SECONDS[window]:
        raise typer.BadParameter(f"--deadline must not be shorter than --completion-window: got {deadline:g} s")


def check_jobs(file: JobFile) -> None:
    """Refuse a file that cannot be read, and one in which no line is a job for want of an option.

    Raises:
        typer.BadParameter: What to write.
        typer.Exit: The file cannot be read, which is printed.
    """
    if not file.path.is_file():  # a pipe can be read only once
        return
    bad: list[BadLine] = []
    try:
        if next(file.read(bad.append), None) is not None:
            return
    except (OSError, ValueError) as error:
        refuse(str(error), REFUSED)
    if any(line.lacks_assistant for line in bad):
        raise typer.BadParameter(f"no job of {file.path} names an assistant: give the ID of one as --assistant")
    if unknown := next((line for line in bad if line.has_unknown_field), None):
        raise typer.BadParameter(
            f"no line of {file.path} is a job; {unknown}. If its fields are data for the user's message, give that as "
            '--message, such as "Summarise: {text}"'
        )


def parse_message(message: str | None) -> MessageTemplate | None:
    """The template for messages, if there is one.

    Raises:
        typer.BadParameter: It cannot be read.
    """
    try:
        return None if message is None else MessageTemplate.parse(message)
    except ValueError as error:
        raise typer.BadParameter(f"--message: {error}") from None
