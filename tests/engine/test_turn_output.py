"""The messages, steps and deltas that are made from a model's output."""

import pytest

from openai_runs import _wire
from openai_runs.backends import Call, Refuse, Say
from openai_runs.backends.model_backend import AnnotationAdded, HostedToolCall, TextChunk, ToolCallChunk, UsageReport
from openai_runs.engine.api_events import TextPiece
from openai_runs.engine.turn_output import MessageDraft
from openai_runs.models.message import CitedFile, FileCitation
from openai_runs.models.run_step import CodeInterpreterCall, FileSearch, FileSearchCall, InterpretedCode
from tests.engine.world import BEGIN, CALLS, MESSAGE, MESSAGE_END, YieldingBackend, world

pytestmark = pytest.mark.anyio


async def test_step_deltas():
    """The first delta of a call has its ID, its name and no output; later ones are arguments only."""
    events = [
        ToolCallChunk(4, "call_1", "f"),
        ToolCallChunk(4, arguments='{"a"'),
        ToolCallChunk(9, "call_2", "g", "{}"),
    ]
    async with world(YieldingBackend(*events, ToolCallChunk(4, arguments=":1}"))) as w:
        run = await w.start()
        waiting = await w.until("run.requires_action", run)
        shown = [
            e.data["delta"]["step_details"]["tool_calls"] for _, e in w.events if e.name == "thread.run.step.delta"
        ]
        first = {"name": "f", "arguments": "", "output": None}
        second = {"name": "g", "arguments": "{}", "output": None}
        assert shown == [
            [{"index": 0, "type": "function", "id": "call_1", "function": first}],
            [{"index": 0, "type": "function", "function": {"arguments": '{"a"'}}],
            [{"index": 1, "type": "function", "id": "call_2", "function": second}],
            [{"index": 0, "type": "function", "function": {"arguments": ":1}"}}],
        ]
        assert [call.function.arguments for call in waiting.pending_tool_calls] == ['{"a":1}', "{}"]


async def test_text_and_refusal():
    """A message may have both; each is a part of its own."""
    async with world([[Say("Well,"), Refuse("I will not."), Say("")]]) as w:
        run = await w.start()
        await w.until("run.completed", run)
        (message,) = await w.messages(run)
        assert [part.type for part in message.content] == ["text", "refusal"]
        assert message.content[1].refusal == "I will not."
        assert w.said(run.id) == ["Well,", "I", " will", " not."]


def test_a_further_piece_is_a_delta():
    """Who looks at it finds the API's object, made anew each time; the first piece has the list of annotations."""
    draft = MessageDraft("step_1", "msg_1")
    first, piece = draft.add("text", "Well"), draft.add("text", ", no")
    assert first["delta"]["content"] == [{"index": 0, "type": "text", "text": {"value": "Well", "annotations": []}}]
    part = {"index": 0, "type": "text", "text": {"value": ", no"}}
    assert isinstance(piece, TextPiece)
    assert (
        dict(piece) == piece.json() == {"id": "msg_1", "object": "thread.message.delta", "delta": {"content": [part]}}
    )
    assert len(piece) == 3


async def test_one_call_at_a_time():
    """With `parallel_tool_calls` off, only the first of several calls is required and published."""
    async with world([[Call("f", id="1"), Call("g", id="2")], Say("Done.")]) as w:
        run = await w.start(parallel_tool_calls=False)
        waiting = await w.until("run.requires_action", run)
        assert [call.id for call in waiting.pending_tool_calls] == ["1"]
        assert sum(e.name == "thread.run.step.delta" for _, e in w.events) == 2


async def test_call_ids_are_unique_within_a_run():
    """Some models number calls from call_0 in each turn; a client that answers each ID once must not miss any."""
    async with world([[Call("f", id="call_0"), Call("f", id="call_0"), Call("f")], Call("f", id="call_0")]) as w:
        run = await w.start()
        first = [call.id for call in (await w.until("run.requires_action", run)).pending_tool_calls]
        assert first[0] == "call_0"
        assert all(id.startswith("call_") and len(id) == 29 for id in first[1:])
        await w.answer(run)
        second = [call.id for call in (await w.until("run.requires_action", run, 2)).pending_tool_calls]
        assert len({*first, *second}) == 4


async def test_citations():
    """An annotation belongs to the text that it follows, in the deltas and in the message.

    A delta without text has an empty one: programs append each delta's `value`, as OpenAI's quickstart does.
    """
    note = FileCitation(text="[1]", file_citation=CitedFile(file_id="file"), start_index=0, end_index=3)
    async with world(YieldingBackend(TextChunk("[1]"), AnnotationAdded(note), AnnotationAdded(note))) as w:
        run = await w.start()
        await w.until("run.completed", run)
        (message,) = await w.messages(run)
        assert message.content[0].text.annotations == (note, note)
        deltas = [event.data for _, event in w.events if event.name == "thread.message.delta"]
        shown = deltas[2]["delta"]["content"][0]
        assert (shown["index"], shown["type"]) == (0, "text")
        assert shown["text"] == {"value": "", "annotations": [{"index": 1, **_wire.dump(note)}]}
    async with world(YieldingBackend(AnnotationAdded(note))) as w:  # before any text
        run = await w.start()
        await w.until("run.completed", run)
        assert (await w.messages(run))[0].content[0].text.annotations == (note,)


async def test_hosted_tools():
    """A call of the endpoint's own tool is a completed step of its own, between the messages around it."""
    code = CodeInterpreterCall(id="ci_1", code_interpreter=InterpretedCode(input="1+1"))
    search = FileSearchCall(id="fs_1", file_search=FileSearch())
    events = [TextChunk("Let me count."), HostedToolCall(code), HostedToolCall(search), TextChunk("Two.")]
    async with world(YieldingBackend(*events, UsageReport(5, 5))) as w:
        run = await w.start()
        await w.until("run.completed", run)
        hosted = [*CALLS, "run.step.completed"]
        assert w.names(run.id) == [
            *[*BEGIN, *MESSAGE, *MESSAGE_END, *hosted, *hosted],
            *[*MESSAGE, *MESSAGE_END, "run.completed"],
        ]
        steps = await w.steps(run)
        assert [step.type for step in steps] == ["message_creation", "tool_calls", "tool_calls", "message_creation"]
        assert steps[1].step_details.tool_calls == (code,)
        assert [step.usage.total_tokens for step in steps] == [0, 0, 0, 10]
        assert [message.text for message in await w.messages(run)] == ["Let me count.", "Two."]
        later = await w.again(run)
        await w.until("run.completed", later)
