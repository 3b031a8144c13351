"""What holds for every route: prefixes, keys, errors, headers, and bytes that are no request."""

import asyncio
import gzip
import json
import logging
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from openai_runs.backends import ScriptedBackend
from openai_runs.engine import ApiError, Engine
from openai_runs.server import LocalServer, app, create_app
from openai_runs.stores import MemoryStore
from tests.conformance.judge import OPERATIONS
from tests.server.api import Api

pytestmark = pytest.mark.anyio

BETA = {"OpenAI-Beta": "assistants=v2"}


@asynccontextmanager
async def connected(server, **options):
    async with ClientSession(**options) as http:
        yield Api(http, server.url)


def bearer(key):
    return {"headers": {"Authorization": f"Bearer {key}"}}


async def raw(server, data, *, then_close=False):
    """Send bytes; returns status and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))
    try:
        writer.write(data)
        await writer.drain()
        if then_close:
            return None, b""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return int(head.split()[1]), await reader.readexactly(int(length.split(b":")[1]))
    finally:
        writer.close()
        await writer.wait_closed()


def test_all_operations_are_routed():
    """The document's 23 operations, under the root and under /v1, and nothing else but /healthz."""
    routes = create_app(Engine(store=MemoryStore(), backend=ScriptedBackend())).router.routes()
    found = {(route.method, route.resource.canonical) for route in routes}
    documented = {(method, path) for method, path, _ in OPERATIONS.values()}
    assert len(documented) == 23
    assert found == documented | {(method, f"/v1{path}") for method, path in documented} | {("GET", "/healthz")}


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_base_urls_end_in_either(server, prefix):
    """A client's base URL may end in /v1 or not."""
    async with ClientSession() as http:
        api = Api(http, server.url.removesuffix("/v1") + prefix)
        thread = await api("POST", "/threads")
        assert await api("GET", f"/threads/{thread['id']}") == thread


async def test_health(server):
    """A load balancer asks without a key."""
    async with ClientSession() as http, http.get(server.url.removesuffix("/v1") + "/healthz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})


# --- errors ---


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "", 404),
        ("GET", "/foo", 404),
        ("GET", "/v1/assistants", 404),
        ("POST", "/threads/thread_1/runs/run_1/submit", 404),
        ("GET", "/threads//runs", 404),
        ("GET", "/assistants/", 404),
        ("PUT", "/assistants", 405),
        ("PATCH", "/threads/thread_1", 405),
        ("GET", "/threads", 405),
        ("OPTIONS", "/threads", 405),
        ("GET", "/threads/thread_1/runs/run_1/cancel", 405),
    ],
)
async def test_no_such_route(api, method, path, status):
    """Unknown paths and wrong methods are told in the API's shape."""
    answer = await api.send(method, path)
    assert answer.status == status
    if status == 404:
        assert answer.error["message"] == f"Invalid URL ({method} /v1{path})"
    else:
        assert answer.error["code"] == "method_not_supported"
        assert answer.headers["Allow"]


async def test_head_has_no_body(server):
    """HEAD is not an operation of the API, and its refusal has no body."""
    async with ClientSession() as http, http.head(server.url + "/assistants") as response:
        assert (response.status, await response.read()) == (405, b"")


@pytest.mark.parametrize(
    "id",
    [
        "..%2Fx",
        "..%2f..%2fassistants",
        "%2e%2e",
        "a%2Fb",
        "%252F",
        "%7B%7D",
        "%00",
        "%0a%0d",
        "%ff%fe",
        "%ed%a0%80",
        "%F0%9F%98%80",
        "%27%22%3Cscript%3E",
        "x" * 2000,
        "%20",
    ],
)
async def test_an_id_stays_an_id(api, id):
    """Whatever is in an ID, it is one segment of the path and the name of nobody."""
    for method, path in [
        ("GET", f"/assistants/{id}"),
        ("DELETE", f"/threads/{id}"),
        ("GET", f"/threads/{id}/messages/{id}"),
        ("POST", f"/threads/{id}/runs/{id}/cancel"),
        ("GET", f"/threads/{id}/runs/{id}/steps/{id}"),
        ("GET", f"/threads/{id}/runs?after={id}"),
    ]:
        error = await api(method, path, status=404)
        assert error["error"]["message"].startswith(("No assistant found with id '", "No thread found with id '"))


async def test_an_id_comes_back_decoded(api):
    """The error names the ID that was meant."""
    error = await api("GET", "/threads/..%2Fa%20b%7B%25", status=404)
    assert error["error"]["message"] == "No thread found with id '../a b{%'."


