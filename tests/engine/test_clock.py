"""`SystemClock` and `ManualClock`."""

import time

import anyio
import pytest

from openai_runs.engine.clock import ManualClock, SystemClock

pytestmark = pytest.mark.anyio


async def test_system_clock():
    """The system's time; a wait returns when its time has come."""
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 60
    await clock.sleep_until(clock.now() - 1)
    when = clock.now() + 0.01
    await clock.sleep_until(when)
    assert clock.now() >= when


async def test_manual_clock():
    """Stands still; `advance` wakes the tasks whose time has come, and no others."""
    clock, woken = ManualClock(1000.0), []

    async def sleeper(when):
        await clock.sleep_until(when)
        woken.append(when)

    async with anyio.create_task_group() as tasks:
        for when in (1001.0, 1005.0, 1000.0):
            tasks.start_soon(sleeper, when)
        await anyio.wait_all_tasks_blocked()
        assert woken == [1000.0]
        clock.advance(1)
        await anyio.wait_all_tasks_blocked()
        assert woken == [1000.0, 1001.0]
        clock.advance(3)
        await anyio.wait_all_tasks_blocked()
        assert woken == [1000.0, 1001.0]
        tasks.cancel_scope.cancel()
    assert clock.now() == 1004.0
    clock.advance(10)  # a cancelled sleeper does no harm
