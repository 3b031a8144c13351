"""The API's operations on threads."""

import pytest

from openai_runs import _wire
from openai_runs.backends import Call, Say, Wait
from openai_runs.engine import ApiError
from tests.engine.world import WEATHER, conform, world

pytestmark = pytest.mark.anyio


async def test_create_and_update():
    """With messages, resources and metadata, each of which may be missing."""
    async with world() as w:
        thread = conform(await w.engine.threads.create("", {}))
        assert _wire.dump(thread) == {
            "id": thread.id,
            "object": "thread",
            "created_at": int(w.clock.now()),
            "tool_resources": {},
            "metadata": {},
        }
        resources = {"code_interpreter": {"file_ids": ["file"]}}
        body = {"tool_resources": resources, "metadata": {"a": "b"}, "messages": [{"role": "user", "content": "Hi"}]}
        thread = conform(await w.engine.threads.create("", body))
        assert _wire.dump(thread)["tool_resources"] == resources
        assert await w.engine.threads.retrieve("", thread.id) == thread
        changed = conform(await w.engine.threads.update("", thread.id, {"tool_resources": None}))
        assert (changed.tool_resources, changed.metadata) == (None, {"a": "b"})
        changed = conform(await w.engine.threads.update("", thread.id, {"metadata": None}))
        assert (changed.tool_resources, changed.metadata) == (None, {})
        assert await w.engine.threads.retrieve("", thread.id) == changed


async def test_delete():
    """Deleting a thread deletes everything in it."""
    async with world([Say("Hello")]) as w:
        run = await w.start("Hi")
        await w.until("run.completed", run)
        (step,) = await w.steps(run)
        deleted = await w.engine.threads.delete("", run.thread_id)
        assert _wire.dump(deleted) == {"id": run.thread_id, "object": "thread.deleted", "deleted": True}
        for operation in (
            w.engine.threads.retrieve("", run.thread_id),
            w.engine.threads.update("", run.thread_id, {}),
            w.engine.threads.delete("", run.thread_id),
            w.engine.messages.create("", run.thread_id, {"role": "user", "content": "Hi"}),
            w.messages(run),
            w.get(run),
            w.engine.run_steps.retrieve("", run.thread_id, run.id, step.id),
            w.again(run),
        ):
            with pytest.raises(ApiError) as caught:
                await operation
            assert (caught.value.status, str(caught.value)) == (404, f"No thread found with id '{run.thread_id}'.")


@pytest.mark.parametrize("script", [[[Say("Hello"), Wait()]], [Call("f")]])
async def test_delete_while_a_run_is_active(script):
    """The run is cancelled, and its subscriber gets the event."""
    async with world(script) as w:
        run = await w.start("Hi")
        await w.settle()
        await w.engine.threads.delete("", run.thread_id)
        assert w.names(run.id)[-1] == "run.cancelled"
        w.clock.advance(600)
        await w.settle()
        assert w.names(run.id)[-1] == "run.cancelled"


async def test_create_and_run():
    """It creates a thread and a run; no other operation publishes `thread.created`."""
    async with world() as w:
        assistant = await w.engine.assistants.create("", {"model": "m", "instructions": "Be brief."})
        body = {
            "assistant_id": assistant.id,
            "instructions": None,
            "tools": [WEATHER],
            "thread": {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"a": "b"}},
            "tool_resources": {"file_search": {"vector_store_ids": ["vs"]}},
        }
        run = conform(await w.engine.threads.create_and_run("", body))
        assert (run.status, run.instructions, run.tools[0].function.name) == ("queued", "Be brief.", "get_weather")
        assert _wire.dump(run)["tool_resources"] == body["tool_resources"]
        assert (await w.engine.threads.retrieve("", run.thread_id)).metadata == {"a": "b"}
        await w.until("run.requires_action", run)
        assert w.names()[:3] == ["created", "run.created", "run.queued"]
        bare = await w.engine.threads.create_and_run("", {"assistant_id": assistant.id})
        await w.until("run.completed", bare)


async def test_create_and_run_without_its_assistant():
    """If the assistant does not exist, no thread is stored."""
    async with world() as w:
        with pytest.raises(ApiError, match="No assistant found with id 'x'"):
            await w.engine.threads.create_and_run("", {"assistant_id": "x", "thread": {}})
        assert w.events == []


async def test_owners():
    """Another owner's thread is not found."""
    async with world() as w:
        run = await w.start("Hi", owner="me")
        await w.until("run.completed", run)
        (message, *_), (step,) = await w.messages(run, "me"), await w.steps(run, "me")
        for operation in (
            w.engine.threads.retrieve("you", run.thread_id),
            w.engine.threads.update("you", run.thread_id, {}),
            w.engine.threads.delete("you", run.thread_id),
            w.engine.messages.retrieve("you", run.thread_id, message.id),
            w.messages(run, "you"),
            w.get(run, "you"),
            w.steps(run, "you"),
            w.engine.run_steps.retrieve("you", run.thread_id, run.id, step.id),
            w.engine.runs.cancel("you", run.thread_id, run.id),
        ):
            with pytest.raises(ApiError, match="No thread found"):
                await operation
