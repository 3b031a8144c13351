"""If only the client is installed, the errors of other parts say what to install."""

import subprocess
import sys

import pytest

#: As if nobody had installed the extra.
BARE = "import sys; sys.modules |= dict.fromkeys(['aiosqlite', 'jsonschema_rs', 'rich', 'typer']); "


def bare(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BARE + code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["openai_runs", "openai_runs.engine", "openai_runs.relay", "openai_runs.demo"])
def test_what_needs_no_extra(name):
    """The client, and the engine with a store in memory."""
    run = bare(f"import {name}")
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("openai_runs.server", "jsonschema_rs"),
        ("openai_runs.server.local", "jsonschema_rs"),
        ("openai_runs.stores.sqlite", "aiosqlite"),
    ],
)
def test_what_needs_one(name, missing):
    """The last line of the traceback says what to do."""
    run = bare(f"import {name}")
    assert run.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: {missing} is not installed; it comes with pip install 'openai_runs[server]', "
        "in a clone with pip install '.[server]'"
    )


def test_the_command_line():
    """The command prints one sentence, and no traceback."""
    run = bare("from openai_runs.__main__ import main; main()")
    assert run.returncode == 1
    assert "pip install 'openai_runs[server]'" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_bug_of_ours():
    """A missing module of the library itself is not blamed on an extra."""
    run = bare("from openai_runs._extras import needs\nwith needs('server'): import openai_runs.nothing")
    assert run.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'openai_runs.nothing'"
