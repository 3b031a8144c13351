"""The program as a whole: its version, and its entry point."""

import re
import subprocess
import sys

import pytest
import typer.main

import openai_runs
from openai_runs.cli import app, main
from tests.cli.commands import run


def test_version():
    """The package's version, in one line."""
    assert run("--version") == f"openai-runs {openai_runs.__version__}\n"


def names_in(help_text: str) -> set[str]:
    return set(re.findall(r"--[\w-]+", help_text))


def test_help_fits_into_a_terminal(monkeypatch: pytest.MonkeyPatch):
    """In 80 columns, no option of any command is cut off."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    group = typer.main.get_command(app)
    commands = {(): group}
    for name, command in group.commands.items():
        commands[name,] = command
        commands |= {(name, below): each for below, each in getattr(command, "commands", {}).items()}
    assert len(commands) >= 9
    for path, command in commands.items():
        shown = run(*path, "--help")
        assert max(map(len, shown.splitlines())) <= 80
        options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
        assert options <= names_in(shown), path
        assert "…" not in shown


def test_main_is_the_program(monkeypatch: pytest.MonkeyPatch):
    """The entry point of the installed script."""
    monkeypatch.setattr(sys, "argv", ["openai-runs", "--help"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0


def test_a_command_is_imported_when_it_is_asked_for():
    """A shell that completes a word, and a program that makes keys, load no server and no client."""
    code = (
        "import sys; from openai_runs.cli import app; from typer.testing import CliRunner; "
        "assert CliRunner().invoke(app, ['keys', 'new', '--help']).exit_code == 0; "
        "print(sorted({'aiohttp', 'openai_runs.session', 'openai_runs.cli.serve'} & {*sys.modules}))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
