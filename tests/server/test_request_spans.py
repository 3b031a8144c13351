"""Requests to the server have spans, in the trace that they name; and a trace goes through to the model's endpoint."""

from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from opentelemetry import baggage
from opentelemetry.trace import SpanKind, StatusCode

from openai_runs.backends.chat_completions import ChatCompletionsBackend
from openai_runs.server import LocalServer, PassThrough
from openai_runs.server.request_spans import request_spans
from openai_runs.telemetry import Telemetry
from tests.backends.model_stub import ModelStub, limited
from tests.recorded import Recorded
from tests.server.api import Api
from tests.stub import Stub, reply
from tests.weather import QUICK

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


async def test_from_the_client_to_the_model() -> None:
    """One trace has all: the client's run, its requests, the run's execution, the model call, each attempt of it."""
    recorded = Recorded()
    telemetry = recorded.telemetry()
    async with (
        ModelStub(limited("0")) as stub,
        LocalServer(backend=ChatCompletionsBackend(stub.url), telemetry=telemetry) as server,
        server.session(telemetry=telemetry) as session,
    ):
        assistant = await session.assistants.create(model="m")
        thread = {"messages": [{"role": "user", "content": "Hello"}]}
        async with session.threads.stream_run(assistant_id=assistant.id, thread=thread) as events:
            await events.until_done()
    tree = recorded.tree()
    assert tree[tree.index("invoke_agent") :] == [
        "invoke_agent",
        "  POST",
        "    POST /v1/threads/runs",
        "      invoke_agent",
        "        queued",
        "        chat m",
        "          POST",
        "          POST",
    ]
    assert recorded.attributes("chat m")[0]["gen_ai.provider.name"] == "openai"
    sent = [request.headers["traceparent"].split("-")[1:3] for request in stub.requests]
    assert sent == [[f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"] for span in recorded.spans[-2:]]
    statuses = [attributes["http.response.status_code"] for attributes in recorded.attributes("POST")[-2:]]
    assert statuses == [429, 200]


@pytest.mark.parametrize("headers", [PARENT, {}])
async def test_without_a_provider(headers: dict[str, str]) -> None:
    """A caller's trace goes through to the model's endpoint, and where there is none, none is made up."""
    async with (
        ModelStub() as stub,
        LocalServer(backend=ChatCompletionsBackend(stub.url), telemetry=Telemetry()) as server,
        server.session(default_headers=headers) as session,
    ):
        assistant = await session.assistants.create(model="m")
        run = await session.threads.create_and_run(
            assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hello"}]}
        )
        await session.runs.complete(run, polling=QUICK)
    (request,) = stub.requests
    assert request.headers.get("traceparent") == headers.get("traceparent")


async def test_what_is_passed_on() -> None:
    """The request to the model's endpoint is a child of the caller's."""
    recorded = Recorded()
    async with (
        Stub(reply({})) as stub,
        LocalServer(pass_through=PassThrough(stub.url), telemetry=recorded.telemetry()) as server,
        ClientSession() as http,
        http.post(server.url + "/chat/completions", json={}) as response,
    ):
        assert response.status == 200
    assert recorded.tree() == ["POST /v1/chat/completions", "  POST"]
    assert f"{recorded.one('POST').context.span_id:016x}" in stub.requests[0].headers["traceparent"]


async def test_a_trace_of_other_programs() -> None:
    """The span continues the trace in the request's headers; it has the template of the path."""
    recorded = Recorded()
    async with LocalServer(telemetry=recorded.telemetry()) as server, ClientSession(headers=PARENT) as http:
        await Api(http, server.url)("GET", "/threads/secret?key=secret", status=404)
    (span,) = recorded.spans
    assert (span.name, span.kind, span.status.status_code) == (
        "GET /v1/threads/{thread_id}",
        SpanKind.SERVER,
        StatusCode.UNSET,
    )
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, "b7ad6b7169203331")
    attributes = dict(span.attributes or {})
    assert attributes == {
        "http.request.method": "GET",
        "http.route": "/v1/threads/{thread_id}",
        "url.scheme": "http",
        "url.path": "/v1/threads/secret",
        "http.response.status_code": 404,
    }
    ((measured, point),) = recorded.measured("http.server.request.duration")
    del attributes["url.path"]
    assert (measured, point.count) == (attributes, 1)


async def test_baggage_of_a_request() -> None:
    """It goes nowhere from here."""
    found = []

    async def handler(request: web.Request) -> web.Response:
        found.append(baggage.get_all())
        return web.Response()

    app = web.Application(middlewares=[request_spans(Recorded().telemetry())])
    app.router.add_get("/", handler)
    async with TestClient(TestServer(app)) as client:
        await client.get("/", headers={"baggage": "user=secret", **PARENT})
    assert found == [{}]


async def test_strange_requests() -> None:
    """No such path, and no such method: neither is in a name or a measurement."""
    recorded = Recorded()
    async with (
        LocalServer(telemetry=recorded.telemetry()) as server,
        ClientSession() as http,
        http.request("PURGE", f"{server.url}/secret") as response,
    ):
        assert response.status == 404
    assert recorded.tree() == ["_OTHER"]
    assert "secret" not in str(recorded.measured("http.server.request.duration")[0][0])


@pytest.mark.parametrize(
    ("outcome", "kind"), [(web.Response(status=503), "503"), (KeyError("secret"), "KeyError"), (GeneratorExit(), None)]
)
async def test_failures(outcome: Any, kind: str | None) -> None:
    """A status of 500 and more, and what a handler raises; that nobody waits is no failure."""
    recorded = Recorded()

    async def handler(request: web.Request) -> web.Response:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    app = web.Application()
    app.router.add_get("/", handler)

    class Match:
        route = next(iter(app.router.routes()))

    class Request:
        method, match_info, scheme, headers, path = "GET", Match, "http", {}, "/"

        class rel_url:  # noqa: N801
            raw_path = "/"

    call = request_spans(recorded.telemetry())(Request(), handler)  # type: ignore[arg-type]
    if isinstance(outcome, BaseException):
        with pytest.raises(type(outcome)):
            await call
    else:
        await call
    assert recorded.attributes("GET /")[0].get("error.type") == kind


async def test_polls() -> None:
    """A poll is answered in front of the application: the client's span of it has no child."""
    recorded = Recorded()
    telemetry = recorded.telemetry()
    async with LocalServer(telemetry=telemetry) as server, server.session(telemetry=telemetry) as session:
        assistant = await session.assistants.create(model="m")
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        await session.runs.complete(run, polling=QUICK)
    tree = recorded.tree()
    assert tree[tree.index("  GET") :] == ["  GET"] * tree.count("  GET")
