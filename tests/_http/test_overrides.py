"""What one request has of its own: every method that sends one takes the same four options."""

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest

from openai_runs._http.overrides import take_overrides
from openai_runs.errors import BadRequestError, TransportError
from openai_runs.models.request_options import RequestOptions
from openai_runs.session import Session
from tests.following.story import EMPTY, RUN, framed, run, stream, waiting
from tests.samples import EXAMPLES
from tests.shown import shown
from tests.stub import CUT, NEVER, Reply, Request, Stub, error, reply
from tests.weather import QUICK

pytestmark = pytest.mark.anyio

IDS = {"thread_id": "thread_1", "run_id": "run_1"}
OUTPUTS = [{"tool_call_id": "call_1", "output": "sun"}]
OPTIONS: RequestOptions = {
    "timeout": 7.5,
    "extra_headers": {"X-Tenant": "seven", "openai-beta": "assistants=v9"},
    "extra_query": {"trace": True, "tags": ["a", "b"]},
    "extra_body": {"vendor": {"nested": [1, None]}},
}
OBJECTS = {
    name: (EXAMPLES / f"objects/{name}Object.json").read_bytes()
    for name in ("Run", "Thread", "Message", "Assistant", "RunStep")
}


def _of_vector_stores(request: Request, last: str) -> Reply:
    if last == "search" or last == "content":
        return reply(SEARCH_PAGE)
    if request.method == "GET" and last in ("files", "vector_stores"):
        return reply({"object": "list", "data": [], "has_more": False})
    return reply(VECTOR_STORE | {"vector_store_id": "vs_1"})


def answer(request: Request) -> Reply:
    """What an endpoint sends."""
    kind = request.path.rsplit("/", 2)
    if request.method == "DELETE":
        return reply({"id": "x", "object": "deleted", "deleted": True})
    if "vector_stores" in request.path:
        return _of_vector_stores(request, kind[-1])
    if request.method == "GET" and kind[-1].startswith("file-"):
        return reply({"id": "file-1", "bytes": 1, "created_at": 1, "filename": "a", "purpose": "p", "status": "s"})
    if request.method == "GET" and not kind[-1].startswith(("run_", "thread_", "msg_", "asst_", "step_")):
        return reply({"object": "list", "data": [], "has_more": False})
    segments = [part for part in request.path.split("/")[2:] if part not in ("cancel", "submit_tool_outputs")]
    last = next(part for part in reversed(segments) if part in ("assistants", "threads", "messages", "runs", "steps"))
    models = {"assistants": "Assistant", "threads": "Thread", "messages": "Message", "runs": "Run", "steps": "RunStep"}
    return reply(OBJECTS[models[last]])


async def opened(events: Any) -> None:
    async with events:
        pass


#: Each method of the services that sends one request.
IN_STORE = {"vector_store_id": "vs_1", "file_id": "file-1"}
BATCH = {"vector_store_id": "vs_1", "batch_id": "vsfb_1"}
VECTOR_STORE = {"id": "vs_1", "created_at": 1, "usage_bytes": 1, "file_counts": {}, "status": "completed"}
SEARCH_PAGE = {"object": "page", "search_query": ["q"], "data": [], "has_more": False, "next_page": None}

