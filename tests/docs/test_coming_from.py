"""The page for those who come from openai-python: its calls exist on either side, and what it says of both holds."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import openai
import pytest

import openai_runs
from openai_runs import errors
from openai_runs.backends import Fail, ScriptedBackend
from openai_runs.server import LocalServer
from openai_runs.session import Session
from tests.stub import CUT, Reply, Request, Stub, error, reply
from tests.weather import QUICK

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "coming-from-openai-python.md").read_text("utf-8")
CALL = re.compile(r"`(client|session|AsyncOpenAI|OpenAI|Session)((?:\.\w+)*)(?:\(([^`]*)\))?`")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # OpenAI's own
    pytest.mark.unmeasured,
]


def rows(head: str) -> list[list[str]]:
    """The rows of the table whose head begins so."""
    lines = PAGE.partition(f"| {head} |")[2].splitlines()[2:]
    table = lines[: lines.index("") if "" in lines else None]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


CALLS = rows("openai-python | openai_runs | what differs")
PAIRS = [(row[0], row[1]) for row in CALLS if not row[0].startswith("other methods")]


def check(cell: str, roots: dict[str, Any]) -> int:
    """Look up what a cell calls, with its keywords; how many calls there are."""
    found = CALL.findall(cell)
    for root, path, arguments in found:
        target = roots[root]
        for name in path.split(".")[1:]:
            target = getattr(target, name)
        if not callable(target):
            continue
        parameters = inspect.signature(target).parameters
        keywords = re.findall(r"(\w+)=", arguments)
        assert set(keywords) <= parameters.keys(), cell
        positional = [word for word in re.split(r", ?", arguments) if word and "=" not in word and word != "…"]
        by_position = [
            name
            for name, parameter in parameters.items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        assert len(positional) <= len(by_position), cell
    return len(found)


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_each_call(theirs: str, ours: str) -> None:
    """Both exist, and take the parameters that the table shows."""
    client, session = openai.AsyncOpenAI(api_key="k"), Session("http://localhost/v1")
    count = check(theirs, {"client": client, "AsyncOpenAI": openai.AsyncOpenAI, "OpenAI": openai.OpenAI})
    assert count == (0 if "poll_interval_ms" in theirs else 1)
    count = check(ours, {"session": session, "Session": Session})
    assert count >= (ours not in ("none", "`timeout=…` of the method", "`polling=Polling(first=…, longest=…)`"))


def test_all_of_the_api() -> None:
    """No method of the API's resources is missing that people call: the table has the names of all of them."""
    client: Any = openai.AsyncOpenAI(api_key="k")
    threads = client.beta.threads
    for resource in (client.beta.assistants, threads, threads.messages, threads.runs, threads.runs.steps):
        for name, _ in inspect.getmembers(type(resource), inspect.isfunction):
            if not name.startswith(("_", "with_")) and name != "create_and_stream":  # which is named `stream` by now
                assert any(f".{name}(" in theirs for theirs, _ in PAIRS), name


def test_methods_of_vector_stores() -> None:
    """Where the table says "the same names", they are, but for the one that has a row of its own."""
    client: Any = openai.AsyncOpenAI(api_key="k")
    theirs, ours = client.vector_stores, Session("http://localhost/v1").vector_stores
    for there, here in ((theirs, ours), (theirs.files, ours.files), (theirs.file_batches, ours.file_batches)):
        names = {name for name, _ in inspect.getmembers(type(there), inspect.isfunction) if name[0] != "_"}
        assert {name for name in names if not hasattr(here, name)} == ({"upload"} if there is theirs.files else set())


def test_errors() -> None:
    """The names of exceptions are real ones, and so are their statuses."""
    table = PAGE.partition("## What is raised")[2].partition("See {doc}")[0]
    for line in table.splitlines()[4:]:
        if not line:
            continue
        theirs, ours = line.strip("| ").split(" | ")
        same = ours == "the same names"
        for name in re.findall(r"`(\w+Error)`", theirs):
            assert issubclass(getattr(openai, name), openai.OpenAIError)
            assert not same or hasattr(errors, name)
        for name in re.findall(r"`(\w+Error)`", ours):
            assert issubclass(getattr(errors, name), errors.OpenAIRunsError)
    assert issubclass(openai.APITimeoutError, openai.APIConnectionError)


