"""`supervise`: which exceptions of a task reach its task group."""

import asyncio

import anyio
import pytest

from openai_runs._supervision import supervise

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("error", [KeyError(0), asyncio.CancelledError(), GeneratorExit()], ids=repr)
async def test_a_failure_of_the_work_is_reported(error):
    """What the work raises by itself is passed on by value, so that the other tasks of the group go on."""
    failures = []

    async def work():
        raise error

    await supervise(failures.append, work)
    assert failures == [error]


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), BaseExceptionGroup("both", [KeyError(0), KeyboardInterrupt()])],
    ids=repr,
)
async def test_the_process_s_own(error):
    """Exceptions that end the process are raised."""

    async def work():
        raise error

    with pytest.raises(type(error)):
        await supervise(pytest.fail, work)


async def test_cancellation_by_a_scope_gets_out():
    """The cancellation of an enclosing scope is no failure of the work."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await supervise(pytest.fail, anyio.sleep_forever)
        pytest.fail("not cancelled")
    assert scope.cancelled_caught


def test_a_coroutine_that_is_closed():
    """Closing the coroutine outside of a loop, as the garbage collector does, is no failure either."""

    async def work():
        await asyncio.Event().wait()

    async def begin():
        steps = supervise(pytest.fail, work)
        steps.send(None)
        return steps

    asyncio.run(begin()).close()
