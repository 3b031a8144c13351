"""``/vector_stores``."""

import pytest
from aiohttp import ClientSession

from openai_runs.server import LocalServer
from tests.server.api import Api, form

pytestmark = pytest.mark.anyio


async def test_a_life(api: Api, until_completed):
    """A vector store is created, retrieved, updated, listed, searched and deleted."""
    file = await api("POST", "/files", data=form(b"blue sky\nred", "colours.txt"))
    body = {"name": "Colours", "file_ids": [file["id"]], "metadata": {"a": "b"}}
    body |= {"expires_after": {"anchor": "last_active_at", "days": 2}, "description": "of all kinds"}
    made = await api("POST", "/vector_stores", body)
    assert {name: made[name] for name in ("name", "metadata", "expires_after", "description")} == {
        name: body[name] for name in ("name", "metadata", "expires_after", "description")
    }
    assert made["expires_at"] == made["last_active_at"] + 2 * 86400
    path = f"/vector_stores/{made['id']}"
    read = await until_completed(path)
    assert read["file_counts"] == {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 0, "total": 1}
    changed = await api("POST", path, {"name": "Other", "expires_after": None})
    assert (changed["name"], "expires_after" in changed, changed["expires_at"]) == ("Other", False, None)
    assert (await api("GET", "/vector_stores"))["data"] == [changed]
    found = await api("POST", f"{path}/search", {"query": "blue sky", "max_num_results": 1})
    assert found["data"][0]["content"] == [{"type": "text", "text": "blue sky"}]
    assert (found["data"][0]["filename"], found["has_more"], found["next_page"]) == ("colours.txt", False, None)
    assert await api("DELETE", path) == {"id": made["id"], "object": "vector_store.deleted", "deleted": True}
    for method, where, sent in [("GET", path, None), ("POST", path, {}), ("POST", f"{path}/search", {"query": "x"})]:
        error = (await api(method, where, sent, status=404))["error"]
        assert error["message"] == f"No vector store found with id '{made['id']}'."


async def test_an_empty_one(api: Api):
    """A store without a name has an empty one, since the document has no null there."""
    made = await api("POST", "/vector_stores", {})
    assert (made["name"], made["metadata"], made["status"], made["usage_bytes"]) == ("", {}, "completed", 0)


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("", {"nmae": "x"}, "nmae", "unknown_parameter"),
        ("", {"file_ids": ["f"] * 501}, "file_ids", "array_above_max_length"),
        ("", {"name": "x" * 1001}, "name", "string_above_max_length"),
        ("", {"expires_after": {"anchor": "now", "days": 3}}, "expires_after.anchor", "invalid_value"),
        ("", {"expires_after": {"days": 3}}, "expires_after.anchor", "missing_required_parameter"),
        ("", {"chunking_strategy": {"type": "none"}}, "chunking_strategy.type", "invalid_value"),
        ("/vs_1/search", {}, "query", "missing_required_parameter"),
        ("/vs_1/search", {"query": 5}, "query", "invalid_type"),
        ("/vs_1/search", {"query": ["x"] * 21}, "query", "array_above_max_length"),
        ("/vs_1/search", {"query": "x", "max_num_results": 51}, "max_num_results", "integer_above_max_value"),
        ("/vs_1/search", {"query": "x", "filters": {"type": "like"}}, "filters.type", "invalid_value"),
        ("/vs_1/search", {"query": "x", "filters": {"type": "eq"}}, "filters.key", "missing_required_parameter"),
        ("/vs_1/files", {}, "file_id", "missing_required_parameter"),
        ("/vs_1/files", {"file_id": "f", "attributes": {"a": None}}, "attributes.a", "invalid_type"),
        ("/vs_1/files", {"file_id": "f", "attributes": {"a": "x" * 513}}, "attributes.a", "string_above_max_length"),
        ("/vs_1/files/f", {}, "attributes", "missing_required_parameter"),
        ("/vs_1/file_batches", {}, "file_ids", "missing_required_parameter"),
        ("/vs_1/file_batches", {"file_ids": []}, "file_ids", "empty_array"),
    ],
)  # fmt: skip
async def test_wrong_bodies(api: Api, path: str, body: dict, param: str, code: str):
    """Each operation has its own schema, and errors name what breaks it."""
    error = (await api("POST", f"/vector_stores{path}", body, status=400))["error"]
    assert (error["param"], error["code"]) == (param, code)


async def test_the_same_key_again(api: Api):
    """A repeated creation gives what the first one has made, as it is now."""
    file = await api("POST", "/files", data=form())

    async def twice(path: str, body: dict) -> dict:
        key = {"headers": {"Idempotency-Key": path}}
        made = await api("POST", path, body, **key)
        again = await api.send("POST", path, body, **key)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.body["id"] == made["id"]
        return again.body

    store = await twice("/vector_stores", {"name": "x"})
    entry = await twice(f"/vector_stores/{store['id']}/files", {"file_id": file["id"]})
    assert (entry["object"], entry["vector_store_id"]) == ("vector_store.file", store["id"])
    batch = await twice(f"/vector_stores/{store['id']}/file_batches", {"file_ids": [file["id"]]})
    assert batch["file_counts"]["total"] == 1
    assert len((await api("GET", "/vector_stores"))["data"]) == 1


async def test_deep_filters(server: LocalServer):
    """However they are nested, they are answered, and quickly."""
    condition: dict = {"type": "eq", "key": "a", "value": 1}
    for _ in range(40):
        condition = {"type": "and", "filters": [condition]}
    wrong: dict = {"type": "eq", "key": "a"}
    for _ in range(40):
        wrong = {"type": "or", "filters": [wrong]}
    async with ClientSession() as http:
        api = Api(http, server.url)
        store = await api("POST", "/vector_stores", {})
        path = f"/vector_stores/{store['id']}/search"
        assert (await api("POST", path, {"query": "x", "filters": condition}))["data"] == []
        await api("POST", path, {"query": "x", "filters": wrong}, status=400)
