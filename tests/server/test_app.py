"""What holds for every route: prefixes, keys, error responses, headers, malformed requests."""

import gzip
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from openai_runs.backends import ScriptedBackend
from openai_runs.engine import ApiError, Engine
from openai_runs.server import LocalServer, PassThrough, app, create_app, passing_rules
from openai_runs.stores import MemoryStore
from tests.conformance.judge import OPERATIONS
from tests.server.api import Api, form
from tests.server.raw_http import HEAD, send_raw

pytestmark = pytest.mark.anyio

BETA = {"OpenAI-Beta": "assistants=v2"}


@asynccontextmanager
async def connected(server, **options):
    async with ClientSession(**options) as http:
        yield Api(http, server.url)


def bearer(key):
    return {"headers": {"Authorization": f"Bearer {key}"}}


def test_telemetry_that_is_none():
    """It is refused at once, and not in the first request."""
    engine = Engine(store=MemoryStore(), backend=ScriptedBackend())
    with pytest.raises(TypeError, match="telemetry must be a Telemetry"):
        create_app(engine, telemetry=True)


def test_all_operations_are_routed():
    """The routes are the document's operations, those of version 1, our own, two for probes, and what is passed on."""
    engine = Engine(store=MemoryStore(), backend=ScriptedBackend())

    def routed(**options):
        return {(route.method, route.resource.canonical) for route in create_app(engine, **options).router.routes()}

    documented = {(method, path) for method, path, _ in OPERATIONS.values()}
    assert len(documented) == 23 + 21
    files = "/assistants/{assistant_id}/files", "/threads/{thread_id}/messages/{message_id}/files"
    documented |= {("POST", files[0]), ("DELETE", f"{files[0]}/{{file_id}}")}
    documented |= {("GET", path + more) for path in files for more in ("", "/{file_id}")}
    documented |= {("GET", path) for path in ("/threads", "/runs", "/runs/{run_id}", "/runs/changes")}  # our own
    passed = {*passing_rules.CALLS, *passing_rules.OBJECTS}
    assert not passed & documented
    prefixes = ("", "/v1", "/openai", "/openai/v1")
    expected = {(method, prefix + path) for method, path in documented for prefix in prefixes}
    probes = "/healthz", "/healthz/", "/readyz", "/readyz/"
    expected |= {(method, path) for method in ("GET", "HEAD") for path in probes}
    assert routed() == expected
    prefixes = (*prefixes, "/openai/deployments/{deployment}")
    expected |= {(method, prefix + path) for method, path in passed for prefix in prefixes}
    assert routed(pass_through=PassThrough("http://x")) == expected


@pytest.mark.parametrize("prefix", ["", "/v1", "/openai", "/openai/v1"])
async def test_base_urls_end_in_either(server, prefix):
    """A client's base URL works with and without /v1, and so do the paths of Azure's clients."""
    async with ClientSession() as http:
        api = Api(http, server.url.removesuffix("/v1") + prefix)
        thread = await api("POST", "/threads")
        assert await api("GET", f"/threads/{thread['id']}?api-version=2024-05-01-preview") == thread


async def test_health(server):
    """/healthz needs no key, since a load balancer has none."""
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
        ("PUT", "/threads", 405),
        ("OPTIONS", "/threads", 405),
        ("GET", "/threads/thread_1/runs/run_1/cancel", 405),
    ],
)
async def test_no_such_route(api, method, path, status):
    """Unknown paths and wrong methods get the API's error body."""
    response = await api.send(method, path)
    assert response.status == status
    if status == 404:
        assert response.error["message"] == f"Invalid URL ({method} /v1{path})"
    else:
        assert response.error["code"] == "method_not_supported"
        assert response.headers["Allow"]


async def test_head_has_no_body(server):
    """HEAD is refused, as it is no operation of the API, and the response has no body."""
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
    """Whatever characters an ID has, it stays one segment of the path, and names no object."""
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
    """The error shows the ID decoded."""
    error = await api("GET", "/threads/..%2Fa%20b%7B%25", status=404)
    assert error["error"]["message"] == "No thread found with id '../a b{%'."


async def test_a_large_body(anyio_backend, server, monkeypatch):
    """A body above the limit is a 413, also if only its decompressed form is; one at the limit passes."""
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
    """The response to a bug has only the request ID; the log has the details under that ID."""

    async def broken(*_):
        raise KeyError("secret")

    monkeypatch.setattr(type(server.engine.threads), "retrieve", broken)
    response = await api.send("GET", "/threads/thread_1")
    assert (response.status, response.error["type"]) == (500, "server_error")
    assert "secret" not in json.dumps(response.body)
    request_id = response.headers["x-request-id"]
    assert request_id in response.error["message"]
    (record,) = (record for record in caplog.records if record.name == "openai_runs.server")
    assert request_id in record.getMessage()
    assert "secret" in record.exc_text


async def test_a_store_that_takes_nothing(server, api, monkeypatch):
    """An `ApiError` of the engine becomes the response unchanged."""

    async def full(*_):
        raise ApiError(503, "The disk is full.", type="server_error", code="c", param="p")

    monkeypatch.setattr(type(server.engine.threads), "create", full)
    response = await api.send("POST", "/threads")
    assert response.status == 503
    assert response.error == {"message": "The disk is full.", "type": "server_error", "code": "c", "param": "p"}


