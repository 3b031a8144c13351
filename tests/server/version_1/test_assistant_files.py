"""An assistant's files are in its vector store and with its code interpreter, and have one list in version 1."""

import pytest

from openai_runs.server import EndpointFiles, LocalServer
from tests.server.api import Api
from tests.server.version_1.old_api import OldApi

pytestmark = pytest.mark.anyio

RETRIEVAL, SEARCH, CODE = {"type": "retrieval"}, {"type": "file_search"}, {"type": "code_interpreter"}


async def in_store(api, assistant):
    """The files in the vector store of an assistant, oldest first."""
    [id] = (await api("GET", f"/assistants/{assistant['id']}"))["tool_resources"]["file_search"]["vector_store_ids"]
    return id, [file["id"] for file in (await api("GET", f"/vector_stores/{id}/files?order=asc"))["data"]]


async def for_code(api, assistant):
    resources = (await api("GET", f"/assistants/{assistant['id']}"))["tool_resources"]
    return resources.get("code_interpreter", {}).get("file_ids", [])


async def test_made_with_files(api, old, upload):
    """Version 2 finds them in a vector store, which is shown as `file_ids` again."""
    a, b = await upload("a"), await upload("b")
    made = await old("POST", "/assistants", {"model": "m", "tools": [RETRIEVAL], "file_ids": [a, b]})
    assert (made["tools"], made["file_ids"]) == ([RETRIEVAL], [a, b])
    assert (await in_store(api, made))[1] == [a, b]
    assert (await api("GET", f"/assistants/{made['id']}"))["tools"] == [SEARCH]
    assert (await old("GET", "/assistants"))["data"] == [made]


async def test_files_are_replaced(api, old, upload):
    """Those that are not named are taken out, those that are new put in, of the same vector store."""
    a, b, c = [await upload(text) for text in "abc"]
    made = await old("POST", "/assistants", {"model": "m", "tools": [RETRIEVAL], "file_ids": [a, b]})
    store, _ = await in_store(api, made)
    changed = await old("POST", f"/assistants/{made['id']}", {"file_ids": [b, c, c]})
    assert changed["file_ids"] == [b, c]
    assert await in_store(api, made) == (store, [b, c])
    assert (await old("POST", f"/assistants/{made['id']}", {"name": "N"}))["file_ids"] == [b, c]
    assert (await old("POST", f"/assistants/{made['id']}", {"file_ids": []}))["file_ids"] == []


async def test_other_tools(api, old, upload):
    """When tools change, the files go where the new ones look for them."""
    a, b = await upload("a"), await upload("b")
    made = await old("POST", "/assistants", {"model": "m", "tools": [CODE], "file_ids": [a]})
    assert (made["file_ids"], await for_code(api, made)) == ([a], [a])
    changed = await old("POST", f"/assistants/{made['id']}", {"tools": [RETRIEVAL]})
    assert (changed["file_ids"], await for_code(api, made), (await in_store(api, made))[1]) == ([a], [], [a])
    changed = await old("POST", f"/assistants/{made['id']}", {"tools": [RETRIEVAL, CODE], "file_ids": [a, b]})
    assert (changed["file_ids"], await for_code(api, made), (await in_store(api, made))[1]) == ([a, b], [a, b], [a, b])


async def test_made_without_files(old, upload):
    """A vector store is made with the first file, and none before."""
    made = await old("POST", "/assistants", {"model": "m"})
    assert made["file_ids"] == []
    assert (await old("POST", f"/assistants/{made['id']}", {"file_ids": []}))["file_ids"] == []
    a = await upload("a")
    assert (await old("POST", f"/assistants/{made['id']}", {"file_ids": [a]}))["file_ids"] == [a]


async def test_a_store_that_is_not_here(api, old, upload):
    """It may be at the model's endpoint, and its files are unknown; files that are given get one here."""
    body = {"model": "m", "tools": [SEARCH], "tool_resources": {"file_search": {"vector_store_ids": ["vs_far"]}}}
    made = await api("POST", "/assistants", body)
    path = f"/assistants/{made['id']}"
    assert (await old("GET", path))["file_ids"] == []
    assert (await old("POST", path, {"tools": [RETRIEVAL]}))["file_ids"] == []
    assert (await api("GET", path))["tool_resources"] == body["tool_resources"]
    a = await upload("a")
    assert (await old("POST", path, {"file_ids": [a]}))["file_ids"] == [a]


async def test_resources_of_version_2(api, old, upload):
    """A client of version 1 that sends them has its way."""
    a = await upload("a")
    made = await old("POST", "/assistants", {"model": "m", "tools": [RETRIEVAL], "file_ids": [a]})
    changed = await old("POST", f"/assistants/{made['id']}", {"tool_resources": {}})
    assert changed["file_ids"] == []


async def test_no_such_file(old):
    """It is said at once."""
    error = await old("POST", "/assistants", {"model": "m", "file_ids": ["file-x"]}, status=404)
    assert error["error"]["message"] == "No such File object: file-x"
    made = await old("POST", "/assistants", {"model": "m"})
    await old("POST", f"/assistants/{made['id']}", {"file_ids": ["file-x"]}, status=404)
    await old("POST", "/assistants/asst_x", {"file_ids": []}, status=404)


async def test_files_at_the_models_endpoint(server, http, upload):
    """An assistant is made with some; those that it searches cannot be changed, and it is said how to."""
    async with LocalServer(files=EndpointFiles(server.url)) as relaying:
        old = OldApi(http, relaying.url)
        a, b = await upload("a"), await upload("b")
        made = await old("POST", "/assistants", {"model": "m", "tools": [RETRIEVAL], "file_ids": [a]})
        assert (await Api(http, server.url)("GET", "/vector_stores"))["data"][0]["file_counts"]["total"] == 1
        path = f"/assistants/{made['id']}"
        error = await old("POST", path, {"file_ids": [a, b]}, status=400)
        assert "at the model's endpoint" in error["error"]["message"]
        assert (await old("POST", path, {"name": "Tea"}))["name"] == "Tea"
        code = await old(
            "POST", "/assistants", {"model": "m", "tools": [{"type": "code_interpreter"}], "file_ids": [a]}
        )
        assert (await old("POST", f"/assistants/{code['id']}", {"file_ids": [b]}))["file_ids"] == [b]
