"""Completion in shells: scripts, and what they are answered."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openai_runs.cli.completion import Shell
from tests.cli.commands import run


@pytest.mark.parametrize("shell", list(Shell))
def test_a_script_for_each_shell(shell: Shell):
    """It asks the program by the name that is installed, however it is started here."""
    script = run("completion", shell)
    assert "openai-runs" in script
    assert f"_OPENAI_RUNS_COMPLETE=complete_{shell}" in script
    assert "python" not in script


def answer(words: str) -> set[str]:
    """What the program tells bash may come next."""
    environment = {**os.environ, "_OPENAI_RUNS_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(shlex.split(words)) - (not words.endswith(" ")))
    command = [sys.executable, "-m", "openai_runs"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


def test_commands_and_options():
    """Commands, their commands, options and the words that an option may have are completed."""
    assert answer("openai-runs bat") == {"batch"}
    assert answer("openai-runs keys ") == {"new", "hash", "list"}
    assert answer("openai-runs serve --log-") == {"--log-level", "--log-format"}
    assert answer("openai-runs serve --log-format ") == {"text", "json"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_in_bash(tmp_path: Path):
    """The script works in the shell itself."""
    program = tmp_path / "openai-runs"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m openai_runs "$@"\n')
    program.chmod(0o755)
    (tmp_path / "script").write_text(run("completion", "bash"))
    ask = """
        source "$1"
        COMP_WORDS=(openai-runs serve --cors) COMP_CWORD=2
        "$(complete -p openai-runs | sed 's/.*-F \\([^ ]*\\) .*/\\1/')" openai-runs
        echo "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", ask, "bash", str(tmp_path / "script")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["--cors-origin"], ended.stderr
