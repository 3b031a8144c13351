"""Whatever a backend does: a failure of one run ends that run only."""

import asyncio

import anyio
import anyio.lowlevel
import pytest

from openai_runs.backends.model_backend import (
    AnnotationAdded,
    Detached,
    Finished,
    HostedToolCall,
    ModelBackend,
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from openai_runs.errors import BackendError
from tests.engine.world import world

pytestmark = pytest.mark.anyio


class Odd(ModelBackend):
    """Misbehaves in its first call, and works correctly from then on."""

    def __init__(self, odd):
        self.odd = odd
        self.calls = 0

    async def respond(self, request):
        self.calls += 1
        if self.calls > 1:
            yield TextChunk("Hello.")
            return
        yield TextChunk("Well")
        await anyio.lowlevel.checkpoint()  # so that the text has been told
        if isinstance(self.odd, BaseException):
            raise self.odd
        if callable(self.odd):
            await self.odd()
        else:
            yield self.odd


async def cancel_our_task():
    asyncio.current_task().cancel()
    await anyio.lowlevel.checkpoint()


async def fail_in_a_group_of_asyncio_s_and_raise_cancelled():
    async def fail():
        await anyio.lowlevel.checkpoint()
        raise KeyError("group")

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
    except ExceptionGroup:
        pass
    raise asyncio.CancelledError


async def wait_for_somebody_who_is_cancelled():
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


ODD = [
    KeyError(0),
    GeneratorExit(),
    asyncio.CancelledError(),
    BaseException("nothing in particular"),
    ExceptionGroup("several", [KeyError(0), ValueError("x")]),
    BaseExceptionGroup("several", [asyncio.CancelledError(), KeyError(0)]),
    StopAsyncIteration(),
    BackendError("no code", 5),
    cancel_our_task,
    fail_in_a_group_of_asyncio_s_and_raise_cancelled,
    wait_for_somebody_who_is_cancelled,
    object(),
    None,
    TextChunk(5),
    TextChunk(None),
    ToolCallChunk("0", None, "f"),
    ToolCallChunk(0, 7, "f"),
    ToolCallChunk(0, None, "f", {}),
    AnnotationAdded("a note"),
    HostedToolCall("a call"),
    Detached(object()),
    UsageReport("many", 1),
    Finished("enough"),
]


def _id(odd: object) -> str:
    """The same in every process, so without an address in memory."""
    return getattr(odd, "__name__", repr(odd).partition(" at 0x")[0])[:40]


@pytest.mark.parametrize("odd", ODD, ids=_id)
async def test_whatever_a_backend_raises_or_yields(odd, caplog):
    """The run fails with a reason, nothing in it stays open, its thread is free, and other runs are not affected."""
    async with world(Odd(odd), max_active_runs=1) as w:
        run = await w.start("Hello")
        failed = await w.until("run.failed", run)
        assert failed.last_error.code == "server_error"
        assert failed.last_error.message
        assert [step.status for step in await w.steps(run)] == ["failed"]
        assert [message.status for message in await w.messages(run)] == ["completed", "incomplete"]
        assert run.id in caplog.text or isinstance(odd, BackendError)
        await w.until("run.completed", await w.again(run))
        await w.until("run.completed", await w.start())
        assert w.engine.runs.pending == 0
