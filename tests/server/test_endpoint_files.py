"""Files and vector stores at the model's endpoint, which another server plays: its own `/files`, and a model's stub."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, FormData
from attrs import define, field
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from yarl import URL

from openai_runs._wire.idempotency import REPLAYED
from openai_runs.backends import ResponsesBackend, ScriptedBackend
from openai_runs.engine import Engine
from openai_runs.errors import StoreUnavailableError
from openai_runs.models.thread import Thread
from openai_runs.server import EndpointFiles, LocalServer, PassThrough, create_app, endpoint_files
from openai_runs.stores import MemoryStore
from openai_runs.stores.records import EndpointObject, UsedKey
from openai_runs.stores.sqlite import SQLiteStore
from tests.backends.model_stub import ModelStub
from tests.engine.index import WordIndex
from tests.stub import CUT, RESET, Reply, Stub, error, reply

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

KEY = "sk-of-the-endpoint-1234"
KEYS = {"sk-ann": "ann", "sk-bob": "bob"}
SEARCH: Any = [{"type": "file_search"}]
GIF = base64.b64decode("R0lGODlhAQABAAAAACwAAAAAAQABAAA=")


@define
class World:
    """An endpoint, and a server in front of it."""

    model: ModelStub
    upstream: LocalServer  #: the endpoint
    server: LocalServer
    #: Of the endpoint itself, of Ann and of Bob, who are one if the server has no keys.
    direct: AsyncOpenAI
    ann: AsyncOpenAI
    bob: AsyncOpenAI
    _open: AsyncExitStack = field(factory=AsyncExitStack)

    @property
    def stored(self) -> Any:
        """What the server has noted."""
        return self.server._store

    async def noted(self, kind: type[Any] = EndpointObject) -> list[str]:
        return [record.value.id async for record in self.stored.everything(kind)]


@asynccontextmanager
async def world(keys: dict[str, str] | None = KEYS, **options: Any) -> AsyncIterator[World]:
    async with (
        ModelStub() as model,
        LocalServer(files=WordIndex(), pass_through=PassThrough(model.url), keys={KEY: "us"}) as upstream,
        LocalServer(
            backend=ResponsesBackend(upstream.url, KEY), files=EndpointFiles(upstream.url, KEY), keys=keys, **options
        ) as server,
        AsyncOpenAI(base_url=upstream.url, api_key=KEY, max_retries=0) as direct,
        AsyncOpenAI(base_url=server.url, api_key="sk-ann", max_retries=0) as ann,
        AsyncOpenAI(base_url=server.url, api_key="sk-bob", max_retries=0) as bob,
    ):
        yield World(model, upstream, server, direct, ann, bob)


@asynccontextmanager
async def before(stub: Stub, keys: dict[str, str] | None = KEYS, **options: Any) -> AsyncIterator[LocalServer]:
    """A server whose endpoint is a stub."""
    async with LocalServer(files=EndpointFiles(stub.url, KEY), keys=keys, **options) as server:
        yield server


async def sent(server: LocalServer, method: str, path: str, *, key="sk-ann", headers=None, **options):
    """The status, headers and JSON of the answer."""
    headers = {"Authorization": f"Bearer {key}", **(headers or {})}
    async with (
        ClientSession() as http,
        http.request(method, server.url + path, headers=headers, **options) as response,
    ):
        return response.status, response.headers, json.loads(await response.read() or b"{}")


async def until(is_so: Callable[[], object]) -> None:
    while not is_so():  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)


def form(content: bytes = b"tea", purpose: str = "assistants") -> FormData:
    made = FormData({"purpose": purpose})
    made.add_field("file", content, filename="a.txt")
    return made


async def upload(client: AsyncOpenAI, text: str = "Tea is hot.", name: str = "tea.txt", **options: Any) -> Any:
    return await client.files.create(file=(name, text.encode()), purpose="assistants", **options)


async def ask(client: AsyncOpenAI, thread: Any, **assistant: Any) -> Any:
    made = await client.beta.assistants.create(model="gpt-4o", **assistant)
    return await client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=made.id, poll_interval_ms=1)


async def thread_of(
    client: AsyncOpenAI, *attached: Any, content: Any = "Tea?", tools: Any = SEARCH, **more: Any
) -> Any:
    attachments = [{"file_id": file.id, "tools": tools} for file in attached]
    message: Any = {"role": "user", "content": content, "attachments": attachments}
    return await client.beta.threads.create(messages=[message], **more)


# --- the operations


@pytest.mark.parametrize("keys", [KEYS, None])
async def test_files(anyio_backend, keys):
    """A life of a file, with openai-python: it is the endpoint's, and nothing is kept here but whose it is."""
    async with world(keys) as w:
        file = await upload(w.ann)
        assert await w.direct.files.retrieve(file.id) == file == await w.ann.files.retrieve(file.id)
        assert await w.noted() == [file.id]
        content = await w.ann.files.content(file.id)
        assert content.read() == b"Tea is hot."
        assert content.response.headers["content-type"] == "application/octet-stream"
        assert content.response.headers["x-content-type-options"] == "nosniff"
        assert [each.id async for each in w.ann.files.list(purpose="assistants")] == [file.id]
        assert [each.id async for each in w.ann.files.list(purpose="vision")] == []
        assert (await w.ann.files.delete(file.id)).deleted
        assert [each.id async for each in w.direct.files.list()] == await w.noted() == []
        with pytest.raises(NotFoundError, match=file.id):
            await w.ann.files.retrieve(file.id)


