"""Runs on a small real model on this machine; not collected by default, `nox -s live` runs it.

What is said is the model's business: only its shape is looked at.
"""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import jsonschema_rs
import pytest
from openai import AsyncOpenAI

from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.backends.llama_server import LlamaServer
from openai_runs.backends.local_model import LocalModelBackend
from openai_runs.backends.model_backend import ModelBackend
from openai_runs.backends.responses import ResponsesBackend
from openai_runs.cli.walkthrough import walkthrough
from openai_runs.errors import RunIncompleteError
from openai_runs.events import ActionRequired
from openai_runs.models.message import FileCitation, TextContent
from openai_runs.models.run import Run
from openai_runs.models.run_step import FileSearchCall, ToolCalls
from openai_runs.server import LocalServer
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox
from tests.server.test_chat_with_pdfs import CONTENT, QUESTION, upload

pytestmark = pytest.mark.anyio

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather in a city.", "parameters": CITY},
}


@pytest.fixture(scope="module")
async def model(anyio_backend: str) -> AsyncIterator[LlamaServer]:
    async with LlamaServer() as server:
        yield server


@pytest.fixture(params=["chat", "responses"])
def backend(request: pytest.FixtureRequest, model: LlamaServer) -> ModelBackend:
    kind = ChatCompletionsBackend if request.param == "chat" else ResponsesBackend
    return kind(model.url, models={"*": "local"}, timeout=600)


@pytest.fixture
async def session(backend: ModelBackend) -> AsyncIterator[Session]:
    async with LocalServer(backend=backend, expires_after=900) as server, server.session() as session:
        yield session


async def start(session: Session, text: str, **params: Any) -> Run:
    assistant = await session.assistants.create(model="any", instructions="Answer in one short sentence.")
    thread = await session.threads.create(messages=[{"role": "user", "content": text}])
    return await session.runs.create(thread.id, assistant_id=assistant.id, **{"max_completion_tokens": 256, **params})


async def complete(session: Session, run: Run) -> Run:
    """The run has ended; also as incomplete, since a small model may write until its limit."""
    try:
        return await session.runs.complete(run, deadline=600)
    except RunIncompleteError as error:
        return error.run


async def texts(session: Session, run: Run) -> list[str]:
    return [message.text async for message in session.messages.list(run.thread_id, order="asc")]


async def test_the_story_of_the_readme() -> None:
    """`LocalModelBackend` starts its own model."""
    async with LocalServer(backend=LocalModelBackend(), expires_after=900) as server, server.session() as session:
        told = [what async for what, _ in walkthrough(session, model="local")]
    assert told[0] == "assistant created"
    assert told[-1] == "deleted"
    assert "outputs submitted" in told
    assert "answer" in told


async def test_the_pdf_that_has_the_answer() -> None:
    """Twenty files, two of them PDFs: the answer cites the page that has what was asked for."""
    async with (
        LocalServer(backend=LocalModelBackend(), expires_after=900) as server,
        AsyncOpenAI(base_url=server.url, api_key="any") as client,
        server.session() as session,
    ):
        thread = await session.threads.create(
            messages=[{"role": "user", "content": QUESTION}],
            tool_resources={"file_search": {"vector_store_ids": [await upload(client)]}},
        )
        assistant = await session.assistants.create(model="any", tools=[{"type": "file_search"}])
        run = await session.runs.create(thread.id, assistant_id=assistant.id, max_completion_tokens=256)
        run = await complete(session, run)
        steps = session.run_steps.list(run, include=[CONTENT])
        [search] = [step.step_details async for step in steps if isinstance(step.step_details, ToolCalls)]
        [call] = search.tool_calls
        assert isinstance(call, FileSearchCall)
        [best, *_] = call.file_search.results or ()
        assert best.file_name == "kettle.pdf"
        assert "1.7 litres" in (best.content[0].text or "")
        [answer] = [message async for message in session.messages.list(thread.id, run_id=run.id)]
        [part] = answer.content
        assert isinstance(part, TextContent)
        cited = {note.file_citation.file_id for note in part.text.annotations if isinstance(note, FileCitation)}
        assert best.file_id in cited


async def test_an_answer_that_is_polled(session: Session) -> None:
    run = await complete(session, await start(session, "What is the capital of France?"))
    assert run.usage is not None
    assert min(run.usage.prompt_tokens, run.usage.completion_tokens) > 0
    assert (await texts(session, run))[1]


