"""Request bodies as handlers get them, and the size of a page of large objects."""

import logging

import pytest
from aiohttp import ClientSession

from openai_runs.server import LocalServer, exchange
from openai_runs.stores import MemoryStore
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.sqlite import store as sqlite_store
from tests.server.api import Api
from tests.server.raw_http import HEAD, send_raw

pytestmark = pytest.mark.anyio

SIZES = {"1": 700, "2": 700, "3": 10, "4": 5000, "5": 10, "6": 1200, "7": 1800, "8": 5000}


@pytest.fixture(params=["memory", "sqlite"])
async def small_pages(request, tmp_path, monkeypatch, anyio_backend):
    for module in exchange, sqlite_store:
        monkeypatch.setattr(module, "PAGE_BYTES", 3400)
    store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")
    async with LocalServer(store=store) as server, ClientSession() as http:
        yield Api(http, server.url)


@pytest.mark.parametrize(
    ("order", "cursor", "pages"),
    [
        ("asc", "after", ["123", "4", "56", "7", "8"]),
        ("desc", "after", ["8", "7", "65", "4", "321"]),
        ("asc", "before", ["8", "7", "56", "4", "123"]),
        ("desc", "before", ["321", "4", "65", "7", "8"]),
    ],
)
async def test_a_page_ends_where_it_would_be_too_large(small_pages, order, cursor, pages):
    """A page cut by size says that there is more; paging on from it, in either direction, misses nothing."""
    texts = ["first", *(id + "x" * size for id, size in SIZES.items()), "last"]
    thread = await small_pages("POST", "/threads", {"messages": [{"role": "user", "content": text} for text in texts]})
    path = f"/threads/{thread['id']}/messages"
    ends = [(await small_pages("GET", f"{path}?limit=1&order={order}"))["first_id"] for order in ("asc", "desc")]
    for end in ends:
        await small_pages("DELETE", f"{path}/{end}")
    found, more = [], True
    at = ends[(order == "asc") != (cursor == "after")]
    while more:
        page = await small_pages("GET", f"{path}?limit=3&order={order}&{cursor}={at}")
        data, more = page["data"], page["has_more"]
        found.append("".join(message["content"][0]["text"]["value"][0] for message in data))
        assert (page["first_id"], page["last_id"]) == (data[0]["id"], data[-1]["id"])
        at = data[-1 if cursor == "after" else 0]["id"]
    assert found == pages


@pytest.mark.parametrize(
    "text", [b"{", b"model=gpt-4o", b"[1,2]", b'"x"', b"null", b"\xff\xfe{", b'{"a":NaN}', b"[" * 9999]
)
async def test_a_body_that_is_no_object(api, text):
    """A body that is not a JSON object is a 400 in every operation; `null` where no body is needed is none."""
    no_body_needed = () if text == b"null" else ("/threads",)
    for path in ("/assistants", "/threads/runs", "/threads/t/runs/r/submit_tool_outputs", *no_body_needed):
        response = await api.send("POST", path, data=text, headers={"Content-Type": "application/json"})
        assert response.status == 400


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "x", ""])
async def test_another_content_type(api, content_type):
    """Only `application/json` is accepted, so no web page can start runs on a local server by sending JSON as text."""
    response = await api.send("POST", "/threads", data=b"{}", headers={"Content-Type": content_type})
    assert (response.status, response.error["code"]) == (415, "unsupported_content_type")


async def test_a_body_that_cannot_be_unpacked(server, caplog):
    """A wrong Content-Encoding is a 400, and no error in the log."""
    data = b"POST /v1/threads HTTP/1.1\r\n" + HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"
    status, body = await send_raw(server, data)
    assert (status, b"could not read the body" in body) == (400, True)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_a_body_that_breaks_off(server, api, caplog):
    """A client that disconnects while sending creates no object, and causes no error in the log."""
    for head in (b"Content-Length: 200\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"):
        await send_raw(server, b"POST /v1/assistants HTTP/1.1\r\n" + HEAD + head, then_close=True)
    assert (await api("GET", "/assistants"))["data"] == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
