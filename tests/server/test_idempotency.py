"""``Idempotency-Key``: every request that creates something is carried out once for each key."""

import os
import signal

import anyio
import pytest
from aiohttp import ClientError, ClientSession

from openai_runs.models.run import Run
from openai_runs.server import LocalServer
from openai_runs.stores.sqlite import SQLiteStore
from tests.server.api import Api
from tests.server.event_stream import events_of
from tests.serving import serving

pytestmark = pytest.mark.anyio


def with_key(key="k", **headers):
    return {"headers": {"Idempotency-Key": key, **headers}}


def operations(assistant, thread):
    """Every operation that creates something, with a body."""
    return {
        "/assistants": {"model": "m"},
        "/threads": {"messages": [{"role": "user", "content": "Hi"}]},
        f"/threads/{thread['id']}/messages": {"role": "user", "content": "Hi"},
        f"/threads/{thread['id']}/runs": {"assistant_id": assistant["id"]},
        "/threads/runs": {"assistant_id": assistant["id"]},
    }


async def test_each_create_once(api, assistant, thread):
    """The same key and body: the same object, and the response says so."""
    for path, body in operations(assistant, thread).items():
        first = await api.send("POST", path, body, **with_key())
        again = await api.send("POST", path, body, **with_key())
        assert (first.status, again.status) == (200, 200)
        assert first.body["id"] == again.body["id"]
        assert [r.headers.get("Idempotent-Replayed") for r in (first, again)] == [None, "true"]
    messages = await api("GET", f"/threads/{thread['id']}/messages?order=asc")
    assert [m["content"][0]["text"]["value"] for m in messages["data"]][:2] == ["How is the weather?", "Hi"]
    runs = await api("GET", f"/threads/{thread['id']}/runs")
    assert len(runs["data"]) == 1
    assert len((await api("GET", "/assistants"))["data"]) == 2


async def test_another_body(api, assistant, thread):
    """422 for another body under the same key; nothing is created."""
    for path, body in operations(assistant, thread).items():
        await api("POST", path, body, **with_key())
        refused = await api.send("POST", path, {**body, "metadata": {"a": "b"}}, **with_key())
        assert (refused.status, refused.error["code"]) == (422, "idempotency_key_reused")


async def test_tool_outputs_once(api, waiting_run, outputs):
    """Outputs that are submitted again with their key are no error, although the run does not wait for them."""
    path = f"/threads/{waiting_run['thread_id']}/runs/{waiting_run['id']}/submit_tool_outputs"
    for _ in range(2):
        run = await api("POST", path, {"tool_outputs": outputs}, **with_key())
        assert (run["id"], run["required_action"]) == (waiting_run["id"], None)
    await api("POST", path, {"tool_outputs": outputs}, status=400)


@pytest.mark.parametrize("path", ["/threads/runs", "/threads/{thread_id}/runs"])
async def test_a_stream(server, api, assistant, thread, path):
    """A streamed create that is repeated is answered with the run as plain JSON, even while the stream goes on."""
    path, body = path.format(thread_id=thread["id"]), {"assistant_id": assistant["id"], "stream": True}
    async with api.http.post(server.url + path, json=body, **with_key()) as response:
        assert response.content_type == "text/event-stream"
        again = await api("POST", path, body, **with_key())
        events = events_of(await response.read())
    ids = {data["id"] for name, data in events if name.startswith("thread.run.") and "step" not in name}
    assert ids == {again["id"]}
    assert len((await api("GET", f"/threads/{again['thread_id']}/runs"))["data"]) == 1


async def test_without_a_key(api):
    """Requests without a key are carried out each time."""
    ids = {(await api("POST", "/threads", {}))["id"] for _ in range(2)}
    assert len(ids) == 2


async def test_one_key_for_other_operations(api, assistant, thread):
    """A key belongs to a method and a path; with and without /v1 it is the same path."""
    ids = {(await api("POST", path, body, **with_key()))["id"] for path, body in operations(assistant, thread).items()}
    assert len(ids) == 5
    bare = Api(api.http, api.url.removesuffix("/v1"))
    assert (await bare("POST", "/assistants", {"model": "m"}, **with_key()))["id"] in ids


