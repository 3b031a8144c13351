"""Requests of the rest of the API are passed on to the model's endpoint, as they come."""

import asyncio
import gzip
import json
import logging

import pytest
from aiohttp import ClientError, ClientSession, FormData, web
from aiohttp.test_utils import make_mocked_request
from openai import AsyncAzureOpenAI, AsyncOpenAI, AuthenticationError

from openai_runs.backends import ScriptedBackend
from openai_runs.engine import Engine
from openai_runs.server import LocalServer, PassThrough, create_app, endpoint_connection
from openai_runs.stores import MemoryStore
from tests.server.raw_http import send_raw
from tests.stub import CUT, NEVER, RESET, Reply, Stub, error, reply

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
]

KEY = "sk-of-the-endpoint-1234"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD_OF_A_REQUEST = b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-caller\r\n"
PIECE = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def frame(text: str) -> bytes:
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: %b\n\n" % json.dumps({**PIECE, "choices": [delta]}).encode()


def passing(stub: "Stub | Slow", **options) -> LocalServer:
    return LocalServer(pass_through=PassThrough(stub.url, KEY, **options), keys={"sk-caller": "caller"})


async def sent(server: LocalServer, method: str, path: str, *, key="sk-caller", headers=None, **options):
    """The status, headers and body of the answer."""
    headers = {"Authorization": f"Bearer {key}", **(headers or {})}
    async with (
        ClientSession() as http,
        http.request(method, server.url + path, headers=headers, allow_redirects=False, **options) as response,
    ):
        return response.status, response.headers, await response.read()


async def connected(server: LocalServer, **options):
    port = int(server.url.split(":")[2].split("/")[0])
    return await asyncio.open_connection("127.0.0.1", port, **options)


