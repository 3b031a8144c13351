"""Runs with a completion window at an endpoint that has them, and what others make of such runs."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from openai_runs.backends import ScriptedBackend, responses
from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.backends.model_backend import Detached, ModelBackend, ModelRequest
from openai_runs.backends.responses import ResponsesBackend
from openai_runs.batch import RunJob, run_batch
from openai_runs.errors import BadRequestError, RunFailedError
from openai_runs.following.polling import Polling
from openai_runs.models.run import Run
from openai_runs.server import LocalServer, PollHint
from openai_runs.session import Session
from openai_runs.stores import MemoryStore
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store
from openai_runs.toolbox import Toolbox
from tests.backends.model_stub import ModelStub, limited, refused, texts
from tests.backends.reading import together
from tests.backends.requests import a_request
from tests.backends.streams import message_item, output_text, response, usage
from tests.stub import CUT, Reply, reply

pytestmark = pytest.mark.anyio

QUICK = Polling(first=0.001, longest=0.01)
QUEUED = reply(response("queued"))
RUNNING = reply(response("in_progress"))
DONE = reply(response("completed", [message_item(output_text("Hello there"))], usage=usage()))
GONE = refused("Previous response with id 'resp_1' not found.", code="previous_response_not_found")

toolbox = Toolbox(on_error="raise")


@toolbox.tool
async def get_weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


def delayed(stub: ModelStub, **options: Any) -> ResponsesBackend:
    """A backend for an endpoint that has windows, which it does not wait for long."""
    return ResponsesBackend(stub.url, **{"completion_windows": True, "window_share": 0.0, "poll_every": 0.0, **options})


@asynccontextmanager
async def served(backend: ModelBackend, store: Store | None = None) -> AsyncGenerator[Session]:
    server = LocalServer(backend=backend, store=store or MemoryStore(), poll_hint=PollHint(window_share=0.0))
    async with server, server.session() as session:
        yield session


async def start(session: Session, **params: Any) -> Run:
    assistant = await session.assistants.create(model="gpt-4o", instructions="Be brief.", tools=toolbox)
    thread = await session.threads.create(messages=[{"role": "user", "content": "The weather in Oslo?"}])
    return await session.runs.create(thread.id, assistant_id=assistant.id, **params)


def targets(stub: ModelStub) -> list[str]:
    return [f"{each.method} {each.target.removeprefix('/v1')}" for each in stub.requests]


@pytest.mark.parametrize("window", ["2h", "8h"])
async def test_a_run_with_a_tool_call(window: Any) -> None:
    """Each call is sent with the window and looked at later; the one after the outputs continues the one before."""
    stub = ModelStub()
    stub.looks = 2
    async with stub, served(delayed(stub)) as session:
        run = await start(session, completion_window=window)
        assert run.completion_window == window
        run = await session.runs.complete(run, toolbox=toolbox, polling=QUICK, deadline=30)
        answers = [message.text async for message in session.messages.list(run.thread_id)]
    assert (run.completion_window, answers[0]) == (window, "get_weather answered: sunny in Oslo")
    first, second = stub.bodies
    for body in first, second:
        assert body["background_options"] == {"completion_window": window}
        assert (body["background"], body["store"], body["stream"]) == (True, True, False)
        assert (body["model"], body["instructions"]) == ("gpt-4o", "Be brief.")
    assert "previous_response_id" not in first
    assert second["previous_response_id"] == "resp_1"
    assert [item["type"] for item in second["input"]] == ["function_call_output"]
    looks = [["POST /responses"] + [f"GET /responses/resp_{number}"] * 3 for number in (1, 2)]
    assert targets(stub) == looks[0] + looks[1]


async def test_others_do_not_get_a_window() -> None:
    """A run without one is sent as ever by the same backend."""
    stub = ModelStub()
    async with stub, served(delayed(stub)) as session:
        run = await session.runs.complete(await start(session), toolbox=toolbox, polling=QUICK, deadline=30)
    assert run.completion_window is None
    for body in stub.bodies:
        assert (body["stream"], body["store"]) == (True, False)
        assert not {"background", "background_options", "previous_response_id"} & body.keys()


async def test_a_response_that_is_gone_is_not_needed() -> None:
    """If the endpoint does not have the response that a call continues any more, all is sent again."""
    stub = ModelStub()
    async with stub, served(delayed(stub)) as session:
        run = await start(session, completion_window="2h")
        async for event in session.runs.follow(run, polling=QUICK):
            run = event.run
            if run.pending_tool_calls:
                break
        stub.replies.append(GONE)
        run = await session.runs.complete(run, toolbox=toolbox, polling=QUICK, deadline=30)
    assert run.status == "completed"
    _, refused_body, whole = stub.bodies
    assert refused_body["previous_response_id"] == "resp_1"
    assert "previous_response_id" not in whole
    assert whole["background_options"] == {"completion_window": "2h"}
    kinds = [item.get("type", item.get("role")) for item in whole["input"]]
    assert kinds == ["user", "function_call", "function_call_output"]


async def test_a_conversation_that_is_too_long_is_sent_as_far_as_it_fits() -> None:
    """What is left out cannot be left out of the response before, so the call does not continue that."""
    too_long = refused("Your input exceeds the context window of this model.", code="context_length_exceeded")
    stub = ModelStub()
    async with stub, served(delayed(stub)) as session:
        assistant = await session.assistants.create(model="gpt-4o", tools=toolbox)
        said = [{"role": "user", "content": text} for text in ("Hello?", "The weather in Oslo?")]
        thread = await session.threads.create(messages=said)
        run = await session.runs.create(thread.id, assistant_id=assistant.id, completion_window="2h")
        async for event in session.runs.follow(run, polling=QUICK):
            run = event.run
            if run.pending_tool_calls:
                break
        stub.replies.append(too_long)
        await session.runs.complete(run, toolbox=toolbox, polling=QUICK, deadline=30)
    assert [body.get("previous_response_id") for body in stub.bodies] == [None, "resp_1", None]
    assert texts(stub.bodies[2]) == ["The weather in Oslo?"]


async def test_what_was_left_out_at_first_stays_out() -> None:
    """A call whose prompt is shortened by the run's own limit does not continue the one before."""
    stub = ModelStub()
    async with stub, served(delayed(stub)) as session:
        assistant = await session.assistants.create(model="gpt-4o", tools=toolbox)
        said = [{"role": "user", "content": text} for text in ("Hello? " * 500, "The weather in Oslo?")]
        thread = await session.threads.create(messages=said)
        run = await session.runs.create(
            thread.id, assistant_id=assistant.id, completion_window="2h", max_prompt_tokens=256
        )
        await session.runs.complete(run, toolbox=toolbox, polling=QUICK, deadline=30)
    assert [body.get("previous_response_id") for body in stub.bodies] == [None, None]


