"""The option that names the server's file of settings, for commands that have some of its options, too."""

import os
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from openai_runs.cli.settings_file import read_settings, settings_of

#: What the name of an option's variable begins with.
PREFIX: Final = "OPENAI_RUNS"


def variable_of(parameter: str) -> str:
    """The environment variable that stands for an option of `openai-runs serve`."""
    return f"{PREFIX}_{parameter.upper()}"


def _read_config(context: typer.Context, config: Path | None) -> Path | None:
    """Make the server's settings the defaults of those options that are the server's.

    An option is, if it reads the server's variable: ``--limit`` of a list is another one than that of the server. Of
    the parameters of a command, this one has to be the first, since defaults are looked up in their order.
    """
    if config is not None:
        from openai_runs.cli.serve import serve  # which has the options of this package, this one among them

        own = {parameter.name: parameter.envvar for parameter in context.command.params}
        values = read_settings(config, settings_of(serve))
        context.default_map = {name: value for name, value in values.items() if own.get(name) == variable_of(name)}
    return config


def misspelt_variables(parameters: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Variables that are set and stand for none of these options, with the one that may be meant.

    Those that are like none of them may be of another command, or somebody else's.
    """
    known = {parameter.upper() for parameter in parameters}
    for variable in os.environ:
        name = variable.removeprefix(f"{PREFIX}_")
        if name != variable and name not in known and (near := get_close_matches(name, known, 1, 0.7)):
            yield variable, f"{PREFIX}_{near[0]}"


def is_by_hand(context: typer.Context, parameter: str) -> bool:
    """Whether an option stands on the command line, and is not taken from a variable or a file."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"  # Typer exports no name for it


ServerConfig: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=_read_config,
        envvar=variable_of("config"),
        help="The server's TOML file of settings: what it says there of these options holds here, too.",
        dir_okay=False,
    ),
]