@pytest.mark.parametrize("keys", [KEYS, None])
async def test_vector_stores(anyio_backend, keys):
    """All operations on them, on their files and on their batches, with openai-python."""
    async with world(keys) as w:
        one, two = await upload(w.ann), await upload(w.ann, "Milk is white.", "milk.txt")
        stores = w.ann.vector_stores
        store = await stores.create(name="Drinks", file_ids=[one.id])
        assert (await stores.retrieve(store.id)).name == "Drinks"
        assert (await stores.update(store.id, name="More")).name == "More"
        assert [each.id async for each in stores.list()] == [store.id]
        await stores.files.create_and_poll(two.id, vector_store_id=store.id, poll_interval_ms=1)
        assert {each.id async for each in stores.files.list(store.id)} == {one.id, two.id}
        changed = await stores.files.update(two.id, vector_store_id=store.id, attributes={"kind": "cold"})
        assert changed.attributes == {"kind": "cold"}
        assert (await stores.files.retrieve(two.id, vector_store_id=store.id)).attributes == {"kind": "cold"}
        text = [each async for each in stores.files.content(two.id, vector_store_id=store.id)]
        assert text[0].text == "Milk is white."
        found = [each async for each in stores.search(store.id, query="milk")]
        assert [each.file_id for each in found] == [two.id]
        await stores.files.delete(two.id, vector_store_id=store.id)
        batch = await stores.file_batches.create_and_poll(store.id, file_ids=[two.id], poll_interval_ms=1)
        assert (await stores.file_batches.retrieve(batch.id, vector_store_id=store.id)).status == "completed"
        listed = stores.file_batches.list_files(batch.id, vector_store_id=store.id)
        assert [each.id async for each in listed] == [two.id]
        with pytest.raises(BadRequestError):
            await stores.file_batches.cancel(batch.id, vector_store_id=store.id)
        assert await w.noted() == [one.id, two.id, store.id, batch.id]
        assert (await stores.delete(store.id)).deleted
        assert await w.noted() == [one.id, two.id]
        assert [each.id async for each in w.direct.vector_stores.list()] == []


async def test_what_is_sent(anyio_backend):
    """The endpoint's key and not the caller's, fields that this server does not know, and all bytes of a form."""
    answers = reply({"id": "file-1", "more": 1}), reply({"id": "vs_1"})
    async with Stub(*answers) as stub, before(stub) as server:
        _, headers, made = await sent(server, "POST", "/files", data=form(b"\x00sound" * 50_000))
        await sent(server, "POST", "/vector_stores", json={"embedding_model": "e", "name": "ä"})
    assert (made, headers["Idempotency-Key-Supported"]) == ({"id": "file-1", "more": 1}, "true")
    uploaded, created = stub.requests
    assert uploaded.body.count(b"\x00sound") == 50_000
    assert created.json == {"embedding_model": "e", "name": "ä"}
    for request in stub.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert b"sk-ann" not in request.raw


async def test_an_upload_is_passed_on_piece_by_piece(anyio_backend):
    """It is never in memory as a whole: the endpoint has the first piece before the last one is there."""
    arrived = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"the first")
        arrived.set()
        await reader.readuntil(b"the last\r\n0\r\n\r\n")
        writer.write(reply({"id": "file-1"}).data)
        writer.close()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"the first"
        await arrived.wait()
        yield b"the last"

    endpoint = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{endpoint.sockets[0].getsockname()[1]}/v1"
    async with LocalServer(files=EndpointFiles(url)) as server:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert (await sent(server, "POST", "/files", data=pieces(), headers=headers))[0] == 200
    endpoint.close()
    await endpoint.wait_closed()


