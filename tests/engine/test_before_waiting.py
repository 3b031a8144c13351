"""`BeforeWaiting`: what is there comes at once; what has to be waited for waits until the other thing is done."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from openai_runs.engine.before_waiting import BeforeWaiting

pytestmark = pytest.mark.anyio


class Story:
    """What happened, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def first(self) -> None:
        self.told.append("begun")
        await anyio.lowlevel.checkpoint()
        self.told.append("done")


async def test_what_is_there_comes_at_once() -> None:
    """Neither a result nor an error is delayed, and nothing else is done."""
    story = Story()

    async def at_once(error: Exception | None) -> int:
        if error is not None:
            raise error
        return 7

    assert await BeforeWaiting(at_once(None), story.first) == 7
    with pytest.raises(KeyError):
        await BeforeWaiting(at_once(KeyError("x")), story.first)
    assert story.told == []


async def test_the_other_thing_is_done_before_the_wait() -> None:
    """It is done once, however often the work waits, in the same task; what the work waits for may come meanwhile."""
    story, tasks = Story(), set[Any]()
    future = asyncio.get_running_loop().create_future()

    async def first() -> None:
        tasks.add(asyncio.current_task())
        future.set_result("early")
        await story.first()

    async def work() -> str:
        tasks.add(asyncio.current_task())
        found = await future
        for _ in range(3):
            await asyncio.sleep(0)
        story.told.append(found)
        return "end"

    assert await BeforeWaiting(work(), first) == "end"
    assert story.told == ["begun", "done", "early"]
    assert tasks == {asyncio.current_task()}


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(0), anyio.sleep_forever], ids=["break", "wait"])
async def test_a_failure_ends_the_work_first(wait: Callable[[], Awaitable[None]]) -> None:
    """The work is cancelled, and what it makes of that does not hide the failure."""
    story = Story()

    async def fail() -> None:
        await story.first()
        raise OSError("no disk")

    async def pieces(outcome: str) -> AsyncGenerator[str]:
        try:
            await wait()
        except asyncio.CancelledError:
            await anyio.lowlevel.checkpoint()
            story.told.append("closed")
            if outcome == "yield":
                yield "more"
            if outcome == "raise":
                raise KeyError("another error") from None
            raise

    for outcome in "yield", "raise", "pass on":
        answer = pieces(outcome)
        with pytest.raises(OSError, match="no disk"):
            await BeforeWaiting(anext(answer), fail)
        await answer.aclose()
        assert story.told == ["begun", "done", "closed"]
        story.told.clear()


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(0), anyio.sleep_forever], ids=["break", "wait"])
async def test_a_cancellation_meanwhile_is_the_work_s(wait: Callable[[], Awaitable[None]]) -> None:
    """A timeout within the work ends what it is around, and nothing else."""
    ready = anyio.Event()

    async def work(scope: anyio.CancelScope) -> str:
        with scope:
            await wait()
            return "in time"
        return "timed out"

    async def first(scope: anyio.CancelScope) -> None:
        scope.cancel()
        await ready.wait()

    inner = anyio.CancelScope()
    assert await BeforeWaiting(work(inner), lambda: first(inner)) == "timed out"
    with anyio.CancelScope() as outer:
        await BeforeWaiting(work(anyio.CancelScope()), lambda: first(outer))
        pytest.fail("it is cancelled")
    assert outer.cancelled_caught


async def test_a_cancellation_later_is_the_work_s_too() -> None:
    story = Story()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            story.told.append("closed")

    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            await BeforeWaiting(work(), story.first)

        tasks.start_soon(wait)
        while story.told != ["begun", "done"]:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert story.told == ["begun", "done", "closed"]
