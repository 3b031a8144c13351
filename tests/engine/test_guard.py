"""What goes beyond an owner's limits is refused, and nothing else is."""

import re
from functools import partial

import anyio
import pytest

from openai_runs.backends import Say
from openai_runs.backends.scripted import Wait
from openai_runs.engine import ApiError
from openai_runs.engine.guard import shown
from openai_runs.engine.limits import Limits, OwnerLimits
from openai_runs.models.file import FilePurpose
from openai_runs.models.run import RunStatus
from openai_runs.stores.sqlite import SQLiteStore
from tests.engine.world import TIME, world

pytestmark = pytest.mark.anyio

HI = {"role": "user", "content": "Hi"}


def limited(**limits: int) -> OwnerLimits:
    """Limits of the owner ``ann``; others have none."""
    return OwnerLimits(by_owner={"ann": Limits(**limits)})


async def refused(status: int, code: str, operation) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await operation
    assert (caught.value.status, caught.value.code) == (status, code)
    return caught.value


# Active runs


async def test_active_runs():
    """An owner has no more active runs than it may, whatever they do; others are not affected."""
    async with world([Wait()], limits=limited(active_runs=2)) as w:
        first, second = [await w.start("Hi", owner="ann") for _ in range(2)]
        error = await refused(429, "active_runs_exceeded", w.start("Hi", owner="ann"))
        assert error.message == (
            "Run limit reached: at most 2 of your runs may be active, which is until they end, and 2 are. "
            "Please try again in 1s, or when one of them has ended."
        )
        assert (error.type, error.param, error.retry_after) == ("runs", None, 1.0)
        body = {"assistant_id": first.assistant_id}
        await refused(429, "active_runs_exceeded", w.engine.threads.create_and_run("ann", body))
        for _ in range(3):
            await w.start("Hi", owner="bob")
        await w.engine.runs.cancel("ann", second.thread_id, second.id)
        await w.until("run.cancelled", second)
        third = await w.engine.threads.create_and_run("ann", body)
        await w.engine.threads.delete("ann", third.thread_id)
        await w.start("Hi", owner="ann")
        await refused(429, "active_runs_exceeded", w.start("Hi", owner="ann"))


async def test_a_run_that_waits_for_tool_outputs_is_active():
    """It counts until it ends, and its outputs are taken whatever the limit."""
    async with world(limits=limited(active_runs=1)) as w:
        run = await w.start("What time is it?", owner="ann", tools=[TIME])
        await w.until("run.requires_action", run)
        await refused(429, "active_runs_exceeded", w.start("Hi", owner="ann"))
        await w.answer(run, owner="ann")
        await w.until("run.completed", run)
        await w.start("Hi", owner="ann")


async def test_many_runs_at_once():
    """Requests at the same time do not all find the same room."""
    async with world([Wait()], limits=limited(active_runs=3)) as w:
        assistant = await w.engine.assistants.create("ann", {"model": "m"})
        outcomes: list[str] = []

        async def start() -> None:
            try:
                await w.engine.threads.create_and_run("ann", {"assistant_id": assistant.id})
                outcomes.append("created")
            except ApiError as error:
                outcomes.append(error.code or "")

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(start)
        assert sorted(outcomes) == ["active_runs_exceeded"] * 7 + ["created"] * 3


async def test_a_request_that_fails_keeps_no_place():
    """A run that was not created does not count."""
    async with world([Wait()], limits=limited(active_runs=1)) as w:
        for _ in range(2):
            with pytest.raises(ApiError, match="No assistant found"):
                await w.engine.threads.create_and_run("ann", {"assistant_id": "asst_none"})
        await w.start("Hi", owner="ann")