async def test_limits_of_an_upload(anyio_backend):
    """A file may be as large as the server says, and nothing is left of one that is larger."""
    async with Stub() as stub, before(stub, max_file_bytes=1000) as server:
        headers = {"Idempotency-Key": "one"}
        status, _, body = await sent(server, "POST", "/files", data=form(b"x" * 70_000), headers=headers)
        assert (status, "too large" in body["error"]["message"]) == (413, True)
        assert not [record async for record in server._store.everything(UsedKey)]


async def test_web_pages_of_other_sites(anyio_backend):
    """A page cannot upload through a server without keys."""
    async with Stub() as stub, before(stub, None) as server:
        headers = {"Origin": "http://evil.example"}
        assert (await sent(server, "POST", "/files", data=form(), headers=headers))[0] == 403
        text = {**headers, "Content-Type": "text/plain"}
        assert (await sent(server, "POST", "/vector_stores", data=b"{}", headers=text))[0] == 415
    assert not stub.requests


@pytest.mark.parametrize("text", [b"[]", b"no JSON"])
async def test_a_body_that_is_no_object(anyio_backend, text):
    async with Stub() as stub, before(stub) as server:
        headers = {"Content-Type": "application/json"}
        assert (await sent(server, "POST", "/vector_stores", data=text, headers=headers))[0] == 400
    assert not stub.requests


@pytest.mark.parametrize("path", ["/files/..", "/files/%2e%2e%2fmodels", "/vector_stores/a%2Fb/files", "/files/a%3Fb"])
async def test_ids_stay_in_their_place(anyio_backend, path):
    """No ID leads out of its path; also if there is one owner, who may use any."""
    async with (
        Stub() as stub,
        before(stub, None) as server,
        ClientSession() as http,
        http.get(URL(server.url + path, encoded=True)) as response,
    ):
        assert response.status == 404
        assert not stub.requests


async def test_errors_are_the_endpoints(anyio_backend):
    """With their status, and without its key."""
    async with Stub(error(429, f"Slow down, {KEY}."), error(400, "Bad.")) as stub, before(stub, None) as server:
        status, _, body = await sent(server, "GET", "/files/file-1")
        assert (status, body["error"]["message"]) == (429, "Slow down, ***.")
        status, _, body = await sent(server, "POST", "/vector_stores", json={"name": 1})
        assert (status, body["error"]["message"]) == (400, "Bad.")


# --- owners


async def test_owners_are_apart(anyio_backend):
    """What Bob names of Ann's is a 404 of this server, whatever the operation, and the endpoint is not asked."""
    async with world() as w:
        file = await upload(w.ann)
        store = await w.ann.vector_stores.create(file_ids=[file.id])
        batch = await w.ann.vector_stores.file_batches.create(store.id, file_ids=[file.id])
        mine = await w.bob.vector_stores.create()
        seen = len(w.model.requests)
        upstream_files = [each.id async for each in w.direct.files.list()]
        stores = w.bob.vector_stores
        for attempt in (
            w.bob.files.retrieve(file.id),
            w.bob.files.content(file.id),
            w.bob.files.delete(file.id),
            stores.retrieve(store.id),
            stores.update(store.id, name="Bob's"),
            stores.delete(store.id),
            stores.search(store.id, query="tea")._get_page(),
            stores.create(file_ids=[file.id]),
            stores.create(extra_body={"files": [{"file_id": file.id}]}),
            stores.files.create(mine.id, file_id=file.id),
            stores.files.create(store.id, file_id=file.id),
            stores.files.list(store.id)._get_page(),
            stores.files.retrieve(file.id, vector_store_id=store.id),
            stores.files.update(file.id, vector_store_id=store.id, attributes={}),
            stores.files.delete(file.id, vector_store_id=store.id),
            stores.files.content(file.id, vector_store_id=store.id)._get_page(),
            stores.file_batches.create(mine.id, file_ids=[file.id]),
            stores.file_batches.create(mine.id, files=[{"file_id": file.id}]),
            stores.file_batches.create(store.id, file_ids=[]),
            stores.file_batches.retrieve(batch.id, vector_store_id=store.id),
            stores.file_batches.retrieve(batch.id, vector_store_id=mine.id),
            stores.file_batches.cancel(batch.id, vector_store_id=mine.id),
            stores.file_batches.list_files(batch.id, vector_store_id=mine.id)._get_page(),
        ):
            with pytest.raises(NotFoundError):
                await attempt
        assert [each.id async for each in w.bob.files.list()] == []
        assert [each.id async for each in stores.list()] == [mine.id]
        assert [each.id async for each in w.direct.files.list()] == upstream_files
        assert (await w.direct.vector_stores.retrieve(store.id)).name == store.name
        assert len(w.model.requests) == seen