@pytest.mark.parametrize(
    "text", [b"{", b"model=gpt-4o", b"[1,2]", b'"x"', b"null", b"\xff\xfe{", b'{"a":NaN}', b"[" * 9999]
)
async def test_a_body_that_is_no_object(api, text):
    """What is not a JSON object is a 400, wherever it is sent."""
    for path in ("/assistants", "/threads", "/threads/runs", "/threads/t/runs/r/submit_tool_outputs"):
        answer = await api.send("POST", path, data=text, headers={"Content-Type": "application/json"})
        assert answer.status == 400


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "x", ""])
async def test_another_content_type(api, content_type):
    """A web page cannot start runs on a server of this machine by sending JSON as text."""
    answer = await api.send("POST", "/threads", data=b"{}", headers={"Content-Type": content_type})
    assert (answer.status, answer.error["code"]) == (415, "unsupported_content_type")


async def test_a_large_body(anyio_backend, server, monkeypatch):
    """Too large is 413, also when it is unpacked, and a body at the limit passes."""
    async with Engine(store=MemoryStore(), backend=ScriptedBackend()) as engine:
        runner = web.AppRunner(create_app(engine, max_body=1000))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with ClientSession() as http:
            api = Api(http, f"http://127.0.0.1:{runner.addresses[0][1]}")
            headers = {"Content-Type": "application/json"}
            await api("POST", "/threads", data=b"{}".ljust(999), headers=headers)
            error = await api("POST", "/threads", data=b"{}".ljust(1001), headers=headers, status=413)
            assert "at most 1000 bytes" in error["error"]["message"]
            bomb = gzip.compress(b"{}".ljust(10_000_000))
            await api("POST", "/threads", data=bomb, headers=headers | {"Content-Encoding": "gzip"}, status=413)
            await api("POST", "/threads")
        await runner.cleanup()


async def test_our_own_bug(server, api, monkeypatch, caplog):
    """The caller learns nothing of a bug but where to look it up; the log has it all."""

    async def broken(*_):
        raise KeyError("secret")

    monkeypatch.setattr(type(server.engine.threads), "retrieve", broken)
    answer = await api.send("GET", "/threads/thread_1")
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert "secret" not in json.dumps(answer.body)
    request_id = answer.headers["x-request-id"]
    assert request_id in answer.error["message"]
    (record,) = (record for record in caplog.records if record.name == "openai_runs.server")
    assert request_id in record.getMessage()
    assert "secret" in record.exc_text


async def test_a_store_that_takes_nothing(server, api, monkeypatch):
    """An error of the engine goes out as it is."""

    async def full(*_):
        raise ApiError(503, "The disk is full.", type="server_error", code="c", param="p")

    monkeypatch.setattr(type(server.engine.threads), "create", full)
    answer = await api.send("POST", "/threads")
    assert answer.status == 503
    assert answer.error == {"message": "The disk is full.", "type": "server_error", "code": "c", "param": "p"}


def test_an_error_of_aiohttp_that_has_no_words_of_ours():
    """Its status and reason are enough."""
    error = app._in_our_words(web.HTTPRequestTimeout(), web.Request.__new__(_Nameless))
    assert (error.status, error.message) == (408, "Request Timeout")


class _Nameless(web.Request):
    path = ""


# --- headers ---


