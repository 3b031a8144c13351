"""The option for a toolbox, for commands that answer tool calls."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from openai_runs.toolbox import Toolbox

Tools: TypeAlias = Annotated[
    str | None,
    typer.Option(help="A Toolbox that answers tool calls: myapp.tools:toolbox.", metavar="MODULE:NAME"),
]


def load_toolbox(place: str) -> Toolbox:
    """The toolbox at a place such as ``package.module:name``; modules in the current folder are found, too.

    Raises:
        typer.BadParameter: There is none.
    """
    module, _, name = place.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        toolbox = getattr(import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise typer.BadParameter(f"--tools: there is no {place}: {error}") from None
    if not isinstance(toolbox, Toolbox):
        raise typer.BadParameter(f"--tools: {place} is no Toolbox: {toolbox!r}")
    return toolbox
