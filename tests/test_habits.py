"""What people write who know openai-python: an error that says what to write here; `openai_runs._habits`."""

import copy
import inspect
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

import openai_runs
from openai_runs import JobRetries, Polling, RateLimits, Toolbox, _habits, load, run_batch
from openai_runs.batch.durable import SharedLimits
from openai_runs.models.assistant import Assistant
from openai_runs.models.delta import MessageDelta
from openai_runs.models.thread import Thread
from openai_runs.session import Session

pytestmark = pytest.mark.anyio


def build(made: Any) -> Any:
    """Something to call as no type checker would allow."""
    return made


@pytest.fixture
def closed() -> Any:
    """A session that sends nothing."""
    return Session("http://host/v1")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda s: s.beta.threads.create(), r"no attribute 'beta': leave it out: session\.assistants"),
        (lambda s: s.threads.runs.create("thread_1"), r"no attribute 'runs': write session\.runs"),
        (lambda s: s.threads.messages.list("thread_1"), r"no attribute 'messages': write session\.messages"),
        (
            lambda s: s.threads.create_and_run_poll(),
            r"`run = await session\.threads\.create_and_run\(…\)`, then `await",
        ),
        (lambda s: s.threads.create_and_run_stream(), r"session\.threads\.stream_run\(…\)"),
        (
            lambda s: s.runs.create_and_poll(),
            r"`run = await session\.runs\.create\(…\)`, then `await session\.runs\.com",
        ),
        (lambda s: s.runs.create_and_stream(), r"`async with session\.runs\.stream\(thread_id, …\) as events`"),
        (lambda s: s.runs.poll("run_1"), r"`await session\.runs\.complete\(run\)`"),
        (lambda s: s.runs.submit_tool_outputs_and_poll(), r"session\.runs\.submit_tool_outputs\(run, outputs\)`, then"),
        (lambda s: s.runs.submit_tool_outputs_stream(), r"session\.runs\.stream_tool_outputs\(run, outputs\)"),
        (lambda s: s.runs.steps, r"write session\.run_steps"),
        (lambda s: s.runs.get("run_1"), r"write `await session\.runs\.retrieve\(run\)`, or thread_id=… and run_id=…"),
        (lambda s: s.runs.wait("run_1"), r"`await session\.runs\.complete\(run\)`"),
        (lambda s: s.messages.add("thread_1"), r"session\.messages\.create\(thread_id, role=…, content=…\)"),
        (lambda s: s.assistants.get("asst_1"), r"session\.assistants\.retrieve\(assistant_id\)"),
        (lambda s: s.files.upload("a.pdf"), r'session\.files\.create\(path, purpose="assistants"\)'),
        (lambda s: s.run_steps.get("step_1"), r"session\.run_steps\.retrieve\(thread_id=…, run_id=…, step_id=…\)"),
        (lambda s: s.run_steps.create("step_1"), "a run makes its steps, and they cannot be changed"),
        (lambda s: s.run_steps.poll("step_1"), r"`await session\.runs\.complete\(run\)`"),
        (lambda s: s.vector_stores.get("vs_1"), r"session\.vector_stores\.retrieve\(vector_store_id\)"),
        (lambda s: s.vector_stores.modify("vs_1"), r"write session\.vector_stores\.update"),
        (lambda s: s.vector_stores.query("vs_1"), r"session\.vector_stores\.search\(vector_store_id, query=…\)"),
        (lambda s: s.vector_stores.create_and_poll(), r"file_batches\.create_and_poll\(store\.id, file_ids=…\)"),
        (lambda s: s.vector_stores.upload("a"), r"vector_stores\.files\.upload_and_poll\(vector_store_id, path\)"),
        (lambda s: s.vector_stores.add_files([]), r"session\.vector_stores\.file_batches, such as its upload_and_poll"),
        (lambda s: s.vector_stores.files.get("file_1"), r"files\.retrieve\(vector_store_id=…, file_id=…\)"),
        (lambda s: s.vector_stores.files.upload(), r"files\.upload_and_poll\(vector_store_id, path\)"),
        (lambda s: s.vector_stores.file_batches.list("vs_1"), r"file_batches\.list_files\(batch\), which lists"),
        (lambda s: s.vector_stores.file_batches.upload(), r"upload_and_poll\(vector_store_id, files\)"),
        (lambda s: s.vector_stores.file_batches.zebra, "^'VectorStoreFileBatchesService' object has no attribute 'z"),
        (lambda s: s.chat.completions.create(), r"speaks the Assistants API; .*session\.runs\.create"),
        (lambda s: s.close(), r"`async with Session\(…\) as session:`"),
        (lambda s: s.steps, r"write session\.run_steps$"),
        (
            lambda s: s.with_options(timeout=1),
            r"no attribute 'with_options': the methods take timeout=…, extra_headers=…",
        ),
        (lambda s: s.runs.with_raw_response.create(), r"there are no raw responses: call the method itself"),
        (lambda s: s.messages.list("thread_1").data, r"write `\(await ….list\(…\)\.page\(\)\)\.data` for one page"),
        (lambda s: s.messages.list("thread_1").size, r"^'Listing' object has no attribute 'size'$"),
        (lambda s: s.runs.crate, r"^'RunsService' object has no attribute 'crate'$"),
    ],
)
def test_attributes(closed: Any, write: Any, words: str) -> None:
    """The error for an attribute of that client says what to write; for any other name it is Python's own."""
    with pytest.raises(AttributeError, match=words) as caught:
        write(closed)
    assert not hasattr(caught.value.obj, caught.value.name)


