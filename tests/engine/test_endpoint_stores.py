"""Vector stores that threads and assistants ask for, made at an endpoint."""

from typing import Any

import pytest

from openai_runs.engine import ApiError
from openai_runs.engine.endpoint_objects import FILE, STORE
from openai_runs.models.thread import Thread
from tests.engine.endpoint import Endpoint, refuse
from tests.engine.world import World, world

pytestmark = pytest.mark.anyio

SEARCH = [{"type": "file_search"}]


def message(*ids: str) -> dict[str, Any]:
    return {"role": "user", "content": "Look.", "attachments": [{"file_id": id, "tools": SEARCH} for id in ids]}


def stores(w: World) -> Any:
    assert w.engine.endpoint_objects is not None
    return w.engine.endpoint_objects


async def test_with_a_thread():
    """One request makes it, with all files; it expires, and belongs to the thread's owner."""
    endpoint = Endpoint()
    async with world(files_endpoint=endpoint) as w:
        for id in "file-1", "file-2":
            await stores(w).add("ann", FILE, id)
        spec = {"file_ids": ["file-1"], "metadata": {"a": "b"}}
        body = {"tool_resources": {"file_search": {"vector_stores": [spec]}}, "messages": [message("file-2", "file-1")]}
        thread = await w.engine.threads.create("ann", body)
        assert thread.tool_resources.file_search.vector_store_ids == ("vs_1",)
        [(method, path, _, sent)] = endpoint.requests
        assert (method, path) == ("POST", "/vector_stores")
        expiry = {"anchor": "last_active_at", "days": 7}
        assert sent == {"file_ids": ["file-1", "file-2"], "metadata": {"a": "b"}, "expires_after": expiry}
        assert await stores(w).is_usable("ann", STORE, "vs_1")
        await w.engine.messages.create("ann", thread.id, message("file-1"))
        assert endpoint.requests[1][1:] == (
            "/vector_stores/{vector_store_id}/file_batches",
            {"vector_store_id": "vs_1"},
            {"file_ids": ["file-1"]},
        )


async def test_many_files():
    """As many as the endpoint takes at a time, and then the others; without files, none are named."""
    endpoint = Endpoint()
    async with world(files_endpoint=endpoint, has_one_owner=True) as w:
        ids = [f"file-{number}" for number in range(1100)]
        spec = {"file_search": {"vector_stores": [{"file_ids": ids}]}}
        await w.engine.assistants.create("", {"model": "m", "tool_resources": spec})
        assert [body["file_ids"] for *_, body in endpoint.requests] == [ids[:500], ids[500:1000], ids[1000:]]
        await w.engine.assistants.create("", {"model": "m", "tool_resources": {"file_search": {"vector_stores": [{}]}}})
        assert endpoint.requests[-1][3] == {}


async def test_somebody_elses():
    """A file, or a thread's vector store, is a 404, and nothing is sent."""
    endpoint = Endpoint()
    async with world(files_endpoint=endpoint) as w:
        await stores(w).add("ann", FILE, "file-1")
        await stores(w).add("ann", STORE, "vs_1")
        with pytest.raises(ApiError, match="file-1"):
            await w.engine.threads.create("bob", {"messages": [message("file-1")]})
        await stores(w).add("bob", FILE, "file-2")
        resources = {"file_search": {"vector_store_ids": ["vs_1"]}}
        with pytest.raises(ApiError, match="vs_1"):
            await w.engine.threads.create("bob", {"tool_resources": resources, "messages": [message("file-2")]})
        assert not endpoint.requests


async def test_an_endpoint_that_makes_none():
    """There is no thread either."""
    endpoint = Endpoint(answer=dict)
    async with world(files_endpoint=endpoint, has_one_owner=True) as w:
        with pytest.raises(ApiError, match="without an ID"):
            await w.engine.threads.create("", {"messages": [message("file-1")]})
        endpoint.answer = refuse
        with pytest.raises(ApiError, match="no answer"):
            await w.engine.threads.create("", {"messages": [message("file-1")]})
        assert not [record async for record in w.store.everything(Thread)]
