"""The README's examples run as they stand."""

from pathlib import Path

from sybil.document import Document
from sybil.parsers.myst import PythonCodeBlockParser

README = Path(__file__).parents[1] / "README.md"


def test_the_examples_run(capsys):
    """The first screen works as pasted: a completed run, and its answer."""
    document = Document.parse(str(README), PythonCodeBlockParser())
    document.namespace["__name__"] = "__main__"
    examples = list(document.examples())
    for example in examples:
        example.evaluate()
    assert examples
    output = capsys.readouterr().out
    assert "completed" in output
    assert "21 °C and sunny in Lisbon" in output