async def test_somebody_elses_is_a_404_before_the_endpoint_is_asked(anyio_backend):
    """The endpoint's logs and its time are not for those who guess IDs."""
    async with Stub() as stub, before(stub) as server:
        for method, path, body in (
            ("GET", "/files/file-1", None),
            ("DELETE", "/files/file-1", None),
            ("GET", "/vector_stores/vs_1", None),
            ("POST", "/vector_stores", {"file_ids": ["file-1"]}),
            ("POST", "/vector_stores/vs_1/search", {"query": "x"}),
        ):
            assert (await sent(server, method, path, json=body))[0] == 404
        assert (await sent(server, "GET", "/files"))[2]["data"] == []
    assert not stub.requests


async def test_a_body_is_written_anew(anyio_backend):
    """A name that it has twice reaches the endpoint once: nobody's parser reads another value than was checked."""
    async with Stub(reply({"id": "file-1"}), reply({"id": "vs_1"})) as stub, before(stub) as server:
        await sent(server, "POST", "/files", data=form())
        text = b'{"file_ids": ["file-of-bob"], "file_ids": ["file-1"]}'
        headers = {"Content-Type": "application/json"}
        assert (await sent(server, "POST", "/vector_stores", data=text, headers=headers))[0] == 200
    assert stub.requests[1].body == b'{"file_ids":["file-1"]}'


async def test_one_owner_sees_all_that_is_there(anyio_backend):
    """Also what was made elsewhere with the endpoint's key; with several owners, nobody sees that."""
    async with world({"sk-ann": "ann"}) as w:
        file = await upload(w.direct)
        store = await w.direct.vector_stores.create(file_ids=[file.id])
        assert [each.id async for each in w.ann.files.list()] == [file.id]
        assert (await w.ann.vector_stores.retrieve(store.id)).id == store.id
        await w.ann.vector_stores.files.delete(file.id, vector_store_id=store.id)
        assert (await w.ann.files.delete(file.id)).deleted
    async with world() as w:
        file = await upload(w.direct)
        assert [each.id async for each in w.ann.files.list()] == []
        with pytest.raises(NotFoundError):
            await w.ann.files.retrieve(file.id)


async def test_what_is_noted_outlives_the_server(anyio_backend, tmp_path: Path):
    """Whose a file is, is in the store."""
    async with Stub(reply({"id": "file-1"}), reply({"id": "file-1"})) as stub:
        async with before(stub, store=SQLiteStore(tmp_path / "runs.db")) as server:
            await sent(server, "POST", "/files", data=form())
        async with before(stub, store=SQLiteStore(tmp_path / "runs.db")) as server:
            assert (await sent(server, "GET", "/files/file-1", key="sk-bob"))[0] == 404
            assert (await sent(server, "GET", "/files/file-1"))[0] == 200


# --- lists


@pytest.mark.unmeasured
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_of_one_owner(anyio_backend, order, limit, monkeypatch):
    """They are full, in order and end where the owner's objects end, however those of others lie between them."""
    monkeypatch.setattr(endpoint_files, "_STEPS", {"file": 2, "vector_store": 2})
    async with world() as w:
        clients = [w.ann, w.bob, w.bob, w.bob, w.ann, w.ann, w.bob, w.ann, w.bob]
        made = [(await client.vector_stores.create(name=str(number))).id for number, client in enumerate(clients)]
        own = [id for id, client in zip(made, clients, strict=True) if client is w.ann]
        own = own if order == "asc" else own[::-1]
        found, cursor, sizes = [], {}, []
        while True:
            page = await w.ann.vector_stores.list(limit=limit, order=order, **cursor)
            found += [each.id for each in page.data]
            sizes.append(len(page.data))
            assert (page.first_id, page.last_id) == (page.data[0].id, page.data[-1].id)
            if not page.has_more:
                break
            cursor = {"after": page.last_id}
        assert found == own
        assert all(size == limit for size in sizes[:-1])
        page = await w.ann.vector_stores.list(limit=limit, order=order, before=own[-1])
        assert [each.id for each in page.data] == own[:-1][-limit:]
        assert page.has_more == (len(own) - 1 > limit)
        page = await w.ann.vector_stores.list(limit=limit, order=order, after=own[0], before=own[-1])
        assert [each.id for each in page.data] == own[1:-1][:limit]


