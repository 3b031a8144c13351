"""Vector stores that come with an assistant, a thread or the attachments of messages."""

from typing import Any

import pytest

from openai_runs.backends import Say
from openai_runs.engine import ApiError
from openai_runs.stores.records import RunState
from tests.engine.shelves import counts, done, file_now, shelves, store_now, upload
from tests.engine.world import ALL, conform

pytestmark = pytest.mark.anyio

SEARCH = [{"type": "file_search"}]


def message(*files: Any, tools: Any = SEARCH) -> dict[str, Any]:
    attachments = [{"file_id": getattr(file, "id", file), "tools": tools} for file in files]
    return {"role": "user", "content": "Look.", "attachments": attachments}


def asked(*files: Any, **body: Any) -> dict[str, Any]:
    return {"file_search": {"vector_stores": [{"file_ids": [file.id for file in files], **body}]}}


async def stores(w: Any) -> list[Any]:
    return list((await w.engine.vector_stores.list("", ALL)).data)


def ids_of(value: Any) -> tuple[str, ...]:
    return value.tool_resources.file_search.vector_store_ids


async def test_with_an_assistant():
    """The store is made, with its metadata and its files, and does not expire; other resources stay."""
    async with shelves() as (w, index):
        file = await upload(w)
        sizes = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}
        resources = asked(file, metadata={"a": "b"}, chunking_strategy={"type": "static", "static": sizes})
        body = {"model": "m", "tools": SEARCH, "tool_resources": {"code_interpreter": {"file_ids": ["f"]}, **resources}}
        assistant = conform(await w.engine.assistants.create("", body))
        await done(w)
        [store] = await stores(w)
        assert ids_of(assistant) == (store.id,)
        assert assistant.tool_resources.code_interpreter.file_ids == ("f",)
        assert (store.metadata, counts(store), store.expires_after) == ({"a": "b"}, (0, 1, 0, 0, 1), None)
        assert index.chunkings[0].max_tokens == 100


async def test_with_a_thread():
    """It expires after a week without use, as the API says; an unknown file is refused, and nothing is made."""
    async with shelves() as (w, _):
        thread = conform(await w.engine.threads.create("", {"tool_resources": asked(await upload(w))}))
        [store] = await stores(w)
        assert (ids_of(thread), store.expires_after.days) == ((store.id,), 7)
        missing = {"file_search": {"vector_stores": [{"file_ids": ["file-9"]}]}}
        with pytest.raises(ApiError, match="No such File object"):
            await w.engine.threads.create("", {"tool_resources": missing})
        assert len(await stores(w)) == 1
        await done(w)


async def test_attachments_of_a_new_thread():
    """They get a store, together with the files that are asked for; what is not here, or not for search, does not."""
    async with shelves() as (w, _):
        first, second, third = [await upload(w, str(number)) for number in range(3)]
        other = await upload(w, owner="other")
        messages = [message(first, "file-9", other), message(second, tools=[{"type": "code_interpreter"}])]
        thread = conform(await w.engine.threads.create("", {"messages": messages}))
        [store] = await stores(w)
        await done(w)
        assert (ids_of(thread), store.expires_after.days, store.file_counts.total) == ((store.id,), 7, 1)
        both = await w.engine.threads.create("", {"messages": messages, "tool_resources": asked(third)})
        await done(w)
        assert counts(await store_now(w, type(store)(**_id(ids_of(both)[0])))) == (0, 2, 0, 0, 2)
        plain = await w.engine.threads.create("", {"messages": [message("file-9"), {"role": "user", "content": "x"}]})
        assert plain.tool_resources.file_search is None


def _id(id: str) -> dict[str, Any]:
    from datetime import UTC, datetime

    from openai_runs.models.vector_store import FileCounts

    now = datetime.now(UTC)
    return {"id": id, "created_at": now, "usage_bytes": 0, "file_counts": FileCounts(), "status": "completed"}


async def test_attachments_of_a_new_thread_with_a_store():
    """They are put into the store that the thread has; one that is not here is left alone."""
    async with shelves() as (w, _):
        file, store = await upload(w), conform(await w.engine.vector_stores.create("", {}))
        for id in store.id, "vs_elsewhere":
            resources = {"file_search": {"vector_store_ids": [id]}}
            thread = await w.engine.threads.create("", {"messages": [message(file)], "tool_resources": resources})
            assert ids_of(thread) == (id,)
        await done(w)
        assert (await file_now(w, store, file)).status == "completed"
        assert len(await stores(w)) == 1


async def test_attachments_of_messages():
    """The first one makes a store of the thread, which later ones are put into."""
    async with shelves() as (w, _):
        thread = await w.engine.threads.create("", {})
        files = [await upload(w, str(number)) for number in range(2)]
        for file in files:
            await w.engine.messages.create("", thread.id, message(file))
        await w.engine.messages.create("", thread.id, {"role": "user", "content": "x"})
        [store] = await stores(w)
        await done(w)
        assert ids_of(await w.engine.threads.retrieve("", thread.id)) == (store.id,)
        assert counts(await store_now(w, store)) == (0, 2, 0, 0, 2)


async def test_attachments_of_runs():
    """Those of additional messages, and of a thread that is created with its run: the run searches in their store."""
    async with shelves(backend=[Say("Fine."), Say("Fine.")]) as (w, _):
        file = await upload(w)
        assistant = await w.engine.assistants.create("", {"model": "m", "tools": SEARCH})
        thread = await w.engine.threads.create("", {"tool_resources": {"code_interpreter": {"file_ids": ["f"]}}})
        seen = []
        commit = type(w.store).commit

        async def noting(store, changes):
            seen.extend(change.value for change in changes if isinstance(getattr(change, "value", None), RunState))
            await commit(store, changes)

        type(w.store).commit = noting
        try:
            body = {"assistant_id": assistant.id, "additional_messages": [message(file)]}
            first = await w.engine.runs.create("", thread.id, body)
            body = {"assistant_id": assistant.id, "thread": {"messages": [message(file)]}}
            second = await w.engine.threads.create_and_run("", body)
        finally:
            type(w.store).commit = commit
        for run in first, second:
            await w.until("run.completed", run)
        await done(w)
        assert {state.tool_resources.file_search.vector_store_ids for state in seen if state.tool_resources} == {
            (store.id,) for store in await stores(w)
        }
        now = await w.engine.threads.retrieve("", thread.id)
        assert now.tool_resources.code_interpreter.file_ids == ("f",)
        assert len(await stores(w)) == 2


async def test_a_full_store(monkeypatch: pytest.MonkeyPatch):
    """The message is refused, and not added."""
    from openai_runs.engine import vector_store_changes

    monkeypatch.setattr(vector_store_changes, "MAX_FILES", 1)
    async with shelves() as (w, _):
        thread = await w.engine.threads.create("", {"messages": [message(await upload(w))]})
        with pytest.raises(ApiError, match="would have more than 1 files"):
            await w.engine.messages.create("", thread.id, message(await upload(w, "2")))
        assert len((await w.engine.messages.list("", thread.id, ALL)).data) == 1
        await done(w)