CALLS: dict[str, Callable[..., Any]] = {
    "assistants.create": lambda s, **o: s.assistants.create(model="m", **o),
    "assistants.retrieve": lambda s, **o: s.assistants.retrieve("asst_1", **o),
    "assistants.update": lambda s, **o: s.assistants.update("asst_1", name="n", **o),
    "assistants.list": lambda s, **o: s.assistants.list(limit=5, **o).page(),
    "assistants.delete": lambda s, **o: s.assistants.delete("asst_1", **o),
    "threads.create": lambda s, **o: s.threads.create(**o),
    "threads.list": lambda s, **o: s.threads.list(limit=5, **o).page(),
    "threads.retrieve": lambda s, **o: s.threads.retrieve("thread_1", **o),
    "threads.update": lambda s, **o: s.threads.update("thread_1", metadata={}, **o),
    "threads.delete": lambda s, **o: s.threads.delete("thread_1", **o),
    "threads.create_and_run": lambda s, **o: s.threads.create_and_run(assistant_id="a", **o),
    "threads.stream_run": lambda s, **o: opened(s.threads.stream_run(assistant_id="a", **o)),
    "messages.create": lambda s, **o: s.messages.create("thread_1", role="user", content="x", **o),
    "messages.retrieve": lambda s, **o: s.messages.retrieve(thread_id="thread_1", message_id="msg_1", **o),
    "messages.update": lambda s, **o: s.messages.update(thread_id="thread_1", message_id="msg_1", metadata={}, **o),
    "messages.list": lambda s, **o: s.messages.list("thread_1", run_id="run_1", **o).page(),
    "messages.delete": lambda s, **o: s.messages.delete(thread_id="thread_1", message_id="msg_1", **o),
    "runs.create": lambda s, **o: s.runs.create("thread_1", assistant_id="a", **o),
    "runs.find_created": lambda s, **o: s.runs.find_created("thread_1", "key-1", **o),
    "runs.list_all": lambda s, **o: s.runs.list_all(limit=5, **o).page(),
    "runs.changes": lambda s, **o: opened(s.runs.changes(**o)),
    "runs.find": lambda s, **o: s.runs.find("run_1", **o),
    "runs.retrieve": lambda s, **o: s.runs.retrieve(**IDS, **o),
    "runs.update": lambda s, **o: s.runs.update(**IDS, metadata={}, **o),
    "runs.list": lambda s, **o: s.runs.list("thread_1", **o).page(),
    "runs.cancel": lambda s, **o: s.runs.cancel(**IDS, **o),
    "runs.submit_tool_outputs": lambda s, **o: s.runs.submit_tool_outputs(**IDS, tool_outputs=OUTPUTS, **o),
    "runs.stream": lambda s, **o: opened(s.runs.stream("thread_1", assistant_id="a", **o)),
    "runs.stream_tool_outputs": lambda s, **o: opened(s.runs.stream_tool_outputs(**IDS, tool_outputs=OUTPUTS, **o)),
    "run_steps.retrieve": lambda s, **o: s.run_steps.retrieve(**IDS, step_id="step_1", **o),
    "run_steps.list": lambda s, **o: s.run_steps.list(**IDS, **o).page(),
    "vector_stores.create": lambda s, **o: s.vector_stores.create(name="n", **o),
    "vector_stores.retrieve": lambda s, **o: s.vector_stores.retrieve("vs_1", **o),
    "vector_stores.update": lambda s, **o: s.vector_stores.update("vs_1", name="n", **o),
    "vector_stores.list": lambda s, **o: s.vector_stores.list(**o).page(),
    "vector_stores.delete": lambda s, **o: s.vector_stores.delete("vs_1", **o),
    "vector_stores.search": lambda s, **o: s.vector_stores.search("vs_1", query="q", **o),
    "vector_stores.files.create": lambda s, **o: s.vector_stores.files.create("vs_1", file_id="f", **o),
    "vector_stores.files.create_and_poll": lambda s, **o: s.vector_stores.files.create_and_poll(
        "vs_1", file_id="f", **o
    ),
    "vector_stores.files.retrieve": lambda s, **o: s.vector_stores.files.retrieve(**IN_STORE, **o),
    "vector_stores.files.update": lambda s, **o: s.vector_stores.files.update(**IN_STORE, attributes={}, **o),
    "vector_stores.files.list": lambda s, **o: s.vector_stores.files.list("vs_1", filter="failed", **o).page(),
    "vector_stores.files.delete": lambda s, **o: s.vector_stores.files.delete(**IN_STORE, **o),
    "vector_stores.files.content": lambda s, **o: s.vector_stores.files.content(**IN_STORE, **o),
    "vector_stores.file_batches.create": lambda s, **o: s.vector_stores.file_batches.create(
        "vs_1", file_ids=["f"], **o
    ),
    "vector_stores.file_batches.create_and_poll": lambda s, **o: s.vector_stores.file_batches.create_and_poll(
        "vs_1", file_ids=["f"], **o
    ),
    "vector_stores.file_batches.retrieve": lambda s, **o: s.vector_stores.file_batches.retrieve(**BATCH, **o),
    "vector_stores.file_batches.cancel": lambda s, **o: s.vector_stores.file_batches.cancel(**BATCH, **o),
    "vector_stores.file_batches.list_files": lambda s, **o: s.vector_stores.file_batches.list_files(
        **BATCH, **o
    ).page(),
    "files.retrieve": lambda s, **o: s.files.retrieve("file-1", **o),
    "files.list": lambda s, **o: s.files.list(purpose="batch", **o).page(),
    "files.delete": lambda s, **o: s.files.delete("file-1", **o),
    "files.content": lambda s, **o: s.files.content("file-1", **o).read(),
}