class Slow:
    """An endpoint that sends each piece when it is told to."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.is_left = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        try:
            async for piece in request.content.iter_any():
                self.received.put_nowait(piece)
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            while piece := await self.pieces.get():
                await response.write(piece)
            return response
        finally:
            self.is_left.set()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("POST", "/v1/{path:.*}", self.answer)
        self.runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()


# --- openai-python, unmodified ---


async def test_openai_python(anyio_backend):
    """Chat, embeddings and the list of models work through the server, with its key and not the endpoint's."""
    stream = b"".join(b"%x\r\n%b\r\n" % (len(text), text) for text in (frame("He"), frame("llo"), b"data: [DONE]\n\n"))
    vector = {"object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    models = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "us"}]}
    replies = [
        Reply(HEAD + stream + b"0\r\n\r\n"),
        reply({**vector, "usage": {"prompt_tokens": 1, "total_tokens": 1}}),
        reply(models),
    ]
    async with (
        Stub(*replies) as stub,
        passing(stub) as server,
        AsyncOpenAI(base_url=server.url, api_key="sk-caller", organization="org-caller", max_retries=0) as client,
    ):
        chunks = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        assert "".join([chunk.choices[0].delta.content async for chunk in chunks]) == "Hello"
        embedding = await client.embeddings.create(model="e", input="x", encoding_format="float")
        assert embedding.data[0].embedding == [0.5]
        assert [model.id async for model in client.models.list()] == ["m"]
        assert (await client.beta.threads.create()).id  # its own requests stay here
    assert [request.target for request in stub.requests] == ["/v1/chat/completions", "/v1/embeddings", "/v1/models"]
    assert stub.requests[0].json["messages"] == [{"role": "user", "content": "Hi"}]
    for request in stub.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert b"caller" not in request.raw


async def test_azures_client(anyio_backend):
    """Its paths have the deployment in them, which its body has as the model; its version is not the endpoint's."""
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
    async with (
        Stub(reply(answer)) as stub,
        passing(stub) as server,
        AsyncAzureOpenAI(
            azure_endpoint=server.url.removesuffix("/v1"),
            api_version="2024-05-01-preview",
            api_key="sk-caller",
            max_retries=0,
        ) as client,
    ):
        assert (await client.chat.completions.create(model="gpt-4.1_mini", messages=[])).id == "c"
    [request] = stub.requests
    assert (request.target, request.json["model"]) == ("/v1/chat/completions", "gpt-4.1_mini")
    assert b"caller" not in request.raw


async def test_an_error_is_passed_on(anyio_backend):
    """Status, headers and body are the endpoint's, so that a client acts as with the endpoint itself."""
    headers = {"retry_after": "7", "x_ratelimit_remaining_tokens": "0", "x_request_id": "req_theirs"}
    async with Stub(error(429, "Slow down.", **headers)) as stub, passing(stub) as server:
        status, found, body = await sent(server, "POST", "/embeddings", json={})
    assert (status, found["Retry-After"], found["x-ratelimit-remaining-tokens"]) == (429, "7", "0")
    assert found["x-request-id"] == "req_theirs"
    assert "Idempotency-Key-Supported" not in found  # the endpoint did not say so
    assert json.loads(body)["error"]["message"] == "Slow down."


# --- streams ---


async def test_pieces_are_passed_on_as_they_come(anyio_backend):
    """Neither a request's nor an answer's piece waits for the next one."""
    second = asyncio.Event()

    async def body():
        yield b"one"
        await second.wait()
        yield b"two"

    async with Slow() as slow, passing(slow) as server, ClientSession() as http:

        async def ask():
            headers = {"Authorization": "Bearer sk-caller", "Content-Type": "application/json"}
            return await http.post(server.url + "/responses", data=body(), headers=headers)

        asking = asyncio.create_task(ask())
        assert await slow.received.get() == b"one"
        second.set()
        assert await slow.received.get() == b"two"
        slow.pieces.put_nowait(b"data: 1\n\n")
        response = await asking
        assert response.headers["X-Accel-Buffering"] == "no"
        assert await response.content.readany() == b"data: 1\n\n"
        slow.pieces.put_nowait(b"data: 2\n\n")
        assert await response.content.readany() == b"data: 2\n\n"
        slow.pieces.put_nowait(b"")
        assert await response.content.readany() == b""


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_caller_that_leaves(anyio_backend, has_begun, monkeypatch):
    """The request to the endpoint is given up, also while the endpoint is silent, since it may cost money."""
    monkeypatch.setattr(endpoint_connection, "_LOOK", 0.01)
    async with Slow() as slow, passing(slow) as server, ClientSession() as http:
        headers = {"Authorization": "Bearer sk-caller"}
        asking = asyncio.create_task(http.post(server.url + "/chat/completions", json={"a": 1}, headers=headers))
        assert json.loads(await slow.received.get()) == {"a": 1}
        if has_begun:
            slow.pieces.put_nowait(b"data: 1\n\n")
            response = await asking
            assert await response.content.readany() == b"data: 1\n\n"
            response.close()
        else:
            asking.cancel()
        await slow.is_left.wait()


async def test_a_caller_that_leaves_while_it_uploads(anyio_backend):
    """The upload to the endpoint ends as well."""
    async with Slow() as slow, passing(slow) as server:
        _, writer = await connected(server)
        writer.write(HEAD_OF_A_REQUEST + b"Content-Length: 9\r\n\r\nhalf")
        assert await slow.received.get() == b"half"
        writer.close()
        await slow.is_left.wait()


async def test_a_caller_that_leaves_just_before_a_piece(anyio_backend, caplog):
    """The piece cannot be written; nobody is to be warned of that."""
    async with Slow() as slow, passing(slow) as server, ClientSession() as http:
        headers = {"Authorization": "Bearer sk-caller"}
        asking = asyncio.create_task(http.post(server.url + "/chat/completions", json={}, headers=headers))
        slow.pieces.put_nowait(b"data: 1\n\n")
        response = await asking
        await response.content.readany()
        response.close()
        while not slow.is_left.is_set():
            slow.pieces.put_nowait(b"data: 2\n\n")
            await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_caller_that_takes_nothing(anyio_backend, caplog):
    """It is dropped, and with it the request to the endpoint."""
    async with Slow() as slow, passing(slow, timeout=0.05) as server:
        _, writer = await connected(server, limit=1)
        writer.write(HEAD_OF_A_REQUEST + b"Content-Length: 2\r\n\r\n{}")
        for _ in range(64):
            slow.pieces.put_nowait(b"x" * 2**20)
        await slow.is_left.wait()
        writer.close()
    assert "the caller has taken nothing for 0.05 s" in caplog.text


# --- forms ---


async def test_an_upload(anyio_backend):
    """A form is passed on as it is, with its boundary."""
    form = FormData({"model": "whisper-1"})
    form.add_field("file", b"\x00sound" * 50_000, filename="a.wav")
    async with Stub(reply({"text": "Hello"})) as stub, passing(stub) as server:
        status, _, body = await sent(server, "POST", "/audio/transcriptions", data=form)
    assert (status, json.loads(body)) == (200, {"text": "Hello"})
    assert stub.requests[0].headers["content-type"].startswith("multipart/form-data; boundary=")
    assert stub.requests[0].body.count(b"\x00sound") == 50_000


async def test_large_bodies(anyio_backend, monkeypatch):
    """The limits are those of the server's own requests: 413 whether the length is told beforehand or not."""
    monkeypatch.setattr("openai_runs.server.endpoint_connection.body_limit", lambda _: 1000)

    async def pieces(size):
        yield b"x" * size

    async with Stub(lambda _: reply({})) as stub, passing(stub) as server:
        for data in b"x" * 1001, pieces(1001):
            status, _, body = await sent(server, "POST", "/responses", data=data)
            assert (status, b"at most 1000 bytes" in body) == (413, True)
        assert (await sent(server, "POST", "/responses", data=pieces(1000)))[0] == 200


async def test_the_limit_of_a_form(anyio_backend):
    """A form may have as many bytes as the upload of a file."""
    async with Stub(reply({})) as stub:
        local = LocalServer(pass_through=PassThrough(stub.url), max_file_bytes=1000)
        async with local as server:
            form = FormData()
            form.add_field("file", b"x" * 70_000, filename="a.wav")
            assert (await sent(server, "POST", "/audio/transcriptions", data=form))[0] == 413
            assert (await sent(server, "POST", "/responses", data=b"x" * 70_000))[0] == 200


def test_the_limit_of_another_body():
    """It is the server's, 16 MB unless it is told otherwise."""
    request = make_mocked_request("POST", "/responses", {"Content-Type": "application/json"}, client_max_size=1234)
    assert endpoint_connection.body_limit(request) == 1234


async def test_a_compressed_body(anyio_backend):
    """It is passed on decompressed, with the right length."""
    async with Stub(reply({})) as stub, passing(stub) as server:
        headers = {"Content-Encoding": "gzip"}
        await sent(server, "POST", "/responses", data=gzip.compress(b"{}" * 50), headers=headers)
    assert stub.requests[0].body == b"{}" * 50


async def test_a_malformed_body(anyio_backend):
    """A body that turns out to be none is a 400, and not the endpoint's fault."""
    async with Slow() as slow, passing(slow) as server:
        headers = {"Content-Encoding": "gzip"}
        status, _, body = await sent(server, "POST", "/responses", data=b"no gzip", headers=headers)
    assert (status, b"could not read the body" in body) == (400, True)


# --- no answer ---


@pytest.mark.parametrize("answer", [CUT, RESET, reply(b"", 307, location="http://evil.example/")])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_no_answer(anyio_backend, answer, method, caplog):
    """A lost connection and a redirect are a 502; the request is sent once. The log has the reason."""
    path = "/responses" if method == "POST" else "/responses/resp_1"
    async with Stub(answer) as stub, passing(stub) as server:
        status, headers, body = await sent(server, method, path)
    assert (status, json.loads(body)["error"]["type"], len(stub.requests)) == (502, "server_error", 1)
    assert "Location" not in headers
    assert headers["x-request-id"] in json.loads(body)["error"]["message"]
    assert f"request {headers['x-request-id']}: the model's endpoint gives no answer" in caplog.text


async def test_nobody_listens(anyio_backend):
    """The error does not say where the endpoint is."""
    async with Stub() as stub:
        url = stub.url
    async with LocalServer(pass_through=PassThrough(url)) as server:
        status, _, body = await sent(server, "GET", "/models")
    assert (status, b"127.0.0.1" in body) == (502, False)


async def test_silence(anyio_backend):
    """It is given up after a while."""
    async with Stub(NEVER) as stub, passing(stub, timeout=0.01) as server:
        assert (await sent(server, "GET", "/models"))[0] == 502


async def test_an_answer_that_breaks_off(anyio_backend, caplog):
    """It breaks off for the caller as well, who must not take it for complete."""
    broken = Reply(HEAD + b"9\r\ndata: 1\n\n\r\n", "close")
    async with Stub(broken) as stub, passing(stub) as server:
        with pytest.raises(Exception, match=r"(?i)payload|disconnected|reset"):
            await sent(server, "POST", "/responses", json={})
    assert "its answer breaks off" in caplog.text


async def test_errors_that_cannot_be_passed_on(anyio_backend, monkeypatch):
    """One that is cut off, and one that is too long to look for secrets in it."""
    monkeypatch.setattr(endpoint_connection, "_MAX_ERROR", 100)
    async with Stub(error(400).cut(3), reply(b"x" * 101, 400), reply(b"x" * 100, 400)) as stub, passing(stub) as server:
        assert [(await sent(server, "GET", "/models"))[0] for _ in range(3)] == [502, 502, 400]


# --- secrets, and who may ---


async def test_the_endpoints_key_stays_here(anyio_backend, caplog):
    """An endpoint that quotes its key in an error does not tell it to the caller; nor do the log, the repr."""
    caplog.set_level(logging.DEBUG)
    refusal = error(401, f"Incorrect API key provided: {KEY}", x_debug=f"Bearer {KEY}")
    async with Stub(refusal) as stub, passing(stub) as server:
        status, headers, body = await sent(server, "POST", "/responses", json={})
        assert KEY not in repr(server._pass_through)
    assert (status, headers["x-debug"]) == (401, "***")
    assert json.loads(body)["error"]["message"] == "Incorrect API key provided: ***"
    assert KEY not in caplog.text


async def test_where_the_endpoint_is_stays_here(anyio_backend):
    """An error that names the endpoint, or what is behind it, does not tell that to the caller."""
    async with Stub(lambda _: error(503, f"{stub.url}: 10.0.0.1:8000 is away")) as stub, passing(stub) as server:
        _, _, body = await sent(server, "GET", "/models")
    assert json.loads(body)["error"]["message"] == "(address hidden): (address hidden) is away"


@pytest.mark.parametrize("key", ["wrong", KEY])
async def test_the_callers_key(anyio_backend, key):
    """A caller needs a key of the server's, and that of the endpoint is none."""
    async with (
        Stub() as stub,
        passing(stub) as server,
        AsyncOpenAI(base_url=server.url, api_key=key, max_retries=0) as client,
    ):
        with pytest.raises(AuthenticationError):
            await client.models.list()
    assert not stub.requests


async def test_a_token_function(anyio_backend):
    """A fresh token for each request; if there is none, the error does not say why, but the log does."""
    tokens = iter(["token-one", "token-two"])

    async def new_token():
        return next(tokens, None)

    async with Stub(lambda _: reply({})) as stub, LocalServer(pass_through=PassThrough(stub.url, new_token)) as server:
        assert [(await sent(server, "GET", "/models"))[0] for _ in range(3)] == [200, 200, 502]
    assert [request.headers["authorization"] for request in stub.requests] == ["Bearer token-one", "Bearer token-two"]


@pytest.mark.parametrize("key", [KEY, None])
async def test_headers_and_query_of_the_endpoint(anyio_backend, key):
    """They are sent with each request; a header with a key takes the place of the key."""
    options = {"headers": {"authorization": "Basic abc", "X-Team": "blue"}, "query": {"api-version": "1"}}
    async with Stub(reply({})) as stub:
        passed = PassThrough(stub.url, key, **options)
        async with LocalServer(pass_through=passed) as server:
            await sent(server, "GET", "/models?limit=3&api-key=sk-caller", headers={"x-team": "red"})
    [request] = stub.requests
    assert request.query == "api-version=1&limit=3"
    assert (request.headers["authorization"], request.headers["x-team"]) == ("Basic abc", "blue")


def test_what_cannot_be_an_endpoint():
    """Misuse is reported at once."""
    with pytest.raises(ValueError, match="base_url"):
        PassThrough("ftp://x")
    with pytest.raises(ValueError, match="header X"):
        PassThrough("http://x", headers={"X": "a\nb"})


async def test_a_proxy(anyio_backend, monkeypatch, caplog):
    """The environment's proxy is used, and its password is not logged."""
    async with Stub(error(407, "no: password-123")) as stub:
        monkeypatch.setenv("http_proxy", f"http://me:password-123@127.0.0.1:{stub.port}")
        async with LocalServer(pass_through=PassThrough("http://model.example/v1")) as server:
            _, _, body = await sent(server, "GET", "/models")
    assert stub.requests[0].target == "http://model.example/v1/models"
    assert b"password-123" not in body


@pytest.mark.parametrize("prefix", ["", "/v1", "/openai", "/openai/v1", "/openai/deployments/m"])
async def test_prefixes(anyio_backend, prefix):
    """What precedes a path here is left out there."""
    async with Stub(reply({})) as stub, passing(stub) as server:
        base = server.url.removesuffix("/v1")
        async with ClientSession() as http, http.get(f"{base}{prefix}/models", headers={"api-key": "sk-caller"}) as got:
            assert got.status == 200
    assert stub.requests[0].target == "/v1/models"


@pytest.mark.parametrize(
    ("path", "passed"),
    [
        ("/models/ft:gpt-4o:shop::1", "/models/ft%3Agpt-4o%3Ashop%3A%3A1"),
        ("/models/meta-llama/Llama-3.1-8B", "/models/meta-llama%2FLlama-3.1-8B"),
        ("/models/meta-llama%2FLlama-3.1-8B", "/models/meta-llama%2FLlama-3.1-8B"),
        ("/batches/batch_1", "/batches/batch_1"),
        ("/conversations/conv_1/items/msg_1", "/conversations/conv_1/items/msg_1"),
        ("/models/..", None),
        ("/models/../files", None),
        ("/models/%2e%2e/files", None),
        ("/models/a%2F..%2F..%2Ffiles", None),
        ("/models/a/../../files", None),
        ("/batches/..", None),
        ("/batches/..%2Ffiles", None),
        ("/batches/a%2Fb", None),
        ("/batches/%2e%2e%2ffiles", None),
        ("/organization/users", None),
        ("/models//x", None),
        ("//models", None),
    ],
)
async def test_only_known_paths(anyio_backend, path, passed):
    """An ID stays one segment, and no path leads out of those that are known."""
    async with Stub(lambda _: reply({})) as stub, LocalServer(pass_through=PassThrough(stub.url)) as server:
        head = f"GET /v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        status, _ = await send_raw(server, head.encode())
    assert (status, [request.target for request in stub.requests]) == ((200, [f"/v1{passed}"]) if passed else (404, []))


async def test_web_pages_of_other_sites(anyio_backend):
    """A page cannot spend the endpoint's money through a server without keys."""
    async with Stub() as stub, LocalServer(pass_through=PassThrough(stub.url)) as server:
        headers = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
        assert (await sent(server, "POST", "/responses", data=b"{}", headers=headers))[0] == 403
    assert not stub.requests


async def test_programs_with_an_origin(anyio_backend):
    """Some that are no web page name one, such as editors; a browser would have asked before it sends JSON."""
    async with Stub(lambda _: reply({})) as stub, LocalServer(pass_through=PassThrough(stub.url)) as server:
        for method in "GET", "DELETE":
            path = "/models" if method == "GET" else "/models/m"
            assert (await sent(server, method, path, headers={"Origin": "app://editor"}))[0] == 200
        assert (await sent(server, "POST", "/responses", json={}, headers={"Origin": "app://editor"}))[0] == 200


async def test_a_server_within_an_application(anyio_backend):
    """What is passed on is the API's path, wherever the server's application is mounted."""
    async with Stub(reply({})) as stub, Engine(store=MemoryStore(), backend=ScriptedBackend()) as engine:
        outer = web.Application()
        outer.add_subapp("/mounted", create_app(engine, pass_through=PassThrough(stub.url)))
        runner = web.AppRunner(outer)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/mounted/v1/models"
        async with ClientSession() as http, http.get(url) as response:
            assert response.status == 200
        await runner.cleanup()
    assert stub.requests[0].target == "/v1/models"


async def test_a_server_that_stops(anyio_backend):
    """It ends what it passes on, without letting the caller take the answer for complete."""
    async with Slow() as slow, ClientSession() as http:
        async with LocalServer(pass_through=PassThrough(slow.url), grace=0) as server:
            slow.pieces.put_nowait(b"data: 1\n\n")
            response = await http.post(server.url + "/responses", json={})
            await response.content.readany()
        await slow.is_left.wait()
        with pytest.raises(ClientError):
            await response.content.readany()
        response.close()


async def test_owners_do_not_see_each_others_objects(anyio_backend):
    """The endpoint knows one key: with several owners, what it keeps is not passed on, and calls are."""
    keys = {"sk-a": "ann", "sk-b": "bob", "sk-b2": "bob"}
    async with Stub(lambda _: reply({})) as stub, LocalServer(pass_through=PassThrough(stub.url), keys=keys) as server:
        status, _, body = await sent(server, "GET", "/batches", key="sk-a")
        assert (status, b"keys of this server have several" in body) == (403, True)
        assert (await sent(server, "POST", "/responses", key="sk-a", json={}))[0] == 200
    assert [request.target for request in stub.requests] == ["/v1/responses"]


async def test_idempotency_keys_of_owners(anyio_backend):
    """Two owners may choose the same key; one owner's is the same each time. Without owners, keys stay as they are."""
    found = []
    for keys in {"sk-a": "ann", "sk-b": "bob"}, None:
        async with Stub(lambda _: reply({})) as stub:
            async with LocalServer(pass_through=PassThrough(stub.url), keys=keys) as server:
                for key in "sk-a", "sk-b", "sk-a":
                    await sent(server, "POST", "/responses", key=key, json={}, headers={"Idempotency-Key": "one"})
            found.append([request.headers["idempotency-key"] for request in stub.requests])
    (ann, bob, again), without_owners = found
    assert ann == again != bob
    assert without_owners == ["one"] * 3


async def test_it_is_off_by_default(anyio_backend):
    """The error says how to switch it on, and nothing is sent anywhere."""
    async with LocalServer(keys={"sk-caller": "a"}) as server:
        status, _, body = await sent(server, "POST", "/chat/completions", json={})
        assert (await sent(server, "POST", "/chat/completions", key="wrong"))[0] == 401
    message = json.loads(body)["error"]["message"]
    assert (status, message.startswith("Invalid URL (POST /v1/chat/completions)")) == (404, True)
    assert "--pass-through" in message


async def test_the_access_log(anyio_backend, caplog):
    """A line for each request that is passed on, without its query."""
    caplog.set_level(logging.INFO, "openai_runs.access")
    async with Stub(reply({})) as stub:
        local = LocalServer(pass_through=PassThrough(stub.url), log_access=True)
        async with local as server:
            await sent(server, "GET", "/models?x=secret")
    [line] = [record.getMessage() for record in caplog.records if record.name == "openai_runs.access"]
    assert line.startswith("127.0.0.1 GET /v1/models 200 ")
    assert "secret" not in line