async def test_one_key_of_two_owners():
    """Owners do not see each other's keys."""
    async with LocalServer(keys={"sk-a": "ann", "sk-b": "bob"}) as server, ClientSession() as http:
        api = Api(http, server.url)
        ids = [
            (await api("POST", "/threads", {}, **with_key(Authorization=f"Bearer {key}")))["id"]
            for key in ("sk-a", "sk-b", "sk-a")
        ]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize("key", ["", "x" * 256, '"open', "é", '""'])
async def test_a_bad_key(api, key):
    """400, and nothing is created."""
    refused = await api.send("POST", "/assistants", {"model": "m"}, **with_key(key))
    assert refused.status == 400
    assert (refused.error["param"], refused.error["code"]) == ("Idempotency-Key", "invalid_value")
    assert "1 to 255 printable ASCII characters" in refused.error["message"]
    assert (await api("GET", "/assistants"))["data"] == []


async def test_two_keys(api):
    """A request has one key."""
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    await api("POST", "/assistants", {"model": "m"}, status=400, headers=headers)


async def test_refusals_are_not_remembered(api, assistant, thread):
    """A request that was refused did nothing: with the same key it may be corrected, or succeed later."""
    await api("POST", "/assistants", {"modell": "m"}, status=400, **with_key())
    await api("POST", "/assistants", {"model": "m"}, **with_key())
    path, body = f"/threads/{thread['id']}/runs", {"assistant_id": "asst_none"}
    await api("POST", path, body, status=404, **with_key())
    await api("POST", path, {"assistant_id": assistant["id"]}, **with_key())


async def test_a_deleted_object(api):
    """A key that has created an object which is gone creates no other one."""
    thread = await api("POST", "/threads", {}, **with_key())
    await api("DELETE", f"/threads/{thread['id']}")
    error = await api("POST", "/threads", {}, status=404, **with_key())
    assert "has been deleted" in error["error"]["message"]


async def test_every_response_says_so(server, api, assistant, thread):
    """Clients see in any response that the server honours keys: in errors and streams too."""
    for method, path in (("GET", "/assistants"), ("GET", "/threads/none"), ("PUT", "/threads"), ("GET", "/nothing")):
        response = await api.send(method, path)
        assert response.headers["Idempotency-Key-Supported"] == "true"
    body = {"assistant_id": assistant["id"], "stream": True}
    async with api.http.post(f"{server.url}/threads/runs", json=body) as response:
        assert response.headers["Idempotency-Key-Supported"] == "true"


async def test_after_a_restart(tmp_path):
    """Keys are stored with what their requests have created."""
    ids = []
    for _ in range(2):
        async with LocalServer(store=SQLiteStore(tmp_path / "runs.db")) as server, ClientSession() as http:
            ids.append((await Api(http, server.url)("POST", "/threads", {}, **with_key()))["id"])
    assert ids[0] == ids[1]


@pytest.mark.unmeasured
async def test_killed_while_creating(tmp_path):
    """``kill -9`` at any moment, a restart, all requests again: one run for each key."""
    store, keys, found = tmp_path / "runs.db", [str(n) for n in range(60)], {}

    async def create_all(url, assistant_id, *, kill=None):
        async with ClientSession() as http:

            async def create(key):
                body = {"assistant_id": assistant_id, "metadata": {"key": key}}
                try:
                    async with http.post(f"{url}/threads/runs", json=body, **with_key(key)) as response:
                        assert response.status == 200, await response.text()
                        run = await response.json()
                except ClientError:
                    if kill is None:
                        raise
                else:
                    found.setdefault(key, set()).add((run["thread_id"], run["id"]))
                    if kill is not None and len(found) == 20:
                        os.kill(kill, signal.SIGKILL)

            async with anyio.create_task_group() as tasks:
                for key in keys:
                    tasks.start_soon(create, key)

    with serving(store, "--no-access-log") as (url, process):
        async with ClientSession() as http:
            assistant = await Api(http, url)("POST", "/assistants", {"model": "m"})
        await create_all(url, assistant["id"], kill=process.pid)
    with serving(store, "--no-access-log") as (url, _):
        await create_all(url, assistant["id"])
    assert {key: len(ids) for key, ids in found.items()} == dict.fromkeys(keys, 1)
    async with SQLiteStore(store) as opened:
        stored = [record.value async for record in opened.everything(Run)]
    assert sorted(run.id for run in stored) == sorted(id for ids in found.values() for _, id in ids)