async def test_deleting_while_paging(anyio_backend):
    """A cursor may be an object that was deleted a moment ago."""
    async with world() as w:
        for _ in range(3):
            await upload(w.ann)
            await upload(w.bob)
        async for file in w.ann.files.list(limit=1):
            await w.ann.files.delete(file.id)
        assert [file.id async for file in w.ann.files.list()] == []
        assert len([file.id async for file in w.bob.files.list()]) == 3


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "order=up", "after=file-9", "before=file-9"])
async def test_a_wrong_query(anyio_backend, query):
    """Refused as by the server's own lists; nobody else's object is a cursor."""
    async with Stub(reply({"id": "file-9"})) as stub, before(stub) as server:
        await sent(server, "POST", "/files", key="sk-bob", data=form())
        assert (await sent(server, "GET", f"/files?{query}"))[0] == 400
    assert len(stub.requests) == 1


async def test_a_list_that_the_endpoint_refuses(anyio_backend):
    """Its refusal is passed on."""
    async with Stub(reply({"id": "file-1"}), error(429, "Slow down.")) as stub, before(stub) as server:
        await sent(server, "POST", "/files", data=form())
        assert (await sent(server, "GET", "/files"))[0] == 429


# --- once


async def test_an_upload_that_is_repeated(anyio_backend):
    """With its key, and with another boundary: the file is there once. Another content is refused."""
    async with world() as w:
        headers = {"Idempotency-Key": "one"}
        first = await upload(w.ann, extra_headers=headers)
        again = await w.ann.files.with_raw_response.create(
            file=("tea.txt", b"Tea is hot."), purpose="assistants", extra_headers=headers
        )
        assert again.parse() == first
        assert again.headers[REPLAYED] == "true"
        assert [each.id async for each in w.direct.files.list()] == [first.id]
        status, _, body = await sent(w.server, "POST", "/files", data=form(b"else"), headers=headers)
        assert (status, body["error"]["code"]) == (422, "idempotency_key_reused")
        other = await upload(w.bob, extra_headers=headers)
        assert other.id != first.id
        await w.ann.files.delete(first.id)
        with pytest.raises(NotFoundError):
            await upload(w.ann, extra_headers=headers)


async def test_other_creations_that_are_repeated(anyio_backend):
    """A vector store, a file in it, and a batch: each once."""
    async with world() as w:
        file = await upload(w.ann)
        headers = {"Idempotency-Key": "one"}
        stores = [await w.ann.vector_stores.create(name="A", extra_headers=headers) for _ in range(2)]
        assert stores[0].id == stores[1].id
        for _ in range(2):
            await w.ann.vector_stores.files.create(stores[0].id, file_id=file.id, extra_headers=headers)
        batches = [
            await w.ann.vector_stores.file_batches.create(stores[0].id, file_ids=[file.id], extra_headers=headers)
            for _ in range(2)
        ]
        assert batches[0].id == batches[1].id
        assert len([each async for each in w.direct.vector_stores.list()]) == 1


@pytest.mark.parametrize("lost", [CUT, RESET, error(500), error(408), reply({}, 307), reply(b"no JSON"), reply([1])])
async def test_an_answer_that_gets_lost(anyio_backend, lost: Reply, tmp_path: Path):
    """Nobody knows whether there is a file: the key is refused from then on, also after a restart."""
    headers = {"Idempotency-Key": "one"}
    async with Stub(lost) as stub:
        async with before(stub, store=SQLiteStore(tmp_path / "runs.db")) as server:
            assert (await sent(server, "POST", "/files", data=form(), headers=headers))[0] >= 408
        for _ in range(2):
            async with before(stub, store=SQLiteStore(tmp_path / "runs.db")) as server:
                status, _, body = await sent(server, "POST", "/files", data=form(), headers=headers)
                assert (status, body["error"]["code"]) == (409, "idempotency_key_in_doubt")
    assert len(stub.requests) == 1