async def test_parameters(closed: Any) -> None:
    """So does the error for a parameter."""
    ids = {"thread_id": "thread_1", "run_id": "run_1"}
    for call, words in (
        (
            lambda: closed.runs.create("thread_1", assistant_id="a", stream=True),
            r"'stream'; for a stream, use session\.r",
        ),
        (lambda: closed.threads.create_and_run(assistant_id="a", stream=True), r"session\.threads\.stream_run\(\)"),
        (lambda: closed.runs.complete(**ids, timeout=60), r"'timeout'; deadline=… limits"),
        (lambda: anext(closed.runs.follow(**ids, timeout=60)), r"'timeout'; deadline=… limits"),
        (lambda: closed.runs.complete(**ids, poll_interval_ms=100), r"polling=Polling\(first=…"),
        (
            lambda: closed.threads.create_and_run(assistant_id="a", additional_messages=[]),
            r"'additional_messages'; on a new thread, write thread=\{\"messages\": \[",
        ),
        (lambda: closed.runs.create("thread_1", assistant_id="a", message="hi"), r"takes additional_messages=\["),
        (lambda: closed.runs.complete(**ids, extra_headers={}), r"default_headers=…"),
        (lambda: closed.runs.complete(**ids, extra_query={}), r"default_query=…"),
        (lambda: closed.runs.complete(**ids, extra_body={}), r"pass it to the method that sends the request"),
    ):
        with pytest.raises(TypeError, match=words):
            await call()


async def test_parameters_of_waiting_for_files(closed: Any) -> None:
    """So does the error for one of a method that waits until files have been read; it is still a coroutine function."""
    stores = closed.vector_stores
    for method in stores.files.poll, stores.files.upload_and_poll, stores.file_batches.poll:
        assert inspect.iscoroutinefunction(method)
        with pytest.raises(
            TypeError, match=r"poll\(\) has no parameter 'poll_interval_ms': write polling=Polling\(first=…"
        ):
            await method(poll_interval_ms=100)
    with pytest.raises(TypeError, match="'max_concurrency': leave it out: files are uploaded one after another"):
        await stores.file_batches.upload_and_poll("vs_1", files=[], max_concurrency=3)
    with pytest.raises(TypeError, match="'timeout': write deadline=…"):
        await stores.file_batches.poll(timeout=60)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda: build(RateLimits)(rpm=600), r"RateLimits\(\) has no parameter 'rpm': write requests_per_minute=…$"),
        (lambda: build(RateLimits)(tpm=9), "write tokens_per_minute=…$"),
        (lambda: build(RateLimits)(requests=600), "write requests_per_minute=…$"),
        (lambda: build(RateLimits)(rps=10), "write requests_per_minute=…, sixty times as many"),
        (lambda: build(RateLimits)(request_per_minute=1), r"did you mean 'requests_per_minute'\?$"),
        (
            lambda: build(RateLimits)(zebra=1),
            "known are requests_per_minute, tokens_per_minute, tokens_per_run, counts",
        ),
        (lambda: build(RateLimits)(600), r"RateLimits\(\) takes names only: write RateLimits\(requests_per_minute=…\)"),
        (lambda: build(SharedLimits)(rpm=600), r"SharedLimits\(\) has no .*: write requests_per_minute=…$"),
        (lambda: build(SharedLimits)(runs=600), "write runs_per_minute=…$"),
        (lambda: build(Polling)(interval=1), r"write first=… and longest=…, in seconds"),
        (lambda: build(Polling)(timeout=1), "pass deadline=…"),
        (lambda: build(JobRetries)(max_retries=1), "write attempts=…, which counts the first one"),
        (lambda: build(Toolbox)(len), r"Toolbox\(\) begins empty: write `toolbox = Toolbox\(\)`, then"),
        (lambda: build(Toolbox)(tools=[len]), r"then `toolbox\.tool\(function\)`"),
        (
            lambda: build(Session)("http://host/v1", rpm=600),
            r"Session\(rate_limits=RateLimits\(requests_per_minute=…\)\)",
        ),
        (lambda: build(Session)("http://host/v1", http_client=None), "HTTPS_PROXY names a proxy"),
        (lambda: build(Session)(azure_endpoint="http://host/v1"), "write base_url=…"),
        (
            lambda: build(run_batch)(None, [], concurrency=8),
            r"run_batch\(\) has no parameter 'concurrency': write workers=…$",
        ),
        (lambda: build(run_batch)(None, [], tpm=8), r"RateLimits\(tokens_per_minute=…\)"),
    ],
)
def test_parameters_of_functions_and_classes(write: Any, words: str) -> None:
    """So does the error for one of what is called before anything is sent; a misspelt name is told, too."""
    with pytest.raises(TypeError, match=words):
        write()