async def test_active_runs_after_a_restart(tmp_path):
    """Those that the engine resumes count."""
    store = SQLiteStore(tmp_path / "runs.db")
    async with world([Wait()], store=store, limits=limited(active_runs=1)) as w:
        run = await w.start("Hi", owner="ann")
    async with world([Wait()], store=store, clock=w.clock, limits=limited(active_runs=1)) as w:
        await refused(429, "active_runs_exceeded", w.start("Hi", owner="ann"))
        await w.engine.runs.cancel("ann", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        await w.start("Hi", owner="ann")


# Tokens


async def test_tokens_of_a_day():
    """After so many tokens no run is created until the next day in UTC begins; those that are active go on."""
    async with world(limits=limited(tokens_per_day=1)) as w:
        run = await w.start("Hi", owner="ann", tools=[TIME])
        waiting = await w.until("run.requires_action", run)
        other = await w.start("Hi", owner="ann")
        used = (await w.until("run.completed", other)).usage
        error = await refused(429, "tokens_per_day_exceeded", w.start("Hi", owner="ann"))
        assert error.message == (
            "Token limit reached: your runs may use 1 tokens a day, and those that were created today (UTC) have used "
            f"{used.prompt_tokens + used.completion_tokens}. Please try again in 16h0m0s, when the next day begins."
        )
        assert (error.type, error.retry_after) == ("tokens", 16 * 3600.0)
        await w.start("Hi", owner="bob")
        assert (await w.answer(waiting, owner="ann")).status is RunStatus.QUEUED
        await w.until("run.completed", run)
        w.clock.advance(16 * 3600.0 - 1)
        await refused(429, "tokens_per_day_exceeded", w.start("Hi", owner="ann"))
        w.clock.advance(1)
        await w.start("Hi", owner="ann")


# Messages


async def test_messages_of_a_thread():
    """A thread takes no more, by any operation; the error has the parameter at fault."""
    code = "array_above_max_length"
    async with world(limits=limited(messages_per_thread=2)) as w:
        threads, messages = w.engine.threads, w.engine.messages
        error = await refused(400, code, threads.create("ann", {"messages": [HI] * 3}))
        assert error.message == (
            "Invalid 'messages': too many messages. Expected a thread with at most 2 messages, but got 3 instead."
        )
        assert error.param == "messages"
        await threads.create("bob", {"messages": [HI] * 3})
        run = await w.start("Hi", owner="ann")
        await w.until("run.completed", run)
        error = await refused(400, code, messages.create("ann", run.thread_id, HI))
        assert error.message.startswith(f"Can't add messages to {run.thread_id}: too many")
        body = {"assistant_id": run.assistant_id, "additional_messages": [HI]}
        error = await refused(400, code, w.engine.runs.create("ann", run.thread_id, body))
        assert error.param == "additional_messages"
        body = {"assistant_id": run.assistant_id, "thread": {"messages": [HI] * 3}}
        error = await refused(400, code, threads.create_and_run("ann", body))
        assert error.param == "thread.messages"
        again = await w.engine.runs.create("ann", run.thread_id, {"assistant_id": run.assistant_id})
        await w.until("run.completed", again)  # what a run writes is kept


# Bytes


async def upload(w, owner: str, size: int) -> str:
    async with w.engine.files.uploading(owner) as upload:
        await upload.write(b"x" * size)
        file = await w.engine.files.create(owner, {"purpose": FilePurpose.ASSISTANTS}, "a.txt", upload)
    return file.id


async def test_stored_bytes():
    """Threads, messages and files count together; after something was deleted there is room again."""
    code = "storage_quota_exceeded"
    long = {"role": "user", "content": "x" * 3000}
    async with world([Say("Hi")], limits=limited(stored_bytes=11_000)) as w:
        threads, messages = w.engine.threads, w.engine.messages
        thread = await threads.create("ann", {"messages": [long]})
        message = await messages.create("ann", thread.id, long)
        file_id = await upload(w, "ann", 3000)
        error = await refused(403, code, messages.create("ann", thread.id, long))
        text = "Your threads, messages and files would have more than 11000 bytes together, the limit; they have"
        assert re.fullmatch(rf"{text} 9\d\d\d\. Delete some first\.", error.message)
        assistant = await w.engine.assistants.create("ann", {"model": "m"})
        run = {"assistant_id": assistant.id}
        for operation in (
            partial(threads.create, "ann", {"messages": [long]}),
            partial(threads.create_and_run, "ann", {**run, "thread": {"messages": [long]}}),
            partial(w.engine.runs.create, "ann", thread.id, {**run, "additional_messages": [long]}),
            partial(threads.create, "ann", {"metadata": {str(number): "x" * 500 for number in range(5)}}),
        ):
            await refused(403, code, operation())
        error = await refused(403, code, upload(w, "ann", 2500))
        assert "beside your threads and messages" in error.message
        await threads.create("bob", {"messages": [long]})
        await upload(w, "bob", 100_000)
        await w.engine.files.delete("ann", file_id)
        await messages.create("ann", thread.id, long)
        await refused(403, code, messages.create("ann", thread.id, long))
        await messages.delete("ann", thread.id, message.id)
        await messages.create("ann", thread.id, long)
        await threads.delete("ann", thread.id)
        await upload(w, "ann", 9_000)
        ended = await w.engine.threads.create_and_run("ann", {**run, "thread": {"messages": [HI]}})
        assert (await w.until("run.completed", ended)).status is RunStatus.COMPLETED
        await refused(403, code, threads.create("ann", {"messages": [long]}))


async def test_no_room_at_all():
    """Whoever has more than a new limit allows can still read and delete, and stores nothing."""
    limits = OwnerLimits()
    async with world(limits=limits) as w:
        thread = await w.engine.threads.create("ann", {"messages": [HI]})
        limits.replace({"ann": Limits(stored_bytes=1)})
        await refused(403, "storage_quota_exceeded", w.engine.threads.create("ann", {}))
        await refused(403, "storage_quota_exceeded", upload(w, "ann", 1))
        await w.engine.threads.delete("ann", thread.id)
        await upload(w, "ann", 1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.0123, "12ms"),
        (1, "1s"),
        (1.2, "2s"),
        (60, "1m0s"),
        (61.5, "1m2s"),
        (3600, "1h0m0s"),
        (86399, "23h59m59s"),
    ],
)
def test_durations(seconds: float, text: str):
    """They are written as OpenAI writes them, and never shorter than they are."""
    assert shown(seconds) == text