async def test_a_refusal_had_no_effect(anyio_backend):
    """The key may be used again: after a refusal, and when the endpoint could not be reached."""
    headers = {"Idempotency-Key": "one"}
    async with Stub(error(400, "Bad."), reply({"id": "file-1"})) as stub, before(stub) as server:
        assert (await sent(server, "POST", "/files", data=form(), headers=headers))[0] == 400
        assert (await sent(server, "POST", "/files", data=form(), headers=headers))[0] == 200
    async with Stub() as stub:
        pass
    async with before(stub) as server:
        for _ in range(2):
            assert (await sent(server, "POST", "/vector_stores", json={}, headers=headers))[0] == 502


async def test_the_same_key_at_the_same_time(anyio_backend):
    """The second request has to wait for the first one's answer."""
    headers = {"Idempotency-Key": "one"}
    answer = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write((await answer).data)
        writer.close()

    endpoint = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{endpoint.sockets[0].getsockname()[1]}/v1"
    async with LocalServer(files=EndpointFiles(url)) as server:
        first = asyncio.create_task(sent(server, "POST", "/vector_stores", json={}, headers=headers))
        await until(lambda: server.engine.endpoint_creations._under_way)
        status, _, body = await sent(server, "POST", "/vector_stores", json={}, headers=headers)
        assert (status, body["error"]["code"]) == (409, "idempotency_key_in_use")
        answer.set_result(reply({"id": "vs_1"}))
        assert (await first)[0] == 200
    endpoint.close()
    await endpoint.wait_closed()


async def test_a_caller_that_leaves(anyio_backend):
    """What the endpoint creates is noted all the same, and a repetition gets it."""
    headers = {"Idempotency-Key": "one", "Authorization": "Bearer sk-ann"}
    answer = asyncio.get_running_loop().create_future()
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        writer.write((await answer).data)
        writer.close()

    endpoint = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{endpoint.sockets[0].getsockname()[1]}/v1"
    async with LocalServer(files=EndpointFiles(url), keys=KEYS) as server:
        async with ClientSession() as http:
            leaving = asyncio.create_task(http.post(server.url + "/vector_stores", json={}, headers=headers))
            await asked.wait()
            leaving.cancel()
        answer.set_result(reply({"id": "vs_1"}))
        await until(lambda: not server.engine.endpoint_creations._under_way)
        status, _, body = await sent(server, "POST", "/vector_stores", json={}, headers={"Idempotency-Key": "one"})
        assert (status, body["id"]) == (200, "vs_1")
    endpoint.close()
    await endpoint.wait_closed()


