"""``/assistants``."""

import pytest

pytestmark = pytest.mark.anyio


async def test_a_life(api):
    """An assistant is created, retrieved, updated, listed and deleted."""
    asked = {
        "model": "m",
        "name": "Näme",
        "description": None,
        "instructions": "Be brief.",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": [None, 1.5]}}}],
        "tool_resources": {"code_interpreter": {"file_ids": ["file_1"]}},
        "metadata": {"k": "v"},
        "temperature": 0.5,
        "top_p": 1,
        "response_format": {"type": "json_object"},
    }
    made = await api("POST", "/assistants", asked)
    assert {name: made[name] for name in asked} == asked
    path = f"/assistants/{made['id']}"
    assert await api("GET", path) == made
    changed = await api("POST", path, {"name": "Other"})
    assert changed == made | {"name": "Other"}
    assert (await api("GET", "/assistants"))["data"] == [changed]
    gone = await api("DELETE", path)
    assert gone == {"id": made["id"], "object": "assistant.deleted", "deleted": True}
    for method in ("GET", "DELETE"):
        error = await api(method, path, status=404)
        assert error["error"]["message"] == f"No assistant found with id '{made['id']}'."
    await api("POST", path, {}, status=404)


async def test_pages(api):
    """Pages connect without a gap, in both directions and orders."""
    ids = [(await api("POST", "/assistants", {"model": "m"}))["id"] for _ in range(5)]
    page = await api("GET", "/assistants?limit=2&order=asc")
    assert [item["id"] for item in page["data"]] == ids[:2]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[1], True)
    page = await api("GET", f"/assistants?limit=100&order=asc&after={ids[1]}")
    assert [item["id"] for item in page["data"]] == ids[2:]
    assert page["has_more"] is False
    page = await api("GET", f"/assistants?before={ids[3]}&foo=bar")
    assert [item["id"] for item in page["data"]] == [ids[4]]
    await api("GET", "/assistants?after=asst_nobody", status=400)


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_backwards(api, order):
    """`before` alone is the page before that object; going on with `first_id` leads to the very start."""
    ids = [(await api("POST", "/assistants", {"model": "m"}))["id"] for _ in range(6)]
    listed = ids if order == "asc" else ids[::-1]
    seen, more = [listed[-1]], True
    while more:
        page = await api("GET", f"/assistants?limit=2&order={order}&before={seen[0]}")
        seen, more = [item["id"] for item in page["data"]] + seen, page["has_more"]
    assert seen == listed


async def test_an_empty_list(api):
    """A list of nothing is an empty page."""
    page = await api("GET", "/assistants")
    assert (page["data"], page["has_more"]) == ([], False)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=sideways"])
async def test_a_wrong_query(api, query):
    """An invalid query is refused, and the error names the parameter."""
    error = await api("GET", f"/assistants?{query}", status=400)
    assert error["error"]["param"] == query.partition("=")[0]


async def test_wrong_bodies(api, assistant):
    """Create and update are each checked against their own schema."""
    error = await api("POST", "/assistants", {}, status=400)
    assert error["error"]["code"] == "missing_required_parameter"
    error = await api("POST", f"/assistants/{assistant['id']}", {"tools": [{"type": "retrieval"}]}, status=400)
    assert error["error"]["param"] == "tools[0].type"
