"""The option for output that programs read: the API's objects, one in a line."""

from typing import Annotated, Any, TypeAlias

import typer

from openai_runs import _wire

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the API's objects, as JSON, one in a line.")]


def print_json(value: Any) -> None:
    """Print one, at once."""
    typer.echo(_wire.encode_plain(value).decode())