def test_what_a_session_has_by_default() -> None:
    """Seconds and retries, as the table says."""
    client = openai.AsyncOpenAI(api_key="k")
    defaults = {name: parameter.default for name, parameter in inspect.signature(Session).parameters.items()}
    assert (client.timeout.read, client.max_retries) == (600, 2)
    assert (defaults["timeout"], defaults["max_retries"]) == (60.0, 2)
    assert (
        inspect.signature(client.vector_stores.file_batches.upload_and_poll).parameters["max_concurrency"].default == 5
    )


@pytest.mark.anyio
async def test_a_run_that_failed(anyio_backend: str) -> None:
    """openai-python returns it, and this library raises; both show when it was created."""
    backend = ScriptedBackend([Fail("rate_limit_exceeded", "Too many tokens.")] * 2)
    async with (
        LocalServer(backend=backend) as server,
        openai.AsyncOpenAI(base_url=server.url, api_key="k") as client,
        server.session() as session,
    ):
        assistant = await client.beta.assistants.create(model="m")
        theirs = await client.beta.threads.create_and_run_poll(assistant_id=assistant.id, poll_interval_ms=1)
        assert theirs.status == "failed"
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        with pytest.raises(errors.RunFailedError) as caught:
            await session.runs.complete(run, polling=QUICK)
        ours = await session.runs.retrieve(thread_id=theirs.thread_id, run_id=theirs.id)
        assert caught.value.run.status == "failed"
        assert ours.created_at.timestamp() == theirs.created_at
        assert ours.created_at.tzinfo is not None
        dumped = openai_runs.dump(ours)
        assert dumped["tools"] == theirs.model_dump()["tools"] == []
        assert (ours.tools, theirs.tools) == ((), [])


@pytest.mark.anyio
async def test_a_lost_response(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """openai-python sends the request again, whatever it did; this library looks at the runs of the thread before."""
    monkeypatch.setattr(openai.AsyncOpenAI, "_calculate_retry_timeout", lambda *_: 0)
    async with Stub(CUT, error(400, "has an active run")) as stub:
        async with openai.AsyncOpenAI(base_url=stub.url, api_key="k") as client:
            with pytest.raises(openai.BadRequestError):
                await client.beta.threads.runs.create("thread_1", assistant_id="asst_1")
        assert [request.method for request in stub.requests] == ["POST", "POST"]
    async with Stub(CUT, error(400, "no")) as stub:
        async with stub.session() as session:
            with pytest.raises(errors.OpenAIRunsError):
                await session.runs.create("thread_1", assistant_id="asst_1")
        assert [request.method for request in stub.requests] == ["POST", "GET"]


RUN = {
    "id": "run_1",
    "object": "thread.run",
    "created_at": 1,
    "thread_id": "thread_1",
    "assistant_id": "asst_1",
    "status": "in_progress",
}


@pytest.mark.anyio
async def test_an_endpoint_that_is_away(anyio_backend: str) -> None:
    """openai-python raises when its retries are used up; this library polls on."""
    done = reply({**RUN, "status": "completed"})
    async with (
        Stub(reply(RUN), *[error(503)] * 3, done) as stub,
        openai.AsyncOpenAI(base_url=stub.url, api_key="k", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError):
            await client.beta.threads.runs.poll("run_1", thread_id="thread_1", poll_interval_ms=1)
    async with Stub(reply(RUN), *[error(503)] * 3, done) as stub, stub.session(max_retries=0) as session:
        run = await session.runs.complete(thread_id="thread_1", run_id="run_1", polling=QUICK)
    assert run.status == "completed"


@pytest.mark.anyio
async def test_a_stream_that_breaks(anyio_backend: str) -> None:
    """openai-python raises; this library polls from there on."""
    frames = f"event: thread.run.created\ndata: {json.dumps(RUN)}\n\nevent: thread.run.completed\n"
    broken = reply(frames.encode(), content_type="text/event-stream").cut(5)
    empty = reply({"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False})

    def answer(request: Request) -> Reply:
        if request.method == "POST":
            return broken
        return reply({**RUN, "status": "completed"}) if request.path.endswith("run_1") else empty

    async with Stub(answer) as stub:
        async with openai.AsyncOpenAI(base_url=stub.url, api_key="k") as client:
            with pytest.raises(Exception, match="without sending complete message body") as caught:
                async with client.beta.threads.runs.stream(thread_id="thread_1", assistant_id="asst_1") as stream:
                    await stream.until_done()
        assert not isinstance(caught.value, openai.OpenAIError)
        options = {"assistant_id": "asst_1", "polling": QUICK}
        async with stub.session() as session, session.runs.stream("thread_1", **options) as events:
            kinds = [type(event).__name__ async for event in events]
    assert kinds == ["StatusChanged", "PollingTookOver", "RunEnded"]
