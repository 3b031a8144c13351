"""`ToolThread`: a call in a thread, awaited by one task after the other, or by none."""

import asyncio
import contextvars
import inspect
import threading

import pytest

from openai_runs.toolbox.tool_thread import ToolThread

pytestmark = pytest.mark.anyio

WORD = contextvars.ContextVar("word", default="unset")


async def test_what_the_call_returns():
    """The call sees the caller's context, in a daemon thread with the tool's name."""
    WORD.set("said")

    def call():
        return WORD.get(), threading.current_thread().name, threading.current_thread().daemon

    assert await ToolThread("count", call).result() == ("said", "tool count", True)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(KeyError("x"), KeyError), (SystemExit(3), SystemExit), (StopIteration(), RuntimeError)],
    ids=repr,
)
async def test_what_the_call_raises(raised, expected):
    """It is raised where it is awaited; what would end a coroutine silently becomes an error with its name."""

    def call():
        raise raised

    with pytest.raises(expected) as caught:
        await ToolThread("count", call).result()
    assert caught.value is raised or str(caught.value) == "the tool raised StopIteration"


async def test_another_task_waits_for_the_same_thread():
    """Whoever is cancelled leaves the thread to the next one: the call is made once."""
    called, go = [], threading.Event()

    def call():
        called.append(1)
        go.wait()
        return len(called)

    thread = ToolThread("count", call)
    first = asyncio.ensure_future(thread.result())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go.set()
    assert await thread.result() == 1


async def test_a_coroutine_that_nobody_waits_for():
    """It is closed, so Python does not warn that it was never awaited."""
    begun, go, coroutines, threads = threading.Event(), threading.Event(), [], []

    async def work():
        pytest.fail("started")

    def call():
        threads.append(threading.current_thread())
        coroutines.append(work())
        begun.set()
        go.wait()
        return coroutines[0]

    thread = ToolThread("work", call)
    await asyncio.to_thread(begun.wait)
    thread.abandon()
    go.set()
    await asyncio.to_thread(threads[0].join)
    assert inspect.getcoroutinestate(coroutines[0]) == inspect.CORO_CLOSED
