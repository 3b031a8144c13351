"""The same programs on every backend: scripted, Chat Completions, Responses, also in the background."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import pytest
from anyio import AsyncContextManagerMixin

from openai_runs import _wire
from openai_runs.backends import ScriptedBackend
from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.backends.model_backend import ModelBackend
from openai_runs.backends.responses import ResponsesBackend
from openai_runs.errors import BadRequestError, RunError
from openai_runs.following.polling import Polling
from openai_runs.models.assistant import Assistant
from openai_runs.models.message import FileCitation, Message, MessageRole, TextContent
from openai_runs.models.run import Run
from openai_runs.models.run_step import FileSearchCall, RunStep, ToolCalls
from openai_runs.server import LocalServer
from openai_runs.session import Session
from openai_runs.stores import MemoryStore
from openai_runs.toolbox import Toolbox
from tests.backends.model_stub import ModelStub, limited, refused, stream
from tests.backends.model_stub import texts as texts_of
from tests.backends.streams import (
    Event,
    chat_answer,
    chunk,
    event,
    message_item,
    output_text,
    response,
    responses_answer,
    responses_stream,
)
from tests.conformance.judge import complaints_about
from tests.stub import CUT, Reply, reply

pytestmark = pytest.mark.anyio

QUICK = Polling(first=0.001, longest=0.01)
CITY = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo"]}}, "required": ["city"]}
SEARCH = {
    "type": "file_search_call",
    "id": "fs_1",
    "status": "completed",
    "queries": ["cats"],
    "results": [{"file_id": "file-1", "filename": "cats.pdf", "score": 0.9, "text": "Cats purr."}],
}
CONTENT = "step_details.tool_calls[*].file_search.results[*].content"
LIVE = ["chat", "responses", "background"]
ALL = ["scripted", *LIVE]

toolbox = Toolbox(on_error="raise")


@toolbox.tool
async def get_weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


@toolbox.tool
async def get_time() -> str:
    """Tell the time."""
    return "noon"


class World(AsyncContextManagerMixin):
    """A server with this backend, and a session with the server."""

    session: Session
    assistant: Assistant

    def __init__(self, kind: str, *replies: Reply, store: MemoryStore | None = None) -> None:
        self.kind = kind
        self.stub = ModelStub(*replies)
        self.store = store or MemoryStore()

    def backend(self) -> ModelBackend:
        match self.kind:
            case "chat":
                return ChatCompletionsBackend(self.stub.url)
            case "responses":
                return ResponsesBackend(self.stub.url)
            case "background":
                return ResponsesBackend(self.stub.url, background=True, poll_every=0.0)
            case _:
                return ScriptedBackend()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with self.stub, LocalServer(backend=self.backend(), store=self.store) as server, server.session() as it:
            self.session = it
            yield self

    def whole(self, text: str = "Hello there") -> list[Event]:
        return chat_answer(text) if self.kind == "chat" else responses_answer(text)

    async def start(self, *texts: str, tools: Sequence[Any] = (), **params: Any) -> Run:
        """Start a run in a new thread."""
        self.assistant = await self.session.assistants.create(model="gpt-4o", tools=tools)
        messages = [{"role": "user", "content": text} for text in texts]
        thread = await self.session.threads.create(messages=messages)
        return await self.again(thread.id, **params)

    async def again(self, thread_id: str, **params: Any) -> Run:
        return await self.session.runs.create(thread_id, assistant_id=self.assistant.id, **params)

    async def complete(self, run: Run) -> Run:
        return await self.session.runs.complete(run, toolbox=toolbox, polling=QUICK, deadline=30)

    async def ended(self, run: Run) -> Run:
        """Follow a run that does not complete to its end; returns the run."""
        with pytest.raises(RunError) as caught:
            await self.complete(run)
        assert caught.value.run.status.is_terminal
        return caught.value.run

    async def messages(self, run: Run) -> list[Message]:
        found = [message async for message in self.session.messages.list(run.thread_id, order="asc")]
        assert not [complaint for each in found for complaint in complaints_about(_wire.dump(each), "MessageObject")]
        return found

    async def steps(self, run: Run) -> list[RunStep]:
        return [step async for step in self.session.run_steps.list(thread_id=run.thread_id, run_id=run.id, order="asc")]


@pytest.mark.parametrize("kind", ALL)
async def test_a_run_with_a_tool_call(kind: str) -> None:
    async with World(kind) as world:
        run = await world.start("How is the weather in Oslo?", tools=[toolbox.tools[0]])
        run = await world.complete(run)
        _, answer = await world.messages(run)
        called, written = await world.steps(run)
    assert answer.text == "get_weather answered: sunny in Oslo"
    assert (called.type, written.type) == ("tool_calls", "message_creation")
    assert run.usage is not None
    assert run.usage.total_tokens > 0


@pytest.mark.parametrize("kind", ALL)
async def test_the_same_as_a_stream(kind: str) -> None:
    async with World(kind) as world:
        assistant = await world.session.assistants.create(model="gpt-4o", tools=[toolbox.tools[0]])
        thread = await world.session.threads.create(messages=[{"role": "user", "content": "The weather in Oslo?"}])
        async with world.session.runs.stream(thread.id, assistant_id=assistant.id, toolbox=toolbox) as events:
            text = [piece async for piece in events.text_deltas()]
        assert "".join(text) == "get_weather answered: sunny in Oslo"


@pytest.mark.parametrize("kind", ALL)
async def test_a_second_turn_knows_the_first(kind: str) -> None:
    async with World(kind) as world:
        run = await world.complete(await world.start("Call me Ishmael."))
        await world.session.messages.create(run.thread_id, role="user", content="Who am I?")
        run = await world.complete(await world.again(run.thread_id))
        texts = [message.text for message in await world.messages(run)]
    assert texts[::2] == ["Call me Ishmael.", "Who am I?"]
    assert texts[3] == "You said: Who am I?"
    if kind != "scripted":
        assert texts_of(world.stub.bodies[1]) == texts[:3]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("parallel", [True, False])
async def test_two_tools(kind: str, parallel: bool) -> None:
    """Without parallel calls there is one call at a time, even if the model ignores that."""
    async with World(kind) as world:
        run = await world.start("Weather and time?", tools=toolbox.tools, parallel_tool_calls=parallel)
        run = await world.complete(run)
        steps = await world.steps(run)
    rounds = [len(step.step_details.tool_calls) for step in steps if isinstance(step.step_details, ToolCalls)]
    assert rounds[0] == (2 if parallel else 1)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("choice", ["none", "required", {"type": "function", "function": {"name": "get_time"}}])
async def test_tool_choice(kind: str, choice: Any) -> None:
    async with World(kind) as world:
        run = await world.complete(await world.start("What is it?", tools=toolbox.tools, tool_choice=choice))
        steps = await world.steps(run)
    calls = [len(step.step_details.tool_calls) for step in steps if isinstance(step.step_details, ToolCalls)]
    assert sum(calls) == {"none": 0, "required": 2}.get(choice if isinstance(choice, str) else "", 1)


@pytest.mark.parametrize("kind", ALL)
async def test_an_answer_by_a_schema(kind: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY, "strict": True}}
    async with World(kind) as world:
        run = await world.complete(await world.start("Where?", response_format=form))
        answer = (await world.messages(run))[-1]
    assert json.loads(answer.text) == {"city": "Oslo"}


@pytest.mark.parametrize("kind", ALL)
async def test_a_call_that_was_abandoned_does_not_spoil_the_thread(kind: str) -> None:
    async with World(kind) as world:
        run = await world.start("The weather?", tools=[toolbox.tools[0]])
        async for seen in world.session.runs.follow(run, polling=QUICK):
            if seen.run.status == "requires_action":
                await world.session.runs.cancel(run)
        await world.session.messages.create(run.thread_id, role="user", content="Never mind. And now?")
        run = await world.complete(await world.again(run.thread_id))
        answer = (await world.messages(run))[-1]
    assert answer.text == "get_weather answered: sunny in city"


@pytest.mark.parametrize("kind", LIVE)
async def test_cancelling_stops_the_call(kind: str) -> None:
    world = World(kind)
    world.stub.replies.append(stream(world.whole()[:-3], end="hang"))
    if kind == "background":
        world.stub.replies.append(reply(response("cancelled")))
    async with world:
        run = await world.start("Tell me a long story.")
        await world.stub.http.requested(1)
        await world.session.runs.cancel(run)
        run = await world.ended(run)
        if kind == "background":
            await world.stub.http.requested(2)
            assert world.stub.requests[1].path == "/v1/responses/resp_1/cancel"
        else:
            await world.stub.http.disconnected()
    assert run.status == "cancelled"


@pytest.mark.parametrize("kind", LIVE)
async def test_a_busy_endpoint_delays_the_run(kind: str) -> None:
    async with World(kind, limited(), limited("30"), limited(), CUT, reply(b"", 503)) as world:
        assert (await world.complete(await world.start("Hello"))).status == "completed"


@pytest.mark.parametrize("kind", LIVE)
async def test_a_refusal_of_the_endpoint_fails_the_run(kind: str) -> None:
    async with World(kind, refused("Bad key.", 401)) as world:
        run = await world.ended(await world.start("Hello"))
    assert run.status == "failed"
    assert run.last_error is not None
    assert "401: Bad key." in run.last_error.message


@pytest.mark.parametrize("kind", ["chat", "responses"])
async def test_half_an_answer_is_not_a_whole_one(kind: str) -> None:
    """The run fails, its message is incomplete, and the thread can have other runs."""
    world = World(kind)
    world.stub.replies.append(stream(world.whole()[:-4], end="cut"))
    async with world:
        run = await world.ended(await world.start("Hello"))
        message = (await world.messages(run))[-1]
        assert (run.status, message.status) == ("failed", "incomplete")
        await world.complete(await world.again(run.thread_id))


async def test_half_an_answer_from_the_background_is_completed() -> None:
    whole = responses_answer("Hello there")
    async with World("background", stream(whole[:-4], end="cut"), stream(whole[-4:])) as world:
        run = await world.complete(await world.start("Hello"))
        assert (await world.messages(run))[-1].text == "Hello there"


@pytest.mark.parametrize("kind", LIVE)
async def test_an_answer_that_is_too_long_is_incomplete(kind: str) -> None:
    details = {"incomplete_details": {"reason": "max_output_tokens"}}
    half = response("incomplete", [message_item(output_text("Hel"))], **details)
    cut_off = event({"type": "response.incomplete", "response": half})
    events = [chunk({"content": "Hel"}), chunk({}, "length")] if kind == "chat" else [cut_off]
    async with World(kind, stream(events)) as world:
        run = await world.ended(await world.start("Hello", max_completion_tokens=256))
    assert run.incomplete_details is not None
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert world.stub.bodies[0]["max_completion_tokens" if kind == "chat" else "max_output_tokens"] == 256


@pytest.mark.parametrize("kind", LIVE)
async def test_what_a_run_may_say_is_counted_over_all_its_calls(kind: str) -> None:
    async with World(kind) as world:
        run = await world.start("The weather?", tools=[toolbox.tools[0]], max_completion_tokens=256)
        await world.complete(run)
    limit = "max_completion_tokens" if kind == "chat" else "max_output_tokens"
    assert [body[limit] for body in world.stub.bodies] == [256, 251]


async def test_what_an_endpoint_cannot_do_is_refused_when_the_run_is_created() -> None:
    async with World("chat") as world:
        with pytest.raises(BadRequestError, match="ChatCompletionsBackend") as caught:
            await world.start("Sum it up.", tools=[{"type": "code_interpreter"}])
    assert caught.value.param == "tools[0]"
    assert not world.stub.requests


async def test_instructions_and_what_is_added_to_them() -> None:
    async with World("chat") as world:
        run = await world.start("Hello", instructions="Be brief.", additional_instructions="Be kind.")
        await world.complete(run)
    assert world.stub.bodies[0]["messages"][0] == {"role": "system", "content": "Be brief.\n\nBe kind."}


async def test_file_search_with_citations() -> None:
    """A hosted tool's call is a run step, a citation an annotation, and the next turn works with both."""
    note = {"type": "file_citation", "file_id": "file-1", "filename": "cats.pdf", "index": 5}
    found = responses_stream([SEARCH, message_item(output_text("Purr.", note))])
    async with World("responses", stream(found)) as world:
        world.assistant = await world.session.assistants.create(
            model="gpt-4o",
            tools=[{"type": "file_search"}],
            tool_resources={"file_search": {"vector_store_ids": ["vs_1"]}},
        )
        thread = await world.session.threads.create(messages=[{"role": "user", "content": "What do cats do?"}])
        run = await world.complete(await world.again(thread.id))
        searched, written = await world.steps(run)
        included: Any = await world.session.run_steps.retrieve(searched, include=[CONTENT])
        answer = (await world.messages(run))[-1]
        await world.session.messages.create(thread.id, role="user", content="And dogs?")
        await world.complete(await world.again(thread.id))
    assert isinstance(searched.step_details, ToolCalls)
    [call] = searched.step_details.tool_calls
    assert isinstance(call, FileSearchCall)
    assert written.type == "message_creation"
    [part] = answer.content
    assert isinstance(part, TextContent)
    [citation] = part.text.annotations
    assert isinstance(citation, FileCitation)
    assert part.text.value[citation.start_index : citation.end_index] == citation.text
    assert part.text.value.replace(citation.text, "[1]") == "Purr.[1]"
    assert call.file_search.results is not None
    assert [found.content for found in call.file_search.results] == [()]  # nobody asked for it
    [found] = included.step_details.tool_calls[0].file_search.results
    assert [part.text for part in found.content] == ["Cats purr."]
    second = world.stub.bodies[1]
    assert "Cats purr." in str(second["input"][1])  # the model has it in any case
    assert second["tools"] == [{"type": "file_search", "vector_store_ids": ["vs_1"]}]
    assert [each.get("type") for each in second["input"]] == [None, "file_search_call", "message", None]
    assert texts_of(second) == ["What do cats do?", "Purr.", "And dogs?"]


