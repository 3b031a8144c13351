"""`finish`: what has begun is finished, and the caller is still cancelled."""

import asyncio

import anyio
import pytest

from openai_runs._finishing import cancelled_once, finish

pytestmark = pytest.mark.anyio


class Work:
    """Work that waits in its middle until it is told to go on."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.failure = failure
        self.ended = False

    async def do(self) -> str:
        self.begun.set()
        await self.go_on.wait()
        self.ended = True
        if self.failure is not None:
            raise self.failure
        return "done"


async def test_result_and_error():
    """Without a cancellation it is like an await."""
    work = Work()
    work.go_on.set()
    assert await finish(work.do()) == "done"
    work.failure = OSError("no disk")
    with pytest.raises(OSError, match="no disk"):
        await finish(work.do())


async def test_a_cancelled_task_waits_for_the_end():
    """However often `Task.cancel` is called, the caller goes on only when the work has ended, and is cancelled then."""
    work = Work()
    caller = asyncio.create_task(finish(work.do()))
    await work.begun.wait()
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    work.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.ended


async def test_a_timeout_is_still_a_timeout():
    """`asyncio.timeout` around it raises `TimeoutError`, after the work has ended."""
    work = Work()

    async def in_no_time():
        async with asyncio.timeout(0):
            await finish(work.do())

    caller = asyncio.create_task(in_no_time())
    await work.begun.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    work.go_on.set()
    with pytest.raises(TimeoutError):
        await caller
    assert work.ended


async def test_an_error_is_not_lost():
    """If the work fails after the caller was cancelled, the caller's `CancelledError` says so."""
    work = Work(OSError("no disk"))
    caller = asyncio.create_task(finish(work.do()))
    await work.begun.wait()
    caller.cancel()
    await asyncio.sleep(0)
    work.go_on.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await caller
    assert "no disk" in caught.value.__notes__[0]


async def test_a_cancelled_scope():
    """The cancellation of a scope waits as well."""
    work, scope = Work(), anyio.CancelScope()

    async def call() -> None:
        with scope:
            await finish(work.do())

    caller = asyncio.create_task(call())
    await work.begun.wait()
    scope.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not caller.done()
    work.go_on.set()
    await caller
    assert scope.cancelled_caught
    assert work.ended


class Cleaning:
    """Work that waits, and when it is cancelled cleans up, which takes several waits."""

    def __init__(self, *, is_stuck: bool = False, result: str | None = None) -> None:
        self.begun, self.is_clean, self.cancellations = asyncio.Event(), False, 0
        self.is_stuck, self.result = is_stuck, result

    async def do(self) -> str:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancellations += 1
            try:
                for _ in range(5):
                    await asyncio.sleep(0)
                if self.is_stuck:
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancellations += 1
                raise
            self.is_clean = True
            if self.result is None:
                raise OSError("given up") from None
            return self.result
        raise AssertionError


@pytest.mark.parametrize("result", [None, "late"])
async def test_work_that_is_cancelled_once(result: str | None, caplog: pytest.LogCaptureFixture):
    """A scope that cancels each wait does not disturb its end; whatever that is, the caller is cancelled."""
    work, scope = Cleaning(result=result), anyio.CancelScope()

    async def call() -> None:
        with scope:
            await cancelled_once(work.do())

    caller = asyncio.create_task(call())
    await work.begun.wait()
    scope.cancel()
    await caller
    assert scope.cancelled_caught
    assert (work.is_clean, work.cancellations) == (True, 1)
    del caller
    assert not caplog.records  # of an error that nobody has looked at


async def test_work_that_does_not_end():
    """It is cancelled again after a while: a database may be away."""
    work = Cleaning(is_stuck=True)
    caller = asyncio.create_task(cancelled_once(work.do(), within=0))
    await work.begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (work.is_clean, work.cancellations) == (False, 2)


async def test_work_that_nobody_cancels():
    """It is like an await, whoever else is cancelled; a task that is cancelled twice still waits."""
    work = Work()
    work.go_on.set()
    assert await cancelled_once(work.do()) == "done"
    work.failure = OSError("no disk")
    with pytest.raises(OSError, match="no disk"):
        await cancelled_once(work.do())
    cleaning = Cleaning()
    caller = asyncio.create_task(cancelled_once(cleaning.do()))
    await cleaning.begun.wait()
    for _ in range(2):
        caller.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await caller
