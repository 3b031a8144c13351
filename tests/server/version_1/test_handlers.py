"""The operations that only version 1 had: the files of an assistant and of a message, one by one."""

import anyio
import pytest

pytestmark = pytest.mark.anyio

RETRIEVAL = {"type": "retrieval"}


async def test_files_of_an_assistant(old, upload):
    """They are attached, listed, read and taken out; the files themselves stay."""
    made = await old("POST", "/assistants", {"model": "m", "tools": [RETRIEVAL]})
    path, a, b = f"/assistants/{made['id']}/files", await upload("a"), await upload("b")
    file = await old("POST", path, {"file_id": a})
    expected = {"id": a, "object": "assistant.file", "created_at": made["created_at"], "assistant_id": made["id"]}
    assert file == expected
    await old("POST", path, {"file_id": b})
    assert await old("POST", path, {"file_id": a}) == expected  # it is there already
    assert await old("GET", f"{path}/{a}") == expected
    assert [file["id"] for file in (await old("GET", f"{path}?order=asc"))["data"]] == [a, b]
    assert await old("DELETE", f"{path}/{a}") == {"id": a, "object": "assistant.file.deleted", "deleted": True}
    assert [file["id"] for file in (await old("GET", path))["data"]] == [b]
    await old("GET", f"/files/{a}")
    for method in "GET", "DELETE":
        error = await old(method, f"{path}/{a}", status=404)
        assert error["error"]["message"] == f"No file found with id '{a}'."


async def test_all_at_once(old, upload):
    """No file is lost when several are attached and taken out at the same time, to an assistant that had none."""
    ids = [await upload(str(number)) for number in range(6)]
    made = await old("POST", "/assistants", {"model": "m", "tools": [RETRIEVAL, {"type": "code_interpreter"}]})
    path = f"/assistants/{made['id']}/files"
    async with anyio.create_task_group() as tasks:
        for id in ids:
            tasks.start_soon(old, "POST", path, {"file_id": id})
    assert {file["id"] for file in (await old("GET", path))["data"]} == set(ids)
    async with anyio.create_task_group() as tasks:
        for id in ids[1:]:
            tasks.start_soon(old, "DELETE", f"{path}/{id}")
    assert [file["id"] for file in (await old("GET", path))["data"]] == ids[:1]


async def test_twenty_files(old, upload):
    """An assistant has no more; the error says so."""
    ids = [await upload(str(number)) for number in range(21)]
    made = await old("POST", "/assistants", {"model": "m", "file_ids": ids[:20]})
    error = await old("POST", f"/assistants/{made['id']}/files", {"file_id": ids[20]}, status=400)
    assert error["error"]["code"] == "array_above_max_length"
    assert (await old("GET", f"/assistants/{made['id']}"))["file_ids"] == ids[:20]


async def test_pages(old, upload):
    """Lists have pages in both directions, and an unknown place in them is a 404."""
    ids = [await upload(str(number)) for number in range(4)]
    made = await old("POST", "/assistants", {"model": "m", "file_ids": ids})
    path = f"/assistants/{made['id']}/files"

    async def page(query):
        found = await old("GET", f"{path}?{query}")
        shown = [file["id"] for file in found["data"]]
        assert (found["first_id"], found["last_id"]) == ((shown[0], shown[-1]) if shown else ("", ""))
        return shown, found["has_more"]

    assert await page("limit=3") == (ids[:0:-1], True)
    assert await page(f"limit=3&after={ids[1]}") == ([ids[0]], False)
    assert await page(f"order=asc&limit=1&before={ids[2]}") == ([ids[1]], True)
    assert await page(f"order=asc&after={ids[0]}&before={ids[3]}") == (ids[1:3], False)
    assert await page(f"order=asc&after={ids[3]}") == ([], False)
    await old("GET", f"{path}?after=file-x", status=404)
    await old("GET", f"{path}?before=file-x", status=404)


async def test_files_of_a_message(old, upload):
    """They are those it was created with."""
    thread, a = await old("POST", "/threads"), await upload("a")
    messages = f"/threads/{thread['id']}/messages"
    message = await old("POST", messages, {"role": "user", "content": "Look.", "file_ids": [a]})
    assert message["file_ids"] == [a]
    expected = {
        "id": a,
        "object": "thread.message.file",
        "created_at": message["created_at"],
        "message_id": message["id"],
    }
    assert (await old("GET", f"{messages}/{message['id']}/files"))["data"] == [expected]
    assert await old("GET", f"{messages}/{message['id']}/files/{a}") == expected
    await old("GET", f"{messages}/{message['id']}/files/file-x", status=404)
    await old("GET", f"{messages}/msg_x/files", status=404)


async def test_clients_of_version_2(api, old):
    """They find none of these paths."""
    made = await old("POST", "/assistants", {"model": "m"})
    for headers in {}, {"OpenAI-Beta": "assistants=v2"}:
        response = await api.http.get(f"{api.url}/assistants/{made['id']}/files", headers=headers)
        assert response.status == 404
        assert "Invalid URL" in await response.text()
