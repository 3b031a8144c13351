"""What runs beside requests; `tests/following` sees what it does for runs and feeds."""

import asyncio
from contextvars import ContextVar

import anyio
import pytest

from openai_runs._http.background import Background

pytestmark = pytest.mark.anyio


async def test_work_ends_before_the_connections_close() -> None:
    """What is still under way is cancelled, and may use the connections while it ends."""
    done: list[str] = []
    background = Background()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await anyio.lowlevel.checkpoint()
            done.append("work")

    async def close() -> None:
        done.append("close")

    background.start(work())
    await anyio.lowlevel.checkpoint()
    await background.end(close)
    assert done == ["work", "close"]


async def test_connections_close_without_any_work() -> None:
    """Nothing is waited for, even by who is cancelled."""
    done: list[str] = []

    async def close() -> None:
        await anyio.lowlevel.checkpoint()
        done.append("close")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await Background().end(close)
    assert done == ["close"]


async def test_work_is_not_its_callers() -> None:
    """What is current where it is started is not current in it."""
    current: ContextVar[str] = ContextVar("current", default="nothing")
    found: list[str] = []

    async def work() -> None:
        found.append(current.get())

    current.set("the caller's span")
    await Background().start(work())
    assert found == ["nothing"]


async def test_before_closing() -> None:
    """All that is to be done is done at once; if there is nothing, nothing is started."""
    background, done = Background(), list[str]()

    async def prepare() -> None:
        done.append("prepared")

    await background.prepare_closing()
    assert done == []
    background.before_closing.add(prepare)
    await background.prepare_closing()
    assert done == ["prepared"]
