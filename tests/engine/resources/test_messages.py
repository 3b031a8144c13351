"""The API's operations on messages."""

import anyio
import pytest

from openai_runs import _wire
from openai_runs.backends import Say, Wait
from openai_runs.engine import ApiError, guard
from openai_runs.stores import PageQuery
from tests.engine.world import ALL, conform, world

pytestmark = pytest.mark.anyio


async def test_create():
    """A message of a string or of content parts comes back in the API's form."""
    async with world() as w:
        thread = await w.engine.threads.create("", {})
        message = conform(await w.engine.messages.create("", thread.id, {"role": "user", "content": "Hi"}))
        now = int(w.clock.now())
        assert _wire.dump(message) == {
            "id": message.id,
            "object": "thread.message",
            "created_at": now,
            "thread_id": thread.id,
            "status": "completed",
            "incomplete_details": None,
            "completed_at": now,
            "incomplete_at": None,
            "role": "user",
            "content": [{"type": "text", "text": {"value": "Hi", "annotations": []}}],
            "assistant_id": None,
            "run_id": None,
            "attachments": [],
            "metadata": {},
        }
        image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
        file = {"type": "image_file", "image_file": {"file_id": "file"}}
        attachment = {"file_id": "file", "tools": [{"type": "file_search"}]}
        body = {
            "role": "assistant",
            "content": [{"type": "text", "text": "Look"}, image, file],
            "attachments": [attachment],
            "metadata": {"a": "b"},
        }
        shown = _wire.dump(conform(await w.engine.messages.create("", thread.id, body)))
        assert shown["content"][1:] == [image, file]
        assert (shown["role"], shown["attachments"], shown["metadata"]) == ("assistant", [attachment], {"a": "b"})
        bare = await w.engine.messages.create("", thread.id, {**body, "attachments": None, "metadata": None})
        assert (bare.attachments, bare.metadata) == ((), {})


async def test_refused_while_a_run_is_active():
    """With the hosted API's message, until the run has ended."""
    go_on = anyio.Event()
    async with world([[Wait(go_on), Say("Hello")]]) as w:
        run = await w.start()
        with pytest.raises(ApiError) as caught:
            await w.engine.messages.create("", run.thread_id, {"role": "user", "content": "Hi"})
        error = caught.value
        assert error.message == f"Can't add messages to {run.thread_id} while a run {run.id} is active."
        assert (error.status, error.type, error.param, error.code) == (400, "invalid_request_error", None, None)
        go_on.set()
        await w.until("run.completed", run)
        await w.engine.messages.create("", run.thread_id, {"role": "user", "content": "Hi"})


async def test_update():
    """Only metadata can be changed."""
    async with world() as w:
        run = await w.start("Hi")
        (message, *_) = await w.messages(run)
        changed = conform(await w.engine.messages.update("", run.thread_id, message.id, {"metadata": {"a": "b"}}))
        assert (changed.metadata, changed.content) == ({"a": "b"}, message.content)
        assert await w.engine.messages.update("", run.thread_id, message.id, {}) == changed
        assert await w.engine.messages.retrieve("", run.thread_id, message.id) == changed


async def test_delete():
    """A message can be deleted, but not the one that a run is writing."""
    async with world([[Say("Hello"), Wait()]]) as w:
        run = await w.start("Hi")
        await w.until("message.delta", run)
        first, second = await w.messages(run)
        deleted = await w.engine.messages.delete("", run.thread_id, first.id)
        assert _wire.dump(deleted) == {"id": first.id, "object": "thread.message.deleted", "deleted": True}
        with pytest.raises(ApiError, match=f"Can't delete message {second.id} while run {run.id} is writing it."):
            await w.engine.messages.delete("", run.thread_id, second.id)
        assert [message.id for message in await w.messages(run)] == [second.id]
        with pytest.raises(ApiError, match=f"No message found with id '{first.id}'."):
            await w.engine.messages.retrieve("", run.thread_id, first.id)


async def test_list():
    """Messages of a thread or of one run; a client that deletes while paging sees all of them."""
    async with world([Say("Hello")]) as w:
        run = await w.start(*(str(number) for number in range(10)))
        await w.until("run.completed", run)
        page = conform(await w.engine.messages.list("", run.thread_id, PageQuery(), run_id=run.id))
        assert [message.text for message in page.data] == ["Hello"]
        assert (await w.engine.messages.list("", run.thread_id, ALL, run_id="x")).data == ()
        seen, after, more = [], None, True
        while more:
            page = await w.engine.messages.list("", run.thread_id, PageQuery(limit=3, after=after))
            for message in page.data:
                seen.append(message.text)
                await w.engine.messages.delete("", run.thread_id, message.id)
            after, more = page.last_id, page.has_more
        assert seen == ["Hello", *"9876543210"]


async def test_of_another_thread():
    """A message is found in its own thread only."""
    async with world() as w:
        run, other = await w.start("Hi"), await w.start("Hi")
        (message, *_) = await w.messages(run)
        for operation in (
            w.engine.messages.retrieve("", other.thread_id, message.id),
            w.engine.messages.update("", other.thread_id, message.id, {}),
            w.engine.messages.delete("", other.thread_id, message.id),
        ):
            with pytest.raises(ApiError) as caught:
                await operation
            assert (caught.value.status, str(caught.value)) == (404, f"No message found with id '{message.id}'.")


async def test_a_thread_has_a_maximum_of_messages(monkeypatch):
    """Clients cannot add more messages than the hosted API allowed, by either operation; the error names the limit."""
    monkeypatch.setattr(guard, "MAX_MESSAGES", 3)
    async with world() as w:
        run = await w.start("1")
        await w.until("run.completed", run)
        added = [{"role": "user", "content": "Hi"}] * 2
        with pytest.raises(ApiError, match="at most 3 messages, but got 4 instead") as caught:
            await w.again(run, additional_messages=added)
        assert (caught.value.param, caught.value.code) == ("additional_messages", "array_above_max_length")
        await w.engine.messages.create("", run.thread_id, added[0])
        with pytest.raises(ApiError, match="at most 3 messages, but got 4 instead") as caught:
            await w.engine.messages.create("", run.thread_id, added[0])
        assert (caught.value.status, caught.value.param) == (400, None)
        await w.until("run.completed", await w.again(run))  # the run's own messages are not limited
        assert len(await w.messages(run)) == 4
