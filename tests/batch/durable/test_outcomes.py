"""Outcomes of jobs survive as JSON: what another process reads is what this one would have given."""

import json
from types import SimpleNamespace

import pytest

from openai_runs import load
from openai_runs.batch.durable.outcomes import Outcome, dump_error, load_error, load_outcome
from openai_runs.errors import (
    BadRequestError,
    OpenAIRunsError,
    RunDeadlineError,
    RunFailedError,
    ToolError,
    TransportError,
)
from openai_runs.models.message import Message
from openai_runs.models.run import Run, Usage
from tests.samples import EXAMPLES

RUN = load(json.loads((EXAMPLES / "objects/RunObject.json").read_text()), Run, strict=False)


MESSAGE = load(json.loads((EXAMPLES / "objects/MessageObject.json").read_text()), Message, strict=False)


USAGE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)


class OddError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_a_completed_run():
    """The run is as it was, and its tokens are counted."""
    outcome = Outcome(RUN, None, (MESSAGE,), USAGE, 2)
    columns = outcome.columns()
    assert columns["state"] == "completed"
    assert columns["tokens"] == 3
    assert load_outcome(SimpleNamespace(**columns)) == outcome


@pytest.mark.parametrize(
    "error",
    [
        RunFailedError("it failed", run=RUN),
        RunDeadlineError("too late", run=RUN, maybe_done=True),
        TransportError("lost", maybe_done=False),
        BadRequestError("no", status=400, message="no", param="model", headers={"a": "b"}, body="{}"),
        ToolError("it broke"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_ours(error: OpenAIRunsError):
    """An error has its class, its text and its facts again, the run among them."""
    columns = Outcome(RUN, error).columns()
    assert columns["state"] == "failed"
    again = load_outcome(SimpleNamespace(**columns)).error
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert {**vars(again)} == {name: value for name, value in vars(error).items() if name != "tool_call"}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (OddError(), "OddError: (its text cannot be read: ZeroDivisionError)"),
        (RunFailedError("gone", run=RUN), "RunFailedError: gone"),
    ],
)
def test_another_error(error: Exception, text: str):
    """An error of another class, or one of a run that is not known, still says what it was."""
    again = load_error(json.loads(json.dumps(dump_error(error))), None)
    assert type(again) is OpenAIRunsError
    assert str(again) == text


def test_what_is_no_json():
    """Facts of an error that are no JSON are left out; the others stay."""
    error = TransportError("lost")
    vars(error).update(plain={"a": [1, None, 0.5, True, ("x",)]}, odd=object(), keys={1: 2})
    plain = {"a": [1, None, 0.5, True, ("x",)]}
    assert dump_error(error)["state"] == {"maybe_done": True, "problem": "", "plain": plain}