async def test_a_caller_that_leaves_while_it_uploads(anyio_backend):
    """There is no file, and the key can be used again."""
    async with Stub(reply({"id": "file-1"})) as stub, before(stub, None) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "POST /v1/files HTTP/1.1\r\nHost: x\r\nIdempotency-Key: one\r\nContent-Length: 9\r\n"
        writer.write(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\nhalf".encode())
        await until(lambda: server.engine.endpoint_creations._under_way)
        writer.close()
        await until(lambda: not server.engine.endpoint_creations._under_way)
        headers = {"Idempotency-Key": "one"}
        assert (await sent(server, "POST", "/files", data=form(), headers=headers))[0] == 200


async def test_a_store_that_takes_no_commits(anyio_backend, monkeypatch):
    """What nobody would find again is deleted at the endpoint, if that answers."""
    gone = reply({"id": "file-1", "deleted": True})

    async def commit(*_: object) -> None:
        raise StoreUnavailableError("The disk is full.")

    async with Stub(reply({"id": "file-1"}), gone, reply({"id": "file-2"}), CUT) as stub, before(stub) as server:
        with monkeypatch.context() as patch:
            patch.setattr(MemoryStore, "commit", commit)
            for _ in range(2):
                assert (await sent(server, "POST", "/files", data=form()))[0] == 503
    assert [request.method for request in stub.requests] == ["POST", "DELETE", "POST", "DELETE"]


async def test_a_batch_that_cannot_be_noted(anyio_backend, monkeypatch):
    """It stays, since it cannot be deleted; its files are the owner's in any case."""

    async def commit(*_: object) -> None:
        raise StoreUnavailableError("The disk is full.")

    async with Stub(reply({"id": "batch_1"})) as stub, before(stub, None) as server:
        monkeypatch.setattr(MemoryStore, "commit", commit)
        assert (await sent(server, "POST", "/vector_stores/vs_1/file_batches", json={"file_ids": ["a"]}))[0] == 503
    assert len(stub.requests) == 1


async def test_deleting_what_is_gone(anyio_backend):
    """The endpoint's 404 is passed on, and nothing is left here of the object."""
    async with Stub(reply({"id": "file-1"}), error(404), error(500)) as stub, before(stub) as server:
        await sent(server, "POST", "/files", data=form())
        assert (await sent(server, "DELETE", "/files/file-1"))[0] == 404
        assert not [record async for record in server._store.everything(EndpointObject)]


async def test_a_deletion_that_fails(anyio_backend):
    """The object stays the owner's."""
    async with Stub(reply({"id": "file-1"}), error(500)) as stub, before(stub) as server:
        await sent(server, "POST", "/files", data=form())
        assert (await sent(server, "DELETE", "/files/file-1"))[0] == 500
        assert [record.value.id async for record in server._store.everything(EndpointObject)] == ["file-1"]


# --- runs


async def test_a_run_searches_at_the_endpoint(anyio_backend):
    """The endpoint gets the IDs as they are, of Ann's vector stores; of somebody else's, the run is refused."""
    async with world() as w:
        store = await w.ann.vector_stores.create(file_ids=[(await upload(w.ann)).id])
        resources: Any = {"file_search": {"vector_store_ids": [store.id]}}
        run = await ask(w.ann, await thread_of(w.ann), tools=SEARCH, tool_resources=resources)
        assert run.status == "completed", run.last_error
        [tool] = w.model.bodies[-1]["tools"]
        assert (tool["type"], tool["vector_store_ids"]) == ("file_search", [store.id])
        asked = len(w.model.bodies)
        run = await ask(w.bob, await thread_of(w.bob), tools=SEARCH, tool_resources=resources)
        assert (run.status, run.last_error.code) == ("failed", "invalid_prompt")
        assert store.id in run.last_error.message
        assert len(w.model.bodies) == asked


async def test_files_for_code(anyio_backend):
    """An assistant's and those of messages go to the endpoint's container; none of somebody else's."""
    async with world() as w:
        one, two = await upload(w.ann), await upload(w.ann)
        code: Any = [{"type": "code_interpreter"}]
        resources: Any = {"code_interpreter": {"file_ids": [one.id]}}
        run = await ask(w.ann, await thread_of(w.ann, two, tools=code), tools=code, tool_resources=resources)
        assert run.status == "completed", run.last_error
        assert w.model.bodies[-1]["tools"][0]["container"]["file_ids"] == [one.id, two.id]
        run = await ask(w.bob, await thread_of(w.bob), tools=code, tool_resources=resources)
        assert one.id in run.last_error.message
        run = await ask(w.bob, await thread_of(w.bob, two, tools=code), tools=code)
        assert run.status == "completed"
        assert "file_ids" not in w.model.bodies[-1]["tools"][0]["container"]


@pytest.mark.parametrize("keys", [KEYS, None])
async def test_attachments_are_put_into_the_threads_vector_store(anyio_backend, keys):
    """The store is made at the endpoint, and belongs to whom the thread belongs to; the run waits for the files."""
    async with world(keys) as w:
        one, two = await upload(w.ann), await upload(w.ann, "Milk.", "milk.txt")
        thread = await thread_of(w.ann, one)
        [store_id] = thread.tool_resources.file_search.vector_store_ids
        assert (await w.direct.vector_stores.retrieve(store_id)).expires_after.days == 7
        attachment: Any = {"file_id": two.id, "tools": SEARCH}
        await w.ann.beta.threads.messages.create(thread.id, role="user", content="And?", attachments=[attachment])
        run = await ask(w.ann, thread, tools=SEARCH)
        assert run.status == "completed", run.last_error
        files = [each async for each in w.direct.vector_stores.files.list(store_id)]
        assert {(each.id, each.status) for each in files} == {(one.id, "completed"), (two.id, "completed")}
        assert "cannot be searched" not in json.dumps(w.model.bodies[-1])
        assert store_id in await w.noted()
        assert [each.id async for each in w.ann.vector_stores.list()] == [store_id]


async def test_a_vector_store_with_an_assistant(anyio_backend):
    """Made at the endpoint, by its description; a thread may have one, too, and get one with its first attachment."""
    async with world() as w:
        file = await upload(w.ann)
        spec: Any = {"file_search": {"vector_stores": [{"file_ids": [file.id], "metadata": {"a": "b"}}]}}
        assistant = await w.ann.beta.assistants.create(model="m", tools=SEARCH, tool_resources=spec)
        [store_id] = assistant.tool_resources.file_search.vector_store_ids
        assert (await w.direct.vector_stores.retrieve(store_id)).metadata == {"a": "b"}
        thread = await w.ann.beta.threads.create()
        attachment: Any = {"file_id": file.id, "tools": SEARCH}
        await w.ann.beta.threads.messages.create(thread.id, role="user", content="Hi", attachments=[attachment])
        thread = await w.ann.beta.threads.retrieve(thread.id)
        assert len(thread.tool_resources.file_search.vector_store_ids) == 1
        for refused in thread_of(w.bob, file), thread_of(w.bob, tool_resources=spec):
            with pytest.raises(NotFoundError, match=file.id):
                await refused
        assert len([each async for each in w.direct.vector_stores.list()]) == 2


async def test_a_thread_that_is_created_again(anyio_backend):
    """With the same key: there is one vector store, also after a restart."""
    async with world() as w:
        file = await upload(w.ann)
        headers = {"Idempotency-Key": "one"}
        made = [await thread_of(w.ann, file, extra_headers=headers) for _ in range(2)]
        assert made[0].id == made[1].id
        w.server.engine.idempotency._recent.clear()
        assert (await thread_of(w.ann, file, extra_headers=headers)).id == made[0].id
        assert len([each async for each in w.direct.vector_stores.list()]) == 1


@pytest.mark.parametrize("refusal", [error(400, "Too many."), error(401), reply({"detail": "Bad."}, 422), reply({})])
async def test_a_vector_store_that_cannot_be_made(anyio_backend, refusal):
    """The request fails with the endpoint's reason, and there is no thread."""
    async with Stub(reply({"id": "file-1"}), refusal) as stub, before(stub) as server:
        await sent(server, "POST", "/files", data=form())
        attachment = {"file_id": "file-1", "tools": SEARCH}
        messages = [{"role": "user", "content": "Hi", "attachments": [attachment]}]
        status, _, body = await sent(server, "POST", "/threads", json={"messages": messages})
        assert status == {400: 400, 422: 422}.get(int(refusal.data.split()[1]), 502)
        assert body["error"]["message"]
        assert not [record async for record in server._store.everything(Thread)]


async def test_images(anyio_backend):
    """An uploaded image goes to the model by its ID; somebody else's is refused."""
    async with world() as w:
        image = await w.ann.files.create(file=("cat.gif", GIF), purpose="vision")
        content: Any = [{"type": "image_file", "image_file": {"file_id": image.id}}]
        assert (await ask(w.ann, await thread_of(w.ann, content=content))).status == "completed"
        [user] = w.model.bodies[-1]["input"]
        assert user["content"] == [{"type": "input_image", "file_id": image.id, "detail": "auto"}]
        run = await ask(w.bob, await thread_of(w.bob, content=content))
        assert (run.status, "there is no such file" in run.last_error.message) == ("failed", True)


# --- how it is switched on


def test_what_does_not_go_together():
    """What would do nothing, or would undo the separation of owners, is refused at once."""
    files, passed = EndpointFiles("http://x/v1", KEY), PassThrough("http://x/v1")
    with pytest.raises(ValueError, match="max_owner_bytes"):
        LocalServer(files=files, max_owner_bytes=1)
    with pytest.raises(ValueError, match="only for one owner"):
        LocalServer(files=files, pass_through=passed, keys=KEYS)
    LocalServer(files=files, pass_through=passed, keys={"sk-1": "ann", "sk-2": "ann"})
    assert KEY not in repr(files)


def test_an_engine_and_an_application():
    """Both are told where the files are, or neither is."""
    files = EndpointFiles("http://x/v1", KEY)
    own = Engine(store=MemoryStore(), backend=ScriptedBackend())
    relaying = Engine(store=MemoryStore(), backend=ScriptedBackend(), files_endpoint=files)
    create_app(relaying, endpoint_files=files)
    for engine, options in (own, {"endpoint_files": files}), (relaying, {}):
        with pytest.raises(ValueError, match="both to Engine"):
            create_app(engine, **options)


async def test_it_has_to_be_open(anyio_backend):
    with pytest.raises(RuntimeError, match="is not open"):
        await EndpointFiles("http://x/v1").request("GET", "/files")


async def test_a_client_of_version_1(anyio_backend):
    """The endpoint is asked as by one of version 2."""
    async with Stub(reply({"id": "file-1"})) as stub, before(stub) as server:
        await sent(server, "POST", "/files", data=form(), headers={"OpenAI-Beta": "assistants=v1"})
    assert stub.requests[0].headers["openai-beta"] == "assistants=v2"
