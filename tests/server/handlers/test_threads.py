"""``/threads``."""

import pytest

pytestmark = pytest.mark.anyio


async def test_a_life(api):
    """A thread is created with messages, retrieved, updated, and deleted with everything in it."""
    asked = {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"k": "v"}}
    made = await api("POST", "/threads", asked)
    path = f"/threads/{made['id']}"
    assert await api("GET", path) == made
    assert [m["content"][0]["text"]["value"] for m in (await api("GET", f"{path}/messages"))["data"]] == ["Hi"]
    changed = await api("POST", path, {"metadata": {"k": "w"}})
    assert changed == made | {"metadata": {"k": "w"}}
    assert await api("DELETE", path) == {"id": made["id"], "object": "thread.deleted", "deleted": True}
    for method, rest, body in [
        ("GET", "", None),
        ("POST", "", {}),
        ("DELETE", "", None),
        ("GET", "/messages", None),
        ("GET", "/runs", None),
    ]:
        error = await api(method, path + rest, body, status=404)
        assert error["error"]["message"] == f"No thread found with id '{made['id']}'."


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"data": b""},
        {"data": b"", "headers": {"Content-Type": "application/json"}},
        {"json": {}},
        {"data": b" null", "headers": {"Content-Type": "application/json"}},
        {"data": b" {} ", "headers": {"Content-Type": "application/json; charset=utf-8"}},
    ],
)
async def test_no_body_is_needed(api, options):
    """`POST /threads` works without a body, as in the document's first example."""
    thread = await api("POST", "/threads", **options)
    assert thread["object"] == "thread"


@pytest.mark.parametrize("path", ["/threads/thread_1", "/assistants", "/threads/runs", "/threads/thread_1/messages"])
async def test_other_bodies_are_needed(api, path):
    """Where the document requires a body, an empty one is refused."""
    error = await api("POST", path, data=b"", headers={"Content-Type": "application/json"}, status=400)
    assert "could not parse the JSON body" in error["error"]["message"]


async def test_create_and_run(api, assistant):
    """A thread and its run are created in one request."""
    asked = {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
    run = await api("POST", "/threads/runs", asked | {"metadata": {"k": "v"}, "stream": False})
    assert (run["status"], run["assistant_id"], run["metadata"]) == ("queued", assistant["id"], {"k": "v"})
    messages = await api("GET", f"/threads/{run['thread_id']}/messages?order=asc")
    assert messages["data"][0]["content"][0]["text"]["value"] == "Hi"
    await api("POST", "/threads/runs", {"assistant_id": "asst_nobody"}, status=404)


async def test_a_thread_called_runs(api):
    """`/threads/runs` is an operation, not a thread named "runs"."""
    for method in ("GET", "DELETE"):
        response = await api.send(method, "/threads/runs")
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert (await api.send("GET", "/threads/runs1")).status == 404


async def test_all_threads(api):
    """Beyond the API: the owner's threads, newest first."""
    made = [(await api("POST", "/threads", {}))["id"] for _ in range(3)]
    await api("DELETE", f"/threads/{made[1]}")
    page = await api("GET", "/threads")
    assert [thread["id"] for thread in page["data"]] == [made[2], made[0]]
    page = await api("GET", f"/threads?after={made[1]}")
    assert [thread["id"] for thread in page["data"]] == [made[0]]
