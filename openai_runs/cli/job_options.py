"""The arguments and options of commands that read a file of jobs."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from openai_runs.batch.message_template import MessageTemplate

Jobs: TypeAlias = Annotated[
    Path, typer.Argument(help="The jobs: JSON lines, or CSV if the name ends in .csv.", exists=True, dir_okay=False)
]
Assistant: TypeAlias = Annotated[str | None, typer.Option(help="The ID of the assistant of jobs that name none.")]
Message: TypeAlias = Annotated[
    str | None, typer.Option(help='The user\'s message, with fields or columns of a line: "Summarise: {text}".')
]


def parse_message(message: str | None) -> MessageTemplate | None:
    """The template for messages, if there is one.

    Raises:
        typer.BadParameter: It cannot be read.
    """
    try:
        return None if message is None else MessageTemplate.parse(message)
    except ValueError as error:
        raise typer.BadParameter(f"--message: {error}") from None
