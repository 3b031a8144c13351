"""The program as a whole: its version, and its entry point."""

import sys

import pytest

import openai_runs
from openai_runs.cli import main
from tests.cli.commands import run


def test_version():
    """The package's version, in one line."""
    assert run("--version") == f"openai-runs {openai_runs.__version__}\n"


def test_main_is_the_program(monkeypatch: pytest.MonkeyPatch):
    """The entry point of the installed script."""
    monkeypatch.setattr(sys, "argv", ["openai-runs", "--help"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
