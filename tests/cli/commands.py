"""The command line in this process: arguments in, output out; and in a process of its own."""

import os
import subprocess
import sys
from functools import partial

import anyio.to_thread
from typer.testing import CliRunner

from openai_runs.cli import app


def run(*arguments: object, exit_code: int = 0) -> str:
    """Run a command, which must end with ``exit_code``; returns its output."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == exit_code, result.output
    return result.output


async def run_in_thread(*arguments: object, exit_code: int = 0) -> str:
    """`run` for asynchronous tests: a command starts an event loop, so it needs a thread without one."""
    return await anyio.to_thread.run_sync(partial(run, *arguments, exit_code=exit_code))


def run_without_reader(*arguments: object) -> tuple[int, str]:
    """Run a command whose output nobody reads, as at the end of ``| head``; returns exit code and standard error."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "openai_runs", *map(str, arguments)]
    try:
        ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writing)
    return ended.returncode, ended.stderr
