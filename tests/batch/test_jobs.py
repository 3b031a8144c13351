"""`BatchResult`, and what is added up in it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from openai_runs import Toolbox, load
from openai_runs.batch.jobs import BatchResult, ResultRow, RunJob, add_usage, fingerprint, join_texts
from openai_runs.errors import TransportError
from openai_runs.models.message import Message, Text, TextContent
from openai_runs.models.run import Run, RunStatus, Usage
from tests.models.test_notebook import seen
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


NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ALL = BatchResult(
    3,
    {"assistant_id": "a"},
    evolve(RUN, status=RunStatus.COMPLETED, id="run_1", thread_id="thread_1"),
    key="k",
    text="Two\nlines",
    usage=Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3),
    attempts=2,
    started_at=NOON,
    ended_at=NOON + timedelta(seconds=1.5),
)
NOTHING = BatchResult(0, {"assistant_id": "a"}, error=TransportError("no answer", maybe_done=True))


def test_a_row_has_plain_values() -> None:
    """Each result has the same columns; what is not known is ``None``."""
    assert ALL.row() == {
        "index": 3,
        "key": "k",
        "status": "completed",
        "text": "Two\nlines",
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "attempts": 2,
        "error": None,
        "error_message": None,
        "maybe_done": False,
        "run_id": "run_1",
        "thread_id": "thread_1",
        "started_at": NOON,
        "ended_at": NOON + timedelta(seconds=1.5),
        "seconds": 1.5,
    }
    row = NOTHING.row()
    assert list(row) == list(ALL.row()) == list(ResultRow.__annotations__)
    known = {name: value for name, value in row.items() if value is not None}
    assert known == {
        "index": 0,
        "status": "failed",
        "attempts": 0,
        "error": "TransportError",
        "error_message": "no answer",
        "maybe_done": True,
    }
    assert evolve(ALL, ended_at=None).row()["seconds"] is None


def test_a_row_without_a_run() -> None:
    """A run that could not be looked at is still the job's, and a thread is known before there is a run."""
    looked_for = evolve(NOTHING, job={"assistant_id": "a", "thread_id": "t", "earlier_run": ("thread_1", "run_1")})
    assert (looked_for.row()["thread_id"], looked_for.row()["run_id"]) == ("thread_1", "run_1")
    refused = evolve(NOTHING, job={"assistant_id": "a", "thread_id": "t"})
    assert (refused.row()["thread_id"], refused.row()["run_id"]) == ("t", None)


def test_tables_of_pandas_and_polars() -> None:
    """Rows become a table as they are: times are times, and what is not known is missing."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    rows = [ALL.row(), NOTHING.row()]
    table = pandas.DataFrame(rows)
    assert list(table.seconds.dropna()) == [1.5]
    assert (table.ended_at - table.started_at).dt.total_seconds().sum() == 1.5
    assert str(table.started_at.dt.tz) == "UTC"
    assert table[table.status == "failed"].error.tolist() == ["TransportError"]
    same = polars.DataFrame(rows)
    assert same["total_tokens"].to_list() == [3, None]
    assert same.schema["started_at"] == polars.Datetime("us", "UTC")


def test_a_notebook_shows_the_row() -> None:
    """The answer keeps its line breaks; what was written is text, and what is not known has no row."""
    rows = seen(ALL).rows
    assert rows[-1] == ["text", "Two\nlines"]
    assert dict(rows).items() >= {"key": "k", "status": "completed", "total tokens": "3", "seconds": "1.5"}.items()
    assert "error" not in dict(rows)
    hostile = evolve(ALL, key="<b>", text="<script>$x$</script>", error=ValueError("<img src=x>"))
    assert {tag for tag, _ in seen(hostile).tags} == {"table", "tr", "th", "td"}
    assert dict(seen(hostile).rows)["error message"] == "<img src=x>"
    assert dict(seen(NOTHING).rows).keys() == {"index", "status", "attempts", "error", "error message", "maybe done"}


def test_fingerprints() -> None:
    """They tell jobs apart by what they ask for, models and toolboxes included; what is no JSON has none."""
    job = RunJob(assistant_id="a", instructions="x", tools=Toolbox())
    same = {"instructions": "x", "tools": [], "assistant_id": "a", "key": "k", "idempotency_key": "i"}
    assert fingerprint(job) == fingerprint(same) == fingerprint({**same, "completion_window": "8h"})
    changes = {"instructions": "y"}, {"assistant_id": "b"}, {"thread_id": "t"}
    others = {fingerprint({**job, **changed}) for changed in changes}
    assert len({*others, fingerprint(job)}) == 4
    assert fingerprint({"assistant_id": "a", "metadata": {"x": object()}}) is None


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
