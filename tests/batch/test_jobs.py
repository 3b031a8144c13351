"""`BatchResult`, and what is added up in it."""

import json

from attrs import evolve

from openai_runs import load
from openai_runs.batch.jobs import BatchResult, add_usage, join_texts
from openai_runs.models.message import Message, Text, TextContent
from openai_runs.models.run import Run, RunStatus, Usage
from tests.samples import EXAMPLES

RUN = load(json.loads((EXAMPLES / "objects/RunObject.json").read_text()), Run)
MESSAGE = load(json.loads((EXAMPLES / "objects/MessageObject.json").read_text()), Message)


def test_ok() -> None:
    """A result is ok if its run completed and nothing was raised."""
    result = BatchResult(0, {"assistant_id": "a"}, evolve(RUN, status=RunStatus.COMPLETED))
    assert result.ok
    assert not evolve(result, error=OSError()).ok
    assert not evolve(result, run=evolve(RUN, status=RunStatus.FAILED)).ok
    assert not evolve(result, run=None).ok


def test_text() -> None:
    """An answer of several messages is their texts, with an empty line between two; what has no text leaves no gap."""
    said = [evolve(MESSAGE, content=(TextContent(text=Text(value=text)),)) for text in ("One.", "Two.")]
    assert join_texts([said[0], evolve(MESSAGE, content=()), said[1]]) == "One.\n\nTwo."
    assert join_texts([]) == ""


def test_usage() -> None:
    """Tokens of several runs are added up; a run that tells none adds none, and one alone keeps what it has."""
    one = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
    assert add_usage(one, one) == Usage(prompt_tokens=2, completion_tokens=4, total_tokens=6)
    assert add_usage(None, one) is one
    assert add_usage(one, None) is one
    assert add_usage(None, None) is None
