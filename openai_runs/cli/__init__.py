"""The command line: one file per command, each a thin layer over the library that prints what happens."""

from openai_runs.cli.app import app, main

__all__ = ["app", "main"]
