"""Each tool call has a span, which is current inside the tool."""

import asyncio
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from openai_runs.errors import ToolError
from openai_runs.models.tool import FunctionCall, FunctionToolCall
from openai_runs.toolbox import Toolbox
from tests.recorded import Recorded

pytestmark = pytest.mark.anyio


def call(name: str, arguments: str = "{}", id: str = "call_1") -> FunctionToolCall:
    return FunctionToolCall(id=id, function=FunctionCall(name=name, arguments=arguments))


def toolbox(recorded: Recorded, **options: Any) -> Toolbox:
    made = Toolbox(**options)
    tracer = recorded.tracers.get_tracer("the tool's own")

    @made.tool
    async def ask() -> str:
        with tracer.start_as_current_span("inside ask"):
            return "asked"

    @made.tool
    def look() -> str:
        with tracer.start_as_current_span("inside look"):
            return "looked"

    @made.tool
    async def fail() -> None:
        raise KeyError("secret")

    @made.tool(timeout=0.001)
    async def hang() -> None:
        await asyncio.Event().wait()

    return made


async def test_the_tree() -> None:
    """Spans of the tools are children of their calls, in tasks and in threads; nothing that was said is recorded."""
    recorded = Recorded()
    calls = call("ask", id="call_1"), call("look", id="call_2")
    await toolbox(recorded).answer(calls, telemetry=recorded.telemetry())
    assert sorted(recorded.tree(), key=str.split) == [
        "execute_tool ask",
        "execute_tool look",
        "  inside ask",
        "  inside look",
    ]
    assert recorded.attributes("execute_tool ask") == [
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "ask",
            "gen_ai.tool.call.id": "call_1",
            "gen_ai.tool.type": "function",
        }
    ]


async def test_contents() -> None:
    """Recorded for who asks for it."""
    recorded = Recorded()
    await toolbox(recorded).answer([call("ask", " {}")], telemetry=recorded.telemetry(record_content=True))
    attributes = recorded.attributes("execute_tool ask")[0]
    assert (attributes["gen_ai.tool.call.arguments"], attributes["gen_ai.tool.call.result"]) == (" {}", "asked")


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (call("fail"), "KeyError"),
        (call("hang"), "TimeoutError"),
        (call("ask", "[]"), "msgspec.ValidationError"),
        (call("n" * 100), "LookupError"),
    ],
)
@pytest.mark.parametrize("on_error", ["report", "raise"])
async def test_failures(bad: FunctionToolCall, kind: str, on_error: str) -> None:
    """Whether the model is told or the round ends, the call's span has the kind of the error, and not its text."""
    recorded = Recorded()
    answering = toolbox(recorded, on_error=on_error).answer([bad], telemetry=recorded.telemetry())
    if on_error == "raise":
        with pytest.raises(ToolError):
            await answering
    else:
        await answering
    (span,) = recorded.spans
    assert span.name == f"execute_tool {bad.function.name[:64]}"
    assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())
    assert dict(span.attributes or {})["error.type"] == kind


async def test_cancellation() -> None:
    """A call that is cancelled ends its span, and not with an error."""
    recorded, began = Recorded(), asyncio.Event()
    made = Toolbox()

    @made.tool
    async def wait() -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(made.answer([call("wait")], telemetry=recorded.telemetry()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorded.status("execute_tool wait").status_code is StatusCode.UNSET
