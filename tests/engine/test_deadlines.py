"""`Deadlines`: calls back once for each name, when its deadline has come."""

from contextlib import asynccontextmanager

import anyio
import pytest

from openai_runs.engine.clock import ManualClock
from openai_runs.engine.deadlines import Deadlines

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running():
    clock, due = ManualClock(0.0), []
    deadlines = Deadlines(clock, due.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deadlines.run)
        await anyio.wait_all_tasks_blocked()

        async def advance(seconds):
            clock.advance(seconds)
            await anyio.wait_all_tasks_blocked()
            return due

        yield deadlines, advance
        tasks.cancel_scope.cancel()


async def test_in_order_of_time():
    """Deadlines come in order, however they were set; an earlier one that is set later is not missed."""
    async with running() as (deadlines, advance):
        deadlines.set("b", 20)
        await anyio.wait_all_tasks_blocked()
        deadlines.set("a", 10)
        deadlines.set("c", 30)
        await anyio.wait_all_tasks_blocked()
        assert await advance(10) == ["a"]
        assert await advance(25) == ["a", "b", "c"]
        assert len(deadlines) == 0


async def test_the_same_again():
    """A deadline that is set to the same time again comes once, and costs no memory."""
    async with running() as (deadlines, advance):
        for _ in range(3):
            deadlines.set("a", 10)
        assert len(deadlines._heap) == 1
        assert await advance(10) == ["a"]


async def test_discarded():
    """A discarded deadline does not come; one that was set again comes at its new time."""
    async with running() as (deadlines, advance):
        deadlines.set("a", 10)
        deadlines.set("b", 10)
        deadlines.discard("a")
        deadlines.discard("nobody")
        deadlines.set("b", 20)
        assert await advance(10) == []
        assert await advance(10) == ["b"]


async def test_discarded_deadlines_take_no_memory():
    """A hundred thousand runs that end before their deadline leave nothing in the heap."""
    async with running() as (deadlines, advance):
        deadlines.set("last", 600)
        for number in range(100_000):
            deadlines.set(str(number), 600)
            deadlines.discard(str(number))
        assert len(deadlines._heap) < 1100
        assert await advance(600) == ["last"]


async def test_put_off_again_and_again():
    """A deadline that each use puts off leaves nothing in the heap, and comes once."""
    async with running() as (deadlines, advance):
        for number in range(100_000):
            deadlines.set("a", number)
        assert len(deadlines._heap) < 1100
        assert await advance(100_000) == ["a"]