async def test_the_next_server_takes_it_up(tmp_path: Path) -> None:
    """A restart during the window repeats no call: the response is looked at again, now and after tool outputs."""
    stub = ModelStub()
    stub.looks = 10**9
    async with stub:
        async with served(delayed(stub), SQLiteStore(tmp_path / "runs.db")) as session:
            run = await start(session, completion_window="8h")
            await stub.http.requested(3)
        stub.looks = 0
        stub.end_looks()
        async with served(delayed(stub), SQLiteStore(tmp_path / "runs.db")) as session:
            async for event in session.runs.follow(thread_id=run.thread_id, run_id=run.id, polling=QUICK):
                if event.run.pending_tool_calls:
                    break
        async with served(delayed(stub), SQLiteStore(tmp_path / "runs.db")) as session:
            run = await session.runs.complete(
                thread_id=run.thread_id, run_id=run.id, toolbox=toolbox, polling=QUICK, deadline=30
            )
    assert (run.status, run.completion_window) == ("completed", "8h")
    assert [body.get("previous_response_id") for body in stub.bodies] == [None, "resp_1"]


async def test_one_that_the_endpoint_lost_meanwhile_is_sent_again() -> None:
    """It has the same window."""
    stub = ModelStub(refused("Response with id 'resp_0' not found.", 404), QUEUED, DONE)
    async with stub, delayed(stub) as backend:
        request = a_request(completion_window="2h", handle="resp_0")
        answer = together([event async for event in backend.respond(request)])
    assert answer.text == "Hello there"
    assert targets(stub) == ["GET /responses/resp_0", "POST /responses", "GET /responses/resp_1"]
    assert stub.bodies[0]["background_options"] == {"completion_window": "2h"}


async def asked(request: ModelRequest, *replies: Reply, **options: Any) -> tuple[ModelStub, list[Any]]:
    stub = ModelStub(*replies)
    async with stub, delayed(stub, **options) as backend:
        return stub, [event async for event in backend.respond(request)]


async def test_an_outage_is_no_reason_to_give_up() -> None:
    """Looks that fail are repeated as long as the run lives, since the response is paid for."""
    lost = [CUT, reply(b"", 500), limited(), CUT, RUNNING, CUT, reply(b"", 503)]
    stub, events = await asked(a_request(completion_window="8h"), QUEUED, *lost, DONE, max_retries=1)
    assert together(events).text == "Hello there"
    assert [event for event in events if isinstance(event, Detached)] == [Detached("resp_1")]
    assert len(stub.bodies) == 1


