"""The command `openai-runs completion`: what a shell needs to complete commands and options.

Typer makes the scripts, and answers them: with each press of the key, the script asks the program, by a variable of the
environment, what may come next. So a script need not be made anew for another version of the package.
"""

import os
from enum import StrEnum
from typing import Annotated, Final

import typer

_PROGRAM: Final = "openai-runs"
_VARIABLE: Final = "_OPENAI_RUNS_COMPLETE"  # Typer makes the name of that of the program


class Shell(StrEnum):
    """The shells for which there are scripts."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell.")]) -> None:
    """Print a script that makes a shell complete commands and options.

    For bash: eval "$(openai-runs completion bash)". For zsh and fish, put it where the shell looks for completions.
    """
    # Typer's own option --show-completion knows only the shell that it is started from.
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # imported there from within

    print(get_completion_script(prog_name=_PROGRAM, complete_var=_VARIABLE, shell=shell.value))


def answer_shell(app: typer.Typer) -> None:
    """If it is the script that asks, say what may come next, and exit."""
    if _VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # likewise

        completion_init()
        app(prog_name=_PROGRAM)