async def test_each_request_has_an_id(api):
    """No two answers have one request ID."""
    ids = {(await api.send("GET", "/assistants")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


@pytest.mark.parametrize(
    "beta", ["assistants=v2", "assistants=v2,realtime=v1", "realtime=v1", "assistants=v1, assistants=v2"]
)
async def test_the_version_is_ours(api, beta):
    """The header may name our version, or none."""
    await api("GET", "/assistants", headers={"OpenAI-Beta": beta})


@pytest.mark.parametrize("beta", ["assistants=v1", "assistants=v3", "realtime=v1,assistants=v1"])
async def test_another_version(api, beta):
    """A client of version 1 is told so, before its bodies are found fault with."""
    error = await api("GET", "/assistants", headers={"OpenAI-Beta": beta}, status=400)
    assert error["error"]["code"] == "invalid_beta"


async def test_telemetry_is_ignored(api):
    """What the official clients send besides means nothing."""
    headers = {"X-Stainless-Lang": "python", "OpenAI-Organization": "org", "OpenAI-Project": "p", "Content-Type": "x"}
    await api("GET", "/assistants?api-version=v1&foo[]=1", headers=headers | BETA)


# --- keys ---


@pytest.fixture
async def locked(anyio_backend):
    async with LocalServer(keys={"sk-a": "alice", "sk-a2": "alice", "sk-b": "bob"}) as server:
        yield server


async def test_without_a_key(locked):
    """Nothing but /healthz is told to strangers, not even which routes there are."""
    async with connected(locked) as api:
        for path in ("/assistants", "/foo"):
            for options in ({}, bearer("sk-c")):
                answer = await api.send("GET", path, **options)
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert "sk-c" not in json.dumps(answer.body)
        async with api.http.get(locked.url.removesuffix("/v1") + "/healthz") as response:
            assert response.status == 200


async def test_each_owner_sees_its_own(locked):
    """Keys of one owner share everything, keys of two owners nothing."""
    async with connected(locked) as api:
        a, a2, b = bearer("sk-a"), bearer("sk-a2"), bearer("sk-b")
        assistant = await api("POST", "/assistants", {"model": "m"}, **a)
        thread = await api("POST", "/threads", **a)
        message = await api("POST", f"/threads/{thread['id']}/messages", {"role": "user", "content": "Hi"}, **a)
        run = await api("POST", f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}, **a)
        assert (await api("GET", "/assistants", **a2))["data"] == [assistant]
        assert (await api("GET", "/assistants", **b))["data"] == []
        of_thread, of_run = f"/threads/{thread['id']}", f"/threads/{thread['id']}/runs/{run['id']}"
        for method, path, body in [
            ("GET", f"/assistants/{assistant['id']}", None),
            ("POST", f"/assistants/{assistant['id']}", {}),
            ("DELETE", f"/assistants/{assistant['id']}", None),
            ("GET", of_thread, None),
            ("POST", of_thread, {}),
            ("DELETE", of_thread, None),
            ("GET", f"{of_thread}/messages", None),
            ("POST", f"{of_thread}/messages", {"role": "user", "content": "Hi"}),
            ("GET", f"{of_thread}/messages/{message['id']}", None),
            ("POST", f"{of_thread}/messages/{message['id']}", {}),
            ("DELETE", f"{of_thread}/messages/{message['id']}", None),
            ("GET", f"{of_thread}/runs", None),
            ("POST", f"{of_thread}/runs", {"assistant_id": assistant["id"]}),
            ("GET", of_run, None),
            ("POST", of_run, {}),
            ("POST", f"{of_run}/cancel", None),
            ("POST", f"{of_run}/submit_tool_outputs", {"tool_outputs": []}),
            ("GET", f"{of_run}/steps", None),
            ("GET", f"{of_run}/steps/step_1", None),
            ("POST", "/threads/runs", {"assistant_id": assistant["id"]}),
        ]:
            error = await api(method, path, body, status=404, **b)
            assert error["error"]["message"].startswith("No ")


# --- bytes ---

HEAD = b"Host: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /v1/threads/\xff\xfe HTTP/1.1\r\n" + HEAD + b"\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"FOO /v1/threads HTTP/1.1\r\n" + HEAD + b"\r\n", 400),
        (b"GET /v1/threads/" + b"x" * 10_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n", 400),
        (b"GET /v1/threads/x HTTP/1.1\r\nX: " + b"x" * 10_000 + b"\r\n" + HEAD + b"\r\n", 400),
        (b"POST /v1/threads HTTP/1.1\r\n" + HEAD + b"Content-Length: -1\r\n\r\n{}", 400),
        (b"POST /v1/threads HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /v1/threads HTTP/1.1\r\n" + HEAD + b"Expect: a-cookie\r\nContent-Length: 2\r\n\r\n{}", 417),
        (b"OPTIONS * HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
        (b"GET /v1/threads/../threads/x HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
        (b"GET http://elsewhere/v1/threads/x HTTP/1.1\r\n" + HEAD + b"\r\n", 404),
        (b"GET /v1/threads/x HTTP/1.0\r\n\r\n", 404),
    ],
)
async def test_garbage(server, api, data, status):
    """What is not quite HTTP gets an answer below 500, and the next client is served."""
    assert (await raw(server, data))[0] == status
    await api("GET", "/assistants")


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/threads/x HTTP/1.1\r\n" + HEAD + b"Authorization: Bearer sk-secret\x01\r\n\r\n",
        b"GET /v1/threads/x HTTP/1.1\r\n" + HEAD + b"Authorization Bearer sk-secret\r\n\r\n",
        b"GET /v1/threads/x HTTP/1.1\r\n" + HEAD + b"Authorization: " + b"sk-secret" * 1000 + b"\r\n\r\n",
        b"GET /v1/threads?key=sk-secret\x00 HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"sk-secret /v1/threads HTTP/1.1\r\n" + HEAD + b"\r\n",
        b"POST /v1/threads HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz sk-secret\r\n",
    ],
)
async def test_garbage_is_not_logged(server, data, caplog):
    """A key may be in it; and what a client does wrong is no error of the server's."""
    caplog.set_level(logging.DEBUG)
    assert (await raw(server, data))[0] == 400
    assert [record.name for record in caplog.records if record.name.startswith("openai_runs")]
    assert "sk-secret" not in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_a_body_that_cannot_be_unpacked(server, caplog):
    """A lie in Content-Encoding is the caller's error, not ours."""
    data = b"POST /v1/threads HTTP/1.1\r\n" + HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"
    status, body = await raw(server, data)
    assert (status, b"could not read the body" in body) == (400, True)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_a_body_that_breaks_off(server, api, caplog):
    """A client that leaves while it sends leaves nothing: no object, no error in the log."""
    for head in (b"Content-Length: 200\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"):
        await raw(server, b"POST /v1/assistants HTTP/1.1\r\n" + HEAD + head, then_close=True)
    assert (await api("GET", "/assistants"))["data"] == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
