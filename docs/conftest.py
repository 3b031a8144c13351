"""Every Python example of the documents is a test; the blocks of one page share their names."""

from contextlib import ExitStack, chdir
from tempfile import TemporaryDirectory
from typing import Any

from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser


def _begin(namespace: dict[str, Any]) -> None:
    namespace["__name__"] = "__main__"  # as in a script of its own
    namespace["__exit"] = exit_stack = ExitStack()
    exit_stack.enter_context(chdir(exit_stack.enter_context(TemporaryDirectory())))  # for the files that examples write


def _end(namespace: dict[str, Any]) -> None:
    namespace["__exit"].close()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["*.md"],
    excludes=["_build/**"],
    setup=_begin,
    teardown=_end,
).pytest()
