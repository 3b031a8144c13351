"""Whose the files and vector stores at an endpoint are, and what follows from it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from openai_runs.engine import ApiError, endpoint_objects
from openai_runs.engine.endpoint_objects import BATCH, FILE, STORE, STORE_FILE, EndpointObjects
from openai_runs.models.message import Attachment, Message, MessageRole
from openai_runs.models.tool import (
    CodeInterpreterResources,
    CodeInterpreterTool,
    FileSearchResources,
    FileSearchTool,
    ToolResources,
)
from tests.engine.endpoint import Endpoint, refuse
from tests.engine.world import World, world

pytestmark = pytest.mark.anyio

TOOLS = (FileSearchTool(), CodeInterpreterTool())


@asynccontextmanager
async def objects(*, has_one_owner: bool = False) -> AsyncIterator[tuple[World, EndpointObjects, Endpoint]]:
    endpoint = Endpoint()
    async with world(files_endpoint=endpoint, has_one_owner=has_one_owner) as w:
        assert w.engine.endpoint_objects is not None
        yield w, w.engine.endpoint_objects, endpoint


def resources(*stores: str, files: tuple[str, ...] = ()) -> ToolResources:
    return ToolResources(
        file_search=FileSearchResources(vector_store_ids=stores),
        code_interpreter=CodeInterpreterResources(file_ids=files),
    )


async def test_an_owner_uses_its_own():
    """Of the kind that it is; where there is one owner, everything is."""
    async with objects() as (_, found, _):
        await found.add("ann", FILE, "file-1")
        await found.check("ann", FILE, "file-1")
        for owner, kind, id in ("bob", FILE, "file-1"), ("ann", STORE, "file-1"), ("ann", FILE, "file-2"):
            with pytest.raises(ApiError, match=id) as refused:
                await found.check(owner, kind, id)
            assert refused.value.status == 404
    async with objects(has_one_owner=True) as (_, found, _):
        await found.check("", FILE, "file-2")


async def test_an_id_that_exists_already():
    """No object changes its owner, whatever the endpoint says; it may tell one twice of the same object."""
    async with objects() as (_, found, _):
        for _ in range(2):
            await found.add("ann", FILE, "file-1")
        with pytest.raises(ApiError, match="has already"):
            await found.add("bob", FILE, "file-1")
        assert await found.is_usable("ann", FILE, "file-1")


async def test_the_list_of_an_owner(monkeypatch: pytest.MonkeyPatch):
    """All objects of a kind, however many; a file in a vector store belongs to that."""
    monkeypatch.setattr(endpoint_objects, "_MOST", 2)
    async with objects() as (_, found, _):
        for number in range(5):
            await found.add("ann", FILE, f"file-{number}")
            await found.add("bob", FILE, f"file-b{number}")
        await found.add("ann", STORE, "vs_1")
        await found.add("ann", STORE_FILE, "file-9")
        assert await found.ids("ann", FILE) == {f"file-{number}" for number in range(5)}
        assert await found.ids("ann", STORE) == {"vs_1"}
        assert [await found.has_cursor(owner, FILE, "file-1") for owner in ("ann", "bob")] == [True, False]
        await found.forget("ann", FILE, "file-1")
        assert await found.has_cursor("ann", FILE, "file-1")
        assert "file-1" not in await found.ids("ann", FILE)


async def test_batches_go_with_their_vector_store():
    async with objects() as (_, found, _):
        for store in "vs_1", "vs_2":
            await found.add("ann", STORE, store)
            await found.add("ann", BATCH, f"batch_{store}", store)
        await found.forget("ann", STORE, "vs_1")
        for id, is_there in ("batch_vs_1", False), ("batch_vs_2", True):
            assert await found.is_usable("ann", BATCH, id) is is_there


async def test_files_in_a_body():
    """All of them, wherever they stand, but not in what the caller says about files."""
    async with objects() as (_, found, _):
        for body in (
            {"file_id": "a"},
            {"file_ids": ["a"]},
            {"files": [{"file_id": "a"}]},
            {"new": {"x": {"file_id": "a"}}},
        ):
            with pytest.raises(ApiError, match="a"):
                await found.check_files("ann", body)
        for body in (
            {"attributes": {"file_id": "a"}},
            {"metadata": {"file_ids": "a"}},
            {"file_ids": [1]},
            {"filters": [{"file_id": "a"}]},
        ):
            await found.check_files("ann", body)


async def test_what_a_run_may_use():
    """Only what its tools use is looked at."""
    async with objects() as (_, found, _):
        await found.add("ann", STORE, "vs_1")
        await found.add("ann", FILE, "file-1")
        await found.use_in_run("ann", TOOLS, resources("vs_1", files=("file-1",)))
        for used, named in (resources("vs_2"), "vs_2"), (resources(files=("file-2",)), "file-2"):
            with pytest.raises(ApiError, match=named):
                await found.use_in_run("ann", TOOLS, used)
            await found.use_in_run("ann", (), used)
        await found.use_in_run("ann", TOOLS, None)


async def test_a_run_waits_for_files():
    """Until they have been read, or for a minute; then nobody asks again."""
    async with objects(has_one_owner=True) as (w, found, endpoint):
        found.note_files("vs_1")
        found.note_files("vs_2")
        endpoint.in_progress["vs_1"] = 2
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(found.use_in_run, "", TOOLS, resources("vs_1", "vs_3"))
            for looks in 1, 2, 3:
                await anyio.wait_all_tasks_blocked()
                assert endpoint.looks == ["vs_1"] * looks
                w.clock.advance(1)
        await found.use_in_run("", TOOLS, resources("vs_1"))
        assert len(endpoint.looks) == 3
        endpoint.in_progress["vs_2"] = 1000
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(found.use_in_run, "", TOOLS, resources("vs_2"))
            await anyio.wait_all_tasks_blocked()
            w.clock.advance(61)
        found.note_files("vs_1")
        endpoint.answer = refuse
        await found.use_in_run("", TOOLS, resources("vs_1"))


async def test_vector_stores_that_no_run_searches(monkeypatch: pytest.MonkeyPatch):
    """They do not fill the memory: at some point, a run would not wait for one of them."""
    monkeypatch.setattr(endpoint_objects, "_MOST_UNREAD", 2)
    async with objects(has_one_owner=True) as (_, found, endpoint):
        for number in range(5):
            found.note_files(f"vs_{number}")
        await found.use_in_run("", TOOLS, resources(*(f"vs_{number}" for number in range(5))))
        assert len(endpoint.looks) == 2
        assert "vs_4" in endpoint.looks


async def test_attachments_that_are_sent():
    """Those for code that are the owner's: a file for search is in a vector store by now."""

    def message(*attachments: Attachment | None) -> Any:
        return Message(
            id="msg_1",
            created_at=datetime(2027, 1, 15, tzinfo=UTC),
            thread_id="thread_1",
            role=MessageRole.USER,
            content=(),
            attachments=attachments,
        )

    async with objects() as (_, found, _):
        await found.add("ann", FILE, "file-1")
        both, own, others = (
            Attachment(file_id="file-1", tools=TOOLS),
            Attachment(file_id="file-1", tools=(CodeInterpreterTool(),)),
            Attachment(file_id="file-2", tools=(CodeInterpreterTool(),)),
        )
        search = Attachment(file_id="file-1", tools=(FileSearchTool(),))
        plain = message()
        [kept, same] = await found.usable("ann", [message(both, own, others, search, Attachment(tools=TOOLS)), plain])
        assert kept.attachments == (own, own)
        assert same is plain