def test_an_aiohttp_error_without_a_message_of_ours():
    """An aiohttp error without a message of ours keeps its status and reason."""
    error = app._from_aiohttp(web.HTTPRequestTimeout(), web.Request.__new__(_Nameless))
    assert (error.status, error.message) == (408, "Request Timeout")


class _Nameless(web.Request):
    path = ""


# --- headers ---


async def test_each_request_has_an_id(api):
    """Each response has a request ID of its own."""
    ids = {(await api.send("GET", "/assistants")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


@pytest.mark.parametrize(
    "beta", ["assistants=v2", "assistants=v2,realtime=v1", "realtime=v1", "assistants=v1", "realtime=v1,assistants=v1"]
)
async def test_the_version_is_ours(api, beta):
    """`OpenAI-Beta` is accepted with our version, with the one before, and without any."""
    await api("GET", "/assistants", headers={"OpenAI-Beta": beta})


@pytest.mark.parametrize("beta", ["assistants=v3", "realtime=v1,assistants=v20"])
async def test_another_version(api, beta):
    """A client of another version is told so, before its body is checked."""
    error = await api("GET", "/assistants", headers={"OpenAI-Beta": beta}, status=400)
    assert error["error"]["code"] == "invalid_beta"


async def test_telemetry_is_ignored(api):
    """Additional headers of the official clients are ignored."""
    headers = {"X-Stainless-Lang": "python", "OpenAI-Organization": "org", "OpenAI-Project": "p", "Content-Type": "x"}
    await api("GET", "/assistants?api-version=v1&foo[]=1", headers=headers | BETA)


# --- keys ---


@pytest.fixture
async def locked(anyio_backend):
    async with LocalServer(keys={"sk-a": "alice", "sk-a2": "alice", "sk-b": "bob"}) as server:
        yield server


async def test_without_a_key(locked):
    """Without a key, every path but /healthz and /readyz is a 401, so that even the routes stay unknown."""
    async with connected(locked) as api:
        for path in ("/assistants", "/foo"):
            for options in ({}, bearer("sk-c")):
                response = await api.send("GET", path, **options)
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert "sk-c" not in json.dumps(response.body)
        async with api.http.get(locked.url.removesuffix("/v1") + "/healthz") as response:
            assert response.status == 200
        assert (await api.send("GET", "/assistants", headers={"api-key": "sk-a"})).status == 200


async def test_each_owner_sees_its_own(locked):
    """Keys of one owner see the same objects, keys of different owners none of each other's."""
    async with connected(locked) as api:
        a, a2, b = bearer("sk-a"), bearer("sk-a2"), bearer("sk-b")
        assistant = await api("POST", "/assistants", {"model": "m"}, **a)
        thread = await api("POST", "/threads", **a)
        file = await api("POST", "/files", data=form(), **a)
        store = await api("POST", "/vector_stores", {"file_ids": [file["id"]]}, **a)
        of_store = f"/vector_stores/{store['id']}"
        batch = await api("POST", f"{of_store}/file_batches", {"file_ids": [file["id"]]}, **a)
        of_batch = f"{of_store}/file_batches/{batch['id']}"
        other = await api("POST", "/vector_stores", {}, **b)
        message = await api("POST", f"/threads/{thread['id']}/messages", {"role": "user", "content": "Hi"}, **a)
        run = await api("POST", f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}, **a)
        assert (await api("GET", "/assistants", **a2))["data"] == [assistant]
        assert (await api("GET", "/assistants", **b))["data"] == []
        assert (await api("GET", "/files", **a2))["data"] == [file]
        assert [found["id"] for found in (await api("GET", "/vector_stores", **b))["data"]] == [other["id"]]
        for query in "", "?purpose=assistants":
            assert (await api("GET", f"/files{query}", **b))["data"] == []
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
            ("GET", f"/files/{file['id']}", None),
            ("GET", f"/files/{file['id']}/content", None),
            ("DELETE", f"/files/{file['id']}", None),
            ("POST", "/vector_stores", {"file_ids": [file["id"]]}),
            ("POST", f"/vector_stores/{other['id']}/files", {"file_id": file["id"]}),
            ("GET", of_store, None),
            ("POST", of_store, {}),
            ("DELETE", of_store, None),
            ("POST", f"{of_store}/search", {"query": "x"}),
            ("GET", f"{of_store}/files", None),
            ("POST", f"{of_store}/files", {"file_id": file["id"]}),
            ("GET", f"{of_store}/files/{file['id']}", None),
            ("POST", f"{of_store}/files/{file['id']}", {"attributes": {}}),
            ("DELETE", f"{of_store}/files/{file['id']}", None),
            ("GET", f"{of_store}/files/{file['id']}/content", None),
            ("POST", f"{of_store}/file_batches", {"file_ids": [file["id"]]}),
            ("GET", of_batch, None),
            ("POST", f"{of_batch}/cancel", None),
            ("GET", f"{of_batch}/files", None),
        ]:
            error = await api(method, path, body, status=404, **b)
            assert error["error"]["message"].startswith("No ")


# --- bytes ---


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
    """A malformed request gets a status below 500, and the server goes on serving."""
    assert (await send_raw(server, data))[0] == status
    await api("GET", "/assistants")
