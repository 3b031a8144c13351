"""The command line: what the library can do, in readable output. A file per command, with no logic of its own."""

from openai_runs.cli.app import app, main

__all__ = ["app", "main"]