#: What else the services have: they follow a run by many requests.
OTHERS = {
    "runs.follow",
    "runs.complete",
    "vector_stores.files.poll",
    "vector_stores.files.upload_and_poll",
    "vector_stores.file_batches.poll",
    "vector_stores.file_batches.upload_and_poll",
}
#: Sends a form, which `tests/services/test_files.py` is about.
FORMS = {"files.create"}


NAMES = (
    *("assistants", "threads", "messages", "runs", "run_steps", "files"),
    *("vector_stores", "vector_stores.files", "vector_stores.file_batches"),
)


def test_no_method_is_left_out() -> None:
    """Every method of a service is here, and `help` shows the options of those that send one request."""
    session = Session("http://host/v1")
    services = {name: getattr(session, name) for name in NAMES if "." not in name}
    services |= {name: getattr(session.vector_stores, name.partition(".")[2]) for name in NAMES if "." in name}
    for service, methods in services.items():
        for name, method in inspect.getmembers(methods, inspect.isroutine):
            if not name.startswith("_"):
                assert f"{service}.{name}" in CALLS.keys() | OTHERS | FORMS
                has_options = RequestOptions.__annotations__.keys() <= inspect.signature(method).parameters.keys()
                assert has_options == (f"{service}.{name}" not in OTHERS), name


@pytest.mark.parametrize("name", CALLS)
async def test_every_method(name: str) -> None:
    """Headers, query and body are those of the session and the method, with the request's own over them."""
    async with (
        Stub(answer) as stub,
        stub.session(default_query={"api-version": "v1", "trace": "0"}, max_retries=0) as session,
    ):
        await CALLS[name](session)
        await CALLS[name](session, **OPTIONS)
        await CALLS[name](session)
    before, request, after = stub.requests
    assert request.headers["x-tenant"] == "seven"
    assert request.headers["openai-beta"] == "assistants=v9"
    assert request.raw.lower().count(b"openai-beta:") == 1
    assert "trace=true&tags=a&tags=b" in request.query
    assert "api-version=v1" in request.query
    assert "trace=0" not in request.query
    assert set(before.query.replace("trace=0", "trace=true").split("&")) < set(request.query.split("&"))
    plain = json.loads(before.body or b"{}")
    sent = request.json
    for one in (plain, sent):  # each run has a marker of its own
        one.get("metadata", {}).pop("openai_runs.create", None)
    assert sent == plain | {"vendor": {"nested": [1, None]}}
    assert (before.path, before.query) == (after.path, after.query)
    assert after.headers["openai-beta"] == "assistants=v2"
    assert "x-tenant" not in after.headers


@pytest.mark.parametrize("name", CALLS)
async def test_a_misspelt_option(name: str) -> None:
    """An unknown option is an error that names the right one; nothing is sent."""
    async with Stub(answer) as stub, stub.session() as session:
        with pytest.raises(TypeError, match="unknown parameter 'extra_header'; did you mean 'extra_headers'"):
            await CALLS[name](session, extra_header={})
    assert stub.requests == []


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds"),
        ({"timeout": "9"}, TypeError, "timeout must be a number of seconds: got '9'"),
        ({"timeout": None}, TypeError, "timeout must be a number of seconds: got None"),
        ({"extra_headers": [("a", "b")]}, TypeError, "extra_headers must be a dict: got list"),
        ({"extra_headers": {"X": "geheim\r\nHost: evil"}}, ValueError, "header X must be a string of one line"),
        ({"extra_headers": {"X": None}}, ValueError, "header X must be a string of one line"),
        ({"extra_headers": {"X\r\n": "1"}}, ValueError, "extra_headers must have names of HTTP headers"),
        ({"extra_query": "a=b"}, TypeError, "extra_query must be a dict: got str"),
        ({"extra_query": {"a": None}}, TypeError, r"extra_query\['a'\] must be a string, a number, or a list"),
        ({"extra_query": {"a": [1]}}, TypeError, r"extra_query\['a'\] must be a string, a number, or a list"),
        ({"extra_body": b"{}"}, TypeError, "extra_body must be a dict: got bytes"),
    ],
)
async def test_wrong(options: Any, error: type[Exception], text: str) -> None:
    """An option that cannot be sent is refused before anything is, and a secret in it is not shown."""
    async with Stub() as stub, stub.session() as session:
        for name in ("threads.create", "runs.retrieve", "runs.list", "runs.stream"):
            with pytest.raises(error, match=text) as caught:
                await CALLS[name](session, **options)
            assert "geheim" not in str(caught.value)
    assert stub.requests == []