@pytest.mark.parametrize("include", [(), (CONTENT,)])
async def test_the_events_of_a_run_have_what_it_includes(include: tuple[str, ...]) -> None:
    async with World("responses", stream(responses_stream([SEARCH, message_item(output_text("Purr."))]))) as world:
        world.assistant = await world.session.assistants.create(
            model="gpt-4o",
            tools=[{"type": "file_search"}],
            tool_resources={"file_search": {"vector_store_ids": ["vs_1"]}},
        )
        thread = await world.session.threads.create(messages=[{"role": "user", "content": "What do cats do?"}])
        run_params: Any = {"assistant_id": world.assistant.id, "include": include}
        async with world.session.runs.stream(thread.id, **run_params) as events:
            seen = [repr(event) async for event in events]
    told = [text for text in seen if "cats.pdf" in text]
    assert told
    assert all(("Cats purr." in text) == bool(include) for text in told)


@pytest.mark.parametrize("kind", LIVE)
async def test_an_interrupted_call_is_repeated_or_taken_up(kind: str) -> None:
    """The engine stops during a model call; the next engine resumes it, and there is one answer."""
    store = MemoryStore()
    first = World(kind, store=store)
    first.stub.replies.append(stream(first.whole()[:-3], end="hang"))
    async with first:
        run = await first.start("Hello")
        await first.stub.http.requested(1)
        with anyio.fail_after(20):
            while not [each for each in await first.messages(run) if each.role is MessageRole.ASSISTANT]:
                pass
    assert [request.method for request in first.stub.requests] == ["POST"]  # nothing was cancelled
    second = World(kind, stream(first.whole()), store=store)
    async with second:
        run = await second.complete(await second.session.runs.retrieve(run))
        _, answer = await second.messages(run)
        assert len(await second.steps(run)) == 1
    assert (answer.text, answer.status) == ("Hello there", "completed")
    taken_up = [(request.method, request.path) for request in second.stub.requests]
    assert taken_up == ([("GET", "/v1/responses/resp_1")] if kind == "background" else [("POST", taken_up[0][1])])
