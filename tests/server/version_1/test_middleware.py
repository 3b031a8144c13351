"""A client of version 1 meets version 1 only, in responses and in streams; one of version 2 notices nothing."""

import json

import pytest

pytestmark = pytest.mark.anyio

RETRIEVAL, SEARCH, CODE = {"type": "retrieval"}, {"type": "file_search"}, {"type": "code_interpreter"}
MODERN = ("tool_resources", "attachments", "file_search")


async def test_a_run(api, old, upload):
    """From the files to the citation; both versions read the same objects."""
    a, b = await upload("the sky is blue"), await upload("the sea is green")
    assistant = await old("POST", "/assistants", {"model": "m", "tools": [RETRIEVAL], "file_ids": [a]})
    thread = await old("POST", "/threads")
    path = f"/threads/{thread['id']}"
    message = {"role": "user", "content": "what is green", "file_ids": [b]}
    message = await old("POST", f"{path}/messages", message)
    run = await old.ended(await old("POST", f"{path}/runs", {"assistant_id": assistant["id"]}))
    assert (run["status"], run["tools"], run["file_ids"]) == ("completed", [RETRIEVAL], [a])
    answer, _ = (await old("GET", f"{path}/messages"))["data"]
    [note] = answer["content"][0]["text"]["annotations"]
    assert note["file_citation"] == {"file_id": b, "quote": ""}
    steps = await old("GET", f"{path}/runs/{run['id']}/steps?order=asc")
    [call] = steps["data"][0]["step_details"]["tool_calls"]
    assert (call["type"], call["retrieval"]) == ("retrieval", {})

    modern = await api("GET", f"{path}/messages/{message['id']}")
    assert modern["attachments"] == [{"file_id": b, "tools": [SEARCH, CODE]}]
    assert (await api("GET", f"{path}/runs/{run['id']}"))["tools"] == [SEARCH]
    steps = await api("GET", f"{path}/runs/{run['id']}/steps?order=asc")
    assert steps["data"][0]["step_details"]["tool_calls"][0]["type"] == "file_search"


async def test_made_by_version_2(api, old, upload):
    """Its objects have the shapes of version 1 for a client of that."""
    a = await upload("the sky is blue")
    resources = {"file_search": {"vector_stores": [{"file_ids": [a]}]}}
    assistant = await api("POST", "/assistants", {"model": "m", "tools": [SEARCH], "tool_resources": resources})
    attachment = {"file_id": a, "tools": [SEARCH]}
    message = {"role": "user", "content": "what is blue", "attachments": [attachment]}
    run = await api.ended(
        await api("POST", "/threads/runs", {"assistant_id": assistant["id"], "thread": {"messages": [message]}})
    )
    path = f"/threads/{run['thread_id']}"
    shown = [
        await old("GET", f"/assistants/{assistant['id']}"),
        await old("GET", path),
        await old("GET", f"{path}/runs"),
        await old("GET", f"{path}/messages"),
        await old("GET", f"{path}/runs/{run['id']}/steps"),
    ]
    assert not any(name in json.dumps(shown) for name in MODERN)
    assert (shown[0]["file_ids"], shown[2]["data"][0]["file_ids"]) == ([a], [a])
    assert shown[3]["data"][1]["file_ids"] == [a]


async def test_a_stream(old, upload):
    """Events have the shapes, too."""
    a = await upload("the sky is blue")
    assistant = await old("POST", "/assistants", {"model": "m", "tools": [RETRIEVAL], "file_ids": [a]})
    thread = {"messages": [{"role": "user", "content": "what is blue", "file_ids": [a]}]}
    text = await old.stream("/threads/runs", {"assistant_id": assistant["id"], "thread": thread})
    events = [block.split("\n") for block in text.split("\n\n") if block]
    named = [(name.removeprefix("event: "), data.removeprefix("data: ")) for name, data in events]
    assert named[-1] == ("done", "[DONE]")
    loaded = [(name, json.loads(data)) for name, data in named[:-1]]
    assert not any(name in json.dumps(loaded) for name in MODERN)
    assert all(
        data["file_ids"] == [a] for name, data in loaded if name.startswith("thread.run.") and "step" not in name
    )
    said = [
        data["delta"]["content"][0]["text"].get("value", "") for name, data in loaded if name.endswith("sage.delta")
    ]
    assert "blue" in "".join(said)


async def test_the_assistant_is_gone(old, upload):
    """Its runs stay, and have no files."""
    assistant = await old("POST", "/assistants", {"model": "m", "file_ids": [await upload("a")]})
    run = await old.ended(await old("POST", "/threads/runs", {"assistant_id": assistant["id"]}))
    assert len(run["file_ids"]) == 1
    assert (await old("DELETE", f"/assistants/{assistant['id']}"))["deleted"]
    assert (await old("GET", f"/threads/{run['thread_id']}/runs/{run['id']}"))["file_ids"] == []


async def test_the_content_of_a_file(old, api, upload):
    """What is no JSON is sent as it is."""
    a = await upload('{"object": "thread"}')
    headers = {"OpenAI-Beta": "assistants=v1"}
    async with api.http.get(f"{api.url}/files/{a}/content", headers=headers) as response:
        assert await response.text() == '{"object": "thread"}'
