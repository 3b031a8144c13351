"""`in_dedicated_task`: its user notices nothing of the other task, unless that fails."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import pytest

from openai_runs.server.dedicated_task import in_dedicated_task

pytestmark = pytest.mark.anyio


class Manager:
    """A manager with a task group, like a server; it records what happens, and can fail or be slow."""

    def __init__(self, *, entering=None, within=None, leaving=None):
        self.entering, self.within, self.leaving = entering, within, leaving
        self.log = []

    @asynccontextmanager
    async def __call__(self):
        try:
            async with anyio.create_task_group() as tasks:
                await self._do(self.entering)
                self.log.append("entered")
                tasks.start_soon(self._do, self.within or anyio.sleep_forever)
                yield "value"
                await self._do(self.leaving)
                tasks.cancel_scope.cancel()
        finally:
            self.log.append("left")

    async def _do(self, what):
        await anyio.lowlevel.checkpoint()
        if isinstance(what, Exception):
            raise what
        if what is not None:
            await what()


async def test_entered_and_left():
    """The manager's value is passed on; what is raised in the block comes out unchanged."""
    manager = Manager()
    async with in_dedicated_task(manager()) as value:
        assert value == "value"
    with pytest.raises(KeyError, match="mine"):
        async with in_dedicated_task(manager()):
            raise KeyError("mine")
    assert manager.log == ["entered", "left"] * 2


async def test_left_in_another_task():
    """It may be entered and exited in different tasks, as fixtures of pytest-asyncio do."""
    manager = Manager()
    entered = in_dedicated_task(manager())
    await asyncio.create_task(entered.__aenter__())
    await asyncio.create_task(entered.__aexit__(None, None, None))
    assert manager.log == ["entered", "left"]


@pytest.mark.parametrize("when", ["entering", "leaving"])
async def test_its_failures(when):
    """Errors on entering and exiting are raised, and no task is left."""
    manager = Manager(**{when: LookupError("no")})
    with pytest.raises(ExceptionGroup) as caught:
        async with in_dedicated_task(manager()):
            manager.log.append("inside")
    assert caught.group_contains(LookupError, match="no")
    assert manager.log == (["left"] if when == "entering" else ["entered", "inside", "left"])


async def test_it_fails_meanwhile():
    """If the manager fails meanwhile, its user is interrupted, but the user's task does not stay cancelled."""
    manager = Manager(within=LookupError("no"))
    with pytest.raises(ExceptionGroup) as caught:
        async with in_dedicated_task(manager()):
            await anyio.sleep_forever()
    assert caught.group_contains(LookupError, match="no")
    assert asyncio.current_task().cancelling() == 0
    assert manager.log == ["entered", "left"]


@pytest.mark.parametrize("when", ["entering", "inside", "leaving"])
@pytest.mark.parametrize("scoped", [False, True])
async def test_cancelled(when, scoped):
    """A cancellation is raised, but only after the manager has exited."""
    there, go_on = anyio.Event(), anyio.Event()

    async def take_time():
        there.set()
        if when == "entering":
            await anyio.sleep_forever()
        await go_on.wait()

    manager = Manager(**({} if when == "inside" else {when: take_time}))

    async def use():
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            async with in_dedicated_task(manager()):
                if when == "inside":
                    there.set()
                    await anyio.sleep_forever()
        return scope.cancelled_caught

    scopes = []
    user = asyncio.create_task(use())
    await there.wait()
    scopes[0].cancel() if scoped else user.cancel()
    await anyio.wait_all_tasks_blocked()
    assert user.done() is (when != "leaving")
    go_on.set()
    if scoped:
        assert await user is (when != "leaving")  # there is nothing left to cancel then
    else:
        with pytest.raises(asyncio.CancelledError):
            await user
    assert manager.log[-1] == "left"
