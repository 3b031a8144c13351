"""Every Python example of the documents is a test; the blocks of one page share their names."""

from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["*.md"],
    excludes=["_build/**"],
    setup=lambda namespace: namespace.update(__name__="__main__"),  # as in a script of its own
).pytest()