@pytest.mark.parametrize(
    "table", ["RATE_LIMITS", "SHARED_LIMITS", "POLLING", "JOB_RETRIES", "TOOLBOX", "SESSION_OPTIONS", "BATCH"]
)
def test_what_is_explained_does_not_exist(table: str) -> None:
    """A name that becomes a parameter is no habit any more."""
    owner = {
        "RATE_LIMITS": RateLimits,
        "SHARED_LIMITS": SharedLimits,
        "POLLING": Polling,
        "JOB_RETRIES": JobRetries,
        "TOOLBOX": Toolbox,
        "SESSION_OPTIONS": Session,
        "BATCH": run_batch,
    }[table]
    assert not inspect.signature(owner).parameters.keys() & getattr(_habits, table).keys()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: s.messages.create("thread_1", "user", "hi"), r"create\(thread_id, role=…, content=…\)"),
        (
            lambda s: s.messages.retrieve("thread_1", "msg_1"),
            r"retrieve\(message\), or retrieve\(thread_id=…, message_id",
        ),
        (
            lambda s: s.messages.update("thread_1", "msg_1"),
            r"update\(message\), or update\(thread_id=…, message_id=…\)",
        ),
        (
            lambda s: s.messages.delete("thread_1", "msg_1"),
            r"delete\(message\), or delete\(thread_id=…, message_id=…\)",
        ),
        (lambda s: s.runs.create("thread_1", "asst_1"), r"create\(thread_id, assistant_id=…\)"),
        (lambda s: s.runs.stream("thread_1", "asst_1"), r"stream\(thread_id, assistant_id=…\)"),
        (
            lambda s: s.runs.retrieve("thread_1", "run_1"),
            r"retrieve\(run\), or retrieve\(thread_id=…, run_id=…\); nothing",
        ),
        (lambda s: s.runs.update("thread_1", "run_1"), r"update\(run\), or update\(thread_id=…, run_id=…\)"),
        (lambda s: s.runs.cancel("thread_1", "run_1"), r"cancel\(run\), or cancel\(thread_id=…, run_id=…\)"),
        (lambda s: s.runs.complete("thread_1", "run_1"), r"complete\(run\), or complete\(thread_id=…, run_id=…\)"),
        (lambda s: s.runs.follow("thread_1", "run_1"), r"follow\(run\), or follow\(thread_id=…, run_id=…\)"),
        (lambda s: s.runs.submit_tool_outputs("thread_1", "run_1", []), r"submit_tool_outputs\(run, outputs\), or sub"),
        (lambda s: s.runs.stream_tool_outputs("thread_1", "run_1", []), r"stream_tool_outputs\(run, outputs\), or str"),
        (lambda s: s.run_steps.list("thread_1", "run_1"), r"list\(run\), or list\(thread_id=…, run_id=…\)"),
        (
            lambda s: s.run_steps.retrieve("thread_1", "run_1", "step_1"),
            r"retrieve\(step\), or retrieve\(thread_id=…, ru",
        ),
        (lambda s: s.assistants.create("gpt-4o-mini"), r"create\(model=…\)"),
        (lambda s: s.files.create("a.pdf", "assistants"), r'create\(file, purpose="assistants"\)'),
        (lambda s: s.vector_stores.create("books"), r"create\(name=…, file_ids=…\)"),
        (lambda s: s.vector_stores.search("vs_1", "tides"), r"search\(vector_store_id, query=…\)"),
        (lambda s: s.vector_stores.files.create("vs_1", "file_1"), r"create\(vector_store_id, file_id=…\)"),
        (
            lambda s: s.vector_stores.files.create_and_poll("vs_1", "file_1"),
            r"create_and_poll\(vector_store_id, file_id=…",
        ),
        (
            lambda s: s.vector_stores.files.retrieve("vs_1", "file_1"),
            r"retrieve\(file\), or retrieve\(vector_store_id=…",
        ),
        (
            lambda s: s.vector_stores.files.update("vs_1", "file_1"),
            r"update\(file\), or update\(vector_store_id=…, file_",
        ),
        (
            lambda s: s.vector_stores.files.delete("vs_1", "file_1"),
            r"delete\(file\), or delete\(vector_store_id=…, file_",
        ),
        (
            lambda s: s.vector_stores.files.content("vs_1", "file_1"),
            r"content\(file\), or content\(vector_store_id=…, f",
        ),
        (lambda s: s.vector_stores.file_batches.create("vs_1", []), r"create\(vector_store_id, file_ids=…\)"),
        (
            lambda s: s.vector_stores.file_batches.create_and_poll("vs_1", []),
            r"create_and_poll\(vector_store_id, file_ids",
        ),
        (
            lambda s: s.vector_stores.file_batches.retrieve("vs_1", "vsfb_1"),
            r"retrieve\(batch\), or retrieve\(vector_sto",
        ),
        (
            lambda s: s.vector_stores.file_batches.cancel("vs_1", "vsfb_1"),
            r"cancel\(batch\), or cancel\(vector_store_id",
        ),
        (
            lambda s: s.vector_stores.file_batches.list_files("vs_1", "vsfb_1"),
            r"list_files\(batch\), or list_files\(vect",
        ),
    ],
)
async def test_positions(closed: Any, call: Any, words: str) -> None:
    """So does the error for parameters by position, of the methods that people call so."""
    with pytest.raises(TypeError, match=f"too many arguments by position: write {words}"):
        await call(closed)