def test_numbers_in_queries() -> None:
    """Numbers and truth values are written as the API's other parameters are."""
    overrides = take_overrides({"extra_query": {"a": 1, "b": 1.5, "c": False}})
    assert overrides is not None
    assert overrides.query == {"a": 1, "b": 1.5, "c": "false"}
    assert take_overrides({"limit": 5}) is None


async def test_timeout() -> None:
    """The timeout is seconds of silence, of this request only; the error says which."""
    async with Stub(NEVER, reply(RUN)) as stub, stub.session(max_retries=0) as session:
        with pytest.raises(TransportError, match=r"nothing came for 0\.5 s"):
            await session.runs.retrieve(**IDS, timeout=0.5)
        assert (await session.runs.retrieve(**IDS)).id == "run_1"


async def test_a_streams_timeout() -> None:
    """The timeout of a stream's request holds for its silences, too."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    silent = Reply(head + b"".join(framed(("thread.run.created", run("queued")))), "hang")
    async with (
        Stub(silent, reply(run("completed")), EMPTY, EMPTY) as stub,
        stub.session() as session,
        session.runs.stream("thread_1", assistant_id="a", timeout=0.1, polling=QUICK) as seen,
    ):
        _, took_over, _ = [event async for event in seen]
    assert took_over.reason.endswith("nothing came for 0.1 s")


async def test_retries_and_looks_have_them() -> None:
    """Headers and query are part of retries, and of the requests that look whether a request took effect."""
    async with Stub(CUT, EMPTY, error(429), EMPTY, reply(RUN)) as stub, stub.session(max_retries=3) as session:
        await session.runs.create("thread_1", assistant_id="a", **OPTIONS)
    assert [request.method for request in stub.requests] == ["POST", "GET", "POST", "GET", "POST"]
    for request in stub.requests:
        assert request.headers["x-tenant"] == "seven"
        assert "tags=a" in request.query
        assert bool(request.body) == (request.method == "POST")
    bodies = [request.json for request in stub.requests if request.method == "POST"]
    assert bodies[0] == bodies[1] == bodies[2]


@pytest.mark.parametrize("name", ["threads.delete", "runs.cancel", "runs.submit_tool_outputs"])
async def test_other_looks_have_them(name: str) -> None:
    """The same for the other requests whose effect is looked up."""
    gone = error(404, "No thread found.") if name == "threads.delete" else reply(run("completed"))
    async with Stub(CUT, gone) as stub, stub.session(max_retries=0) as session:
        await CALLS[name](session, **OPTIONS)
    assert [request.headers["x-tenant"] for request in stub.requests] == ["seven"] * 2
    assert stub.requests[1].method == "GET"
    assert stub.requests[1].body == b""


async def test_metadata_in_the_extra_body() -> None:
    """The marker by which a run is found is there as well if the metadata comes in the extra body."""
    async with Stub(reply(RUN), CUT) as stub, stub.session(max_retries=2) as session:
        await session.runs.create(
            "thread_1", assistant_id="a", metadata={"x": "y"}, extra_body={"metadata": {"a": "b"}}
        )
        with pytest.raises(TransportError):  # what is no metadata has no room for the marker: not repeated
            await session.runs.create("thread_1", assistant_id="a", extra_body={"metadata": "odd"})
    sent = stub.requests[0].json["metadata"]
    assert sent.pop("openai_runs.create")
    assert sent == {"a": "b"}
    assert stub.requests[1].json["metadata"] == "odd"
    assert len(stub.requests) == 2


@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key"])
async def test_another_key(name: str) -> None:
    """A caller's idempotency key among the headers is sent as it is with every attempt; it is the marker, too."""
    busy = error(429, "Slow down.")
    async with Stub(busy, reply(RUN)) as stub, stub.session(max_retries=1) as session:
        await session.runs.create(
            "thread_1", assistant_id="a", idempotency_key="other", extra_headers={name: "mine", "x-tenant": "seven"}
        )
    assert [request.headers["idempotency-key"] for request in stub.requests] == ["mine", "mine"]
    assert [request.json["metadata"] for request in stub.requests] == [{"openai_runs.create": "mine"}] * 2


async def test_a_key_is_for_one_request() -> None:
    """The requests that follow a stream's first one have its other headers, but not its key."""
    answers = CUT, EMPTY, reply(run("queued")), reply(run("completed")), EMPTY, EMPTY
    options: Any = {"extra_headers": {"Idempotency-Key": "mine", "x-tenant": "seven"}, "polling": QUICK}
    async with (
        Stub(*answers) as stub,
        stub.session(max_retries=1) as session,
        session.runs.stream("thread_1", assistant_id="a", **options) as events,
    ):
        await events.until_done()
    assert [request.headers.get("idempotency-key") for request in stub.requests] == [
        "mine" if request.method == "POST" else None for request in stub.requests
    ]
    assert {request.headers["x-tenant"] for request in stub.requests} == {"seven"}
    assert len(stub.requests) == 6


