"""Runs, steps and tool calls as rows of a table."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from openai_runs.models.model import Unknown
from openai_runs.models.run import LastError, Run, RunIncompleteDetails, RunRow, RunStatus, Usage
from openai_runs.models.run_step import (
    CalledFunction,
    CallRow,
    CodeInterpreterCall,
    CreatedMessage,
    FunctionStepCall,
    InterpretedCode,
    LogsOutput,
    MessageCreation,
    RunStep,
    RunStepStatus,
    StepRow,
    ToolCalls,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = AT + timedelta(seconds=2)
USAGE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
ERROR = LastError(code="server_error", message="Gone.")
RUN = Run(id="run_1", created_at=AT, thread_id="thread_1", assistant_id="asst_1", status=RunStatus.QUEUED)
WRITES = RunStep(
    id="step_1",
    created_at=AT,
    completed_at=LATER,
    assistant_id="asst_1",
    thread_id="thread_1",
    run_id="run_1",
    type="message_creation",
    status=RunStepStatus.COMPLETED,
    step_details=MessageCreation(message_creation=CreatedMessage(message_id="msg_1")),
    usage=USAGE,
)
CALLS = evolve(
    WRITES,
    id="step_2",
    type="tool_calls",
    step_details=ToolCalls(
        tool_calls=(
            FunctionStepCall(id="call_1", function=CalledFunction(name="f", arguments='{"a": 1}')),
            CodeInterpreterCall(
                id="call_2",
                code_interpreter=InterpretedCode(input="print(2)", outputs=(LogsOutput(logs="2"),)),
            ),
            Unknown("web_search", {"type": "web_search", "id": "call_3"}),
        )
    ),
)


def test_the_row_of_a_run() -> None:
    """Each run has the same columns, whose values are plain; what is not known is ``None``."""
    ended = evolve(
        RUN,
        status=RunStatus.FAILED,
        model="m",
        started_at=AT,
        failed_at=LATER,
        usage=USAGE,
        last_error=ERROR,
        incomplete_details=RunIncompleteDetails(reason="max_prompt_tokens"),
    )
    assert ended.row() == {
        "run_id": "run_1",
        "thread_id": "thread_1",
        "assistant_id": "asst_1",
        "model": "m",
        "status": "failed",
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "error": "server_error",
        "error_message": "Gone.",
        "incomplete": "max_prompt_tokens",
        "created_at": AT,
        "started_at": AT,
        "ended_at": LATER,
        "seconds": 2.0,
    }
    row = RUN.row()
    assert list(row) == list(ended.row()) == list(RunRow.__annotations__)
    assert {name for name, value in row.items() if value is not None} == {
        "run_id",
        "thread_id",
        "assistant_id",
        "status",
        "created_at",
    }
    assert type(row["status"]) is str


def test_the_row_of_a_step() -> None:
    """A step has its message or the names of its tools, and none of the two if it is of a kind that is not known."""
    assert WRITES.row() == {
        "step_id": "step_1",
        "run_id": "run_1",
        "thread_id": "thread_1",
        "type": "message_creation",
        "status": "completed",
        "message_id": "msg_1",
        "tools": None,
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "error": None,
        "error_message": None,
        "created_at": AT,
        "ended_at": LATER,
        "seconds": 2.0,
    }
    called = CALLS.row()
    assert (called["message_id"], called["tools"]) == (None, "f, code_interpreter, web_search")
    odd = evolve(
        WRITES, type="thought", step_details=Unknown("thought", {"type": "thought"}), completed_at=None, usage=None
    )
    row = evolve(odd, status=RunStepStatus.FAILED, failed_at=LATER, last_error=ERROR).row()
    assert list(row) == list(called) == list(StepRow.__annotations__)
    assert (row["message_id"], row["tools"], row["total_tokens"]) == (None, None, None)
    assert (row["error"], row["error_message"], row["seconds"]) == ("server_error", "Gone.", 2.0)
    assert odd.row()["seconds"] is None
    assert type(row["status"]) is str


def test_rows_of_tool_calls() -> None:
    """Calls of each kind have the same columns, and say where they stand; a step that wrote a message has none."""
    place = {"run_id": "run_1", "thread_id": "thread_1", "step_id": "step_2"}
    rows = CALLS.call_rows()
    assert rows == [
        {**place, "call_id": "call_1", "type": "function", "name": "f", "arguments": '{"a": 1}', "output": None},
        {
            **place,
            "call_id": "call_2",
            "type": "code_interpreter",
            "name": "code_interpreter",
            "arguments": "print(2)",
            "output": "2",
        },
        {
            **place,
            "call_id": "call_3",
            "type": "web_search",
            "name": "web_search",
            "arguments": '{"type": "web_search", "id": "call_3"}',
            "output": None,
        },
    ]
    assert all(row.keys() == CallRow.__annotations__.keys() for row in rows)
    assert WRITES.call_rows() == []


def test_tables_of_pandas_and_polars() -> None:
    """Rows become a table as they are: times are times, and what is not known is missing."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for rows in [WRITES.row(), CALLS.row()], [RUN.row(), evolve(RUN, completed_at=LATER).row()]:
        table = pandas.DataFrame(rows)
        assert str(table.created_at.dt.tz) == "UTC"
        assert table.seconds.dropna().tolist()[-1] == 2.0
        assert polars.DataFrame(rows).schema["created_at"] == polars.Datetime("us", "UTC")
    assert pandas.DataFrame(CALLS.call_rows()).name.tolist() == ["f", "code_interpreter", "web_search"]