async def test_an_id_by_position(closed: Any) -> None:
    """The error for openai-python's mix, an object's ID by position and its parents' by name, names the keyword."""
    ids = {"thread_id": "thread_1", "run_id": "run_1"}
    for call, words in (
        (lambda: closed.runs.retrieve("run_1", thread_id="thread_1"), "write run_id='run_1'$"),
        (lambda: closed.run_steps.retrieve("step_1", **ids), "write step_id='step_1'$"),
        (lambda: closed.messages.retrieve("msg_1", thread_id="thread_1"), "write message_id='msg_1'$"),
        (lambda: closed.vector_stores.files.poll("file_1", vector_store_id="vs_1"), "write file_id='file_1'$"),
        (lambda: closed.vector_stores.file_batches.cancel("b", vector_store_id="vs_1"), "write batch_id='b'$"),
        (lambda: closed.run_steps.retrieve("step_1", run_id="run_1"), "nothing was sent$"),
        (lambda: closed.run_steps.retrieve("step_1"), "nothing was sent$"),
    ):
        with pytest.raises(TypeError, match=words):
            await call()


async def test_a_run_by_its_id_alone(closed: Any) -> None:
    """Nor does a thread's ID go without saying: the errors name the methods that need none."""
    with pytest.raises(TypeError, match=r"got 'run_1'; nothing was sent; `await session\.runs\.find\(run_id\)`"):
        await closed.runs.retrieve("run_1")
    with pytest.raises(TypeError, match=r"got thread_id='thread_1'; nothing was sent$"):
        await closed.runs.retrieve(thread_id="thread_1")
    with pytest.raises(TypeError, match=r"^list\(\) needs thread_id: write session\.runs\.list_all\(\)"):
        closed.runs.list()
    assert closed.runs.list(thread_id="thread_1") is not None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model_dump", r"write `openai_runs\.dump\(…\)` of it"),
        ("to_dict", r"write `openai_runs\.dump\(…\)` of it"),
        ("model_dump_json", r"write `json\.dumps\(openai_runs\.dump\(…\)\)` of it"),
        ("zebra", "^'(Thread|MessageDelta)' object has no attribute 'zebra'$"),
    ],
)
def test_models_as_json(name: str, words: str) -> None:
    """Of a model, too, an attribute of pydantic's is told; also of one whose inside is made later."""
    delta = load({"id": "msg_1", "object": "thread.message.delta", "delta": {}}, MessageDelta)
    for model in (Thread(id="thread_1", created_at=datetime.now(UTC)), delta):
        with pytest.raises(AttributeError, match=words):
            getattr(model, name)
        assert copy.deepcopy(pickle.loads(pickle.dumps(model))) == model


