"""The option for a toolbox, for commands that answer tool calls."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from openai_runs.batch.job_files import JobFile
from openai_runs.models.assistant import Assistant
from openai_runs.models.tool import FunctionTool
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
    if not module or not name:
        example = f"{module or 'myapp.tools'}:{name or 'toolbox'}"
        raise typer.BadParameter(f"--tools needs a module and the name of a Toolbox in it, as {example}: got {place!r}")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        toolbox = getattr(import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise typer.BadParameter(f"--tools: there is no {place}: {error}") from None
    if not isinstance(toolbox, Toolbox):
        raise typer.BadParameter(f"--tools: {place} is no Toolbox: {toolbox!r}")
    return toolbox


def check_functions(assistant: Assistant, file: JobFile, toolbox: Toolbox | None) -> None:
    """Refuse an assistant with functions that nobody answers: a run that calls one would fail.

    Args:
        assistant: The one of all jobs that name none.
        file: The jobs.
        toolbox: What ``--tools`` names, if it was given.

    Raises:
        typer.BadParameter: There are such functions, and a job may call them.
    """
    answered = set() if toolbox is None else {tool.function.name for tool in toolbox.tools}
    functions = [tool.function.name for tool in assistant.tools if isinstance(tool, FunctionTool)]
    missing = [name for name in functions if name not in answered]
    if missing and file.uses_tools_of(assistant.id):
        instead = (
            "give the Toolbox that answers their calls as --tools MODULE:NAME"
            if toolbox is None
            else "the Toolbox of --tools has none of that name"
        )
        raise typer.BadParameter(f"{assistant.id} has functions as tools, {', '.join(missing)}: {instead}")
