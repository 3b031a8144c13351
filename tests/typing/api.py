"""Calls that type-check, and calls that must not: there, an ignore would be unused. Never executed."""

from typing import assert_type

from openai_runs import Run, RunStatus, Session, Thread, ToolOutput, dump, load
from openai_runs.models.assistant import Assistant, Deleted
from openai_runs.models.page import Page
from openai_runs.models.tool import FunctionTool, Tool


def models(run: Run) -> None:
    assert_type(load(b"{}", Run), Run)
    assert_type(load({}, Page[Run]).data, tuple[Run, ...])
    assert_type(run.status, RunStatus)
    assert_type(run.tools, tuple[Tool, ...])
    for tool in run.tools:
        if isinstance(tool, FunctionTool):
            assert_type(tool.function.name, str)
    dump(run)
    run.status = RunStatus.QUEUED  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    _ = run.stauts  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    Thread(id="thread_1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def requests(session: Session, run: Run) -> None:
    assistant = await session.assistants.create(model="m", tools=[{"type": "code_interpreter"}], name=None)
    assert_type(assistant, Assistant)
    assert_type(await session.assistants.delete(assistant.id), Deleted)
    thread = await session.threads.create(messages=[{"role": "user", "content": "hello"}])
    await session.messages.create(thread.id, role="user", content=[{"type": "text", "text": "hello"}])
    assert_type(await session.runs.create(thread.id, assistant_id=assistant.id, temperature=0.5), Run)
    assert_type(await session.runs.retrieve(run), Run)
    assert_type(await session.runs.retrieve(thread.id, run.id), Run)
    await session.runs.submit_tool_outputs(run, [ToolOutput(tool_call_id="c", output="1")])
    await session.runs.submit_tool_outputs(thread.id, run.id, [{"tool_call_id": "c", "output": "1"}])
    async for one in session.runs.list(thread.id, limit=10):
        assert_type(one, Run)
    assert_type(await session.runs.list(thread.id).page(), Page[Run])


async def mistakes(session: Session, run: Run) -> None:
    await session.assistants.create()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.runs.create("thread_1", assistant_id="a", temprature=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await session.runs.create("thread_1", assistant_id=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.runs.retrieve("thread_1")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await session.messages.create("thread_1", role="robot", content="")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    session.runs.list("thread_1", order="up")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async for event in session.runs.follow(run, deadline="soon"):  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
        _ = event
