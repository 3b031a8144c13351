"""``/threads/{thread_id}/messages``."""

import pytest

pytestmark = pytest.mark.anyio


async def test_a_life(api):
    """A message is created, retrieved, updated, listed and deleted."""
    thread = await api("POST", "/threads")
    everything = f"/threads/{thread['id']}/messages"
    content = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "image_file", "image_file": {"file_id": "file_1"}},
    ]
    attachments = [{"file_id": "file_2", "tools": [{"type": "code_interpreter"}]}]
    made = await api("POST", everything, {"role": "user", "content": content, "attachments": attachments})
    assert made["content"][0]["text"] == {"value": "Look:", "annotations": []}
    assert (made["role"], made["thread_id"], made["attachments"]) == ("user", thread["id"], attachments)
    path = f"{everything}/{made['id']}"
    assert await api("GET", path) == made
    changed = await api("POST", path, {"metadata": {"k": "v"}})
    assert changed == made | {"metadata": {"k": "v"}}
    assert (await api("GET", everything))["data"] == [changed]
    assert await api("DELETE", path) == {"id": made["id"], "object": "thread.message.deleted", "deleted": True}
    for method, body in [("GET", None), ("POST", {}), ("DELETE", None)]:
        await api(method, path, body, status=404)


async def test_only_those_of_a_run(api, waiting_run, outputs):
    """`run_id` filters for the messages that a run wrote."""
    path = f"/threads/{waiting_run['thread_id']}"
    await api("POST", f"{path}/runs/{waiting_run['id']}/submit_tool_outputs", {"tool_outputs": outputs})
    assert (await api.ended(waiting_run | {"status": "queued"}))["status"] == "completed"
    everything = (await api("GET", f"{path}/messages"))["data"]
    of_run = (await api("GET", f"{path}/messages?run_id={waiting_run['id']}"))["data"]
    assert of_run == [m for m in everything if m["run_id"] == waiting_run["id"]]
    assert 0 < len(of_run) < len(everything)
    assert (await api("GET", f"{path}/messages?run_id=run_nobody"))["data"] == []


async def test_a_thread_with_an_active_run_is_locked(api, waiting_run):
    """The error has the hosted API's exact message."""
    thread_id = waiting_run["thread_id"]
    error = await api("POST", f"/threads/{thread_id}/messages", {"role": "user", "content": "And?"}, status=400)
    assert error["error"] == {
        "message": f"Can't add messages to {thread_id} while a run {waiting_run['id']} is active.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


async def test_text_that_is_hard_to_carry(api, thread):
    """Control characters, line breaks of all kinds and every plane of Unicode come back unchanged."""
    text = "a\0b\r\n\u2028\ufeff\U0001f600é\x7f" + "字" * 100_000
    made = await api("POST", f"/threads/{thread['id']}/messages", {"role": "user", "content": text})
    assert made["content"][0]["text"]["value"] == text
    assert await api("GET", f"/threads/{thread['id']}/messages/{made['id']}") == made