async def test_an_endpoint_that_answers_at_once() -> None:
    """Then there is nothing to look at."""
    stub, events = await asked(a_request(completion_window="8h"), DONE)
    assert together(events).text == "Hello there"
    assert targets(stub) == ["POST /responses"]


@pytest.mark.parametrize(("window", "pause"), [("2h", 120.0), ("8h", 480.0)])
async def test_looks_are_rare(window: str, pause: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are sixty in the window, and none before the first sixtieth of it; a restarted engine looks at once."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(responses, "anyio", SimpleNamespace(sleep=sleep))
    request = a_request(completion_window=window)
    await asked(request, QUEUED, RUNNING, RUNNING, DONE, window_share=1 / 60)
    assert pauses == [pytest.approx(pause)] * 3
    pauses.clear()
    await asked(a_request(completion_window=window, handle="resp_1"), RUNNING, DONE, window_share=1 / 60)
    assert pauses == [pytest.approx(pause)]


async def test_a_call_that_the_endpoint_does_not_take_does_not_wait_for_hours() -> None:
    """Taking a call is a matter of seconds, unlike the answer of a model; and it is not sent twice."""
    stub = ModelStub(Reply(b"", "hang"))
    async with stub, served(delayed(stub, timeout=0.2)) as session:
        run = await start(session, completion_window="8h")
        with pytest.raises(RunFailedError):
            await session.runs.complete(run, polling=QUICK, deadline=30)
    assert len(stub.requests) == 1


@pytest.mark.parametrize("kind", ["scripted", "chat", "responses elsewhere"])
@pytest.mark.parametrize("operation", ["runs.create", "threads.create_and_run"])
async def test_refused_by_name(kind: str, operation: str) -> None:
    """Every other backend refuses such a run when it is created, and says who serves it; nothing is sent."""
    stub = ModelStub()
    backends: dict[str, ModelBackend] = {
        "scripted": ScriptedBackend(),
        "chat": ChatCompletionsBackend("http://127.0.0.1:1/v1"),
        "responses elsewhere": ResponsesBackend("http://127.0.0.1:1/v1", background=True),
    }
    async with stub, served(backends[kind]) as session:
        assistant = await session.assistants.create(model="gpt-4o")
        thread = await session.threads.create()
        create = session.threads.create_and_run
        if operation == "runs.create":
            create = partial(session.runs.create, thread.id)
        with pytest.raises(BadRequestError, match="only ResponsesBackend does, at OpenAI's own endpoint") as caught:
            await create(assistant_id=assistant.id, completion_window="2h")
    assert (caught.value.status, caught.value.param) == (400, "completion_window")


@pytest.mark.parametrize(
    ("url", "said", "serves"),
    [
        ("https://api.openai.com/v1", None, True),
        ("https://eu.api.openai.com/v1", None, True),
        ("https://api.openai.com/v1", False, False),
        ("https://resource.openai.azure.com/openai/v1", None, False),
        ("https://notapi.openai.com.example/v1", None, False),
        ("https://gateway.example/v1", True, True),
    ],
)
def test_who_serves_them(url: str, said: bool | None, serves: bool) -> None:
    """OpenAI's own endpoint, also with a region; and another one of which the backend is told so, such as a gateway."""
    assert ResponsesBackend(url, completion_windows=said).completion_windows == (("2h", "8h") if serves else ())


async def test_a_batch() -> None:
    """Each job of a batch may have a window of its own."""
    stub = ModelStub()
    async with stub, served(delayed(stub)) as session:
        assistant = await session.assistants.create(model="gpt-4o")
        thread = {"messages": [{"role": "user", "content": "Hello"}]}
        jobs: list[RunJob] = [
            {"assistant_id": assistant.id, "thread": thread},
            {"assistant_id": assistant.id, "thread": thread, "completion_window": "2h"},
            {"assistant_id": assistant.id, "thread": thread, "completion_window": "8h"},
        ]
        async with run_batch(session, jobs, polling=QUICK, deadline=30, ordered=True) as results:
            runs = [result.run async for result in results]
    assert [run and run.completion_window for run in runs] == [None, "2h", "8h"]
    sent = [body.get("background_options", {}).get("completion_window") for body in stub.bodies]
    assert sorted(map(str, sent)) == ["2h", "8h", "None"]


async def test_a_run_that_is_cancelled_is_not_left_at_the_endpoint() -> None:
    """The response is cancelled there, too."""
    stub = ModelStub()
    stub.looks = 10**9
    async with stub, served(delayed(stub)) as session:
        run = await start(session, completion_window="8h")
        await stub.http.requested(2)
        await session.runs.cancel(run)
        with anyio.fail_after(20):
            while "POST /responses/resp_1/cancel" not in targets(stub):
                await stub.http.requested(len(stub.requests) + 1)