async def test_what_is_asynchronous(closed: Any) -> None:
    """A session, a stream and a batch say how they are used, where Python would only say how not."""
    with pytest.raises(TypeError, match=r"write `async with Session\(…\) as session:`"), closed:
        pass
    with pytest.raises(TypeError, match=r"write `async with session\.runs\.stream\(…\) as events:`"):
        await closed.runs.stream("thread_1", assistant_id="asst_1")
    async with run_batch(closed, []) as batch:
        with pytest.raises(TypeError, match="write `async for result in batch:`"):
            list(build(batch))


async def test_jobs(closed: Any) -> None:
    """What is no job fails as one, and its result says what a job is."""
    async with run_batch(closed, build(["hello"])) as batch:
        (result,) = [result async for result in batch]
    assert isinstance(result.error, TypeError)
    assert str(result.error).startswith("a job is a dict: write RunJob(assistant_id=…, thread={")
    assert str(result.error).endswith(": got 'hello'; nothing was sent")
    assert result.row()["thread_id"] is None


def test_names_that_are_elsewhere() -> None:
    """The error of an import says where the name is; that of one that is nowhere is Python's own.

    So does the error of an attribute, and `hasattr` says that it is not there.
    """
    for name, home in _habits.HOMES.items():
        assert not hasattr(openai_runs, name)
        with pytest.raises(AttributeError, match=f"^write `from {home} import {name}`$"):
            getattr(openai_runs, name)
        with pytest.raises(ImportError, match=f"^write `from {home} import {name}`$"):
            exec(f"from openai_runs import {name}", {})
        exec(f"from {home} import {name}", {})
    with pytest.raises(ImportError, match="cannot import name 'Zebra'"):
        exec("from openai_runs import Zebra", {})


async def test_objects_for_ids(closed: Any) -> None:
    """So does the error for an object where its ID belongs, also in a list of IDs; other wrong values have no ID."""
    assistant = Assistant(id="asst_1", created_at=datetime.now(UTC), model="m")
    with pytest.raises(ValueError, match=r"assistant_id must be a string: got .*; pass \.id of it; nothing was sent"):
        await closed.runs.create("thread_1", assistant_id=assistant)
    resources = {"file_search": {"vector_store_ids": [Thread(id="thread_1", created_at=datetime.now(UTC))]}}
    with pytest.raises(TypeError, match=r"vector_store_ids\[0\] must be a string: got .*; pass \.id of it"):
        await closed.threads.create(tool_resources=resources)
    with pytest.raises(ValueError, match=r"assistant_id must be a string: got 1; nothing"):
        await closed.runs.create("thread_1", assistant_id=1)


async def test_lists(closed: Any) -> None:
    """A list is neither awaited nor iterated synchronously, whatever it lists."""
    for listing in (
        closed.assistants.list(),
        closed.messages.list("thread_1"),
        closed.runs.list("thread_1"),
        closed.run_steps.list(thread_id="thread_1", run_id="run_1"),
    ):
        with pytest.raises(TypeError, match=r"a list is not awaited: write `async for item in ….list\(…\)`, or `await"):
            await listing
        with pytest.raises(TypeError, match="write `async for"):
            list(listing)


def test_copies(closed: Any) -> None:
    """What looks for attributes that are not there, as copying does, finds none."""
    assert copy.copy(closed.threads).create is not None