async def test_asking_has_them() -> None:
    """The request that asks whether keys are honoured has the options of the one in doubt."""
    honoured = Reply(EMPTY.data.replace(b"\r\n", b"\r\nIdempotency-Key-Supported: true\r\n", 1))
    async with Stub(CUT, honoured, answer) as stub, stub.session(max_retries=1) as session:
        await session.threads.create(**OPTIONS)
    assert [request.method for request in stub.requests] == ["POST", "GET", "POST"]
    assert {request.headers["x-tenant"] for request in stub.requests} == {"seven"}
    first, asking, again = (request.headers.get("idempotency-key") for request in stub.requests)
    assert (first, asking) == (again, None)


async def test_pages() -> None:
    """Every page of a list is fetched with the options."""
    pages = [
        reply({"object": "list", "data": [run("queued", id=id)], "has_more": id == "run_1"})
        for id in ("run_1", "run_2")
    ]
    async with Stub(*pages) as stub, stub.session() as session:
        listing = session.runs.list("thread_1", limit=1, **OPTIONS)
        assert [item.id async for item in listing] == ["run_1", "run_2"]
    assert [request.headers["x-tenant"] for request in stub.requests] == ["seven", "seven"]
    assert "after=run_1" in stub.requests[1].query


async def test_a_stream_that_goes_on_by_polling() -> None:
    """The requests that continue a stream have the headers, since they may be the key; the extra body is sent once."""
    broken = stream(*framed(("thread.run.created", run("queued"))))
    async with Stub(broken, reply(waiting("call_1")), EMPTY, EMPTY) as stub, stub.session() as session:
        async with session.runs.stream("thread_1", assistant_id="a", polling=QUICK, **OPTIONS) as events:
            async for _ in events:
                pass
        assert events.run.pending_tool_calls
    assert [request.headers["x-tenant"] for request in stub.requests] == ["seven"] * len(stub.requests)
    assert [request.method for request in stub.requests] == ["POST", "GET", "GET", "GET"]
    assert [b"vendor" in request.body for request in stub.requests] == [True, False, False, False]


async def test_a_key_of_its_own() -> None:
    """A request with its own Authorization does not ask for a token, and a refusal of it is final."""
    asked = []

    async def provide() -> str:
        asked.append(1)
        return "token-of-the-session"

    async with Stub(reply(RUN), error(401)) as stub, stub.session(api_key=provide) as session:
        await session.runs.retrieve(**IDS, extra_headers={"authorization": "Bearer token-of-the-tenant"})
        with pytest.raises(Exception, match="401"):
            await session.runs.retrieve(**IDS, extra_headers={"AUTHORIZATION": "Bearer token-of-the-tenant"})
    assert [request.headers["authorization"] for request in stub.requests] == ["Bearer token-of-the-tenant"] * 2
    assert asked == []


async def test_secrets() -> None:
    """Secrets among the options are hidden when the endpoint echoes them, and in what has the options."""
    options: RequestOptions = {
        "extra_headers": {"X-Api-Key": "key-of-the-tenant"},
        "extra_query": {"access_token": "query/of-the-tenant"},
    }

    def echo(request: Request) -> Reply:
        return reply(request.raw, 400)

    async with Stub(echo) as stub, stub.session() as session:
        for call in (
            session.runs.retrieve(**IDS, **options),
            opened(session.runs.stream("thread_1", assistant_id="a", **options)),
        ):
            with pytest.raises(BadRequestError) as caught:
                await call
            assert "-of-the-tenant" not in shown(caught.value)
        listing = session.runs.list("thread_1", **options)
        assert "-of-the-tenant" not in repr(listing) + repr(take_overrides(dict(options)))
    assert stub.requests[0].headers["x-api-key"] == "key-of-the-tenant"


async def test_following_has_a_deadline_instead() -> None:
    """`follow` and `complete` send many requests: they take no options of a request."""
    session = Session("http://host/v1")
    with pytest.raises(TypeError, match="timeout"):
        session.runs.follow(**IDS, timeout=5)
    with pytest.raises(TypeError, match="timeout"):
        await session.runs.complete(**IDS, timeout=5)
