"""Work that is finished, whatever cancels its caller; `openai_runs._finishing`."""

import asyncio

import anyio
import pytest

from openai_runs._finishing import finished

pytestmark = pytest.mark.anyio


class Work:
    """Ends when it is told to."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.go, self.failure = asyncio.Event(), failure
        self.is_done = False

    async def run(self) -> str:
        await self.go.wait()
        self.is_done = True
        if self.failure is not None:
            raise self.failure
        return "done"


async def test_undisturbed() -> None:
    """The result or the exception is that of the work."""
    work, failing = Work(), Work(LookupError("x"))
    work.go.set()
    failing.go.set()
    assert await finished(work.run()) == "done"
    with pytest.raises(LookupError):
        await finished(failing.run())


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("failure", [None, LookupError("x")])
async def test_cancelled(times: int, failure: Exception | None) -> None:
    """However often the caller is cancelled, the work ends first; then the cancellation is raised."""
    work = Work(failure)
    task = asyncio.create_task(finished(work.run()))
    for _ in range(times):
        await anyio.wait_all_tasks_blocked()
        task.cancel()
    await anyio.wait_all_tasks_blocked()
    assert not task.done()
    work.go.set()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert work.is_done
    assert caught.value.__cause__ is failure


async def test_a_scope() -> None:
    """The same for a cancel scope."""
    work = Work()
    asyncio.get_running_loop().call_later(0.05, work.go.set)
    with anyio.move_on_after(0) as scope:
        await finished(work.run())
        await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert work.is_done
