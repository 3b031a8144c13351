"""Pages of large objects: `exchange.answer_page`, whatever the store."""

import pytest
from aiohttp import ClientSession

from openai_runs.server import LocalServer, exchange
from openai_runs.stores import MemoryStore
from openai_runs.stores import sqlite as sqlite_store
from openai_runs.stores.sqlite import SQLiteStore
from tests.server.api import Api

pytestmark = pytest.mark.anyio

SIZES = {"1": 700, "2": 700, "3": 10, "4": 5000, "5": 10, "6": 1200, "7": 1800, "8": 5000}


@pytest.fixture(params=["memory", "sqlite"])
async def api(request, tmp_path, monkeypatch, anyio_backend):
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
async def test_a_page_ends_where_it_would_be_too_large(api, order, cursor, pages):
    """It says that there is more, and whoever goes on from it, in either direction, misses nothing."""
    texts = ["first", *(id + "x" * size for id, size in SIZES.items()), "last"]
    thread = await api("POST", "/threads", {"messages": [{"role": "user", "content": text} for text in texts]})
    path = f"/threads/{thread['id']}/messages"
    ends = [(await api("GET", f"{path}?limit=1&order={order}"))["first_id"] for order in ("asc", "desc")]
    for end in ends:
        await api("DELETE", f"{path}/{end}")
    found, more = [], True
    at = ends[(order == "asc") != (cursor == "after")]
    while more:
        page = await api("GET", f"{path}?limit=3&order={order}&{cursor}={at}")
        data, more = page["data"], page["has_more"]
        found.append("".join(message["content"][0]["text"]["value"][0] for message in data))
        assert (page["first_id"], page["last_id"]) == (data[0]["id"], data[-1]["id"])
        at = data[-1 if cursor == "after" else 0]["id"]
    assert found == pages