async def test_an_answer_that_is_streamed(session: Session) -> None:
    assistant = await session.assistants.create(model="any", instructions="Answer in one short sentence.")
    thread = await session.threads.create(messages=[{"role": "user", "content": "What is the capital of France?"}])
    async with session.runs.stream(thread.id, assistant_id=assistant.id, max_completion_tokens=256) as events:
        pieces = [piece async for piece in events.text_deltas()]
    assert len(pieces) > 1
    [answer] = events.messages
    assert "".join(pieces) == answer.text


async def test_a_tool_call_by_its_schema(session: Session) -> None:
    run = await start(session, "What is the weather in Paris?", tools=[WEATHER], tool_choice="required")
    rounds = 0
    async for event in session.runs.follow(run, deadline=600):
        if isinstance(event, ActionRequired):
            rounds += 1
            for call in event.tool_calls:
                jsonschema_rs.validate(CITY, json.loads(call.function.arguments))
            outputs: Any = [{"tool_call_id": call.id, "output": "sunny"} for call in event.tool_calls]
            if rounds < 3:
                await session.runs.submit_tool_outputs(event.run, outputs)
            else:  # it might go on for ever
                await session.runs.cancel(event.run)
    assert event.run.status in ("completed", "incomplete", "cancelled")
    steps = [step.type async for step in session.run_steps.list(thread_id=run.thread_id, run_id=run.id, order="asc")]
    assert steps[:rounds] == ["tool_calls"] * rounds
    assert rounds > 0


async def test_the_function_that_is_named(session: Session) -> None:
    other = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
    named = {"type": "function", "function": {"name": "get_time"}}
    run = await start(session, "What is the weather in Paris?", tools=[WEATHER, other], tool_choice=named)
    async for event in session.runs.follow(run, deadline=600, on_exit="cancel"):
        if isinstance(event, ActionRequired):
            assert {call.function.name for call in event.tool_calls} == {"get_time"}
            await session.runs.cancel(event.run)


async def test_two_turns(session: Session) -> None:
    run = await complete(session, await start(session, "My name is Ada."))
    await session.messages.create(run.thread_id, role="user", content="What is my name?")
    run = await session.runs.create(run.thread_id, assistant_id=run.assistant_id, max_completion_tokens=256)
    run = await complete(session, run)
    assert len(await texts(session, run)) == 4


async def test_an_answer_by_a_schema(session: Session, backend: ModelBackend) -> None:
    if isinstance(backend, ResponsesBackend):
        pytest.skip("llama.cpp passes over text.format in its Responses API")
    form: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY, "strict": True}}
    run = await complete(session, await start(session, "Name a city in Italy.", response_format=form))
    assert run.status == "completed"
    jsonschema_rs.validate(CITY, json.loads((await texts(session, run))[1]))


async def test_cancelling_while_it_writes(session: Session) -> None:
    run = await start(session, "Count from 1 to 1000, each number on a line.", max_completion_tokens=None)
    async with aclosing(session.runs.follow(run, deadline=600)) as events:
        async for event in events:
            if event.run.status == "in_progress":
                while not [message async for message in session.messages.list(run.thread_id, run_id=run.id)]:
                    pass
                await session.runs.cancel(run)
    assert event.run.status == "cancelled"
    # The model is free again.
    assert (await complete(session, await start(session, "Hello", max_completion_tokens=256))).usage is not None


async def test_a_thread_longer_than_the_model_can_read(session: Session) -> None:
    """A conversation that is too long is shortened until it fits."""
    assistant = await session.assistants.create(model="any")
    thread = await session.threads.create(messages=[{"role": "user", "content": "word " * 1500} for _ in range(6)])
    await session.messages.create(thread.id, role="user", content="Hello?")
    run = await session.runs.create(thread.id, assistant_id=assistant.id, max_completion_tokens=256)
    run = await complete(session, run)
    assert run.status in ("completed", "incomplete")


async def test_toolbox_and_model_together(session: Session) -> None:
    toolbox = Toolbox()

    @toolbox.tool
    async def add(first: int, second: int) -> int:
        """Add two numbers."""
        return first + second

    run = await start(session, "How much is 2 and 3?", tools=toolbox.tools)
    # Its tokens are limited, so it ends.
    async for event in session.runs.follow(run, toolbox=toolbox, deadline=600):
        run = event.run
    assert run.status in ("completed", "incomplete")
